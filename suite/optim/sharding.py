"""Parameters that FSDP has sharded over devices: how to recognise them and how to get this device's shard."""

from __future__ import annotations

import sys

from torch import Tensor


def is_sharded(parameter: Tensor) -> bool:
    """Whether this process holds only a shard of the parameter (FSDP1, FSDP2 or another sharded DTensor)."""
    if getattr(parameter, "_fsdp_flattened", False):
        return True
    placements = getattr(parameter, "placements", ())
    return any(not placement.is_replicate() for placement in placements)


def local(tensor: Tensor) -> Tensor:
    """This device's shard of a DTensor, which shares its memory; a plain tensor is returned as it is."""
    # If torch.distributed.tensor is not imported, there is no DTensor; importing it here would take seconds.
    module = sys.modules.get("torch.distributed.tensor")
    return tensor.to_local() if module is not None and isinstance(tensor, module.DTensor) else tensor
