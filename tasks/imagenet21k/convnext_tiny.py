"""ConvNeXt-Tiny on ImageNet-21k (paper 1, table 2)."""

from __future__ import annotations

from typing import Any

from torch import nn

from models.convnext_tiny import ConvNeXtTinySettings, convnext_tiny
from suite.training import configurable
from tasks.kinds.images.classification import Classification


@configurable
class ImageNet21kConvNeXtTiny(Classification, ConvNeXtTinySettings):
    """ConvNeXt-Tiny on ImageNet-21k."""

    def make_network(self, facts: dict[str, Any]) -> nn.Module:
        """The network for the images' classes."""
        return convnext_tiny(self, classes=facts["classes"])
