"""ResNet-50 on ImageNet-21k (paper 1, figure 1 right, appendix A.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from models.resnet50 import resnet50
from tasks.kinds.images.classification import Classification


class ImageNet21kResNet50(Classification):
    """ResNet-50 on ImageNet-21k.

    Args:
        depths: blocks of each of the four stages.
        width: channels inside the first stage's blocks.
        **recipe: optimizer, schedule and clipping; see `suite.training.Task`.
    """

    def __init__(self, *, depths: Sequence[int] = (3, 4, 6, 3), width: int = 64, **recipe: Any) -> None:
        super().__init__(**recipe)
        self.depths = tuple(depths)
        self.width = width

    def make_network(self, facts: dict[str, Any]) -> nn.Module:
        """The network for a number of classes."""
        return resnet50(classes=facts["classes"], depths=self.depths, width=self.width)
