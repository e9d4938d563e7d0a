"""The vision transformer before paper 1's changes on heavy-tailed ImageNet-1k (paper 1, appendix A.5)."""

from __future__ import annotations

from typing import Any

from models.attention import Backend
from models.simple_vit import SimpleViT
from tasks.kinds.images.classification import Classification


class ImageNet1kLTSimpleViT(Classification):
    """SimpleViT on heavy-tailed ImageNet-1k.

    Args:
        patch_size: pixels per side of a patch.
        num_layers: blocks of the network.
        num_heads: attention heads per block.
        width: features per patch.
        attention: what computes the attention; see `models.attention`.
        **recipe: optimizer, schedule and clipping; see `suite.training.Task`.
    """

    def __init__(
        self,
        *,
        patch_size: int = 16,
        num_layers: int = 12,
        num_heads: int = 6,
        width: int = 384,
        attention: Backend = "sdpa",
        **recipe: Any,
    ) -> None:
        super().__init__(**recipe)
        self.patch_size = patch_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.width = width
        self.attention: Backend = attention

    def make_network(self, facts: dict[str, Any]) -> SimpleViT:
        """The network for a number of classes and an image size."""
        return SimpleViT(
            classes=facts["classes"],
            image_size=facts["image_size"],
            patch_size=self.patch_size,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            width=self.width,
            attention=self.attention,
        )
