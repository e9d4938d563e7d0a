"""Paper 1's GPT: pre-norm decoder with EmbedNorm, QKNorm, rotary positions, squared-ReLU MLP, zero-initialised head.

Shape letters: C width, H heads, V vocabulary.
"""

from __future__ import annotations

import dataclasses

from models.attention import AttentionSettings
from models.decoder import WHEN_SET, Decoder, EndsSettings
from models.rotary import Rotary
from models.self_attention import SelfAttention
from models.sinusoidal import scaled_positions


@dataclasses.dataclass(kw_only=True, eq=False)
class GPTSettings(EndsSettings, AttentionSettings):
    """Settings of `GPT`; the defaults are paper 1's."""

    num_layers: int = dataclasses.field(default=6, metadata={"at_least": 1, "at_most": 1000})
    """Blocks of the network."""

    num_heads: int = dataclasses.field(default=6, metadata={"at_least": 1})
    """Attention heads per block."""

    width: int = dataclasses.field(default=384, metadata={"at_least": 1})
    """Features per position, divisible by twice the heads."""

    post_norm: bool = dataclasses.field(default=False, metadata=WHEN_SET)
    """Normalise the sums of the residual stream, as the first Transformer did, and not the input of every layer."""

    position_scale: float = dataclasses.field(default=0.0, metadata={"at_least": 0, "at_most": 100, **WHEN_SET})
    """Amplitude of sinusoidal positions that are added to the embeddings, beside the rotary ones; 0: none."""


class GPT(Decoder):
    """The language model of paper 1 (section 4, appendix A.3): 49.2M parameters at a vocabulary of 50,257.

    Args:
        settings: settings of the network; they are not kept.
        vocab_size: V.
        max_len: length of the longest sequence.

    Raises:
        ValueError: the width is not divisible as the settings say, or there is no such backend of attention.
    """

    def __init__(self, settings: GPTSettings, *, vocab_size: int, max_len: int) -> None:
        width, num_heads = settings.width, settings.num_heads
        if width % (2 * num_heads):
            raise ValueError(
                f"width must be divisible by 2 x num_heads (rotary pairs), got width {width} and num_heads {num_heads}."
            )
        super().__init__(
            vocab_size=vocab_size,
            num_layers=settings.num_layers,
            width=width,
            make_mixer=lambda: SelfAttention(
                width, num_heads, Rotary(width // num_heads, max_len), qk_norm=True, backend=settings.attention
            ),
            ends=settings,
            post_norm=settings.post_norm,
        )
        self.positions_TC = scaled_positions(settings.position_scale, max_len, width)
