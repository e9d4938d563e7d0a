"""The language model that all papers' networks share: residual blocks with any mixer of positions, an untied head.

Shape letters: B batch, T positions, C width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from models.head import Head, LossChunk

NORM_EPS = 1e-6

MakeMixer = Callable[[], nn.Module]
"""Makes the mixer of one block: a causal module from ``[B, T, C]`` to ``[B, T, C]`` with ``out`` as its last layer."""

MakeMLP = Callable[[int], nn.Module]
"""Makes the MLP of one block from its width C: from ``[B, T, C]`` to ``[B, T, C]``, with ``fc2`` as its last layer."""


WHEN_SET = {"when_set": "runs of the time before this setting keep their ids"}


@dataclasses.dataclass(kw_only=True, eq=False)
class EndsSettings:
    """Settings of a decoder's two ends: the scale of what its blocks see, and of its first outputs."""

    raw_embeddings: bool = dataclasses.field(default=False, metadata=WHEN_SET)
    """Leave out EmbedNorm, the norm of the embeddings."""

    embedding_std: float | None = dataclasses.field(default=None, metadata={"at_least": 0, "at_most": 100, **WHEN_SET})
    """Standard deviation of the initial embeddings; null: 0.02."""

    head_std: float = dataclasses.field(default=0.0, metadata={"at_least": 0, "at_most": 100, **WHEN_SET})
    """Standard deviation of the initial head; 0: the first loss is that of guessing."""


class MLP(nn.Module):
    """Two linear layers with a squared ReLU between them.

    Args:
        width: C.
        expansion: hidden width as a multiple of C.
    """

    def __init__(self, width: int, expansion: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, expansion * width, bias=False)
        self.fc2 = nn.Linear(expansion * width, width, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Transform each position; ``[B, T, C]`` to ``[B, T, C]``."""
        # Not `square`: as a power, autocast would run it in single precision and keep a copy; the product is bit-equal.
        rectified = F.relu(self.fc1(x_BTC))
        return self.fc2(rectified * rectified)


class Block(nn.Module):
    """A residual block: a mixer combines the positions, then an MLP transforms each.

    Args:
        width: C.
        mixer: a module from ``[B, T, C]`` to ``[B, T, C]``.
        make_mlp: makes the MLP.
        post_norm: whether the sums are normalised (Vaswani et al. 2017), and not the inputs of mixer and MLP.
    """

    def __init__(self, width: int, mixer: nn.Module, make_mlp: MakeMLP = MLP, *, post_norm: bool = False) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.norm1 = nn.RMSNorm(width, eps=NORM_EPS)
        self.mixer = mixer
        self.norm2 = nn.RMSNorm(width, eps=NORM_EPS)
        self.mlp = make_mlp(width)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """``[B, T, C]`` to ``[B, T, C]``."""
        if self.post_norm:
            x_BTC = self.norm1(x_BTC + self.mixer(x_BTC))
            return self.norm2(x_BTC + self.mlp(x_BTC))
        x_BTC = x_BTC + self.mixer(self.norm1(x_BTC))
        return x_BTC + self.mlp(self.norm2(x_BTC))


class Decoder(nn.Module):
    """Token embedding, EmbedNorm, blocks, norm and an untied head (paper 1, section 4 and appendix A.3).

    Weights inside the blocks start Xavier-uniform (depthwise convolutions keep torch's own), those that write into the
    residual stream scaled by ``1 / sqrt(2 * num_layers)``, embeddings and head as ``ends`` says.

    Args:
        vocab_size: V.
        num_layers: number of blocks.
        width: C.
        make_mixer: called once per block.
        make_mlp: called once per block.
        ends: settings of embedding and head; they are not kept.
        post_norm: whether blocks normalise their sums; there is no norm before the head then.
    """

    positions_TC: Tensor | None

    def __init__(
        self,
        *,
        vocab_size: int,
        num_layers: int,
        width: int,
        make_mixer: MakeMixer,
        make_mlp: MakeMLP = MLP,
        ends: EndsSettings | None = None,
        post_norm: bool = False,
    ) -> None:
        super().__init__()
        ends = ends or EndsSettings()
        self.embed = nn.Embedding(vocab_size, width)
        self.embed_norm = nn.Identity() if ends.raw_embeddings else nn.RMSNorm(width, eps=NORM_EPS)
        self.blocks = nn.ModuleList(
            [Block(width, make_mixer(), make_mlp, post_norm=post_norm) for _ in range(num_layers)]
        )
        self.norm = nn.Identity() if post_norm else nn.RMSNorm(width, eps=NORM_EPS)
        self.head = Head(width, vocab_size)
        self.register_buffer("positions_TC", None, persistent=False)  # a network that adds some sets them
        self._initialise(ends)

    def _initialise(self, ends: EndsSettings) -> None:
        nn.init.normal_(self.embed.weight, std=0.02 if ends.embedding_std is None else ends.embedding_std)
        if ends.head_std:
            nn.init.normal_(self.head.weight, std=ends.head_std)
        else:
            nn.init.zeros_(self.head.weight)
        for block in self.blocks:
            for layer in block.modules():
                is_dense_conv = isinstance(layer, nn.Conv1d) and layer.groups == 1
                if isinstance(layer, nn.Linear) or is_dense_conv:
                    nn.init.xavier_uniform_(layer.weight)
            for layer in (block.mixer.out, block.mlp.fc2):
                layer.weight.data.mul_(1 / math.sqrt(2 * len(self.blocks)))

    def embedded(self, tokens_BT: Tensor) -> Tensor:
        """The input of EmbedNorm: token embedding, and positions where there are any, ``[B, T, C]``."""
        x_BTC = self.embed(tokens_BT)
        return x_BTC if self.positions_TC is None else x_BTC + self.positions_TC[: tokens_BT.shape[1]]

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor | None = None, loss_chunk: LossChunk = None) -> Tensor:
        """Predict the next token at every position.

        Args:
            tokens_BT: int64 token ids.
            targets_BT: int64 ids of the next tokens, for the loss; or numbers by which they are drawn.
            loss_chunk: tokens whose logits are held at once; see `models.head.LossChunk`.

        Returns:
            Logits ``[B, T, V]``; or the summed cross-entropy of ``targets_BT``, 0-d; see `models.head.Head`.
        """
        x_BTC = self.embed_norm(self.embedded(tokens_BT))
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return self.head(self.norm(x_BTC), targets_BT, loss_chunk)
