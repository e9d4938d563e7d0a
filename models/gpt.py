"""Paper 1's GPT: pre-norm decoder with EmbedNorm, QKNorm, rotary positions, squared-ReLU MLP, zero-initialised head.

Shape letters: C width, H heads, V vocabulary.
"""

from __future__ import annotations

from models.attention import Backend
from models.decoder import Decoder
from models.rotary import Rotary
from models.self_attention import SelfAttention


class GPT(Decoder):
    """The language model of paper 1 (section 4, appendix A.3): 49.2M parameters at a vocabulary of 50,257.

    Args:
        vocab_size: V.
        max_len: longest sequence.
        num_layers: number of blocks.
        num_heads: H.
        width: C, divisible by 2 H.
        attention: what computes the attention; see `models.attention`.

    Raises:
        ValueError: the width does not divide, or there is no such attention.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        max_len: int = 256,
        num_layers: int = 6,
        num_heads: int = 6,
        width: int = 384,
        attention: Backend = "sdpa",
    ) -> None:
        if width % (2 * num_heads):
            raise ValueError(
                f"width must be divisible by 2 x num_heads (rotary pairs), got width {width} and num_heads {num_heads}."
            )
        super().__init__(
            vocab_size=vocab_size,
            num_layers=num_layers,
            width=width,
            make_mixer=lambda: SelfAttention(
                width, num_heads, Rotary(width // num_heads, max_len), qk_norm=True, backend=attention
            ),
        )
