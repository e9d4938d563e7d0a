"""All parameters of a network as one vector, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def joined(tensors: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
    """One vector ``[P]`` of tensors in order, float32 at least."""
    parts = tensors.values() if isinstance(tensors, Mapping) else tensors
    whole = torch.cat([part.reshape(-1) for part in parts])
    return whole.to(torch.promote_types(whole.dtype, torch.float32))


def split(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The pieces of a vector ``[P]`` that belong to each tensor, flat, as views."""
    pieces = vector.split([tensor.numel() for tensor in like.values()])
    return dict(zip(like, pieces, strict=True))
