"""The transformer of papers 2 and 3: pre-norm decoder with SwiGLU and rotary positions on a share of the features.

Shape letters: B batch, T positions, C width, H heads, D head dim (C / H), F hidden width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math

from torch import Tensor, nn
from torch.nn import functional as F

from models.attention import AttentionSettings
from models.decoder import Decoder, EndsSettings
from models.rotary import Rotary
from models.self_attention import SelfAttention

HIDDEN_MULTIPLE = 256
"""The hidden width is 8/3 of the width, rounded up to a multiple of this."""


class SwiGLU(nn.Module):
    """Two linear layers; in between, one half of the features gates the other: ``fc2(silu(a) * b)`` (Shazeer 2020).

    Args:
        width: C; ``F`` is 8/3 of it, rounded up to a multiple of 256.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = math.ceil(8 * width // 3 / HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE
        self.fc1 = nn.Linear(width, 2 * hidden, bias=False)
        self.fc2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Transform each position; ``[B, T, C]`` to ``[B, T, C]``."""
        gate_BTF, x_BTF = self.fc1(x_BTC).chunk(2, dim=-1)
        return self.fc2(F.silu(gate_BTF) * x_BTF)


@dataclasses.dataclass(kw_only=True, eq=False)
class TransformerSettings(AttentionSettings):
    """Settings of `Transformer`; the defaults are those of papers 2 and 3 at 160M parameters."""

    num_layers: int = dataclasses.field(default=12, metadata={"at_least": 1, "at_most": 1000})
    """Blocks of the network."""

    num_heads: int = dataclasses.field(default=12, metadata={"at_least": 1})
    """Attention heads per block."""

    width: int = dataclasses.field(default=768, metadata={"at_least": 1})
    """Features per position, divisible by the heads."""

    rotary_share: float = dataclasses.field(default=1.0, metadata={"above": 0, "at_most": 1})
    """Share of a head's features that carries positions, an even number of them."""

    rotary_theta: float = dataclasses.field(default=500_000.0, metadata={"above": 0})
    """Base of the rotary frequencies."""

    vocab_multiple: int = dataclasses.field(default=8, metadata={"at_least": 1})
    """Rows are added to embedding and head until their number is a multiple of this; the ids that they stand for do not
    occur. Papers 2 and 3 have 50,280 rows for the 50,277 ids of GPT-NeoX's tokenizer."""


class Transformer(Decoder):
    """The language model of papers 2 (section 2, appendix B) and 3: no biases, no QKNorm, no EmbedNorm, untied head.

    All weights start as N(0, 0.02^2), those that write into the residual stream with 0.02 / sqrt(2 * num_layers), so
    the first loss is near ln V, not exactly there as in paper 1's networks.

    Args:
        settings: settings of the network; they are not kept.
        vocab_size: V.
        max_len: length of the longest sequence.

    Raises:
        ValueError: the width is not divisible as the settings say, or there is no such backend of attention.
    """

    def __init__(self, settings: TransformerSettings, *, vocab_size: int, max_len: int) -> None:
        width, num_heads, multiple = settings.width, settings.num_heads, settings.vocab_multiple
        head_dim = width // num_heads
        rotated = settings.rotary_share * head_dim
        if width % num_heads or rotated % 2:
            raise ValueError(
                "width must be divisible by num_heads and rotary_share of a head's features must be an even number of "
                f"them, got width {width}, num_heads {num_heads} and rotary_share {settings.rotary_share:g}; change "
                "one of them."
            )
        super().__init__(
            vocab_size=math.ceil(vocab_size / multiple) * multiple,
            num_layers=settings.num_layers,
            width=width,
            make_mixer=lambda: SelfAttention(
                width,
                num_heads,
                Rotary(head_dim, max_len, settings.rotary_theta, rotated=int(rotated)),
                qk_norm=False,
                backend=settings.attention,
            ),
            make_mlp=SwiGLU,
            ends=EndsSettings(raw_embeddings=True),
        )

    def _initialise(self, ends: EndsSettings) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                nn.init.normal_(layer.weight, std=0.02)
        for block in self.blocks:
            for layer in (block.mixer.out, block.mlp.fc2):
                nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * len(self.blocks)))
