"""Paper 1's GPT: pre-norm decoder with EmbedNorm, QKNorm, rotary positions, squared-ReLU MLP, zero-initialised head.

Shape letters: B batch, T positions, C width, H heads, D head dim (C / H), V vocabulary.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from models.rotary import Rotary

NORM_EPS = 1e-6


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
        y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, is_causal=True)
        return self.out(y_BHTD.transpose(-3, -2).flatten(-2))


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
        return self.fc2(F.relu(self.fc1(x_BTC)).square())


class Block(nn.Module):
    """A pre-norm residual block.

    Args:
        width: C.
        num_heads: H.
        max_len: longest sequence.
    """

    def __init__(self, width: int, num_heads: int, max_len: int) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, num_heads, max_len)
        self.norm2 = nn.RMSNorm(width, eps=NORM_EPS)
        self.mlp = MLP(width)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """``[B, T, C]`` to ``[B, T, C]``."""
        x_BTC = x_BTC + self.attn(self.norm1(x_BTC))
        return x_BTC + self.mlp(self.norm2(x_BTC))


class GPT(nn.Module):
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
        super().__init__()
        if width % (2 * num_heads):
            raise ValueError(
                f"width must be divisible by 2 x num_heads (rotary pairs), got width {width} and num_heads {num_heads}."
            )
        self.embed = nn.Embedding(vocab_size, width)
        self.embed_norm = nn.RMSNorm(width, eps=NORM_EPS)
        self.blocks = nn.ModuleList([Block(width, num_heads, max_len) for _ in range(num_layers)])
        self.norm = nn.RMSNorm(width, eps=NORM_EPS)
        self.head = nn.Linear(width, vocab_size, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        # The head starts at zero, so the first loss is exactly ln V; the projections that write into the residual
        # stream are scaled down with depth.
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.zeros_(self.head.weight)
        for block in self.blocks:
            for layer in (block.attn.qkv, block.attn.out, block.mlp.fc1, block.mlp.fc2):
                nn.init.xavier_uniform_(layer.weight)
            for layer in (block.attn.out, block.mlp.fc2):
                layer.weight.data.mul_(1 / math.sqrt(2 * len(self.blocks)))

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Predict the next token at every position.

        Args:
            tokens_BT: int64 token ids.

        Returns:
            Logits ``[B, T, V]``.
        """
        x_BTC = self.embed_norm(self.embed(tokens_BT))
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return self.head(self.norm(x_BTC))
