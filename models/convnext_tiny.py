"""ConvNeXt-Tiny as timm defines it (never pretrained), as in paper 1's table 2."""

from __future__ import annotations

from collections.abc import Sequence

import timm
from torch import nn


def convnext_tiny(
    *, classes: int, depths: Sequence[int] = (3, 3, 9, 3), width: int = 96, patch_size: int = 4
) -> nn.Module:
    """ConvNeXt-Tiny with initial weights: 28.59M parameters at 1,000 classes.

    Args:
        classes: of the head.
        depths: blocks of each of the four stages.
        width: channels of the stem and the first stage; each stage doubles them and halves the image.
        patch_size: pixels per side of the stem's patches.

    Returns:
        A module from images ``[B, 3, H, W]`` to logits ``[B, classes]``.

    Raises:
        ValueError: not four stages.
    """
    if len(depths) != 4:
        raise ValueError(f"model.depths must have the blocks of four stages, got {list(depths)}.")
    widths = tuple(width * 2**stage for stage in range(4))
    # "fastavg" is the default average by other means: the default's kernel has no rule under torch.func.vmap.
    return timm.create_model(
        "convnext_tiny",
        pretrained=False,
        num_classes=classes,
        depths=tuple(depths),
        dims=widths,
        patch_size=patch_size,
        global_pool="fastavg",
    )
