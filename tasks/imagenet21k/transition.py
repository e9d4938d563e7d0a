"""From ResNet-50 to ConvNeXt on ImageNet-21k, one change at a time (paper 1, table 2, appendix A.10)."""

from __future__ import annotations

from typing import Any

from models.transition import Transition, TransitionSettings
from suite.training import configurable
from tasks.kinds.images.classification import Classification


@configurable
class ImageNet21kTransition(Classification, TransitionSettings):
    """ResNet-50 with any of ConvNeXt's LayerNorm, GELU and depthwise convolutions on ImageNet-21k."""

    def make_network(self, facts: dict[str, Any]) -> Transition:
        """The network for the images' classes."""
        return Transition(self, classes=facts["classes"])
