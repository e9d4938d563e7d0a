"""ResNet-50 on ImageNet-21k (paper 1, figure 1 right, appendix A.4)."""

from __future__ import annotations

from typing import Any

from torch import nn

from models.resnet50 import ResNet50Settings, resnet50
from suite.training import configurable
from tasks.kinds.images.classification import Classification


@configurable
class ImageNet21kResNet50(Classification, ResNet50Settings):
    """ResNet-50 on ImageNet-21k."""

    def make_network(self, facts: dict[str, Any]) -> nn.Module:
        """The network for the images' classes."""
        return resnet50(self, classes=facts["classes"])
