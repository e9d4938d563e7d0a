"""The attention layer of all networks on sequences and patches: one projection to queries, keys and values, one out.

Shape letters: B batch, T positions, C width, H heads, D head dim (C / H).
"""

from __future__ import annotations

from torch import Tensor, nn

from models.attention import Backend, attend, check_backend
from models.decoder import NORM_EPS


class SelfAttention(nn.Module):
    """Softmax attention of a sequence, or of an image's patches, to itself.

    Args:
        width: C.
        num_heads: H.
        rotary: rotates queries and keys by their positions; None: positions are in the input.
        qk_norm: normalise queries and keys per head before they are rotated, each with a learnable gain (QKNorm).
        causal: whether a position attends only to itself and earlier positions.
        backend: what computes it; see `models.attention`.

    Raises:
        ValueError: there is no such backend.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        rotary: nn.Module | None,
        *,
        qk_norm: bool,
        causal: bool = True,
        backend: Backend = "sdpa",
    ) -> None:
        super().__init__()
        check_backend(backend)
        self.num_heads = num_heads
        self.causal = causal
        self.backend: Backend = backend
        head_dim = width // num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm = nn.RMSNorm(head_dim, eps=NORM_EPS) if qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(head_dim, eps=NORM_EPS) if qk_norm else nn.Identity()
        self.rotary = rotary or nn.Identity()
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Mix positions; ``[B, T, C]`` to ``[B, T, C]``."""
        q_BHTD, k_BHTD, v_BHTD = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2) for part in self.qkv(x_BTC).chunk(3, dim=-1)
        )
        q_BHTD = self.rotary(self.q_norm(q_BHTD)).to(v_BHTD.dtype)
        k_BHTD = self.rotary(self.k_norm(k_BHTD)).to(v_BHTD.dtype)
        y_BHTD = attend(q_BHTD, k_BHTD, v_BHTD, causal=self.causal, backend=self.backend)
        return self.out(y_BHTD.transpose(-3, -2).flatten(-2))
