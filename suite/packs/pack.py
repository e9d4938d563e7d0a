"""A pack: runs that differ only in numbers that broadcast, trained at once in one process on one shared batch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import operator
import time
from collections.abc import Callable, Sequence
from typing import Literal

from lightning.pytorch import Trainer

from suite.optim.kernels import has_compiler
from suite.packs.curves import PackCurves
from suite.packs.packed_task import PackedTask, PackRefused, StepKind
from suite.records import SETTLED, LeaseHeld, Store
from suite.training.checkpoint import Checkpoint
from suite.training.data import Data
from suite.training.observer import Observer
from suite.training.opening import OpenRun
from suite.training.run import Ending, Outcome, describe_run, now, raise_what_ended, train, where_it_goes_on
from suite.training.stopping import STOP
from suite.training.weights import StartingPoint

__all__ = ["PackRefused", "run_pack"]

PRECISIONS = ("32-true", "bf16-mixed")
"""The precisions of packs; 16-mixed is missing, because its loss scaling would differ between runs."""

RECORD_FROM = 200
"""Number of steps from which a recorded step saves more time than its recording takes."""


def run_pack(
    runs: Sequence[OpenRun],
    trainer: Trainer,
    store: Store,
    *,
    observe: Callable[[PackedTask, Data], Observer | None] | None = None,
    steps: StepKind | Literal["auto"] = "auto",
    checkpoint_seconds: float | None = None,
) -> list[Outcome]:
    """Train several runs at once, and write the record of each as `suite.training.run.run` does.

    Args:
        runs: the runs, which share one data object.
        trainer: a trainer on one device.
        store: the store for the records.
        observe: makes the observer of the runs' steps, such as `suite.diagnostics.pack_recorder.pack_recorder_of`.
        steps: how a step is executed, see `PackedTask`; ``auto``: recorded if the runs have at least `RECORD_FROM`
            steps, otherwise plain. Without a compiler, ``compiled`` means ``auto``.
        checkpoint_seconds: least wall time between checkpoints; None: see `suite.training.checkpoint.Checkpoint`.

    Returns:
        One outcome per run, in order; runs that have a result are not trained again.

    Raises:
        PackRefused: the runs cannot be trained at once.
        LeaseHeld: another process is training one of them.
        StoreError: the store cannot be written, or lacks the weights that a run starts from.
        Interrupted: a signal ended the training; the message says where it goes on from.
        OutOfMemory: there is not enough memory for a step.
    """
    _refuse_what_runs_alone(runs, trainer)
    data = runs[0].data
    todo = [run for run in runs if not store.settled(run.run_id)]
    if todo:
        _read_starts(todo, store)
        tasks, signature = [run.task for run in todo], _signature(todo[0], trainer)
        orders = [data.seed_of_order(task.seed) for task in tasks]
        kind = _step_kind(data, trainer, steps)
        packed = PackedTask(tasks, data.facts(), signature=signature, order_seeds=orders, step=kind)
        observer = None if observe is None else observe(packed, data)
        if observer is not None and len(packed.order_seeds) > 1:
            raise PackRefused("Diagnostics of runs trained at once look at batches that the runs share.")
        _train_pack(packed, todo, trainer, store, observer, checkpoint_seconds)
    trained = {run.run_id for run in todo}
    return [Outcome(store.record(run.run_id) or {}, trained=run.run_id in trained) for run in runs]


def worth_recording(data: Data) -> bool:
    """Whether runs have enough steps for recording to save time."""
    return data.steps >= RECORD_FROM


def _refuse_what_runs_alone(runs: Sequence[OpenRun], trainer: Trainer) -> None:
    data = runs[0].data
    assert all(run.data is data for run in runs)
    if trainer.world_size > 1:
        raise PackRefused("A pack is trained on one device.")
    if trainer.precision not in PRECISIONS:
        raise PackRefused(f"A pack is trained in {' or '.join(PRECISIONS)}, not in {trainer.precision}.")
    if any(run.task.kept_steps for run in runs):
        raise PackRefused("A run that keeps weights on its way is trained by itself.")


def _step_kind(data: Data, trainer: Trainer, steps: StepKind | Literal["auto"]) -> StepKind:
    """How steps are executed; see `run_pack`."""
    if steps == "auto" or (steps == "compiled" and not has_compiler(trainer.strategy.root_device.type)):
        return "recorded" if worth_recording(data) else "plain"
    return steps


def _read_starts(runs: Sequence[OpenRun], store: Store) -> None:
    """Read the weights that runs start from, each file once."""
    read: dict[StartingPoint, StartingPoint] = {}
    for task in (run.task for run in runs):
        if task.start is not None:
            if task.start not in read:
                task.start.read(store)
            task.start = read.setdefault(task.start, task.start)


def _signature(run: OpenRun, trainer: Trainer) -> str:
    """Everything beside the optimizer on which the arithmetic of a step depends, as text."""
    model = {key: value for key, value in run.config["model"]["init_args"].items() if key != "optimizer"}
    parts = {"name": run.task.pair_name, "model": model, "facts": run.data.facts(), "precision": trainer.precision}
    return json.dumps(parts, sort_keys=True, default=repr)


def _train_pack(
    packed: PackedTask,
    runs: Sequence[OpenRun],
    trainer: Trainer,
    store: Store,
    observer: Observer | None,
    checkpoint_seconds: float | None,
) -> None:
    """Train runs that have no result yet, and write their records."""
    data = runs[0].data
    digest = hashlib.sha256(" ".join(run.run_id for run in runs).encode()).hexdigest()[:16]
    checkpoint = Checkpoint(store.pack_checkpoint(digest), checkpoint_seconds)
    curves = PackCurves(packed.peaks, data.eval_every_steps)
    started, clock = now(), time.perf_counter()
    with STOP.by_signals(), contextlib.ExitStack() as held:
        leases = [held.enter_context(store.lease(run.run_id)) for run in runs]
        if any(store.settled(run.run_id) for run in runs):
            raise LeaseHeld("Another process has trained a run of this pack meanwhile.")
        train(packed, data, trainer, [curves, *([] if observer is None else [observer])], checkpoint)
        ending = Ending(started, (time.perf_counter() - clock) / len(runs))
        records, taken_over = [], None
        for number, (run, of_run) in enumerate(zip(runs, curves.runs, strict=True)):
            record = describe_run(run, trainer, of_run, ending)
            record["parameters"] = packed.layout.size
            record["pack"] = {"runs": len(runs), "compiled": packed.compiles}
            diagnosed = None if observer is None else observer.diagnosed(of_run.grad_norms, of_run.diverged_at, number)
            try:
                store.write_record(record, of_run.table(run.task.clipping), leases[number], diagnosed)
            except LeaseHeld as held_by_another:
                taken_over = held_by_another
            records.append(record)
        if taken_over is not None:
            # This process was suspended, others have taken runs over; those that they have finished are done.
            if not all(store.settled(run.run_id) for run in runs):
                raise taken_over
            return
        if all(record["status"] in SETTLED for record in records):
            checkpoint.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # the folder may hold a checkpoint that was set aside
                checkpoint.path.parent.rmdir()
            return
    longest = max((r for r in records if r["status"] not in SETTLED), key=operator.itemgetter("steps_done"))
    raise_what_ended(None, where_it_goes_on(checkpoint, longest))
