"""R runs of one task as one Lightning module."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from suite.fields import ConfigError
from suite.optim.broadcast import LaterStep
from suite.optim.clipping import clip_runs
from suite.optim.schedule import Rate
from suite.packs.compiled_step import CompiledStep, NotCompiled
from suite.packs.layers import PackLayers
from suite.packs.run_metrics import RunMetrics
from suite.packs.runs_optimizer import Layout, RunsOptimizer, fixed_part, shared_groups
from suite.packs.runs_step import NetworkTensors, PackTensors, RunsStep
from suite.training.captured_step import CapturedStep, Results, capture_of
from suite.training.observer import Observer, callback_of
from suite.training.sampled_gradient import label_uniforms, second_pass, sent
from suite.training.stopping import is_paused
from suite.training.task import Task

StepKind = Literal["plain", "recorded", "compiled"]


class PackRefused(RuntimeError):
    """The runs cannot be trained at once, but they can be trained one by one; the message says why."""


class PackedTask(LightningModule):
    """R runs of one task: parameters in a flat buffer ``[R, P]``, the forward pass under `vmap`.

    Runs share no parameter, so the gradient of the sum of their losses holds the gradient of each. Gradients are
    clipped per run. A run whose loss is not finite is not updated any more and does not affect the others.

    Args:
        tasks: one per run; they differ in their starting weights and their optimizers' numbers alone.
        facts: facts of the data, see `Data.facts`.
        signature: everything beside shapes and optimizer on which the arithmetic of a step depends.
        order_seeds: seed of each run's order of samples; empty: all see the same batches.
        step: how a step is executed: ``compiled``: all of it as one compiled graph; ``recorded``: forward and backward
            pass are traced once and then replayed; ``plain``: by autograd and vmap.

    Attributes:
        rows: number of the run in each row of the buffer, int64 ``[R]``; `compact` removes diverged runs.
        order_seeds: the different seeds of the runs' orders. If there are several, a training batch has a leading
            dimension over them.

    Raises:
        PackRefused: the runs differ in more than that, or the optimizer cannot update several runs at once.
    """

    alive: Tensor
    rows: Tensor
    order_of_run: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        facts: dict[str, Any],
        *,
        signature: str = "",
        order_seeds: Sequence[int] = (),
        step: StepKind = "plain",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.tasks = tuple(tasks)
        self._seeds = [task.seed for task in tasks]  # of each row
        self.order_seeds = tuple(dict.fromkeys(order_seeds))
        self._several_orders = len(self.order_seeds) > 1
        self._captured: CapturedStep | None = None
        first = tasks[0]
        starts = {(task.seed, task.start): task for task in tasks}
        networks = {key: task.starting_network(facts) for key, task in starts.items()}
        network = networks[first.seed, first.start]
        try:
            configs = [task.optimizer_config for task in tasks if task.optimizer_config is not None]
            self._groups = shared_groups(configs, network)
        except ConfigError as error:
            raise PackRefused(str(error)) from error
        if len({(repr(t.lr_schedule), repr(t.clipping)) for t in tasks}) > 1:
            raise PackRefused("Runs trained at once share schedule and clipping.")
        self.layout = Layout.of(network, [name for same in self._groups for name in same[0].names])
        rows = {key: self._row(start) for key, start in networks.items()}
        self.flat = nn.Parameter(torch.stack([rows[task.seed, task.start] for task in tasks]))
        self.register_buffer("alive", torch.ones(len(tasks), 1, dtype=torch.bool))
        self.register_buffer("rows", torch.arange(len(tasks)))
        orders = torch.tensor([self.order_seeds.index(seed) for seed in order_seeds], dtype=torch.int64)
        self.register_buffer("order_of_run", orders, persistent=False)
        self._register_buffers([networks[task.seed, task.start] for task in tasks])
        self.skeleton = [network]  # in a list, so that its weights are not parameters of this module
        self.metrics = RunMetrics(self.tasks, facts)
        signature = f"{signature}|{self._several_orders}"
        rules = [fixed_part(same[0]) for same in self._groups]
        self._compiled = CompiledStep(self._traceable, f"{signature}|{rules}") if step == "compiled" else None
        order = list(self.layout.shapes)  # of the columns, which the optimizer's groups decide
        record = step == "recorded"
        self._recorded = CompiledStep(self._accumulate, f"{signature}|{order}", fuse=False) if record else None

    def _row(self, network: nn.Module) -> Tensor:
        parameters = dict(network.named_parameters())
        return torch.cat([parameters[name].detach().flatten() for name in self.layout.shapes])

    def _register_buffers(self, networks: Sequence[nn.Module]) -> None:
        # What a network saves (running statistics, parameters that are not trained) differs between runs; other
        # buffers (tables) are shared.
        saved = set(networks[0].state_dict())
        buffers = [dict(network.named_buffers()) | _not_trained(network) for network in networks]
        self._names_by_run = [name for name in buffers[0] if name in saved]
        self._names_shared = [name for name in buffers[0] if name not in saved]
        for name in self._names_by_run:
            self.register_buffer(_flat_name(name), torch.stack([of_run[name] for of_run in buffers]))
        for name in self._names_shared:
            self.register_buffer(_flat_name(name), buffers[0][name], persistent=False)

    @property
    def compiles(self) -> bool:
        """Whether steps are executed as compiled graphs."""
        return self._compiled is not None

    @property
    def same_shapes(self) -> bool:
        """Whether the data should come in batches of one or few shapes.

        Each shape needs a graph or a recording, and batches of several orders are stacked.
        """
        is_captured = self._captured is not None and self._captured.wanted
        return self.compiles or self._several_orders or is_captured

    @property
    def repeated_steps(self) -> int:
        """Steps that were repeated from a recording of the device."""
        return 0 if self._captured is None else self._captured.repeated

    @property
    def peaks(self) -> list[float]:
        """The peak learning rate of each run's first group."""
        return [same.hyper["lr"] for same in self._groups[0]]

    def configure_optimizers(self) -> RunsOptimizer:
        """Make the optimizer: the rules of single runs, with one row of hyperparameters per run."""
        rows = self.rows.tolist()
        return RunsOptimizer(self.flat, self.layout, [[same[row] for row in rows] for same in self._groups])

    def compact(self, rows: Tensor) -> None:
        """Keep some rows of the buffer and drop the others.

        Args:
            rows: indices of the rows to keep, int64 ``[n]``, ascending.
        """
        self._cut(rows)
        self.runs_optimizer.keep(rows)

    def _cut(self, rows: Tensor) -> None:
        self._seeds = [self._seeds[row] for row in rows.tolist()]
        self.flat.data = self.flat.data[rows]
        for name in ("alive", "rows", *(_flat_name(name) for name in self._names_by_run)):
            setattr(self, name, getattr(self, name)[rows])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Drop the runs that had been dropped when the checkpoint was written."""
        self._cut(checkpoint["state_dict"]["rows"].to(self.rows.device))

    def outputs(
        self,
        parameters: dict[str, Tensor],
        tensors: NetworkTensors,
        batch: Any,
        *,
        stacked: bool = False,
        uniforms: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """The mean losses ``[R]`` of a batch, and the outputs with a leading run dimension.

        Args:
            parameters: parameters by name, with a leading run dimension.
            tensors: the networks' tensors, of which only the buffers are used.
            batch: a batch that the runs share, or one of each.
            stacked: whether the batch's tensors have a leading run dimension.
            uniforms: each run's numbers that its labels are drawn by, for `Task.sampled_loss`; None: the loss is that
                of the batch's own labels.
        """
        task, network = self.tasks[0], self.skeleton[0]
        leaves, tree = pytree.tree_flatten(batch)

        def of_run(
            parameters: dict[str, Tensor], buffers: dict[str, Tensor], of_batch: list[Tensor], drawn_by: Tensor | None
        ) -> tuple[Tensor, Any]:
            rest = iter(of_batch)
            batch = pytree.tree_unflatten([next(rest) if isinstance(x, Tensor) else x for x in leaves], tree)
            inputs = task.inputs(batch) if drawn_by is None else task.sampled_inputs(batch, drawn_by)
            with PackLayers(self.flat.device.type):
                outputs = functional_call(network, {**parameters, **buffers, **tensors.shared}, inputs)
                if drawn_by is None:
                    total, count = task.loss(outputs, batch)
                else:
                    total, count = task.sampled_loss(outputs, batch, drawn_by)
            return total / count, outputs

        network.train(self.training)
        in_dims = (0, 0 if tensors.by_run else None, 0 if stacked else None, None if uniforms is None else 0)
        of_batch = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        return vmap(of_run, in_dims=in_dims, randomness="same")(parameters, tensors.by_run, of_batch, uniforms)

    @property
    def runs_optimizer(self) -> RunsOptimizer:
        """The optimizer that `configure_optimizers` made."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, RunsOptimizer)
        return optimizer

    def training_step(self, block: list[list[Any]], block_idx: int) -> dict[str, Any]:
        """Execute a block of optimizer steps of all runs.

        Args:
            block: one list of micro-batches per step, shared by the runs.
            block_idx: number of the block.

        Returns:
            ``losses`` and ``grad_norms``, ``[steps, R]``, and ``rates``, the learning rates from their peaks, a list.
        """
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        observer = callback_of(self.trainer, Observer)
        schedule = self.tasks[0].lr_schedule
        losses, norms, rates = [], [], []
        for micro_batches in block:
            rate = schedule.rate(self.global_step, self.trainer.max_steps)
            attending = observer if observer is not None and observer.attends(self.global_step) else None
            if attending is not None:
                attending.before_step(micro_batches)
            loss, norm = self._take(rate, micro_batches)
            if attending is not None:
                attending.after_update(self.runs_optimizer)
            optimizer.step()  # counts the step, for Lightning too
            losses.append(loss)
            norms.append(norm)
            rates.append(rate)
        return {"losses": torch.stack(losses), "grad_norms": torch.stack(norms), "rates": rates}

    def _of_runs(self, micro_batches: list[Any]) -> list[Any]:
        """Each run's batch of its own order; the batches as they are where all runs share them."""
        if not self._several_orders:
            return micro_batches
        orders = self.order_of_run[self.rows]
        return pytree.tree_map(lambda leaf: leaf[orders] if isinstance(leaf, Tensor) else leaf, micro_batches)

    def on_train_start(self) -> None:
        """Look how steps may be taken; compiled ones are launched as they are."""
        capture = capture_of(self.trainer) if self.tasks[0].cuda_graphs and not self.compiles else None
        if capture is not None:
            name = f"{self.tasks[0].pair_name}, {len(self.flat)} runs at once"
            self._captured = CapturedStep(self._capturable, self._all_tensors, capture, name=name)

    def _capturable(self, now: Tensor, micro_batches: list[Any]) -> Results:
        return _named(*self._traceable(self._tensors(), now, micro_batches))

    def _all_tensors(self) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors that a step reads, and those of them that it writes."""
        tensors = self._tensors()
        written = (tensors.network.flat, tensors.network.by_run, tensors.alive, tensors.rule_buffers)
        return pytree.tree_leaves(tuple(tensors)), pytree.tree_leaves(written)

    def _take(self, rate: Rate, micro_batches: list[Any]) -> tuple[Tensor, Tensor]:
        micro_batches = self._of_runs(micro_batches)
        tensors, count = self._tensors(), self.runs_optimizer.steps_done + 1
        if self.runs_optimizer.needs_sampled_gradient():
            # One step in several: it is launched as it is, so that the others' graphs stay as they are.
            buffers = self.runs_optimizer.buffers_with(self._sampled_gradient(tensors.network, micro_batches))
            return self._step(tensors._replace(rule_buffers=buffers), count, rate, micro_batches)
        if self._compiled is not None and count > 1:  # some rules branch on the first step
            now = self._now(count, rate)
            try:
                result = self._compiled(tensors, now, micro_batches)
                if result is not None:
                    return result
            except NotCompiled as reason:
                warnings.warn(f"The step of {self.tasks[0].pair_name} is not compiled: {reason}.", stacklevel=2)
                self._compiled = None
        if self._captured is not None and count > 1:
            results = self._captured(
                lambda: _named(*self._step(tensors, count, rate, micro_batches)),
                self._now(count, rate),
                micro_batches,
            )
            (losses,), (norms,) = results["loss"], results["norm"]
            return losses.clone(), norms.clone()
        return self._step(tensors, count, rate, micro_batches)

    def _now(self, count: int, rate: Rate) -> Tensor:
        """Step and rate, filled on the device: a copy from the host would wait for it."""
        now = torch.empty(3, dtype=torch.float64, device=self.flat.device)
        for row, number in enumerate((float(count), *rate)):
            now[row].fill_(number)
        return now

    def network_tensors(self) -> NetworkTensors:
        """The parameters and buffers; they share memory with this module."""
        by_run, shared = (
            {name: getattr(self, _flat_name(name)) for name in names}
            for names in (self._names_by_run, self._names_shared)
        )
        return NetworkTensors(self.flat.detach(), by_run, shared)

    def gradients(self, micro_batches: list[Any]) -> Tensor:
        """Gradients ``[R, P]`` before clipping, without taking a step; it does update running statistics."""
        with torch.enable_grad():
            return self._accumulate(self.network_tensors(), self._of_runs(micro_batches))[1]

    def _tensors(self) -> PackTensors:
        runs = self.runs_optimizer
        return PackTensors(self.network_tensors(), self.alive, runs.buffers, runs.numbers)

    def _traceable(self, tensors: PackTensors, now: Tensor, micro_batches: list[Any]) -> tuple[Tensor, Tensor]:
        return self._step(tensors, LaterStep(now[0]), Rate(now[1], now[2]), micro_batches)

    def _step(self, tensors: PackTensors, count: Any, rate: Rate, micro_batches: list[Any]) -> tuple[Tensor, Tensor]:
        """Losses and gradient norms, ``[R]``, of one optimizer step, which writes to ``tensors`` in place."""
        clipping = self.tasks[0].clipping
        is_traced = isinstance(count, LaterStep)
        loss, grad = self._gradient(tensors.network, micro_batches)
        with torch.no_grad():
            grad, norm = clip_runs(grad, clipping.max_norm, clipping.max_coordinate, in_place=not is_traced)
            alive: Tensor | None = tensors.alive.logical_and_(loss.isfinite().unsqueeze(1))
            # On a CPU, outside a trace, this test is cheap; if all runs are alive it saves two passes over memory.
            if not is_traced and tensors.alive.device.type == "cpu" and bool(tensors.alive.all()):
                alive = None
            if alive is not None:
                grad = torch.where(alive, grad, 0.0)
            flat, buffers, numbers = tensors.network.flat, tensors.rule_buffers, tensors.numbers
            self.runs_optimizer.move(RunsStep(flat, grad, buffers, numbers, count, rate, alive))
        return loss, norm

    def _gradient(self, tensors: NetworkTensors, micro_batches: list[Any]) -> tuple[Tensor, Tensor]:
        """The result of `_accumulate`, replayed from its recording if there is one."""
        if self._recorded is not None:
            try:
                result = self._recorded(tensors, micro_batches)
                if result is not None:
                    return result
            except NotCompiled:
                self._recorded = None
        with torch.enable_grad():
            return self._accumulate(tensors, micro_batches)

    def _sampled_gradient(self, tensors: NetworkTensors, micro_batches: list[Any]) -> Tensor:
        """What `OptimizerConfig.sampled_every` describes, ``[R, P]``; as `backward_on_drawn_labels` does it."""
        first, step = self.tasks[0], self.global_step
        uniforms, terms = [], 0
        for number, batch in enumerate(micro_batches):
            of_one = pytree.tree_map_only(Tensor, lambda leaf: leaf[0], batch) if self._several_orders else batch
            shape = first.element_classes(of_one).shape
            by_seed = {seed: label_uniforms(seed, step, number, shape) for seed in set(self._seeds)}
            uniforms.append(sent(np.stack([by_seed[seed] for seed in self._seeds]), self.flat.device))
            terms += shape.numel()
        with second_pass(self, first.seed, step), torch.enable_grad():
            return self._accumulate(tensors, micro_batches, uniforms)[1] * math.sqrt(terms)

    def _accumulate(
        self, tensors: NetworkTensors, micro_batches: list[Any], uniforms: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean losses ``[R]`` and gradients ``[R, P]`` over the micro-batches, in new tensors; see `outputs`."""
        leaves = {name: view.detach().requires_grad_() for name, view in self.layout.views(tensors.flat).items()}
        share = 1 / len(micro_batches)
        mean: Tensor | None = None
        total: Tensor | None = None
        for number, batch in enumerate(micro_batches):
            drawn_by = None if uniforms is None else uniforms[number]
            loss, _ = self.outputs(leaves, tensors, batch, stacked=self._several_orders, uniforms=drawn_by)
            loss = loss * share
            # A parameter that does not affect the loss gets a gradient of zero.
            grads = torch.autograd.grad(loss.sum(), list(leaves.values()), materialize_grads=True)
            flat = torch.cat([grad.flatten(1) for grad in grads], dim=1)
            total = flat if total is None else total.add_(flat)
            mean = loss.detach() if mean is None else mean + loss.detach()
        assert mean is not None and total is not None
        return mean, total

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics; runs that have diverged are not evaluated."""
        self.metrics.begin(self.rows, self.alive)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Evaluate every run on one batch of the validation split."""
        tensors = self.network_tensors()
        _, outputs = self.outputs(self.layout.views(tensors.flat), tensors, batch)
        self.metrics.update(outputs, batch)

    def on_validation_epoch_end(self) -> None:
        """Compute the metrics of every run that has not diverged, by its number, after a whole evaluation."""
        self.evaluation = {} if is_paused(self.trainer) else self.metrics.compute()


def _named(losses: Tensor, norms: Tensor) -> Results:
    return {"loss": [losses], "norm": [norms]}


def _not_trained(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in network.named_parameters() if not p.requires_grad}


def _flat_name(name: str) -> str:
    return "buffer_" + name.replace(".", "__")
