"""The vision transformer before paper 1's changes on heavy-tailed ImageNet-1k (paper 1, appendix A.5)."""

from __future__ import annotations

from typing import Any

from models.simple_vit import SimpleViT, SimpleViTSettings
from suite.training import configurable
from tasks.kinds.images.classification import Classification


@configurable
class ImageNet1kLTSimpleViT(Classification, SimpleViTSettings):
    """SimpleViT on heavy-tailed ImageNet-1k."""

    def make_network(self, facts: dict[str, Any]) -> SimpleViT:
        """The network for the images' classes and size."""
        return SimpleViT(self, classes=facts["classes"], image_size=facts["image_size"])
