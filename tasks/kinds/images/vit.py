"""The vision transformer as a task; each dataset's pair is a subclass that says which figure it belongs to."""

from __future__ import annotations

from typing import Any

from models.attention import Backend
from models.vit import Positions, ViT
from tasks.kinds.images.classification import Classification


class ImageViT(Classification):
    """Classification by paper 1's vision transformer.

    Args:
        patch_size: pixels per side of a patch.
        num_layers: blocks of the network.
        num_heads: attention heads per block.
        width: features per patch.
        positions: ``rotary`` on both axes inside the attention, or ``sinusoidal`` in the input.
        attention: what computes the attention; see `models.attention`.
        **recipe: optimizer, schedule and clipping; see `suite.training.Task`.
    """

    def __init__(
        self,
        *,
        patch_size: int = 16,
        num_layers: int = 6,
        num_heads: int = 6,
        width: int = 384,
        positions: Positions = "rotary",
        attention: Backend = "sdpa",
        **recipe: Any,
    ) -> None:
        super().__init__(**recipe)
        self.patch_size = patch_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.width = width
        self.positions: Positions = positions
        self.attention: Backend = attention

    def make_network(self, facts: dict[str, Any]) -> ViT:
        """The network for a number of classes and an image size."""
        return ViT(
            classes=facts["classes"],
            image_size=facts["image_size"],
            patch_size=self.patch_size,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            width=self.width,
            positions=self.positions,
            attention=self.attention,
        )
