"""Paper 1's gated convolutional language model (after Dauphin et al. 2017): GPT with convolutions for attention.

Shape letters: B batch, T positions, C width, K kernel size, V vocabulary.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn
from torch.nn import functional as F

from models.decoder import Decoder, EndsSettings
from models.sinusoidal import scaled_positions


class GatedConvolution(nn.Module):
    """Causal convolution whose one half of the channels gates the other: ``out(a * sigmoid(b))``.

    Args:
        width: C.
        kernel_size: K: a position sees itself and the K - 1 before it.
    """

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.conv = nn.Conv1d(width, 2 * width, kernel_size, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Mix positions; ``[B, T, C]`` to ``[B, T, C]``."""
        # Padding the past alone gives what padding both sides and keeping the first T positions would.
        padded_BCT = F.pad(x_BTC.transpose(1, 2), (self.kernel_size - 1, 0))
        return self.out(F.glu(self.conv(padded_BCT), dim=1).transpose(1, 2))


@dataclasses.dataclass(kw_only=True, eq=False)
class GCNNSettings(EndsSettings):
    """Settings of `GCNN`; the defaults are paper 1's."""

    num_layers: int = dataclasses.field(default=6, metadata={"at_least": 1, "at_most": 1000})
    """Blocks of the network."""

    width: int = dataclasses.field(default=384, metadata={"at_least": 1})
    """Features per position, an even number."""

    kernel_size: int = dataclasses.field(default=4, metadata={"at_least": 1})
    """Positions that a convolution sees, the present one included."""

    position_scale: float = dataclasses.field(default=1.0, metadata={"at_least": 0})
    """Amplitude of the positions; the paper's is 1, fifty times that of the embeddings at the start; 0: none."""


class GCNN(Decoder):
    """The convolutional language model of paper 1 (appendix A.8): 53.64M parameters at a vocabulary of 50,257.

    Sinusoidal positions are added to the embedding before EmbedNorm.

    Args:
        settings: settings of the network; they are not kept.
        vocab_size: V.
        max_len: length of the longest sequence.

    Raises:
        ValueError: the width is odd.
    """

    def __init__(self, settings: GCNNSettings, *, vocab_size: int, max_len: int) -> None:
        width, kernel_size = settings.width, settings.kernel_size
        super().__init__(
            vocab_size=vocab_size,
            num_layers=settings.num_layers,
            width=width,
            make_mixer=lambda: GatedConvolution(width, kernel_size),
            ends=settings,
        )
        self.positions_TC = scaled_positions(settings.position_scale, max_len, width)
