"""ConvNeXt-Tiny on ImageNet-21k (paper 1, table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from models.convnext_tiny import convnext_tiny
from tasks.kinds.images.classification import Classification


class ImageNet21kConvNeXtTiny(Classification):
    """ConvNeXt-Tiny on ImageNet-21k.

    Args:
        depths: blocks of each of the four stages.
        width: channels of the stem and the first stage.
        patch_size: pixels per side of the stem's patches.
        **recipe: optimizer, schedule and clipping; see `suite.training.Task`.
    """

    def __init__(
        self, *, depths: Sequence[int] = (3, 3, 9, 3), width: int = 96, patch_size: int = 4, **recipe: Any
    ) -> None:
        super().__init__(**recipe)
        self.depths = tuple(depths)
        self.width = width
        self.patch_size = patch_size

    def make_network(self, facts: dict[str, Any]) -> nn.Module:
        """The network for a number of classes."""
        return convnext_tiny(classes=facts["classes"], depths=self.depths, width=self.width, patch_size=self.patch_size)
