"""The ResNet for small images on ImageNet-21k: no pair of the papers; ResNet-50's small relative for 32 pixels."""

from __future__ import annotations

from typing import Any

from models.resnet20 import ResNet20
from tasks.kinds.images.classification import Classification


class ImageNet21kResNet20(Classification):
    """ResNet-20 on ImageNet-21k, or on any images that its data's source names.

    Args:
        blocks_per_stage: blocks of each of the three stages.
        width: channels of the first stage.
        **recipe: optimizer, schedule and clipping; see `suite.training.Task`.
    """

    def __init__(self, *, blocks_per_stage: int = 3, width: int = 16, **recipe: Any) -> None:
        super().__init__(**recipe)
        self.blocks_per_stage = blocks_per_stage
        self.width = width

    def make_network(self, facts: dict[str, Any]) -> ResNet20:
        """The network for a number of classes."""
        return ResNet20(classes=facts["classes"], blocks_per_stage=self.blocks_per_stage, width=self.width)
