"""A pack: runs that differ only in numbers that broadcast, trained at once in one process on one shared batch."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torchmetrics import MeanMetric, MetricCollection

from suite.optim.clipping import clip_runs
from suite.optim.config import ConfigError
from suite.optim.runs_optimizer import Layout, RunsOptimizer, shared_groups
from suite.records import Store
from suite.training.curves import NEVER, Curves
from suite.training.data import Data
from suite.training.run import Outcome, describe_run, now, remove, run_identity, train
from suite.training.task import Task


class PackRefused(RuntimeError):
    """These runs cannot be trained at once; the message says why, and they can be trained one by one."""


class PackedTask(LightningModule):
    """R runs of one task as one module: parameters in a flat buffer ``[R, P]``, the forward pass under `vmap`.

    Runs share no parameter, so the gradient of the sum of their losses holds each run's own. Clipping, schedule and
    divergence are per run: a run whose loss is not finite is moved no further and leaves the others untouched.

    Args:
        tasks: one per run; they differ in their optimizers' numbers alone.
        facts: of the data.

    Raises:
        PackRefused: the runs differ in more, or the optimizer cannot move several runs at once.
    """

    alive: Tensor

    def __init__(self, tasks: Sequence[Task], facts: dict[str, Any]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.tasks = tuple(tasks)
        first = tasks[0]
        network = first.seeded_network(first.seed, facts)
        try:
            configs = [task.optimizer_config for task in tasks if task.optimizer_config is not None]
            self._groups = shared_groups(configs, network)
        except ConfigError as error:
            raise PackRefused(str(error)) from error
        if {(t.seed, repr(t.schedule), repr(t.clipping)) for t in tasks} != {
            (first.seed, repr(first.schedule), repr(first.clipping))
        }:
            raise PackRefused("Runs trained at once share seed, schedule and clipping.")
        self.layout = Layout.of(network, [name for same in self._groups for name in same[0].names])
        parameters = dict(network.named_parameters())
        row = torch.cat([parameters[name].detach().flatten() for name in self.layout.shapes])
        self.flat = nn.Parameter(row.repeat(len(tasks), 1))
        self.register_buffer("alive", torch.ones(len(tasks), 1, dtype=torch.bool))
        self._register_buffers(network)
        self.skeleton = [network]  # in a list, so that its weights are no part of this module
        self.metrics = nn.ModuleList(
            MetricCollection({"loss": MeanMetric(), **first.metrics(facts)}, prefix="val/", compute_groups=False)
            for _ in tasks
        )

    def _register_buffers(self, network: nn.Module) -> None:
        # What a network saves (running statistics) differs between runs; what it does not (tables) is shared.
        saved = set(network.state_dict())
        self._own = [name for name, _ in network.named_buffers() if name in saved]
        self._shared = [name for name, _ in network.named_buffers() if name not in saved]
        buffers = dict(network.named_buffers())
        for name in self._own:
            self.register_buffer(_flat_name(name), buffers[name].expand(len(self.tasks), *buffers[name].shape).clone())
        for name in self._shared:
            self.register_buffer(_flat_name(name), buffers[name], persistent=False)

    def configure_optimizers(self) -> RunsOptimizer:
        """The same rules as single runs have, with one row of numbers per run."""
        return RunsOptimizer(self.flat, self.layout, self._groups)

    def outputs(self, parameters: Mapping[str, Tensor], batch: Any) -> tuple[Tensor, Any]:
        """Loss sums ``[R]`` divided by their count, and outputs with a leading run dimension."""
        task, network = self.tasks[0], self.skeleton[0]
        own = {name: getattr(self, _flat_name(name)) for name in self._own}
        shared = {name: getattr(self, _flat_name(name)) for name in self._shared}

        def one(parameters: dict[str, Tensor], own: dict[str, Tensor]) -> tuple[Tensor, Any]:
            outputs = functional_call(network, {**parameters, **own, **shared}, task.inputs(batch))
            total, count = task.loss(outputs, batch)
            return total / count, outputs

        network.train(self.training)
        return vmap(one, in_dims=(0, 0 if own else None), randomness="same")(dict(parameters), own)

    def training_step(self, block: list[list[Any]], block_idx: int) -> dict[str, Any]:
        """Execute a block of optimizer steps of all runs.

        Args:
            block: one list of micro-batches per step, shared by the runs.
            block_idx: number of the block.

        Returns:
            ``losses`` and ``grad_norms``, ``[steps, R]``, and ``multipliers`` of the learning rates, a list.
        """
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        runs = optimizer.optimizer
        assert isinstance(runs, RunsOptimizer)
        runs.alive = self.alive
        clipping, schedule = self.tasks[0].clipping, self.tasks[0].schedule
        leaves = {name: view.requires_grad_() for name, view in self.layout.views(self.flat.detach()).items()}
        losses, norms, multipliers = [], [], []
        for micro_batches in block:
            runs.multiplier = schedule(self.global_step, self.trainer.max_steps)
            loss, grad = self._accumulate(leaves, micro_batches)
            grad, norm = clip_runs(grad, clipping.max_norm, clipping.max_coordinate)
            self.alive &= loss.isfinite().unsqueeze(1)
            self.flat.grad = torch.where(self.alive, grad, 0.0)
            optimizer.step()
            losses.append(loss)
            norms.append(norm)
            multipliers.append(runs.multiplier)
        self.flat.grad = None
        return {"losses": torch.stack(losses), "grad_norms": torch.stack(norms), "multipliers": multipliers}

    def _accumulate(self, leaves: dict[str, Tensor], micro_batches: list[Any]) -> tuple[Tensor, Tensor]:
        """Mean losses ``[R]`` and gradients ``[R, P]`` over the micro-batches."""
        share = 1 / len(micro_batches)
        mean = torch.zeros(len(self.tasks), device=self.device)
        total: Tensor | None = None
        for batch in micro_batches:
            loss, _ = self.outputs(leaves, batch)
            loss = loss * share
            grads = torch.autograd.grad(loss.sum(), list(leaves.values()))
            flat = torch.cat([grad.flatten(1) for grad in grads], dim=1)
            total = flat if total is None else total.add_(flat)
            mean += loss.detach()
        assert total is not None
        return mean, total

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation; runs that have diverged are not measured."""
        self._measured = self.alive.flatten().tolist()
        for metrics in self.metrics:
            metrics.reset()  # type: ignore[operator]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Measure one batch of the validation split, for every run."""
        _, outputs = self.outputs(self.layout.views(self.flat.detach()), batch)
        for number, (task, metrics) in enumerate(zip(self.tasks, self.metrics, strict=True)):
            if not self._measured[number]:
                continue
            mine = _row(outputs, number)
            total, count = task.loss(mine, batch)
            assert isinstance(metrics, MetricCollection)
            metrics["loss"].update(total / count, weight=count)
            task.measure({k.removeprefix("val/"): m for k, m in metrics.items()}, mine, batch, total, count)

    def on_validation_epoch_end(self) -> None:
        """Compute every run's metrics."""
        self.evaluation = [
            metrics.compute() if alive else {}  # type: ignore[operator]
            for metrics, alive in zip(self.metrics, self._measured, strict=True)
        ]


class PackCurves(Callback):
    """The curves of every run of a pack; see `Curves`.

    Args:
        lrs: peak learning rate of each run.
        eval_every_steps: optimizer steps between evaluations; None: only after the last.
    """

    def __init__(self, lrs: Sequence[float], eval_every_steps: int | None) -> None:
        self.lrs = list(lrs)
        self.runs = [Curves(eval_every_steps) for _ in lrs]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clocks."""
        for curves in self.runs:
            curves.on_train_start(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Ask for an evaluation after this block, or for none."""
        self.runs[0].on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Fetch the block's values; stop when every run has diverged."""
        values = torch.stack((outputs["losses"], outputs["grad_norms"])).movedim(2, 0).tolist()
        for curves, lr, (losses, norms) in zip(self.runs, self.lrs, values, strict=True):
            curves.lap("train", share=len(self.runs))
            if curves.diverged_at is None:
                curves.extend(losses, norms, [lr * multiplier for multiplier in outputs["multipliers"]])
        if all(curves.diverged_at is not None for curves in self.runs):
            trainer.limit_val_batches = 0
            trainer.val_check_batch = NEVER
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the evaluation of every run that goes on."""
        assert isinstance(pl_module, PackedTask)
        for curves, metrics in zip(self.runs, pl_module.evaluation, strict=True):
            curves.lap("eval", share=len(self.runs))
            if curves.diverged_at is None:
                curves.evaluated(metrics)

    def state_dict(self) -> dict[str, Any]:
        """All curves so far, for the checkpoint."""
        return {"runs": [{**curves.state_dict(), "diverged_at": curves.diverged_at} for curves in self.runs]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's curves."""
        for curves, state in zip(self.runs, state_dict["runs"], strict=True):
            curves.load_state_dict(state)
            curves.diverged_at = state["diverged_at"]


def run_pack(
    tasks: Sequence[Task],
    data: Data,
    trainer: Trainer,
    *,
    name: str,
    configs: Sequence[Mapping[str, Any]],
    store: Store,
    checkpoint_seconds: float = 60.0,
) -> list[Outcome]:
    """Train runs at once and record each as a single run is recorded; see `suite.training.run.run`.

    Args:
        tasks: one per run, networks not built.
        data: shared by all.
        trainer: a trainer on one device in full precision.
        name: the tasks' name.
        configs: the resolved configuration of each run; they share data, batch size and seed.
        store: where the records go.
        checkpoint_seconds: least wall time between checkpoints.

    Returns:
        One outcome per run, in order; runs that have a record are not trained again.

    Raises:
        PackRefused: the runs cannot be trained at once.
        LeaseHeld: another process is training one of them.
    """
    if trainer.world_size > 1:
        raise PackRefused("A pack is trained on one device.")
    if trainer.precision != "32-true":
        raise PackRefused(
            f"A pack is trained in full precision (trainer.precision 32-true), not in {trainer.precision}."
        )
    data.ensure_open()
    for task, config in zip(tasks, configs, strict=True):
        data.seed = task.seed = int(config.get("seed_everything") or 0)
    coupled = tasks[0].batch_coupled
    identities = [run_identity(config, data, coupled=coupled) for config in configs]
    todo = [i for i, (run_id, _) in enumerate(identities) if not store.settled(run_id)]
    if todo:
        packed = PackedTask([tasks[i] for i in todo], data.facts())
        _train_pack(packed, data, trainer, name, [configs[i] for i in todo], [identities[i] for i in todo], store,
                    checkpoint_seconds)  # fmt: skip
    return [Outcome(store.record(run_id) or {}, trained=i in todo) for i, (run_id, _) in enumerate(identities)]


def _train_pack(
    packed: PackedTask,
    data: Data,
    trainer: Trainer,
    name: str,
    configs: Sequence[Mapping[str, Any]],
    identities: Sequence[tuple[str, dict[str, Any]]],
    store: Store,
    checkpoint_seconds: float,
) -> None:
    digest = hashlib.sha256(" ".join(run_id for run_id, _ in identities).encode()).hexdigest()[:16]
    checkpoint = store.path / "packs" / digest / "checkpoint.ckpt"
    peaks = [same.hyper["lr"] for same in packed._groups[0]]
    curves = PackCurves(peaks, data.eval_every_steps)
    started, clock = now(), time.perf_counter()
    with contextlib.ExitStack() as leases:
        for run_id, _ in identities:
            leases.enter_context(store.lease(run_id))
        train(packed, data, trainer, [curves], checkpoint, checkpoint_seconds)
        seconds = (time.perf_counter() - clock) / len(identities)
        for task, config, (run_id, identity), mine in zip(packed.tasks, configs, identities, curves.runs, strict=True):
            record = describe_run(
                task, data, trainer, mine, name=name, config=config, run_id=run_id, identity=identity,
                started=started, seconds=seconds, error=None,
            )  # fmt: skip
            record["parameters"] = packed.layout.size
            record["pack"] = {"runs": len(identities)}
            store.write_record(record, mine.table(task.clipping))
        remove(checkpoint)


def _flat_name(name: str) -> str:
    return "buffer_" + name.replace(".", "__")


def _row(outputs: Any, number: int) -> Any:
    if isinstance(outputs, Tensor):
        return outputs[number]
    return type(outputs)(_row(part, number) for part in outputs)
