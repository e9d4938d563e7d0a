"""ResNet-50 as timm defines it (``resnet50.a1_in1k``, never pretrained), as in paper 1's figure 1."""

from __future__ import annotations

from collections.abc import Sequence

import timm
from torch import nn


def resnet50(*, classes: int, depths: Sequence[int] = (3, 4, 6, 3), width: int = 64) -> nn.Module:
    """ResNet-50 with initial weights: 25.56M parameters at 1,000 classes.

    Args:
        classes: of the head.
        depths: blocks of each of the four stages.
        width: channels inside the first stage's blocks; each stage doubles them. The stem keeps timm's 64.

    Returns:
        A module from images ``[B, 3, H, W]`` to logits ``[B, classes]``.

    Raises:
        ValueError: not four stages.
    """
    if len(depths) != 4:
        raise ValueError(f"model.depths must have the blocks of four stages, got {list(depths)}.")
    channels = tuple(width * 2**stage for stage in range(4))
    return timm.create_model(
        "resnet50",
        pretrained=False,
        num_classes=classes,
        layers=tuple(depths),
        channels=channels,
    )
