"""The data of a task: numbered samples, in an order that depends on the seed alone, in batches of an exact size."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, IterableDataset

from suite.fields import check_ranges, configurable, require_methods
from suite.training.batches import BatchPlan
from suite.training.blocks import Pace, look_at_steps
from suite.training.observer import callback_of
from suite.training.timing import StepTimer

BUDGET = {"at_least": 1, "at_most": 10**15}

CORES = "SUITE_CORES"
"""Environment variable with the number of cores that a process may use; launchers give each worker its share."""


@configurable
class Data(LightningDataModule):
    """The dataset of a task: prepared once, opened (as a memory map, for example), and gathered batch by batch.

    A subclass defines `prepare`, `open`, `gather` and `facts`. The base class makes batches of them, whose order is a
    function of the seed alone: it is the same for every optimizer, number of devices and accumulation, and after a
    restart at any step. Like tasks, data are dataclasses.

    Attributes:
        block_samples: approximate number of samples in a block, if ``block_steps`` is not set.
    """

    max_block_steps: ClassVar[int] = 64

    batch_size: int = dataclasses.field(metadata={"at_least": 1})
    """Samples per optimizer step over all devices and accumulation."""

    source: str = dataclasses.field(
        default="sample",
        metadata={"beside": "the place of the data; the fingerprint of its content is in the identity instead"},
    )
    """``paper``, ``sample``, or the path of files in the same raw format."""

    data_dir: str = dataclasses.field(default="data", metadata={"beside": "the place of the prepared data; see source"})
    """Folder for prepared data."""

    micro_batch: int | None = dataclasses.field(
        default=None,
        metadata={
            "at_least": 1,
            "beside": "how a batch is cut for memory; its size counts for networks whose samples see each other",
        },
    )
    """Largest number of samples per forward pass on one device; null: the device's whole share of a batch."""

    budget_epochs: float | None = dataclasses.field(default=None, metadata={"above": 0})
    """Passes over the training data. At most one budget may be set; without any, a run takes one epoch."""

    budget_samples: int | None = dataclasses.field(default=None, metadata=BUDGET)
    """Number of samples that the run may consume."""

    budget_steps: int | None = dataclasses.field(default=None, metadata=BUDGET)
    """Number of optimizer steps, for comparisons at a fixed number of steps."""

    start_step: int = dataclasses.field(
        default=0, metadata={"at_least": 0, "when_set": "earlier runs, made without it, keep their id"}
    )
    """Number of steps at the start of the budget that are skipped with their samples, because another run has taken
    them; see ``initial`` of the task."""

    shuffle: bool = True
    """Whether every epoch has a new permutation of the training samples."""

    order_seed: int | None = dataclasses.field(default=None, metadata={"at_least": 0})
    """Seed of the order of samples; null: the run's seed. If it is set, runs of several seeds see the same batches and
    differ in their initial weights alone."""

    eval_every_steps: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    """Optimizer steps between evaluations; null: only at the end."""

    eval_samples: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    """Largest number of samples per evaluation; null: the whole validation split."""

    block_steps: int | None = dataclasses.field(
        default=None, metadata={"at_least": 1, "beside": "optimizer steps per Lightning call; the steps are the same"}
    )
    """At most so many optimizer steps per Lightning call, which takes about a second; null: chosen from the batch
    size."""

    num_workers: int | None = dataclasses.field(
        default=None,
        metadata={"at_least": 1, "beside": "processes that prepare or load the data; the batches are the same"},
    )
    """Number of processes that prepare the data, or of threads per device that decode it; null: one per core that is
    not another device's."""

    def __post_init__(self) -> None:
        super().__init__()
        require_methods(type(self), Data, "prepare", "open", "facts", "gather", kind="dataset that can be read")
        check_ranges(type(self), vars(self), name="data")
        for name, expected in (("source", "paper, sample, or the path of files"), ("data_dir", "the path of a folder")):
            value = getattr(self, name)
            if not isinstance(value, str | os.PathLike) or not str(value).strip():
                raise ValueError(f"data.{name} must be {expected}, got {value!r}.")
        self.block_samples = 4096
        self.seed = 0
        self.train_samples = 0
        self.val_samples = 0
        self.shards: tuple[int, ...] | None = None
        self.shard_window = 1
        self._is_open = False

    @property
    def prepared_root(self) -> Path:
        """The folder of the prepared data."""
        return Path(self.data_dir)

    # Methods that a dataset defines or overrides.

    def prepare(self) -> str:
        """Prepare the data if need be; it can be called again, by several processes, and after one was killed.

        Returns:
            The fingerprint: a checksum of the prepared content, hexadecimal.
        """
        raise NotImplementedError

    def open(self) -> None:
        """Open the prepared data and set ``train_samples`` and ``val_samples``.

        For shards that are too large for random access, set ``shards`` and ``shard_window`` as well; see
        `suite.training.batches.BatchPlan`.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Sizes on which the network depends (vocabulary, classes, ...); call it after `open`."""
        raise NotImplementedError

    def facts_ahead(self) -> dict[str, Any] | None:
        """What is known of the facts before `open`, sizes that the data decide at their least; None: nothing.

        With it, settings that make no network are refused before the data are prepared.
        """
        return None

    def gather(self, split: str, indices: np.ndarray) -> Any:
        """Build one batch.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[n]``.
        """
        raise NotImplementedError

    def gather_many(self, split: str, indices: np.ndarray) -> list[Any]:
        """Build several batches; a dataset that can gather them at once overrides this.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[batches, n]``.
        """
        return [self.gather(split, row) for row in indices]

    def gather_steps(self, plan: BatchPlan, first: int, end: int) -> list[Any]:
        """The training micro-batches of the optimizer steps ``first`` to ``end - 1``, in order.

        A dataset that changes its samples randomly at every step (random crops, MixUp) overrides this; its random
        numbers must be a function of the seed, the step and the position in the global batch.

        Args:
            plan: the run's plan for this device.
            first: 0-based step of the plan.
            end: step after the last.
        """
        return self.gather_many("train", np.concatenate([plan.indices(step) for step in range(first, end)]))

    def stack(self, batches: Sequence[Any]) -> Any:
        """One batch of several of equal size; its tensors have a leading dimension over them.

        A dataset whose batches of equal size differ in shape overrides this.

        Args:
            batches: trees of tensors and other values; the other values are equal in all.
        """
        first, tree = pytree.tree_flatten(batches[0])
        leaves = [first, *(pytree.tree_leaves(batch) for batch in batches[1:])]
        together = [torch.stack(same) if isinstance(same[0], Tensor) else same[0] for same in zip(*leaves, strict=True)]
        return pytree.tree_unflatten(together, tree)

    def class_counts(self) -> np.ndarray:
        """Number of times that each class (token, label) is a target in the training split, int64 ``[classes]``.

        Raises:
            ValueError: the data have no classes.
        """
        raise ValueError(
            f"The diagnostic frequency needs data with classes, got {type(self).__name__}; leave it out of "
            "model.diagnostics."
        )

    def budget_as_samples(self) -> float | None:
        """The budget in samples, to which a dataset may convert its own unit (tokens); None: not set."""
        return self.budget_samples

    def budgets(self) -> dict[str, float | None]:
        """Every budget setting by its name; None for those that are not set."""
        return {
            "budget_epochs": self.budget_epochs,
            "budget_samples": self.budget_samples,
            "budget_steps": self.budget_steps,
        }

    def recipes(self) -> dict[str, int]:
        """Versions of how the code turns the same settings into samples, by name, for the identity of a run.

        A dataset whose code comes to make other samples of the same settings raises a number here; the runs concerned
        then get new ids.
        """
        return {}

    # Methods that training calls.

    @property
    def workers(self) -> int:
        """``num_workers``, or if it is not set this process's share of the cores that it may use."""
        if self.num_workers is not None:
            return self.num_workers
        if CORES in os.environ:
            return max(1, int(os.environ[CORES]))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # SLURM gives every rank cores of its own; elsewhere the ranks of a machine see the same ones.
        ranks = 1 if self.trainer is None or "SLURM_PROCID" in os.environ else self.trainer.num_devices
        return max(1, cores // max(1, ranks))

    def ensure_open(self) -> str:
        """Prepare and open the data once; returns the fingerprint."""
        if not self._is_open:
            self.fingerprint = self.prepare()
            self.open()
            self._is_open = True
        return self.fingerprint

    def seed_of_order(self, seed: int) -> int:
        """The seed of the order of samples in a run with seed ``seed``."""
        return seed if self.order_seed is None else self.order_seed

    @property
    def steps(self) -> int:
        """Number of optimizer steps of the run: the budget's minus ``start_step``; `ValueError` if there are none."""
        budgets = {name: value for name, value in self.budgets().items() if value is not None}
        if len(budgets) > 1:
            raise ValueError(
                f"A run has one budget, got {' and '.join(f'data.{k}={value:g}' for k, value in budgets.items())}; set "
                "all but one of them to null."
            )
        per_epoch = self.train_samples // self.batch_size
        samples = self.budget_as_samples()
        if self.budget_steps is not None:
            steps = self.budget_steps
        elif samples is not None:
            steps = int(samples // self.batch_size)
        else:
            steps = int(per_epoch * (self.budget_epochs or 1))
        if per_epoch and steps < 1:
            raise ValueError(
                f"The budget must allow at least one step, got {budgets or 'one epoch'} at batch_size "
                f"{self.batch_size}; raise the budget or lower data.batch_size."
            )
        if per_epoch and self.start_step >= steps:
            raise ValueError(
                f"data.start_step must leave steps of the budget, which is {steps} steps at batch_size "
                f"{self.batch_size}, got {self.start_step}; lower it or raise the budget."
            )
        return steps - self.start_step

    @property
    def passes(self) -> float:
        """How often the budget passes over the open training data, counted in steps; 0 without a step in them."""
        per_epoch = self.train_samples // self.batch_size
        return (self.start_step + self.steps) / per_epoch if per_epoch else 0.0

    @property
    def is_repeated(self) -> bool:
        """Whether the training data come more than once without ``budget_epochs`` having asked for it."""
        return self.budget_epochs is None and round(self.passes, 2) > 1

    def plan(self, *, world_size: int = 1, rank: int = 0) -> BatchPlan:
        """The batch plan of this run on one of ``world_size`` devices.

        Raises:
            ValueError: the batch cannot be divided exactly over devices and micro-batches.
        """
        share = self.batch_size // world_size
        return BatchPlan(
            samples=self.train_samples,
            batch_size=self.batch_size,
            steps=self.start_step + self.steps,
            seed=self.seed,
            shuffle=self.shuffle,
            world_size=world_size,
            micro_batch=_divisor(share, self.micro_batch or share),
            rank=rank,
            shards=self.shards,
            shard_window=self.shard_window,
        )

    def require_evaluation(self, world_size: int) -> None:
        """Refuse a validation split that is too small for every device to get a sample.

        Raises:
            ValueError: the split has fewer samples than there are devices.
        """
        evaluated = min(self.val_samples, self.eval_samples or self.val_samples)
        if evaluated < world_size:
            raise ValueError(
                f"Every device must evaluate a sample at least, got {evaluated} samples of the validation split for "
                f"{world_size} devices; give more data, raise data.eval_samples or lower trainer.devices."
            )

    @property
    def same_shapes(self) -> bool:
        """Whether training batches should have one shape, or very few, because the module's steps are compiled.

        Batches of varying size are then padded with samples that do not count.
        """
        return bool(self._of_module("same_shapes", False))

    def _of_module(self, name: str, otherwise: Any) -> Any:
        """An attribute of the module that is trained on these data; ``otherwise`` if it has none."""
        return otherwise if self.trainer is None else getattr(self.trainer.lightning_module, name, otherwise)

    @property
    def steps_per_block(self) -> int:
        """Largest number of optimizer steps per Lightning call; one where a callback looks at each step."""
        timer = None if self.trainer is None else callback_of(self.trainer, StepTimer)
        if timer is not None:
            return timer.block_steps
        if self.trainer is not None and look_at_steps(self.trainer):
            return 1
        steps = self.block_steps or max(1, min(self.max_block_steps, self.block_samples // self.batch_size))
        return min(steps, self.eval_every_steps or steps)

    def blocks(self, plan: BatchPlan, first_step: int) -> Iterator[list[list[Any]]]:
        """Blocks from ``first_step`` of the run to its end: a block is a list of steps, a step a list of micro-batches.

        A block ends at every step after which weights are kept, and takes about a second at most.
        """
        pace = None if self.trainer is None else callback_of(self.trainer, Pace)
        step, last, stops = first_step, plan.steps - self.start_step, self._of_module("kept_steps", ())
        while step < last:
            longest = self.steps_per_block
            end = step + longest if pace is None else pace.end_of_block(step, longest)
            end = min([end, last, *(stop for stop in stops if stop > step)])
            if self.eval_every_steps:
                end = min(end, (step // self.eval_every_steps + 1) * self.eval_every_steps)
            batches = self._gather_orders(plan, self.start_step + step, self.start_step + end)
            yield [batches[i : i + plan.accumulation] for i in range(0, len(batches), plan.accumulation)]
            step = end

    def _gather_orders(self, plan: BatchPlan, first: int, end: int) -> list[Any]:
        """The micro-batches of some steps; where the module's runs see several orders, a batch of all orders each."""
        seeds: tuple[int, ...] = self._of_module("order_seeds", ())
        if len(seeds) < 2:
            return self.gather_steps(plan, first, end)
        usual, of_orders = self.seed, []
        try:
            for self.seed in seeds:
                of_orders.append(self.gather_steps(dataclasses.replace(plan, seed=self.seed), first, end))
        finally:
            self.seed = usual
        return [self.stack(batches) for batches in zip(*of_orders, strict=True)]

    @property
    def _pins(self) -> bool:
        """Whether batches are put into pinned memory, from which a GPU takes them while the host goes on."""
        assert self.trainer is not None
        return bool(self.trainer.strategy.root_device.type == "cuda")

    def setup(self, stage: str) -> None:
        """Open the data in this process (Lightning calls this on every rank)."""
        self.ensure_open()

    def train_dataloader(self) -> DataLoader:
        """Blocks from the trainer's current step on, so that a resumed run trains exactly on the remaining samples."""
        trainer = self.trainer
        assert trainer is not None
        plan = self.plan(world_size=trainer.world_size, rank=trainer.global_rank)
        steps = _Iterable(lambda: self.blocks(plan, trainer.global_step))
        return DataLoader(steps, batch_size=None, pin_memory=self._pins)

    def val_dataloader(self) -> DataLoader:
        """This rank's batches of the validation split, in stored order."""
        trainer = self.trainer
        assert trainer is not None
        samples = min(self.val_samples, self.eval_samples or self.val_samples)
        share = max(1, self.batch_size // trainer.world_size)
        size = min(self.micro_batch or share, share)
        size = min(samples, max(size, min(64, self.batch_size * 8)))
        numbers = np.arange(trainer.global_rank, samples, trainer.world_size, dtype=np.int64)
        chunks = [numbers[i : i + size] for i in range(0, len(numbers), size)]
        gather = functools.partial(self.gather, "val")
        return DataLoader(chunks, batch_size=None, collate_fn=gather, pin_memory=self._pins)  # type: ignore[arg-type]

    test_dataloader = predict_dataloader = val_dataloader  # none of the papers has a third split


def _divisor(share: int, most: int) -> int:
    """The largest number up to ``most`` that divides a device's share of a batch, if it is at least half of ``most``.

    Otherwise ``most``, which a `BatchPlan` refuses: the share would be cut into far smaller pieces than was asked for.
    """
    if share <= most:
        return share
    return next((size for size in range(most, max(1, -(-most // 2)) - 1, -1) if share % size == 0), most)


class _Iterable(IterableDataset):
    """A dataset whose iterator ``make`` creates."""

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        return self._make()
