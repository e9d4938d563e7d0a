"""Applies diagnostics to the steps of a pack, one run after the other."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from suite.diagnostics.catalogue import parse
from suite.diagnostics.recorder import Recorder
from suite.optim.clipping import clip_runs
from suite.packs.packed_task import PackedTask, PackRefused
from suite.training.data import Data
from suite.training.undisturbed import undisturbed


def pack_recorder_of(packed: PackedTask, data: Data) -> PackRecorder | None:
    """The recorder of the runs of a pack; None if they have no diagnostics.

    Raises:
        PackRefused: a diagnostic can measure only runs that are trained one by one.
        ValueError: a setting is impossible, or a diagnostic cannot be measured on these data.
    """
    if not any(task.diagnostics for task in packed.tasks):
        return None
    single = [name for name, diagnostic in parse(packed.tasks[0].diagnostics).items() if not diagnostic.packable]
    if single:
        raise PackRefused(f"The diagnostics {', '.join(single)} are measured of runs trained one by one.")
    return PackRecorder(packed, data)


class PackRecorder(Recorder):
    """Applies diagnostics to the steps of a pack.

    At a step that a diagnostic needs, the runs' gradients are computed a second time, since a compiled step does not
    return them, and the weights of each run that has not diverged are copied into one network, run after run.

    Args:
        packed: the pack.
        data: the open data that the runs share.
    """

    def __init__(self, packed: PackedTask, data: Data) -> None:
        super().__init__(packed.tasks, data)
        self.packed = packed
        self._network: nn.Module | None = None

    def before_step(self, micro_batches: list[Any]) -> None:
        """Measure diagnostics of weights, and keep the gradients and weights that others need."""
        needs = {part for findings in self.findings for part in findings.needs(self._step)}
        kept: dict[str, Tensor] = {"before": self.packed.flat.detach().clone()} if "before" in needs else {}
        if needs & {"raw", "clipped"}:
            with undisturbed(self.packed, full_precision=False):
                gradients = self.packed.gradients(micro_batches)
            clipping = self.packed.tasks[0].clipping
            kept["raw"] = gradients
            kept["clipped"], _ = clip_runs(gradients, clipping.max_norm, clipping.max_coordinate)
        self._parts = {"micro_batches": micro_batches, "kept": kept}
        self.show("weights", self._step, micro_batches=micro_batches)

    def show(self, looks_at: str, step: int, kept: dict[str, Tensor] | None = None, **parts: Any) -> None:
        """Apply diagnostics to every run that has not diverged; ``kept`` are parts of all runs, ``[R, P]``."""
        views = {part: self.packed.layout.views(flat) for part, flat in (kept or {}).items()}
        alive = self.packed.alive.flatten().tolist()
        for row, run in enumerate(self.packed.rows.tolist()):
            if not alive[row] or not self.findings[run].attending(step, looks_at):
                continue
            task, network = self.packed.tasks[run], self._loaded(row)
            names = [name for name, p in network.named_parameters() if p.requires_grad]
            of_run = {part: {name: view[name][row] for name in names} for part, view in views.items()}
            task.network = network
            self.findings[run].show(looks_at, step, **parts, **of_run)
            task.network = None

    def _loaded(self, row: int) -> nn.Module:
        """The network with the weights and buffers of one row."""
        if self._network is None:
            self._network = copy.deepcopy(self.packed.skeleton[0]).to(self.packed.flat.device)
        views = self.packed.layout.views(self.packed.flat.detach())
        values = {name: view[row] for name, view in views.items()}
        values |= {name: buffer[row] for name, buffer in self.packed.network_tensors().by_run.items()}
        with torch.no_grad():
            for name, tensor in [*self._network.named_parameters(), *self._network.named_buffers()]:
                if name in values:
                    tensor.copy_(values[name])
        self._network.train(self.packed.training)
        return self._network
