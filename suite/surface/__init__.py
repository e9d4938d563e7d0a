"""WHAT a few runs say of the others: the final loss as a smooth function of the settings, with its uncertainty."""
