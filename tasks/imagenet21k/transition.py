"""From ResNet-50 to ConvNeXt on ImageNet-21k, one change at a time (paper 1, table 2, appendix A.10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.transition import Stem, Transition
from tasks.kinds.images.classification import Classification


class ImageNet21kTransition(Classification):
    """ResNet-50 with any of ConvNeXt's LayerNorm, GELU and depthwise convolutions on ImageNet-21k.

    Args:
        layernorm: LayerNorm over channels for BatchNorm.
        gelu: GELU for ReLU.
        depthwise: 3 x 3 convolutions that mix no channels.
        stem: ``conv7`` (ResNet-50's), ``patchify``, or ``conv3`` for images of 32 pixels.
        depths: blocks of each stage.
        width: channels of the stem and inside the first stage's blocks.
        **recipe: optimizer, schedule and clipping; see `suite.training.Task`.
    """

    def __init__(
        self,
        *,
        layernorm: bool = False,
        gelu: bool = False,
        depthwise: bool = False,
        stem: Stem = "conv7",
        depths: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        **recipe: Any,
    ) -> None:
        super().__init__(**recipe)
        self.layernorm = layernorm
        self.gelu = gelu
        self.depthwise = depthwise
        self.stem: Stem = stem
        self.depths = tuple(depths)
        self.width = width

    def make_network(self, facts: dict[str, Any]) -> Transition:
        """The network for a number of classes."""
        return Transition(
            classes=facts["classes"],
            layernorm=self.layernorm,
            gelu=self.gelu,
            depthwise=self.depthwise,
            stem=self.stem,
            depths=self.depths,
            width=self.width,
        )
