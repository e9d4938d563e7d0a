"""The vision transformer on ImageNet-21k (paper 1, section 4 and appendices A.4 and B.4)."""

from __future__ import annotations

from typing import Any

from models.vit import ViT, ViTSettings
from suite.training import configurable
from tasks.kinds.images.classification import Classification


@configurable
class ImageNet21kViT(Classification, ViTSettings):
    """Paper 1's ViT on ImageNet-21k, of 18.3M (``imagenet21k/vit``) or 128.6M parameters (``vit_large``)."""

    def make_network(self, facts: dict[str, Any]) -> ViT:
        """The network for the images' classes and size."""
        return ViT(self, classes=facts["classes"], image_size=facts["image_size"])
