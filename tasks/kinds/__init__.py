"""WHAT do several datasets share? Text, sequences, images, regression, prepared folders; none is a dataset."""
