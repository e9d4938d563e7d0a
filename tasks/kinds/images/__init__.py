"""How do labelled images, in shards or class folders, become batches, and how is a network trained to classify them?"""
