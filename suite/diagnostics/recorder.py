"""Shows the diagnostics the steps that they ask for, and keeps their results."""

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
from suite.diagnostics.undisturbed import undisturbed
from suite.optim.sharding import is_sharded
from suite.records import Diagnosed
from suite.training.data import Data
from suite.training.observer import Observer
from suite.training.task import Task


def recorder_of(task: Task, data: Data) -> RunRecorder | None:
    """The recorder of a run; None if its task asks for no diagnostics.

    Args:
        task: its network built.
        data: of the run, open.

    Raises:
        ValueError: a setting is impossible, or a diagnostic cannot be measured of these data.
    """
    return RunRecorder(task, data) if task.diagnostics else None


class Findings:
    """The results of the diagnostics of one run so far.

    Args:
        task: of the run, with the diagnostics that it asks for.
        data: of the run, open.

    Attributes:
        diagnostics: by name.
        seconds: wall time spent on them.

    Raises:
        ValueError: a setting is impossible, or a diagnostic cannot be measured of these data.
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
        """The diagnostics of one kind that must see a step."""
        return {
            name: d for name, d in self.diagnostics.items() if d.looks_at == looks_at and d.attends(step, self.steps)
        }

    def attends(self, step: int) -> bool:
        """Whether a diagnostic must see a step, or the final weights after it."""
        at_end = step + 1 == self.steps and bool(self.attending(self.steps, "weights"))
        return at_end or any(d.attends(step, self.steps) for d in self.diagnostics.values())

    def needs(self, step: int) -> set[str]:
        """Parts of a step that must be kept."""
        return {part for d in self.attending(step, "update").values() for part in d.needs}

    def show(self, looks_at: str, step: int, **parts: Any) -> None:
        """Show a moment to the diagnostics that attend, and keep their results."""
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
        """Count the time that this lasts as spent on diagnostics; on a GPU, what it takes to ask for the work."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started

    def diagnosed(self, grad_norms: list[float], diverged_at: int | None) -> Diagnosed:
        """All results, up to the step at which the run diverged; see `suite.training.observer.Observer`."""
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
        """Go on from a checkpoint's findings."""
        self.rows.restore(state["rows"])
        self.memory = {name: dict(state["memory"].get(name, {})) for name in self.diagnostics}
        self.seconds = state["seconds"]


class Recorder(Observer):
    """Watches the steps of a run, or of the runs of a pack.

    Args:
        tasks: of the runs, with the diagnostics that they ask for.
        data: of the runs, open.
    """

    def __init__(self, tasks: Sequence[Task], data: Data) -> None:
        self.findings = [Findings(task, data) for task in tasks]
        self._step = 0
        self._parts: dict[str, Any] = {}

    def attends(self, step: int) -> bool:
        """Whether a diagnostic must see a step, or the final weights after it."""
        self._step = step
        return any(findings.attends(step) for findings in self.findings)

    def after_update(self, optimizer: Any) -> None:
        """Look at the update, and at the end at the weights."""
        parts, self._parts = self._parts, {}
        self.show("update", self._step, report=getattr(optimizer, "report", dict), **parts)
        if self._step + 1 == self.findings[0].steps:
            self.show("weights", self._step + 1)

    def show(self, looks_at: str, step: int, **parts: Any) -> None:
        """Show a moment of every run to its diagnostics."""
        raise NotImplementedError

    def diagnosed(self, grad_norms: list[float], diverged_at: int | None, run: int = 0) -> Diagnosed:
        """The findings of a run."""
        return self.findings[run].diagnosed(grad_norms, diverged_at)

    def state_dict(self) -> dict[str, Any]:
        """The findings so far, for the checkpoint."""
        return {"runs": [findings.state() for findings in self.findings]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's findings."""
        for findings, state in zip(self.findings, state_dict["runs"], strict=True):
            findings.restore(state)


class RunRecorder(Recorder):
    """Watches the steps of a single run.

    Args:
        task: the task, with the diagnostics that it asks for.
        data: of the run, open.
    """

    def __init__(self, task: Task, data: Data) -> None:
        super().__init__([task], data)
        self.task = task

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse weights if this process holds only a part of them."""
        if any(is_sharded(p) for p in self.task.parameters()):
            raise ValueError(
                "Diagnostics need whole parameters, got ones that FSDP has sharded; use trainer.strategy ddp, or set "
                "model.diagnostics to null."
            )

    def before_clipping(self, micro_batches: list[Any]) -> None:
        """Keep the raw gradient where it is asked for, and look at the weights."""
        self._parts = {"micro_batches": micro_batches}
        self._keep("raw", _gradient)
        self.show("weights", self._step, micro_batches=micro_batches)

    def before_update(self) -> None:
        """Keep the clipped gradient and the weights where they are asked for."""
        self._keep("clipped", _gradient)
        self._keep("before", lambda p: p.detach().clone())

    def show(self, looks_at: str, step: int, **parts: Any) -> None:
        """Show a moment to the diagnostics."""
        self.findings[0].show(looks_at, step, **parts)

    def _keep(self, part: Part, of_parameter: Callable[[Tensor], Tensor]) -> None:
        assert self.task.network is not None
        with self.findings[0].timed():
            if part in self.findings[0].needs(self._step):
                parameters = self.task.network.named_parameters()
                self._parts[part] = {name: of_parameter(p) for name, p in parameters if p.requires_grad}


def _gradient(p: Tensor) -> Tensor:
    return torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
