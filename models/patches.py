"""What networks on image patches share: the grid that an image is cut into, and attention between all patches.

Shape letters: B batch, T patches, C width, H heads, D head dim (C / H).
"""

from __future__ import annotations

from torch import Tensor, nn

from models.attention import Backend, attend, check_backend
from models.axial_rotary import AxialRotary
from models.decoder import NORM_EPS


def patches_per_side(image_size: int, patch_size: int) -> int:
    """Side of the square grid that an image is cut into.

    Args:
        image_size: pixels per side.
        patch_size: pixels per side of a patch.

    Returns:
        Patches per side.

    Raises:
        ValueError: the patches do not tile the image.
    """
    if patch_size < 1 or image_size % patch_size:
        raise ValueError(
            f"image_size must be a multiple of patch_size, got {image_size} and {patch_size}; change "
            "data.image_size or model.patch_size."
        )
    return image_size // patch_size


def check_heads(width: int, num_heads: int) -> None:
    """Refuse a width that heads, or positions of two axes with sines and cosines, do not divide.

    Args:
        width: C.
        num_heads: H.

    Raises:
        ValueError: the width does not divide.
    """
    if num_heads < 1 or width % (4 * num_heads):
        raise ValueError(
            f"width must be divisible by 4 x num_heads (sines and cosines of two axes), got width {width} and "
            f"num_heads {num_heads}; change model.width or model.num_heads."
        )


class PatchAttention(nn.Module):
    """Softmax attention in which every patch sees every patch.

    Args:
        width: C.
        num_heads: H.
        qk_norm: normalise queries and keys per head, each with a learnable gain (paper 1's QKNorm).
        rotary: turns queries and keys, after that norm; None: positions are in the input.
        backend: what computes the attention; see `models.attention`.

    Raises:
        ValueError: there is no such backend.
    """

    def __init__(
        self, width: int, num_heads: int, *, qk_norm: bool, rotary: AxialRotary | None, backend: Backend
    ) -> None:
        super().__init__()
        check_backend(backend)
        self.num_heads = num_heads
        self.backend: Backend = backend
        head_dim = width // num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm = nn.RMSNorm(head_dim, eps=NORM_EPS) if qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(head_dim, eps=NORM_EPS) if qk_norm else nn.Identity()
        self.rotary = rotary or nn.Identity()
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Mix patches; ``[B, T, C]`` to ``[B, T, C]``."""
        q_BHTD, k_BHTD, v_BHTD = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2) for part in self.qkv(x_BTC).chunk(3, dim=-1)
        )
        q_BHTD = self.rotary(self.q_norm(q_BHTD)).to(v_BHTD.dtype)
        k_BHTD = self.rotary(self.k_norm(k_BHTD)).to(v_BHTD.dtype)
        y_BHTD = attend(q_BHTD, k_BHTD, v_BHTD, causal=False, backend=self.backend)
        return self.out(y_BHTD.transpose(-3, -2).flatten(-2))
