"""Which optimizer wins on images of 19,167 classes, ImageNet-21k, at which batch size?"""
