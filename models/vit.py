"""Paper 1's vision transformer: GPT's blocks on image patches, with EmbedNorm, QKNorm and a zero-initialised head.

Shape letters: B batch, P pixels per side, T patches, C width, H heads, K classes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from models.attention import AttentionSettings
from models.axial_rotary import AxialRotary
from models.decoder import NORM_EPS, Block
from models.patches import check_heads, patches_per_side
from models.self_attention import SelfAttention
from models.sinusoidal import grid_positions

Positions = Literal["rotary", "sinusoidal"]


@dataclasses.dataclass(kw_only=True, eq=False)
class ViTSettings(AttentionSettings):
    """Settings of `ViT`; the defaults are paper 1's."""

    patch_size: int = dataclasses.field(default=16, metadata={"at_least": 1})
    """Pixels per side of a patch."""

    num_layers: int = dataclasses.field(default=6, metadata={"at_least": 1, "at_most": 1000})
    """Blocks of the network."""

    num_heads: int = dataclasses.field(default=6, metadata={"at_least": 1})
    """Attention heads per block."""

    width: int = dataclasses.field(default=384, metadata={"at_least": 1})
    """Features per patch, divisible by four times the heads."""

    positions: Positions = "rotary"
    """``rotary``: queries and keys are rotated along both axes; ``sinusoidal``: fixed waves are added to the patches
    before EmbedNorm (appendix A.5)."""


class ViT(nn.Module):
    """The vision transformer of paper 1 (appendix A.4): 18.27M parameters at 224 pixels and 19,167 classes.

    Patches are embedded by one convolution as wide as its stride, with a bias. Weights start Xavier-uniform (the
    convolution's as a matrix), those that write into the residual stream scaled by ``1 / sqrt(2 * num_layers)``, the
    head at zero. After the last norm the patches are averaged.

    Args:
        settings: settings of the network; they are not kept.
        classes: K.
        image_size: P.

    Raises:
        ValueError: sizes are not divisible, or there are no such positions or backend of attention.
    """

    positions_TC: Tensor | None

    def __init__(self, settings: ViTSettings, *, classes: int, image_size: int) -> None:
        super().__init__()
        width, num_heads, positions = settings.width, settings.num_heads, settings.positions
        if positions not in get_args(Positions):
            raise ValueError(f"model.positions must be one of {', '.join(get_args(Positions))}, got {positions!r}.")
        check_heads(width, num_heads)
        side = patches_per_side(image_size, settings.patch_size)
        is_rotary = positions == "rotary"
        self.register_buffer("positions_TC", None if is_rotary else grid_positions(side, side, width), persistent=False)
        self.embed = nn.Conv2d(3, width, settings.patch_size, stride=settings.patch_size)
        self.embed_norm = nn.RMSNorm(width, eps=NORM_EPS)
        rotary = AxialRotary(width // num_heads, side, side) if is_rotary else None
        self.blocks = nn.ModuleList(
            Block(
                width, SelfAttention(width, num_heads, rotary, qk_norm=True, causal=False, backend=settings.attention)
            )
            for _ in range(settings.num_layers)
        )
        self.norm = nn.RMSNorm(width, eps=NORM_EPS)
        self.head = nn.Linear(width, classes, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        with torch.no_grad():
            # The head starts at zero, so the first loss is exactly ln K.
            nn.init.zeros_(self.head.weight)
            nn.init.xavier_uniform_(self.embed.weight.flatten(1))
            for block in self.blocks:
                for layer in block.modules():
                    if isinstance(layer, nn.Linear):
                        nn.init.xavier_uniform_(layer.weight)
                for layer in (block.mixer.out, block.mlp.fc2):
                    layer.weight.mul_(1 / math.sqrt(2 * len(self.blocks)))

    def forward(self, images_B3PP: Tensor) -> Tensor:
        """Classify images.

        Args:
            images_B3PP: normalised pixels.

        Returns:
            Logits ``[B, K]``.
        """
        x_BTC = self.embed(images_B3PP).flatten(2).transpose(1, 2)
        if self.positions_TC is not None:
            x_BTC = x_BTC + self.positions_TC
        x_BTC = self.embed_norm(x_BTC)
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return self.head(self.norm(x_BTC).mean(dim=1))
