"""The ResNet for small images on ImageNet-21k: no pair of the papers; ResNet-50's small relative for 32 pixels."""

from __future__ import annotations

from typing import Any

from models.resnet20 import ResNet20, ResNet20Settings
from suite.training import configurable
from tasks.kinds.images.classification import Classification


@configurable
class ImageNet21kResNet20(Classification, ResNet20Settings):
    """ResNet-20 on ImageNet-21k, or on any images that its data's source names."""

    def make_network(self, facts: dict[str, Any]) -> ResNet20:
        """The network for the images' classes."""
        return ResNet20(self, classes=facts["classes"])
