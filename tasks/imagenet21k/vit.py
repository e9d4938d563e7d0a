"""The vision transformer on ImageNet-21k (paper 1, section 4 and appendices A.4 and B.4)."""

from __future__ import annotations

from tasks.kinds.images.vit import ImageViT


class ImageNet21kViT(ImageViT):
    """ViT on ImageNet-21k; the size is in the configuration: 18.3M (``imagenet21k/vit``) or 128.6M (``vit_large``)."""
