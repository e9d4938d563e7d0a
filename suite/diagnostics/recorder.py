"""Applies the diagnostics of a run to the steps that they need, and collects their results."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from suite.diagnostics.catalogue import parse
from suite.diagnostics.diagnostic import Diagnostic, Part
from suite.diagnostics.moment import Moment
from suite.diagnostics.rows import Rows
from suite.optim.sharding import is_sharded
from suite.records import Diagnosed
from suite.training.data import Data
from suite.training.observer import Observer
from suite.training.task import Task
from suite.training.undisturbed import undisturbed


def recorder_of(task: Task, data: Data) -> RunRecorder | None:
    """The recorder of a run; None if its task has no diagnostics.

    Args:
        task: the run's task, with its network built.
        data: the run's open data.

    Raises:
        ValueError: a setting is impossible, or a diagnostic cannot be measured on these data.
    """
    return RunRecorder(task, data) if task.diagnostics else None


class Findings:
    """The diagnostics of one run with their results so far.

    Args:
        task: the run's task, with its diagnostics.
        data: the run's open data.

    Attributes:
        diagnostics: the diagnostics by name.
        seconds: wall time that they took.

    Raises:
        ValueError: a setting is impossible, or a diagnostic cannot be measured on these data.
    """

    def __init__(self, task: Task, data: Data) -> None:
        self.diagnostics = parse(task.diagnostics)
        self.task = task
        self.data = data
        self.steps = data.steps
        self.rows = Rows()
        self.memory: dict[str, dict[str, Any]] = {name: {} for name in self.diagnostics}
        self.seconds = 0.0
        for diagnostic in self.diagnostics.values():
            diagnostic.refuse(data)

    def attending(self, step: int, looks_at: str) -> dict[str, Diagnostic]:
        """The diagnostics that need a step; ``looks_at`` selects those of ``weights`` or of the ``update``."""
        return {
            name: d for name, d in self.diagnostics.items() if d.looks_at == looks_at and d.attends(step, self.steps)
        }

    def attends(self, step: int) -> bool:
        """Whether a diagnostic needs a step, or the final weights after it."""
        at_end = step + 1 == self.steps and bool(self.attending(self.steps, "weights"))
        return at_end or any(d.attends(step, self.steps) for d in self.diagnostics.values())

    def needs(self, step: int) -> set[str]:
        """The parts of a step that must be kept for diagnostics of the update."""
        return {part for d in self.attending(step, "update").values() for part in d.needs}

    def show(self, looks_at: str, step: int, **parts: Any) -> None:
        """Apply the diagnostics that need this moment, and add their results."""
        attending = self.attending(step, looks_at)
        if not attending:
            return
        assert self.task.network is not None
        moment = Moment(task=self.task, data=self.data, step=step, **parts)
        for name, diagnostic in attending.items():
            moment.memory = self.memory[name]
            moment.due = diagnostic.due(step, self.steps)
            with self.timed(), undisturbed(self.task.network):
                self.rows.add(step, name, diagnostic.measure(moment))

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """A context whose wall time is added to ``seconds``; on a GPU, the time to launch the work."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started

    def diagnosed(self, grad_norms: list[float], diverged_at: int | None) -> Diagnosed:
        """All results up to the step at which the run diverged; see `suite.training.observer.Observer`."""
        whole = Rows()
        whole.restore(self.rows.state())
        for name, diagnostic in self.diagnostics.items():
            for step, values in diagnostic.at_end(grad_norms, self.task.clipping).items():
                whole.add(step, name, values)
        return Diagnosed(whole.table(diverged_at), sorted(self.diagnostics), self.seconds)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        return {"rows": self.rows.state(), "memory": self.memory, "seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the results of a checkpoint."""
        self.rows.restore(state["rows"])
        self.memory = {name: dict(state["memory"].get(name, {})) for name in self.diagnostics}
        self.seconds = state["seconds"]


class Recorder(Observer):
    """The observer that applies diagnostics to the steps of a run, or of the runs of a pack.

    Args:
        tasks: the tasks of the runs, with their diagnostics.
        data: the open data of the runs.
    """

    def __init__(self, tasks: Sequence[Task], data: Data) -> None:
        self.findings = [Findings(task, data) for task in tasks]
        self._step = 0
        self._parts: dict[str, Any] = {}

    def attends(self, step: int) -> bool:
        """Whether a diagnostic needs a step, or the final weights after it."""
        self._step = step
        return any(findings.attends(step) for findings in self.findings)

    def after_update(self, optimizer: Any) -> None:
        """Measure diagnostics of the update and, after the last step, those of the weights."""
        parts, self._parts = self._parts, {}
        self.show("update", self._step, report=getattr(optimizer, "report", dict), **parts)
        if self._step + 1 == self.findings[0].steps:
            self.show("weights", self._step + 1)

    def show(self, looks_at: str, step: int, **parts: Any) -> None:
        """Apply the diagnostics of every run to a moment."""
        raise NotImplementedError

    def diagnosed(self, grad_norms: list[float], diverged_at: int | None, run: int = 0) -> Diagnosed:
        """The results of a run, given by its number in the pack."""
        return self.findings[run].diagnosed(grad_norms, diverged_at)

    def state_dict(self) -> dict[str, Any]:
        """The results so far, for the checkpoint."""
        return {"runs": [findings.state() for findings in self.findings]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the results of a checkpoint."""
        for findings, state in zip(self.findings, state_dict["runs"], strict=True):
            findings.restore(state)


class RunRecorder(Recorder):
    """The observer that applies diagnostics to the steps of a single run.

    Args:
        task: the run's task, with its diagnostics.
        data: the run's open data.
    """

    def __init__(self, task: Task, data: Data) -> None:
        super().__init__([task], data)
        self.task = task

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise ValueError if this process holds only a shard of the weights."""
        if any(is_sharded(p) for p in self.task.parameters()):
            raise ValueError(
                "Diagnostics need whole parameters, got ones that FSDP has sharded; use trainer.strategy ddp, or set "
                "model.diagnostics to null."
            )

    def before_clipping(self, micro_batches: list[Any]) -> None:
        """Keep the raw gradient if a diagnostic needs it, and measure diagnostics of weights."""
        self._parts = {"micro_batches": micro_batches}
        self._keep("raw", _gradient)
        self.show("weights", self._step, micro_batches=micro_batches)

    def before_update(self) -> None:
        """Keep the clipped gradient and the weights if a diagnostic needs them."""
        self._keep("clipped", _gradient)
        self._keep("before", lambda p: p.detach().clone())

    def show(self, looks_at: str, step: int, **parts: Any) -> None:
        """Apply the diagnostics to a moment."""
        self.findings[0].show(looks_at, step, **parts)

    def _keep(self, part: Part, of_parameter: Callable[[Tensor], Tensor]) -> None:
        assert self.task.network is not None
        with self.findings[0].timed():
            if part in self.findings[0].needs(self._step):
                parameters = self.task.network.named_parameters()
                self._parts[part] = {name: of_parameter(p) for name, p in parameters if p.requires_grad}


def _gradient(p: Tensor) -> Tensor:
    return torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
