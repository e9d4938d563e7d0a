"""Steps that a GPU repeats from a recording (a CUDA graph), without the host launching their kernels one by one.

A step of a small batch is a thousand kernels of a few microseconds each, which the host launches more slowly than the
device executes them. A recording is used only where launching is what a step waits for, where it is measured to be
faster, and where its first results are those of the plain step up to rounding.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.utils import _pytree as pytree

from suite.training.step_comparison import Results, as_they_were, change, copied, distance, forget_casts, rounding

WARM_UP = 2
"""Steps of a shape that are taken plainly first: libraries choose their algorithms, other graphs are made."""

TIMED = 2
"""Plain steps whose launching is then timed; the last decides."""

LAUNCHING = 0.5
"""Share of a step's time that launching must take for a recording to be worth its memory."""

TRIALS = 3
"""First steps of a recording, which are taken plainly too and compared."""

FASTER = 0.9
"""Largest share of a plain step's time that a repeated one may take."""

MOST_SHAPES = 4
"""Number of batch shapes of which steps are recorded; a training with more shapes goes on plainly."""

_log = logging.getLogger(__name__)

Value = TypeVar("Value")


class Capture(Protocol):
    """What records and times work on a device."""

    def record(self, work: Callable[[], Results]) -> tuple[Callable[[], None], Results]:
        """Record work; returns what repeats it, and the tensors that every repetition overwrites."""

    def timed(self, work: Callable[[], Value]) -> tuple[Value, float, float]:
        """Do work; returns its value, the seconds that launching took, and those until the device was done."""


class CudaCapture:
    """Records work as a CUDA graph.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def record(self, work: Callable[[], Results]) -> tuple[Callable[[], None], Results]:
        """Record work; see `Capture`."""
        graph = torch.cuda.CUDAGraph()
        # Threads that make the next batches may allocate meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            results = work()
        return graph.replay, results

    def timed(self, work: Callable[[], Value]) -> tuple[Value, float, float]:
        """Do work; see `Capture`."""
        torch.cuda.synchronize(self.device)
        begun = time.perf_counter()
        value = work()
        launched = time.perf_counter()
        torch.cuda.synchronize(self.device)
        return value, launched - begun, time.perf_counter() - begun


def capture_of(trainer: Trainer) -> Capture | None:
    """What records the steps of a trainer; None where they cannot be.

    They are those of one GPU, with no loss scaling, which waits for the device, and with no callback between forward
    and backward pass.
    """
    device = trainer.strategy.root_device
    between = ("on_before_backward", "on_after_backward")
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    if device.type != "cuda" or trainer.world_size > 1 or getattr(trainer.precision_plugin, "scaler", None) is not None:
        return None
    if any(is_overridden(hook, callback, parent=Callback) for hook in between for callback in callbacks):
        return None
    return CudaCapture(device)


@dataclasses.dataclass
class _OfShape:
    """How far the steps of one batch shape have come.

    Attributes:
        calls: steps taken.
        is_plain: whether steps of this shape are taken plainly for good.
        repeat: repeats the recorded step; None: not recorded yet.
        inputs: the tensors that the recorded step reads its batch and numbers from.
        results: the tensors that the recorded step writes.
        addresses: where the tensors were that it reads and writes beside these.
        trials: trials that were passed.
        seconds: of the plain steps and of the repeated ones in the trials.
    """

    calls: int = 0
    is_plain: bool = False
    repeat: Callable[[], None] | None = None
    inputs: list[Tensor] = dataclasses.field(default_factory=list)
    results: Results = dataclasses.field(default_factory=dict)
    addresses: tuple[int, ...] = ()
    trials: int = 0
    seconds: tuple[list[float], list[float]] = dataclasses.field(default_factory=lambda: ([], []))


class CapturedStep:
    """A step that is repeated from a recording where that is right and faster, and taken plainly elsewhere.

    Args:
        work: the step, of trees of tensors; all that it needs beside them must lie in tensors that stay where they are.
        tensors: gives the tensors, beside its arguments, that ``work`` reads, and those of them that it writes.
        capture: records and times.
        name: of what is trained, for the log.

    Attributes:
        repeated: number of steps that were repeated from a recording.
    """

    def __init__(
        self,
        work: Callable[..., Results],
        tensors: Callable[[], tuple[list[Tensor], list[Tensor]]],
        capture: Capture,
        *,
        name: str,
    ) -> None:
        self.repeated = 0
        self._work = work
        self._tensors = tensors
        self._capture = capture
        self._name = name
        self._shapes: dict[str, _OfShape] = {}
        self._is_over = False

    @property
    def wanted(self) -> bool:
        """Whether steps may be repeated, so that batches should come in few shapes."""
        return not self._is_over and not (self._shapes and all(shape.is_plain for shape in self._shapes.values()))

    def __call__(self, plain: Callable[[], Results], *args: Any) -> Results:
        """Take a step.

        Args:
            plain: takes the same step with the same results.
            args: arguments of ``work``; of those that are no tensors, each value has a recording of its own.

        Returns:
            The results, in tensors that the next step may overwrite.
        """
        leaves, tree = pytree.tree_flatten(args)
        shape = self._of(leaves, tree)
        if shape is None or shape.is_plain:
            return plain()
        shape.calls += 1
        if shape.calls <= WARM_UP:
            return plain()
        if shape.repeat is None and shape.calls <= WARM_UP + TIMED:
            results, launching, whole = self._capture.timed(plain)
            if shape.calls == WARM_UP + TIMED and launching < LAUNCHING * whole:
                self._go_on_plainly(shape, f"launching takes {launching / whole:.0%} of its time", logging.DEBUG)
            return results
        if shape.repeat is None and not self._record(shape, leaves, tree):
            return plain()
        if shape.trials < TRIALS:
            return self._try(shape, plain, leaves)
        self._repeat(shape, leaves)
        self.repeated += 1
        return shape.results

    def _of(self, leaves: list[Any], tree: pytree.TreeSpec) -> _OfShape | None:
        """What is known of a batch shape; None: nothing is recorded any more."""
        if self._is_over:
            return None
        parts = [(tuple(x.shape), x.dtype) if isinstance(x, Tensor) else repr(x) for x in leaves]
        key = f"{tree}|{parts}"
        shape = self._shapes.get(key)
        if shape is not None and shape.repeat is not None and shape.addresses != self._addresses():
            shape = self._shapes[key] = _OfShape()  # runs were dropped from a pack, and the others moved
        if shape is None:
            if len(self._shapes) == MOST_SHAPES:
                self._is_over = True
                self._shapes.clear()
                _log.info("Steps of %s are launched one by one: batches come in many shapes.", self._name)
                return None
            shape = self._shapes[key] = _OfShape()
        return shape

    def _addresses(self) -> tuple[int, ...]:
        return tuple(tensor.data_ptr() for tensor in self._tensors()[0])

    def _record(self, shape: _OfShape, leaves: list[Any], tree: pytree.TreeSpec) -> bool:
        shape.inputs = [leaf.clone() for leaf in leaves if isinstance(leaf, Tensor)]
        copies = iter(shape.inputs)
        args = pytree.tree_unflatten([next(copies) if isinstance(x, Tensor) else x for x in leaves], tree)
        forget_casts()
        try:
            with as_they_were(self._tensors()[1]):
                shape.repeat, shape.results = self._capture.record(lambda: self._work(*args))
        except RuntimeError as error:  # a kernel that cannot be recorded, or too little memory
            self._go_on_plainly(shape, f"it cannot be recorded ({str(error).strip().partition(chr(10))[0]})")
            return False
        finally:
            forget_casts()
        shape.addresses = self._addresses()
        return True

    def _repeat(self, shape: _OfShape, leaves: list[Any]) -> None:
        assert shape.repeat is not None
        for fixed, leaf in zip(shape.inputs, (x for x in leaves if isinstance(x, Tensor)), strict=True):
            fixed.copy_(leaf, non_blocking=True)
        shape.repeat()

    def _try(self, shape: _OfShape, plain: Callable[[], Results], leaves: list[Any]) -> Results:
        """Take a step from the recording, then plainly twice, and compare; the plain results count."""
        written = self._tensors()[1]
        try:
            before = [tensor.clone() for tensor in written]
            with as_they_were(written, before):
                _, _, seconds_repeated = self._capture.timed(lambda: self._repeat(shape, leaves))
                repeated = copied(shape.results, written)
            with as_they_were(written, before):
                again = copied(plain(), written)
        except torch.OutOfMemoryError:
            self._go_on_plainly(shape, "there is not the memory to compare it")
            return plain()
        results, _, seconds_plain = self._capture.timed(plain)
        results = {name: [tensor.clone() for tensor in tensors] for name, tensors in results.items()}
        expected = {**results, "state": list(written)}
        changed = {**results, "state": [change(now, old) for now, old in zip(written, before, strict=True)]}
        worst = ""
        for name, plain_values in expected.items():
            noise = distance(again[name], plain_values, changed[name])
            difference = distance(repeated[name], plain_values, changed[name])
            allowed = max(4 * noise, rounding(plain_values))
            if not difference <= allowed:
                worst = f"its {name} differs by {difference:.1e} of its norm, where rounding explains {allowed:.1e}"
        for collected, seconds in zip(shape.seconds, (seconds_plain, seconds_repeated), strict=True):
            collected.append(seconds)
        shape.trials += 1
        if worst:
            self._go_on_plainly(shape, f"{worst} at trial {shape.trials}", logging.WARNING)
        elif shape.trials == TRIALS and min(shape.seconds[1]) > FASTER * min(shape.seconds[0]):
            self._go_on_plainly(shape, "repeating is no faster")
        return results

    def _go_on_plainly(self, shape: _OfShape, why: str, level: int = logging.INFO) -> None:
        shape.is_plain = True
        shape.repeat, shape.inputs, shape.results = None, [], {}
        _log.log(level, "A step of %s is launched kernel by kernel, not from a recording: %s.", self._name, why)
