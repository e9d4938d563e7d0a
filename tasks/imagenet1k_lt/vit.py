"""The vision transformer on heavy-tailed ImageNet-1k (paper 1, appendix A.5)."""

from __future__ import annotations

from typing import Any

from models.vit import ViT, ViTSettings
from suite.training import configurable
from tasks.kinds.images.classification import Classification


@configurable
class ImageNet1kLTViT(Classification, ViTSettings):
    """Paper 1's ViT on heavy-tailed ImageNet-1k; its 12 layers and sinusoidal positions are in the configuration."""

    def make_network(self, facts: dict[str, Any]) -> ViT:
        """The network for the images' classes and size."""
        return ViT(self, classes=facts["classes"], image_size=facts["image_size"])
