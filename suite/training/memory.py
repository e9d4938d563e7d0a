"""How much memory training takes, and how much there is."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_MACHINE = Path("/proc/meminfo")
_GROUPS = Path("/sys/fs/cgroup")


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
    _give_back()
    before = _entry(_STATUS, "VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the kernel forgets the earlier peak
    except OSError:
        before = 0
    yield peak
    if before:
        peak.bytes = max(0, _entry(_STATUS, "VmHWM") - before)


def available(device: torch.device) -> int:
    """Memory that is free now, bytes; 0 where it cannot be known.

    Of the device; for the CPU of this machine, or what is left to this process's control group if that is less.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if not _MACHINE.exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return min([_entry(_MACHINE, "MemAvailable"), *_left_to_groups()])


def _left_to_groups() -> Iterator[int]:
    """Bytes that each limited control group above this process may still take (cgroup v2)."""
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="ascii").rpartition("0::/")[2].strip()
    except OSError:
        return
    folder = _GROUPS / group
    while folder != _GROUPS.parent:
        try:
            most, used = (
                (folder / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current")
            )
            if most != "max":
                yield max(0, int(most) - int(used))
        except OSError:
            pass
        folder = folder.parent


def _give_back() -> None:
    """Return freed memory to the system, so that what is taken next is seen."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)


def _entry(table: Path, name: str) -> int:
    """An entry of one of the kernel's tables, bytes; 0 where there is none."""
    try:
        lines = table.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
