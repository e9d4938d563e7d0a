"""The vision transformer on heavy-tailed ImageNet-1k (paper 1, appendix A.5)."""

from __future__ import annotations

from tasks.kinds.images.vit import ImageViT


class ImageNet1kLTViT(ImageViT):
    """ViT on heavy-tailed ImageNet-1k; its 12 layers and sinusoidal positions are in the configuration."""
