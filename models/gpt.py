"""Paper 1's GPT: pre-norm decoder with EmbedNorm, QKNorm, rotary positions, squared-ReLU MLP, zero-initialised head.

Shape letters: B batch, T positions, C width, H heads, D head dim (C / H), V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.attention import attend
from models.decoder import NORM_EPS, Decoder
from models.rotary import Rotary


class Attention(nn.Module):
    """Causal softmax attention; queries and keys are normalised per head before the rotation.

    Args:
        width: C.
        num_heads: H.
        max_len: longest sequence.
    """

    def __init__(self, width: int, num_heads: int, max_len: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = width // num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_norm = nn.RMSNorm(head_dim, eps=NORM_EPS)
        self.k_norm = nn.RMSNorm(head_dim, eps=NORM_EPS)
        self.rotary = Rotary(head_dim, max_len)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Mix positions; ``[B, T, C]`` to ``[B, T, C]``."""
        q_BHTD, k_BHTD, v_BHTD = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2) for part in self.qkv(x_BTC).chunk(3, dim=-1)
        )
        q_BHTD = self.rotary(self.q_norm(q_BHTD)).to(v_BHTD.dtype)
        k_BHTD = self.rotary(self.k_norm(k_BHTD)).to(v_BHTD.dtype)
        y_BHTD = attend(q_BHTD, k_BHTD, v_BHTD, causal=True)
        return self.out(y_BHTD.transpose(-3, -2).flatten(-2))


class GPT(Decoder):
    """The language model of paper 1 (section 4, appendix A.3): 49.2M parameters at a vocabulary of 50,257.

    Args:
        vocab_size: V.
        max_len: longest sequence.
        num_layers: number of blocks.
        num_heads: H.
        width: C, divisible by 2 H.

    Raises:
        ValueError: the width does not divide.
    """

    def __init__(
        self, *, vocab_size: int, max_len: int = 256, num_layers: int = 6, num_heads: int = 6, width: int = 384
    ) -> None:
        if width % (2 * num_heads):
            raise ValueError(
                f"width must be divisible by 2 x num_heads (rotary pairs), got width {width} and num_heads {num_heads}."
            )
        super().__init__(
            vocab_size=vocab_size,
            num_layers=num_layers,
            width=width,
            make_mixer=lambda: Attention(width, num_heads, max_len),
        )
