"""The vision transformer before paper 1's changes (SimpleViT, Beyer et al. 2022): LayerNorm, GELU, biases.

Shape letters: B batch, P pixels per side, p pixels per side of a patch, T patches, C width, H heads, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import Backend
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


class SimpleViT(nn.Module):
    """The baseline of paper 1's appendix A.5, as the package vit-pytorch 1.6.5 defines it.

    The pixels of a patch pass LayerNorm, a linear layer and LayerNorm; fixed waves of both axes are added; after the
    last norm the patches are averaged. Weights start as torch makes them, the head included.

    Args:
        classes: K.
        image_size: P.
        patch_size: p.
        num_layers: number of blocks.
        num_heads: H.
        width: C, divisible by 4 H.
        attention: what computes the attention; see `models.attention`.

    Raises:
        ValueError: sizes that do not divide, or unknown backend.
    """

    positions_TC: Tensor

    def __init__(
        self,
        *,
        classes: int,
        image_size: int = 224,
        patch_size: int = 16,
        num_layers: int = 12,
        num_heads: int = 6,
        width: int = 384,
        attention: Backend = "sdpa",
    ) -> None:
        super().__init__()
        check_heads(width, num_heads)
        side = patches_per_side(image_size, patch_size)
        self.patch_size = patch_size
        pixels = 3 * patch_size**2
        self.embed = nn.Sequential(nn.LayerNorm(pixels), nn.Linear(pixels, width), nn.LayerNorm(width))
        self.register_buffer("positions_TC", grid_positions(side, side, width), persistent=False)
        self.blocks = nn.ModuleList(GELUBlock(width, num_heads, attention) for _ in range(num_layers))
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
