"""ConvNeXt-Tiny as timm defines it (never pretrained), as in paper 1's table 2."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import timm
from torch import nn


@dataclasses.dataclass(kw_only=True, eq=False)
class ConvNeXtTinySettings:
    """Settings of `convnext_tiny`."""

    depths: Sequence[int] = dataclasses.field(default=(3, 3, 9, 3), metadata={"at_least": 1})
    """Blocks of each of the four stages."""

    width: int = dataclasses.field(default=96, metadata={"at_least": 1})
    """Channels of the stem and the first stage; each stage doubles them and halves the image."""

    patch_size: int = dataclasses.field(default=4, metadata={"at_least": 1})
    """Pixels per side of the stem's patches."""


def convnext_tiny(settings: ConvNeXtTinySettings, *, classes: int) -> nn.Module:
    """ConvNeXt-Tiny with initial weights: 28.59M parameters at 1,000 classes.

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
    widths = tuple(settings.width * 2**stage for stage in range(4))
    # "fastavg" computes the default's average by another kernel, since the default's has no rule for torch.func.vmap.
    return timm.create_model(
        "convnext_tiny",
        pretrained=False,
        num_classes=classes,
        depths=tuple(settings.depths),
        dims=widths,
        patch_size=settings.patch_size,
        global_pool="fastavg",
    )
