"""The gated convolutional network as a task on sequences."""

from __future__ import annotations

from typing import Any

from models.gcnn import GCNN
from tasks.kinds.sequences.decoder import SequenceDecoder


class SequenceGCNN(SequenceDecoder):
    """Next-token prediction by paper 1's gated convolutional network.

    Args:
        num_layers: blocks of the network.
        width: features per position.
        kernel_size: positions that a convolution sees, the present one included.
        position_scale: amplitude of the positions added to the embeddings; see `models.gcnn.GCNN`.
        **recipe: chunks of the loss, see `SequenceDecoder`; optimizer, schedule and clipping,
            see `suite.training.Task`.
    """

    def __init__(
        self,
        *,
        num_layers: int = 6,
        width: int = 384,
        kernel_size: int = 4,
        position_scale: float = 1.0,
        **recipe: Any,
    ) -> None:
        super().__init__(**recipe)
        self.num_layers = num_layers
        self.width = width
        self.kernel_size = kernel_size
        self.position_scale = position_scale

    def make_network(self, facts: dict[str, Any]) -> GCNN:
        """The network for a vocabulary and sequence length."""
        return GCNN(
            vocab_size=facts["vocab_size"],
            max_len=facts["seq_len"],
            num_layers=self.num_layers,
            width=self.width,
            kernel_size=self.kernel_size,
            position_scale=self.position_scale,
        )
