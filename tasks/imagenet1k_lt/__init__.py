"""Which optimizer wins on the heavy-tailed subset of ImageNet-1k, at which batch size?"""
