"""The one place that decides how exactly a GPU multiplies numbers of single precision."""

from __future__ import annotations

import torch


def settle_numerics() -> None:
    """Turn TF32 off for matrix products and convolutions, before a training.

    TF32 rounds the factors to 10 bits. Torch uses it in convolutions unless told otherwise and in matrix products only
    if told so, which is one precision for some networks and another for others; ``32-true`` is to mean single precision
    for all. The papers' precision, bf16 autocast, does not depend on it but for the few layers that stay in fp32.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def uses_tf32() -> bool:
    """Whether anything would be multiplied in TF32 now, for the record."""
    return bool(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)
