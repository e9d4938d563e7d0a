"""Which GPUs the workers of this machine may use: those that ``CUDA_VISIBLE_DEVICES`` names, or all."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

VARIABLE = "CUDA_VISIBLE_DEVICES"
"""The variable by which CUDA is told its devices: numbers, ``GPU-...`` or ``MIG-...``, separated by commas."""

_SIGNS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What a driver of GPUs shows, on Linux, in containers and in WSL. Only where one of these is, torch is asked, whose
import takes seconds."""

_LISTED = re.compile(r"^(?P<slice>\s*)(?:GPU|MIG)\s.*\(UUID:\s*(?P<name>(?:GPU|MIG)-[^)]+)\)", re.MULTILINE)


def visible_devices(
    environment: Mapping[str, str] = os.environ,
    *,
    count: Callable[[], int] | None = None,
    listing: Callable[[], str] | None = None,
) -> tuple[str, ...]:
    """The GPUs of this machine that a sweep may use, each by a name for ``CUDA_VISIBLE_DEVICES`` of one worker.

    Numbers and UUIDs that are visible here are handed on as they are, so that other people's GPUs stay theirs. CUDA
    shows a process one MIG slice at most; a list of slices is a device per slice. Without the variable the devices are
    all GPUs, and of a GPU that is cut into MIG slices all slices.

    Args:
        environment: of this process.
        count: counts the GPUs that CUDA shows this process; default: torch's.
        listing: what ``nvidia-smi -L`` prints; default: it is asked.
    """
    count = count or _count
    named = environment.get(VARIABLE)
    if named is None:
        if count is _count and not any(Path(sign).exists() for sign in _SIGNS):
            return ()
        devices = _listed((listing or _listing)())
        return devices if any(name.startswith("MIG-") for name in devices) else tuple(map(str, range(count())))
    names = [name.strip() for name in named.split(",")]
    slices = [name for name in names if name.startswith("MIG-")]
    return tuple(slices) if slices else tuple(names[: count()]) if names[0] else ()


def _listed(text: str) -> tuple[str, ...]:
    """The UUIDs of a listing; slices, which are indented below their GPU, instead of the GPU."""
    entries = [(bool(match["slice"]), match["name"].strip()) for match in _LISTED.finditer(text)]
    cut = {i - 1 for i, (is_slice, _) in enumerate(entries) if is_slice}
    return tuple(name for i, (is_slice, name) in enumerate(entries) if is_slice or i not in cut)


def _listing() -> str:
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _count() -> int:
    import torch

    return torch.cuda.device_count()
