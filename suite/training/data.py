"""The data side of a task: samples by number, in an order that the seed alone decides, cut into exact batches."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from suite.fields import check_ranges, configurable
from suite.training.batches import BatchPlan
from suite.training.observer import callback_of
from suite.training.timing import StepTimer


@configurable
class Data(LightningDataModule):
    """A dataset of one task: prepared once, opened as a memory map or the like, gathered batch by batch.

    A subclass gives `prepare`, `open`, `gather` and `facts`; the base class turns them into batches whose order is a
    function of the seed alone: the same for every optimizer, every number of devices and every accumulation, and the
    same again after a restart at any step. Like tasks, data are dataclasses.

    Attributes:
        block_samples: a block holds about so many samples, unless ``block_steps`` says otherwise.
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
    """At most so many samples per forward pass on one device; null: all of the device's share at once."""

    budget_epochs: float | None = dataclasses.field(default=None, metadata={"above": 0})
    """Passes over the training data; give at most one budget, none means one epoch."""

    budget_samples: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    """Samples that the run may consume."""

    budget_steps: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    """Optimizer steps (for comparisons at a fixed number of steps)."""

    start_step: int = dataclasses.field(
        default=0, metadata={"at_least": 0, "when_set": "earlier runs, made without it, keep their id"}
    )
    """Steps of the budget that are skipped with their samples, because another run has taken them; see ``initial`` of
    the task."""

    shuffle: bool = True
    """A fresh permutation of the training samples every epoch."""

    order_seed: int | None = dataclasses.field(default=None, metadata={"at_least": 0})
    """Seed of the order of samples; null: the run's seed. If it is set, runs of several seeds see the same batches and
    differ in their initial weights alone."""

    eval_every_steps: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    """Optimizer steps between evaluations; null: only at the end."""

    eval_samples: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    """At most so many samples per evaluation; null: the whole validation split."""

    block_steps: int | None = dataclasses.field(
        default=None, metadata={"at_least": 1, "beside": "optimizer steps per Lightning call; the steps are the same"}
    )
    """Optimizer steps per Lightning call; null: chosen from the batch size."""

    num_workers: int | None = dataclasses.field(
        default=None,
        metadata={"at_least": 1, "beside": "processes that prepare or load the data; the batches are the same"},
    )
    """Processes that prepare the data, or threads that decode it; null: one per core."""

    def __post_init__(self) -> None:
        super().__init__()
        check_ranges(type(self), vars(self), name="data")
        self.block_samples = 4096
        self.seed = 0
        self.train_samples = 0
        self.val_samples = 0
        self.shards: tuple[int, ...] | None = None
        self.shard_window = 1
        self._is_open = False

    @property
    def prepared_root(self) -> Path:
        """The folder that prepared data lie in."""
        return Path(self.data_dir)

    # What a dataset gives.

    def prepare(self) -> str:
        """Make the prepared data if it is not there yet; safe to call again, from several processes, after a kill.

        Returns:
            The fingerprint: a checksum of the prepared content, hexadecimal.
        """
        raise NotImplementedError

    def open(self) -> None:
        """Open the prepared data and set ``train_samples`` and ``val_samples``.

        Data in shards that are too large for random access sets ``shards`` and ``shard_window`` as well, see
        `suite.training.batches.BatchPlan`.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Sizes that the network must know (vocabulary, classes, ...), known after `open`."""
        raise NotImplementedError

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
        """Training micro-batches of the optimizer steps ``first`` to ``end - 1``, in order.

        A dataset whose samples look different at every step (random crops, MixUp) overrides this; what it draws must
        be a function of the seed, the step and the position in the global batch.

        Args:
            plan: of this run on this device.
            first: 0-based step of the plan.
            end: step after the last.
        """
        return self.gather_many("train", np.concatenate([plan.indices(step) for step in range(first, end)]))

    def class_counts(self) -> np.ndarray:
        """How often each class (token, label) is a target in the training split, int64 ``[classes]``.

        Raises:
            ValueError: the data have no classes.
        """
        raise ValueError(
            f"The diagnostic frequency needs data with classes, got {type(self).__name__}; leave it out of "
            "model.diagnostics."
        )

    def budget_as_samples(self) -> float | None:
        """Budget in samples, where a dataset has a unit of its own (tokens); None: not given."""
        return self.budget_samples

    def budgets(self) -> dict[str, float | None]:
        """Every way in which the budget can be given, by the name of its setting."""
        return {
            "budget_epochs": self.budget_epochs,
            "budget_samples": self.budget_samples,
            "budget_steps": self.budget_steps,
        }

    # What the suite does with it.

    @property
    def workers(self) -> int:
        """Workers that ``num_workers`` means: one per core that this process may use, if it is not set."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, self.num_workers or cores)

    def ensure_open(self) -> str:
        """Prepare and open the data once; returns the fingerprint."""
        if not self._is_open:
            self.fingerprint = self.prepare()
            self.open()
            self._is_open = True
        return self.fingerprint

    def seed_of_order(self, seed: int) -> int:
        """The seed that decides the order of samples in a run of seed ``seed``."""
        return seed if self.order_seed is None else self.order_seed

    @property
    def steps(self) -> int:
        """Optimizer steps of the run: those of the budget, minus those that another run has taken."""
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

    def plan(self, *, world_size: int = 1, rank: int = 0) -> BatchPlan:
        """The batch plan of this run on one of ``world_size`` devices.

        Raises:
            ValueError: the batch cannot be cut so.
        """
        share = self.batch_size // world_size
        return BatchPlan(
            samples=self.train_samples,
            batch_size=self.batch_size,
            steps=self.start_step + self.steps,
            seed=self.seed,
            shuffle=self.shuffle,
            world_size=world_size,
            micro_batch=min(self.micro_batch or share, share),
            rank=rank,
            shards=self.shards,
            shard_window=self.shard_window,
        )

    def require_evaluation(self, world_size: int) -> None:
        """Refuse a validation split that is too small for every device to get a sample.

        Raises:
            ValueError: it has fewer samples than there are devices.
        """
        evaluated = min(self.val_samples, self.eval_samples or self.val_samples)
        if evaluated < world_size:
            raise ValueError(
                f"Every device must evaluate a sample at least, got {evaluated} samples of the validation split for "
                f"{world_size} devices; give more data, raise data.eval_samples or lower trainer.devices."
            )

    @property
    def same_shapes(self) -> bool:
        """Whether training batches are to come in one shape, or very few, as compiled graphs need them.

        Batches of varying size are then padded with samples that do not count.
        """
        return bool(self._asked("same_shapes", False))

    def _asked(self, name: str, otherwise: Any) -> Any:
        """An attribute of the module that is trained on these data; ``otherwise`` if it has none."""
        return otherwise if self.trainer is None else getattr(self.trainer.lightning_module, name, otherwise)

    @property
    def steps_per_block(self) -> int:
        """Optimizer steps that one Lightning call executes (fewer at the end and before an evaluation or a stop)."""
        timer = None if self.trainer is None else callback_of(self.trainer, StepTimer)
        if timer is not None:
            return timer.block_steps
        steps = self.block_steps or max(1, min(self.max_block_steps, self.block_samples // self.batch_size))
        return min(steps, self.eval_every_steps or steps)

    def blocks(self, plan: BatchPlan, first_step: int) -> Iterator[list[list[Any]]]:
        """Blocks from ``first_step`` of the run to its end: a block is a list of steps, a step a list of micro-batches.

        No block reaches over a step after which weights are kept.
        """
        step, last, stops = first_step, plan.steps - self.start_step, self._asked("kept_steps", ())
        while step < last:
            end = min([step + self.steps_per_block, last, *(stop for stop in stops if stop > step)])
            if self.eval_every_steps:
                end = min(end, (step // self.eval_every_steps + 1) * self.eval_every_steps)
            batches = self.gather_steps(plan, self.start_step + step, self.start_step + end)
            yield [batches[i : i + plan.accumulation] for i in range(0, len(batches), plan.accumulation)]
            step = end

    def setup(self, stage: str) -> None:
        """Open the data in this process (Lightning calls this on every rank)."""
        self.ensure_open()

    def train_dataloader(self) -> DataLoader:
        """Blocks of steps, from the step that the trainer is at (so a resumed run sees exactly what was left)."""
        trainer = self.trainer
        assert trainer is not None
        plan = self.plan(world_size=trainer.world_size, rank=trainer.global_rank)
        return DataLoader(_Iterable(lambda: self.blocks(plan, trainer.global_step)), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """Batches of the validation split, this rank's share of them, in stored order."""
        trainer = self.trainer
        assert trainer is not None
        samples = min(self.val_samples, self.eval_samples or self.val_samples)
        size = self.micro_batch or max(1, self.batch_size // trainer.world_size)
        size = min(samples, max(size, min(64, self.batch_size * 8)))
        numbers = np.arange(trainer.global_rank, samples, trainer.world_size, dtype=np.int64)
        chunks = [numbers[i : i + size] for i in range(0, len(numbers), size)]
        return DataLoader(chunks, batch_size=None, collate_fn=functools.partial(self.gather, "val"))  # type: ignore[arg-type]

    test_dataloader = predict_dataloader = val_dataloader  # none of the papers keeps a third split


class _Iterable(IterableDataset):
    """An iterable that is made anew by every ``iter``."""

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        return self._make()
