"""The vision transformer before paper 1's changes (SimpleViT, Beyer et al. 2022): LayerNorm, GELU, biases.

Shape letters: B batch, P pixels per side, p pixels per side of a patch, T patches, C width, H heads, K classes.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import AttentionSettings, Backend
from models.patches import check_heads, patches_per_side
from models.self_attention import SelfAttention
from models.sinusoidal import grid_positions


class GELUBlock(nn.Module):
    """A pre-norm residual block with LayerNorm: attention without QKNorm, then an MLP with GELU and biases.

    Args:
        width: C.
        num_heads: H.
        backend: what computes the attention; see `models.attention`.
    """

    def __init__(self, width: int, num_heads: int, backend: Backend) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.mixer = SelfAttention(width, num_heads, None, qk_norm=False, causal=False, backend=backend)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_BTC: Tensor) -> Tensor:
        """``[B, T, C]`` to ``[B, T, C]``."""
        x_BTC = x_BTC + self.mixer(self.norm1(x_BTC))
        return x_BTC + self.mlp(self.norm2(x_BTC))


@dataclasses.dataclass(kw_only=True, eq=False)
class SimpleViTSettings(AttentionSettings):
    """Settings of `SimpleViT`; the defaults are paper 1's."""

    patch_size: int = dataclasses.field(default=16, metadata={"at_least": 1})
    """Pixels per side of a patch."""

    num_layers: int = dataclasses.field(default=12, metadata={"at_least": 1, "at_most": 1000})
    """Blocks of the network."""

    num_heads: int = dataclasses.field(default=6, metadata={"at_least": 1})
    """Attention heads per block."""

    width: int = dataclasses.field(default=384, metadata={"at_least": 1})
    """Features per patch, divisible by four times the heads."""


class SimpleViT(nn.Module):
    """The baseline of paper 1's appendix A.5, as the package vit-pytorch 1.6.5 defines it.

    The pixels of a patch pass LayerNorm, a linear layer and LayerNorm; fixed waves of both axes are added; after the
    last norm the patches are averaged. Weights start as torch makes them, the head included.

    Args:
        settings: settings of the network; they are not kept.
        classes: K.
        image_size: P.

    Raises:
        ValueError: sizes are not divisible, or there is no such backend of attention.
    """

    positions_TC: Tensor

    def __init__(self, settings: SimpleViTSettings, *, classes: int, image_size: int) -> None:
        super().__init__()
        width, num_heads = settings.width, settings.num_heads
        check_heads(width, num_heads)
        side = patches_per_side(image_size, settings.patch_size)
        self.patch_size = settings.patch_size
        pixels = 3 * settings.patch_size**2
        self.embed = nn.Sequential(nn.LayerNorm(pixels), nn.Linear(pixels, width), nn.LayerNorm(width))
        self.register_buffer("positions_TC", grid_positions(side, side, width), persistent=False)
        self.blocks = nn.ModuleList(GELUBlock(width, num_heads, settings.attention) for _ in range(settings.num_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images_B3PP: Tensor) -> Tensor:
        """Classify images.

        Args:
            images_B3PP: normalised pixels.

        Returns:
            Logits ``[B, K]``.
        """
        # unfold orders a patch's numbers by channel, row, column. vit-pytorch has the channel last: the same network
        # with its first layers' inputs permuted.
        patches_BTX = F.unfold(images_B3PP, self.patch_size, stride=self.patch_size).transpose(1, 2)
        x_BTC = self.embed(patches_BTX) + self.positions_TC
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return self.head(self.norm(x_BTC).mean(dim=1))
