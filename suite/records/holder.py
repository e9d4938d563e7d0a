"""Which process holds a lease, and whether that process is still alive, as far as another process can tell."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path
from typing import Any

from suite.records.files import read_json

_MOST_BYTES = 2**14


@functools.cache
def machine() -> str:
    """Name of the scope in which process ids are unique: host name, boot and PID namespace; the host name off Linux.

    A host name alone is not enough: two containers may share it, and process ids are used again after a reboot.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        return socket.gethostname()
    return f"{socket.gethostname()} {boot} {space}"


def describe_self(token: str) -> dict[str, Any]:
    """The content of a lease that this process holds."""
    pid = os.getpid()
    return {
        "token": token,
        "host": socket.gethostname(),
        "machine": machine(),
        "pid": pid,
        "started": _process(pid)[1],
    }


def read_holder(path: Path) -> dict[str, Any]:
    """The content of a lease file; empty when there is none or it cannot be read."""
    try:
        content = read_json(path, _MOST_BYTES)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def may_live(holder: dict[str, Any]) -> bool:
    """Whether the holder may be alive; False if there is none or its process ran on this machine and has ended."""
    if not holder:
        return False
    if holder.get("machine") != machine():
        return True
    pid = holder.get("pid")
    if not isinstance(pid, int) or not 0 < pid < 2**31:
        return False
    state, started = _process(pid)
    if state is not None:
        # A zombie does no work, and a different start time means that the process id was used again.
        return state not in "ZX" and started == holder.get("started")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def name_of(holder: dict[str, Any]) -> str:
    """The holder's process id and host, for messages."""
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"


def _process(pid: int) -> tuple[str | None, int | None]:
    """State letter and start time (clock ticks since boot) of a process of this machine; None where unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None, None
    return fields[0], int(fields[19])
