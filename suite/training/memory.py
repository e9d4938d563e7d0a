"""Measures the memory that training uses, and the memory that is free."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_MACHINE = Path("/proc/meminfo")
_GROUPS = Path("/sys/fs/cgroup")


_SHORTAGE = re.compile(r"can't allocate memory|not enough memory|out of memory|Cannot allocate memory", re.IGNORECASE)


class OutOfMemory(RuntimeError):
    """A step needs more memory than there is; the message says what to change.

    Args:
        device: that lacks it.
        micro_batch: samples per forward pass.
        packed: whether several runs were trained at once.
        smaller: a micro-batch of at most half of that which gives the same results; None: there is none.
    """

    def __init__(self, device: torch.device, *, micro_batch: int, packed: bool, smaller: int | None = None) -> None:
        self.micro_batch = micro_batch
        self.smaller = smaller
        where = "the GPU" if device.type == "cuda" else "this machine"
        remedies = ["take a smaller network or shorter samples"]
        if packed:
            remedies.insert(0, "train fewer runs at once (--pack)")
        if smaller is not None:
            remedies.insert(0, f"set data.micro_batch below {micro_batch}, which changes no result")
        elif micro_batch > 1:
            remedies.insert(0, f"set data.micro_batch below {micro_batch}, which makes another run")
        super().__init__(
            f"A step needs more memory than {where} has to give; {', or '.join(remedies)}: the store is as it was, and "
            "the run goes on from its checkpoint if it has one."
        )


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of this machine or of a device."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or bool(_SHORTAGE.search(str(error)))


class Peak:
    """The peak memory use in a context, minus the use before it.

    Attributes:
        bytes: bytes of this process for a CPU, of its tensors for a GPU; 0 if unknown.
    """

    bytes = 0


@contextmanager
def measured_peak(device: torch.device) -> Iterator[Peak]:
    """A context that measures its peak memory use; the result is complete when the context ends."""
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
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the kernel's record of the peak
    except OSError:
        before = 0
    yield peak
    if before:
        peak.bytes = max(0, _entry(_STATUS, "VmHWM") - before)


def available(device: torch.device) -> int:
    """Bytes of memory that are free now; 0 if unknown.

    For a GPU it is the device's memory; for a CPU that of the machine, or of the process's control group if less.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if not _MACHINE.exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return min([_entry(_MACHINE, "MemAvailable"), *_left_to_groups()])


def _left_to_groups() -> Iterator[int]:
    """The bytes that each control group of this process with a limit may still allocate (cgroup v2)."""
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
    """Return freed memory to the system, so that later allocations show in the process's size."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)


def _entry(table: Path, name: str) -> int:
    """An entry of a table in ``/proc``, in bytes; 0 if it is missing."""
    try:
        lines = table.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
