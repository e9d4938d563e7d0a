"""Measures diagnostics outside training, at initial weights or at a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device

from suite.diagnostics.at_weights import at_weights
from suite.diagnostics.diagnostic import Diagnostic
from suite.diagnostics.moment import Moment
from suite.diagnostics.probe import batch_gradient, split
from suite.diagnostics.rows import Rows
from suite.optim import build
from suite.training.data import Data
from suite.training.sampled_gradient import give_sampled_gradient
from suite.training.task import Task
from suite.training.undisturbed import undisturbed


class Checkpointed:
    """A task's network at a checkpoint or at its initial weights, with the state of its optimizer.

    Args:
        task: the task, whose network is not built yet.
        data: the task's data.
        checkpoint: a file that ``fit --keep_checkpoint`` or an interrupted run has left; None: the initial weights.
        device: the device to compute on.

    Attributes:
        step: number of steps for which the network was trained.

    Raises:
        ValueError: there is no such file, or it is not a checkpoint of this task.
    """

    def __init__(self, task: Task, data: Data, checkpoint: Path | None, device: str) -> None:
        self.task, self.data = task, data
        data.ensure_open()
        task.build_network(data.facts())
        self.step = 0
        self._states: list[Any] = []
        if checkpoint is not None:
            self._load(checkpoint)
        task.to(device)

    def _load(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f"There is no checkpoint {path}; give a file that fit --keep_checkpoint left.")
        state = torch.load(path, map_location="cpu", weights_only=True)
        try:
            self.task.load_state_dict(state["state_dict"])
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"{path} is no checkpoint of {self.task.pair_name} with these settings "
                f"({str(error).strip().partition(chr(10))[0]}); give those that it was trained with."
            ) from error
        self.step = int(state["global_step"])
        self._states = state["optimizer_states"]

    def measure(self, diagnostics: dict[str, Diagnostic]) -> Rows:
        """Measure the diagnostics.

        A diagnostic of an update measures the next update of the task's optimizer, with its state in the checkpoint, at
        the peak learning rate. A diagnostic that needs several steps gets as many gradients, all at these weights.

        Raises:
            ValueError: a diagnostic is impossible for this task, or needs an update and the task has no optimizer.
        """
        rows = Rows()
        for name, diagnostic in diagnostics.items():
            moment = Moment(task=self.task, data=self.data, step=self.step, micro_batches=self._batches(0))
            assert self.task.network is not None
            with undisturbed(self.task.network):
                if diagnostic.looks_at == "weights":
                    rows.add(self.step, name, diagnostic.measure(moment))
                else:
                    with at_weights(moment.network, moment.weights):
                        rows.add(self.step, name, self._followed(diagnostic, moment))
        return rows

    def _followed(self, diagnostic: Diagnostic, moment: Moment) -> Any:
        config = self.task.optimizer_config
        if config is None:
            raise ValueError(f"{type(diagnostic).__name__} looks at an update; give --optimizer NAME as well.")
        optimizer = build(config, moment.network)
        if self._states:
            optimizer.load_state_dict(self._states[0])
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        parameters = {name: p for name, p in moment.network.named_parameters() if p.requires_grad}
        for ahead in range(diagnostic.follows):
            moment.micro_batches = self._batches(ahead)
            moment.due = ahead == diagnostic.follows - 1
            if moment.due:
                optimizer.zero_grad()
                give_sampled_gradient(self.task, optimizer, moment.micro_batches, step=self.step + ahead)
            moment.raw = self._gradient(moment)
            for name, p in parameters.items():
                p.grad = moment.raw[name].clone()
            self.task.clipping([p.grad for p in parameters.values() if p.grad is not None])
            moment.clipped = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
            moment.before = {name: p.detach().clone() for name, p in parameters.items()}
            if moment.due:
                optimizer.step()
                moment.report = getattr(optimizer, "report", dict)
            values = diagnostic.measure(moment)
        optimizer.zero_grad()
        return values

    def _batches(self, ahead: int) -> list[Any]:
        plan = self.data.plan()
        step = (self.step + ahead) % plan.steps
        device = next(self.task.parameters()).device
        return [move_data_to_device(batch, device) for batch in self.data.gather_steps(plan, step, step + 1)]

    def _gradient(self, moment: Moment) -> dict[str, torch.Tensor]:
        gradients = [batch_gradient(self.task, batch) for batch in moment.micro_batches]
        mean = torch.stack(gradients).mean(dim=0)
        weights = moment.weights
        return {name: piece.view_as(weights[name]) for name, piece in split(mean, weights).items()}
