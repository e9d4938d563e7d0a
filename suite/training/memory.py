"""How much memory training takes, and how much there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


class Peak:
    """The highest memory use in a context, above what was in use before.

    Attributes:
        bytes: of this process on the CPU, or of its tensors on a GPU; 0 where it cannot be known.
    """

    bytes = 0


@contextmanager
def measured_peak(device: torch.device) -> Iterator[Peak]:
    """Measure the peak of what happens in the context."""
    peak = Peak()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    before = _status("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the kernel forgets the earlier peak
    except OSError:
        before = 0
    yield peak
    if before:
        peak.bytes = max(0, _status("VmHWM") - before)


def available(device: torch.device) -> int:
    """Memory of the device, or of this machine for the CPU, that is free now, bytes; 0 where it cannot be known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0)


def _status(name: str) -> int:
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
