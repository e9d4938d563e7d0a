"""Parameters that FSDP has cut over devices: telling them apart, and reaching the piece on this device."""

from __future__ import annotations

import sys

from torch import Tensor


def is_sharded(parameter: Tensor) -> bool:
    """Whether this process holds a piece of the parameter only (FSDP's first or second form, or a sharded DTensor)."""
    if getattr(parameter, "_fsdp_flattened", False):
        return True
    placements = getattr(parameter, "placements", ())
    return any(not placement.is_replicate() for placement in placements)


def local(tensor: Tensor) -> Tensor:
    """The piece of a tensor on this device, sharing its memory; a plain tensor is its own."""
    # Without torch.distributed.tensor loaded there can be no DTensor; loading it here would cost everyone seconds.
    module = sys.modules.get("torch.distributed.tensor")
    return tensor.to_local() if module is not None and isinstance(tensor, module.DTensor) else tensor
