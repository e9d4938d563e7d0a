"""``python -m suite COMMAND``: finds and calls the command, and reports an error in one sentence."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

COMMANDS: dict[str, tuple[str, str]] = {
    "fit": ("train", "train one run and record it"),
    "validate": ("train", "measure a checkpoint on the validation split"),
    "test": ("train", "as validate: none of the papers keeps a third split"),
    "predict": ("train", "a checkpoint's outputs on the validation split"),
    "prepare": ("prepare", "fetch and prepare a task's data"),
    "sweep": ("sweep", "train the runs of a sweep that are missing"),
    "status": ("status", "how far a sweep is"),
    "gap": ("gap", "the gap table of a sweep or of a CSV of results"),
    "compare": ("compare", "two stores, or a store and a CSV of results, side by side"),
    "report": ("report", "figures, tables and a page from the records of a sweep, or of a whole store"),
    "diagnose": ("diagnose", "what the diagnostics say of a task's network, at the start or at a checkpoint"),
    "why": ("why", "what was measured beside the gaps of a store, and what goes along with them"),
    "theory": ("theory", "what the papers' formulas predict: tables and figures, no runs"),
    "tasks": ("lists", "the tasks, one line each"),
    "optimizers": ("lists", "the optimizers, one line each"),
}
"""Command -> (module of `suite.cli.commands`, what it does)."""

USAGE = """\
usage: python -m suite COMMAND [options]

Which optimizer wins at which batch size, when each is fairly tuned?

{commands}

python -m suite COMMAND --help tells a command's options. For example:
  python -m suite fit --task fineweb/gpt --optimizer sgd --optimizer.lr 0.3 --optimizer.momentum 0.95 \
--data.batch_size 64
  python -m suite sweep configs/sweeps/demo.yaml --dry-run"""

_HIDDEN = {"worker": "suite.execution.worker"}


class Ended(BaseException):
    """A signal that ends the command; trainings save a checkpoint first.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"Ended by {signal.Signals(number).name}; the same command goes on from where it stopped.")
        self.number = number


def main(arguments: list[str]) -> int:
    """Run one command.

    Args:
        arguments: the command line after ``python -m suite``.

    Returns:
        Exit code: 0, 1 when the work failed, 2 when the request was wrong, 128 and its number when a signal ended it.
    """
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help", "help"):
        print(usage())
        return 0
    module = _HIDDEN.get(command) or f"suite.cli.commands.{COMMANDS.get(command, (None,))[0]}"
    if command not in COMMANDS and command not in _HIDDEN:
        from suite.fields import nearest

        return _complain(f"There is no command {command!r}{nearest(command, COMMANDS)}.")
    _make_importable()
    try:
        with _ended_by_signals():
            return int(importlib.import_module(module).main(command, arguments[1:]))
    except (KeyboardInterrupt, Ended) as interrupt:
        number = getattr(interrupt, "number", signal.SIGINT)
        return _complain(str(interrupt) or str(Ended(number)), code=128 + number)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, FileNotFoundError, PermissionError) as error:
        if os.environ.get("SUITE_TRACEBACK"):
            raise
        return _complain(str(error))
    except Exception as error:
        # Which errors are the user's to mend is known by type; the heavy modules that define some are loaded by now.
        if type(error).__name__ not in (
            "StoreError",
            "LeaseHeld",
            "SweepError",
            "MisconfigurationException",
            "OutOfMemory",
        ):
            raise
        return _complain(str(error), code=1)


def usage() -> str:
    """The help text."""
    width = max(map(len, COMMANDS))
    return USAGE.format(commands="\n".join(f"  {name:{width}}  {line}" for name, (_, line) in COMMANDS.items()))


def _make_importable() -> None:
    """Let class paths name modules of the working directory, then of the checkout (its ``tasks`` and ``models``)."""
    from suite.execution.matrix import config_roots

    for root in [os.getcwd(), *map(str, config_roots())]:
        if root not in sys.path:
            sys.path.append(root)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """While this lasts, signals raise `Ended`; a terminal that goes away ends no command that ``nohup`` started."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before.get(signal.SIGHUP) == signal.SIG_IGN:
        del before[signal.SIGHUP]
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _complain(sentence: str, code: int = 2) -> int:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"suite: {' '.join(sentence.split())}", file=sys.stderr, flush=True)
    return code
