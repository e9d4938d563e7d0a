"""ResNet-50 as timm defines it (``resnet50.a1_in1k``, never pretrained), as in paper 1's figure 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import timm
from torch import nn


@dataclasses.dataclass(kw_only=True, eq=False)
class ResNet50Settings:
    """Settings of `resnet50`."""

    depths: Sequence[int] = dataclasses.field(default=(3, 4, 6, 3), metadata={"at_least": 1})
    """Blocks of each of the four stages."""

    width: int = dataclasses.field(default=64, metadata={"at_least": 1})
    """Channels inside the first stage's blocks; each stage doubles them. The stem keeps timm's 64."""


def resnet50(settings: ResNet50Settings, *, classes: int) -> nn.Module:
    """ResNet-50 with initial weights: 25.56M parameters at 1,000 classes.

    Args:
        settings: settings of the network.
        classes: number of classes.

    Returns:
        A module from images ``[B, 3, H, W]`` to logits ``[B, classes]``.

    Raises:
        ValueError: ``depths`` has not four stages.
    """
    if len(settings.depths) != 4:
        raise ValueError(f"model.depths must have the blocks of four stages, got {list(settings.depths)}.")
    channels = tuple(settings.width * 2**stage for stage in range(4))
    return timm.create_model(
        "resnet50",
        pretrained=False,
        num_classes=classes,
        layers=tuple(settings.depths),
        channels=channels,
    )
