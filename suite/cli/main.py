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

from suite.cli.output import show_warnings_as_text

COMMANDS: dict[str, tuple[str, str]] = {
    "fit": ("train", "train one run and record it"),
    "validate": ("evaluate", "measure a run's network, or a checkpoint, on the validation split"),
    "test": ("evaluate", "as validate: none of the papers keeps a third split"),
    "predict": ("evaluate", "write what it predicts on the validation split"),
    "prepare": ("prepare", "fetch and prepare a task's data"),
    "sweep": ("sweep", "train the runs of a sweep that are missing"),
    "status": ("status", "how far a sweep is"),
    "gap": ("gap", "the gap table of a sweep or of a CSV of results"),
    "runs": ("runs", "the runs of a store, a line each"),
    "show": ("runs", "one run: settings, outcome, curve, how to repeat it"),
    "rerun": ("runs", "train a run again as its record says"),
    "drop": ("runs", "move runs into the store's bin, bring them back, or empty it"),
    "stop": ("runs", "have a running sweep save its checkpoints and end"),
    "compare": ("compare", "two stores, or a store and a CSV of results, side by side"),
    "archive": ("archive", "write a store, or a sweep of it, into one file that travels"),
    "restore": ("archive", "read an archive, or another store, into a store"),
    "report": ("report", "figures, tables and a page from the records of a sweep, or of a whole store"),
    "diagnose": ("diagnose", "what the diagnostics say of a task's network, at the start or at a checkpoint"),
    "why": ("why", "what was measured beside the gaps of a store, and what goes along with them"),
    "theory": ("theory", "what the papers' formulas predict: tables and figures, no runs"),
    "papers": ("papers", "the papers' figures and tables: their sweeps, counts, what is ours, laptop answers"),
    "tasks": ("lists", "the tasks, one line each; with a name one of them with all its settings"),
    "optimizers": ("lists", "the optimizers, one line each; with a name one of them with all its settings"),
    "reference": ("reference", "every form of a sweep's YAML, or every command with its options, as a page"),
}
"""Command -> (module of `suite.cli.commands`, what it does)."""

USAGE = """\
usage: python -m suite COMMAND [options]

Which optimizer wins at which batch size, when each is fairly tuned?

{commands}

python -m suite COMMAND --help tells a command's options; --debug shows where an error comes from. For example:
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
    """Run one command; whatever ends it early is answered in one sentence.

    Args:
        arguments: the command line after ``python -m suite``; ``--debug`` among them shows tracebacks as well.

    Returns:
        Exit code: 0, 1 when the work failed, 2 when the request was wrong, 70 when the suite itself failed, 128 and its
        number when a signal ended it or nobody reads its output any more.
    """
    from suite.execution.faults import DEBUG, fault_of, print_traceback_if_asked

    if "--debug" in arguments:
        arguments = [word for word in arguments if word != "--debug"]
        os.environ[DEBUG] = "1"  # for the workers too
    try:
        try:
            with _ended_by_signals():
                return _run(arguments)
        finally:
            sys.stdout.flush()
    except (KeyboardInterrupt, Ended) as interrupt:
        number = getattr(interrupt, "number", signal.SIGINT)
        return _complain(str(interrupt) or str(Ended(number)), code=128 + number)
    except SystemExit as stop:
        from suite.fields import users_line

        line = users_line(stop)
        if not line:  # the parser's, after its own words
            raise
        return _complain(
            f"Code that this command calls has ended it by SystemExit: {stop.code}{line}; have it return instead.",
            code=2,
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        print_traceback_if_asked(error)
        fault = fault_of(error, arguments)
        return _complain(fault.sentence, fault.code)


def _run(arguments: list[str]) -> int:
    """Run one command.

    Raises:
        ValueError: there is no such command, or it refuses its request.
    """
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help", "help"):
        print(usage())
        return 0
    if command not in COMMANDS and command not in _HIDDEN:
        from suite.fields import nearest

        raise ValueError(f"There is no command {command!r}{nearest(command, COMMANDS)}.")
    module = _HIDDEN.get(command) or f"suite.cli.commands.{COMMANDS[command][0]}"
    _make_importable()
    show_warnings_as_text()
    return int(importlib.import_module(module).main(command, arguments[1:]))


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


def _complain(sentence: str, code: int) -> int:
    from suite.fields import one_line

    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"suite: {one_line(sentence)}", file=sys.stderr, flush=True)
    return code
