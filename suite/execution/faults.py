"""What is said of an error: the user's own in one sentence, the suite's with a file that holds the traceback."""

from __future__ import annotations

import dataclasses
import errno
import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from suite.fields import is_the_users, one_line

WORK_FAILED = 1
WRONG_REQUEST = 2
SUITE_FAILED = 70
"""As EX_SOFTWARE in sysexits.h."""

DEBUG = "SUITE_TRACEBACK"
"""Environment variable: where it is set, tracebacks are printed as well."""

_ROOT = Path(__file__).resolve().parents[2]
_OWN = ("suite", "tasks", "models")
_OWN_CODE = tuple(str(_ROOT / name) + os.sep for name in _OWN)

EXTRAS = {
    **dict.fromkeys(("datasets", "tiktoken", "tokenizers"), "language"),
    **dict.fromkeys(("PIL", "fsspec", "huggingface_hub", "simplejpeg", "timm", "torchvision"), "vision"),
    **dict.fromkeys(("rdkit", "torch_geometric"), "graph"),
    **dict.fromkeys(("jinja2", "matplotlib", "pandas"), "analysis"),
}
"""Package -> the extra that brings it; others come with what trains or what analyses."""

_AT_WORK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors of the system that no other request would have avoided."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """An error in words.

    Attributes:
        sentence: for the user.
        code: exit code of the command that ends with it.
    """

    sentence: str
    code: int


class Reported(Exception):
    """An error that another process has put into words.

    Attributes:
        fault: the words, and the exit code.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.sentence)
        self.fault = fault


def fault_of(error: Exception, command: Sequence[str] = ()) -> Fault:
    """The words for an error; for one of the suite's own the traceback is written to a file.

    Args:
        error: as it was caught.
        command: the command line, for the file.
    """
    fault = _of_the_user(error)
    if fault is not None:
        return Fault(one_line(fault.sentence), fault.code)
    last = _suite_frames(error)[-1:]
    where = f", {last[0].filename.removeprefix(str(_ROOT) + os.sep)} line {last[0].lineno}" if last else ""
    what = f"{type(error).__name__}: {error!s:.200}".rstrip(": ")
    file = _write_traceback(error, command)
    return Fault(one_line(f"The suite itself has failed ({what}{where}); please report it, with {file}."), SUITE_FAILED)


def print_traceback_if_asked(error: BaseException) -> None:
    """Print the traceback where ``--debug`` or the environment variable asks for it."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)


def _of_the_user(error: Exception) -> Fault | None:
    """The words for an error that has them or that the user can mend; None for all others."""
    if isinstance(error, Reported):
        return error.fault
    kinds = {cls.__name__ for cls in type(error).__mro__}
    if kinds & {"StoreError", "LeaseHeld", "OutOfMemory"}:
        return Fault(str(error), WORK_FAILED)
    if kinds & {"MemoryError", "OutOfMemoryError"} or "can't allocate memory" in str(error):
        return Fault(
            "The memory ran out; take a smaller network or lower data.micro_batch, or free memory on this machine.",
            WRONG_REQUEST,
        )
    if "RuntimeError" in kinds and "not implemented for" in str(error):
        reason = f"{error!s:.200}"
        return Fault(
            f"The device cannot compute this ({reason}); change trainer.precision or trainer.accelerator.",
            WRONG_REQUEST,
        )
    if kinds & {"ValueError", "MisconfigurationException"}:
        return Fault(str(error), WRONG_REQUEST)
    if isinstance(error, SyntaxError) and is_the_users(str(error.filename)):
        return Fault(f"{error.filename} line {error.lineno} is no Python ({error.msg}); mend it there.", WRONG_REQUEST)
    if isinstance(error, OSError):
        name = "" if error.filename is None else f" {error.filename}"
        code = WORK_FAILED if error.errno in _AT_WORK else WRONG_REQUEST
        return Fault(f"The file{name} cannot be used: {error.strerror or error}.", code)
    frames = traceback.extract_tb(error.__traceback__)
    relevant = [frame for frame in frames if frame.filename.startswith(_OWN_CODE) or is_the_users(frame.filename)]
    if relevant and is_the_users(relevant[-1].filename):
        where = f"{relevant[-1].filename} line {relevant[-1].lineno}"
        return Fault(f"{where} raised {type(error).__name__}: {error}; that code is yours to mend.", WRONG_REQUEST)
    if isinstance(error, ModuleNotFoundError) and (package := (error.name or "suite").partition(".")[0]) not in _OWN:
        return Fault(needs(package), WRONG_REQUEST)
    return None


def needs(package: str, what: str = "This") -> str:
    """The sentence for a package that is not installed."""
    extra = EXTRAS.get(package, "train,analysis")
    return f"{what} needs the package {package}, which is not installed: pip install 'adam-sgd-gap[{extra}]'."


def _suite_frames(error: Exception) -> list[traceback.FrameSummary]:
    return [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_OWN_CODE)]


def _write_traceback(error: Exception, command: Sequence[str]) -> str:
    """Write the traceback; returns the file's path, or what to do where no file can be written."""
    try:
        from suite.records.provenance import code_version

        version = str(code_version())
    except ImportError as missing:
        version = f"unknown ({missing})"
    lines = [
        f"command: {shlex.join(command)}",
        f"suite: {version}",
        f"python: {sys.version.split()[0]} on {platform.platform()}",
        "",
        *traceback.format_exception(error),
    ]
    try:
        descriptor, name = tempfile.mkstemp(prefix="suite-failed-", suffix=".txt")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n".join(lines))
    except OSError:
        return f"what {DEBUG}=1 shows in the same command"
    return name
