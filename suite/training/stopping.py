"""How a training ends before its last step: for good, or to go on from its checkpoint another time."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from lightning.pytorch import Trainer

NEVER = sys.maxsize
"""A value of a trainer's ``val_check_batch``: no evaluation after this block."""

_OVER = NEVER - 1
_PAUSED = NEVER - 2

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What users, terminals and schedulers end a command with."""

_REPEATED_SECONDS = 1.0
"""A second Ctrl-C counts only so long after the first: some shells and launchers send the first one twice."""


class Interrupted(KeyboardInterrupt):
    """A signal has ended a training before its last step; the message says where it goes on from.

    Attributes:
        number: of the signal.
    """

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.number = number


class StopRequest:
    """The wish of a signal that the training of this process save its checkpoint at the next step and end.

    Attributes:
        number: of the signal; None: nobody has asked.
    """

    number: int | None = None

    @property
    def is_set(self) -> bool:
        """Whether a signal has asked."""
        return self.number is not None

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Ask; a signal handler."""
        self.number = number

    @contextlib.contextmanager
    def by_signals(self) -> Iterator[None]:
        """While this lasts, `SIGNALS` only ask; a second Ctrl-C does what the first one did before.

        A signal that is ignored stays so where it says that the terminal is gone: ``nohup`` asks for that.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        asked_at = 0.0

        def on_signal(number: int, frame: FrameType | None) -> None:
            nonlocal asked_at
            former = before[signal.Signals(number)]
            first, self.number = not self.is_set, self.number or number
            if first:
                asked_at = time.monotonic()
                if sys.stderr.isatty():
                    os.write(2, b"\nsuite: saving a checkpoint after this step; Ctrl-C again ends at once.\n")
            elif number == signal.SIGINT and callable(former) and time.monotonic() - asked_at > _REPEATED_SECONDS:
                former(number, frame)

        self._handler = on_signal
        self.listen()
        try:
            yield
        finally:
            del self._handler
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen(self) -> None:
        """Put the handlers of `by_signals` back in place, where another library has put its own."""
        handler = getattr(self, "_handler", None)
        if handler is not None and threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, handler)


STOP = StopRequest()
"""What the trainings of this process look at, at every step."""


def stop(trainer: Trainer) -> None:
    """End the training after this block for good, without the evaluation that Lightning makes of a stopped training.

    A run is stopped where going on says nothing more: it has diverged, or enough of its steps have been timed.
    """
    _end(trainer, _OVER)


def pause(trainer: Trainer) -> None:
    """End the training after this block, or in an evaluation; the run goes on from its checkpoint another time."""
    _end(trainer, _PAUSED)


def is_over(trainer: Trainer) -> bool:
    """Whether `stop` has ended the training."""
    return trainer.val_check_batch == _OVER


def is_paused(trainer: Trainer) -> bool:
    """Whether `pause` has ended the training."""
    return trainer.val_check_batch == _PAUSED


def _end(trainer: Trainer, how: int) -> None:
    trainer.limit_val_batches = 0
    trainer.val_check_batch = how
    trainer.should_stop = True
