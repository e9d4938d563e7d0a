"""Trains one run and writes its record to the store."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import platform
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from suite.optim.parsing import describe
from suite.records import SETTLED, LeaseHeld, Store, final_losses
from suite.records.provenance import code_version, package_versions
from suite.training.blocks import Pace
from suite.training.checkpoint import Checkpoint
from suite.training.checkpoint_file import CheckpointFile, resumable
from suite.training.curves import Curves
from suite.training.data import Data
from suite.training.memory import OutOfMemory, is_shortage
from suite.training.numerics import settle_numerics, uses_tf32
from suite.training.observer import Observer
from suite.training.opening import OpenRun, name_changed_code
from suite.training.stopping import STOP, Interrupted, is_paused
from suite.training.strategies import refuse_other_strategies
from suite.training.task import Task
from suite.training.throughput import throughput
from suite.training.weights import KeepWeights


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a call to train a run.

    Attributes:
        record: the run's record.
        trained: whether the call trained the run; False if it already had a result.
        ended_early: where a run that has not come to its end goes on from, the end of a sentence; else empty.
    """

    record: dict[str, Any]
    trained: bool
    ended_early: str = ""


@dataclasses.dataclass(frozen=True)
class Ending:
    """The start, duration and end of a training.

    Attributes:
        started: time of the start, ISO 8601.
        seconds: wall time of the run; in a pack, its share of the pack's time.
        error: the error that ended the training early; None if there was none.
    """

    started: str
    seconds: float
    error: BaseException | None = None


def run(
    opened: OpenRun,
    trainer: Trainer,
    store: Store,
    *,
    observe: Callable[[Task, Data], Observer | None] | None = None,
    rerun: bool = False,
    keep_checkpoint: bool = False,
    checkpoint_seconds: float | None = None,
) -> Outcome:
    """Train one run, from its checkpoint if it was interrupted, and write its record.

    Args:
        opened: the run, see `open_run`.
        trainer: a trainer; its limits on steps and evaluation are set here, from the budget.
        store: the store for the record.
        observe: makes the observer of the run's steps, such as `suite.diagnostics.recorder.recorder_of`.
        rerun: train the run again even if it has a result; a run again that was interrupted goes on.
        keep_checkpoint: save the final weights beside the record.
        checkpoint_seconds: least wall time between checkpoints; None: see `Checkpoint`.

    Returns:
        The outcome; a run that diverged has one too, and one that the trainer ended early (time limit, callback).

    Raises:
        Interrupted: SIGINT, SIGTERM or SIGHUP ended the training after a step; the message says where it goes on from.
        OutOfMemory: there is not enough memory for a step.
        ValueError: the configuration is impossible.
        LeaseHeld: another process is training this run.
        StoreError: the record cannot be written, or the weights that the run starts from are not in the store.
    """
    refuse_other_strategies(trainer)
    task, run_id = opened.task, opened.run_id
    if not rerun and store.settled(run_id, task.kept_steps):
        return Outcome(store.record(run_id) or {}, trained=False)
    name_changed_code(opened, store)
    if task.start is not None:
        task.start.read(store)
    task.build_network(opened.data.facts())
    checkpoint = Checkpoint(store.run_folder(run_id) / "checkpoint.ckpt", checkpoint_seconds)
    lease = store.lease(run_id) if trainer.is_global_zero else contextlib.nullcontext()
    with STOP.by_signals(), lease as held:
        if not rerun and store.settled(run_id, task.kept_steps):  # another process has trained it meanwhile
            return Outcome(store.record(run_id) or {}, trained=False)
        observer = None if observe is None else observe(task, opened.data)
        curves, ending = _attempt(opened, trainer, store, observer, checkpoint)
        record = describe_run(opened, trainer, curves, ending) | _kept_weights(opened, store)
        if trainer.is_global_zero:
            diagnosed = None if observer is None else observer.diagnosed(curves.grad_norms, curves.diverged_at)
            try:
                store.write_record(record, curves.table(task.clipping), held, diagnosed)
            except LeaseHeld as lost:
                return _finished_by_another(opened, store, lost)
            if record["status"] in SETTLED:
                checkpoint.path.unlink(missing_ok=True)
        if keep_checkpoint and record["status"] == "finished":
            trainer.save_checkpoint(checkpoint.path.with_name("final.ckpt"))
    early = where_it_goes_on(checkpoint, record) if trainer.is_global_zero else ""  # the others end with this process
    raise_what_ended(ending.error, early)
    return Outcome((record["status"] in SETTLED and store.record(run_id)) or record, trained=True, ended_early=early)


def _kept_weights(opened: OpenRun, store: Store) -> dict[str, Any]:
    kept = opened.task.kept_steps
    return {"weights": store.sums_of_weights(opened.run_id, kept)} if kept else {}


def where_it_goes_on(checkpoint: Checkpoint, record: Mapping[str, Any]) -> str:
    """The end of a sentence about a training that ended early; empty for one that did not."""
    if record["status"] != "interrupted":
        return ""
    begun = f"after {record['steps_done']} of {record['steps']} steps"
    if checkpoint.saved_at is None:
        return f"{begun}, before there was a checkpoint; the same command begins anew."
    of_step = "" if checkpoint.saved_at == record["steps_done"] else f" of step {checkpoint.saved_at}"
    return f"{begun}; the same command goes on from the checkpoint{of_step}, {checkpoint.path}."


def raise_what_ended(error: BaseException | None, early: str) -> None:
    """Raise what ended a training, if something did and the record is written.

    Args:
        error: what came out of the training.
        early: where it goes on from; empty where it came to its end.

    Raises:
        Interrupted: a signal had asked for the end.
    """
    number = STOP.number
    if early and number is not None and not isinstance(error, Exception):
        STOP.number = None
        raise Interrupted(f"Ended by {signal.Signals(number).name} {early}", number) from error
    if error is not None:
        raise error


def _finished_by_another(opened: OpenRun, store: Store, lost: LeaseHeld) -> Outcome:
    """The outcome of a run that another process took over and finished while this one was suspended.

    Raises:
        LeaseHeld: ``lost``, where the other process has not finished it.
    """
    if not store.settled(opened.run_id, opened.task.kept_steps):
        raise lost
    return Outcome(store.record(opened.run_id) or {}, trained=False)


def _attempt(
    opened: OpenRun,
    trainer: Trainer,
    store: Store,
    observer: Observer | None,
    checkpoint: Checkpoint,
) -> tuple[Curves, Ending]:
    """Train until the end or an error; errors of the configuration are raised, because no run has started."""
    started, clock = now(), time.perf_counter()
    curves = Curves(opened.data.eval_every_steps)
    callbacks: list[Callback] = [curves, KeepWeights(store, opened.run_id, opened.task.kept_steps)]
    callbacks += [] if observer is None else [observer]
    ended_by: BaseException | None = None
    try:
        train(opened.task, opened.data, trainer, callbacks, checkpoint)
    except (ValueError, MisconfigurationException):
        raise
    except BaseException as error:
        ended_by = error
    return curves, Ending(started, time.perf_counter() - clock, ended_by)


def describe_run(opened: OpenRun, trainer: Trainer, curves: Curves, ending: Ending) -> dict[str, Any]:
    """The record of a run that has finished, diverged, failed or was interrupted."""
    task, data, error = opened.task, opened.data, ending.error
    assert task.optimizer_config is not None
    status = _status(data, trainer, curves, error)
    samples, seconds = len(curves.losses) * data.batch_size, curves.seconds["train"]
    speed = throughput(task, data, trainer, samples=samples, seconds=seconds)
    finished = status == "finished"
    return {
        "run_id": opened.run_id,
        "status": status,
        "task": task.pair_name,
        "optimizer": describe(task.optimizer_config),
        "batch_size": data.batch_size,
        "seed": task.seed,
        "steps": data.steps,
        "steps_done": len(curves.losses),
        "diverged_at": curves.diverged_at,
        "final": final_losses(curves.losses, curves.last_metrics().get("val/loss")) if finished else {},
        "metrics": curves.last_metrics(),
        "config": opened.config,
        "identity": opened.identity,
        "data": {
            "name": task.pair_name.partition("/")[0],
            "fingerprint": data.fingerprint,
            "samples": data.train_samples,
        },
        "facts": data.facts(),
        "parameters": sum(p.numel() for p in task.parameters() if p.requires_grad),
        "code": code_version(),
        "packages": package_versions(),
        "device": _device(trainer),
        "host": socket.gethostname(),
        "started": ending.started,
        "ended": now(),
        "seconds": {**curves.seconds, "total": ending.seconds},
        "throughput": None if speed is None else dataclasses.asdict(speed),
        "error": None if error is None else f"{type(error).__name__}: {error}",
    }


def train(
    module: LightningModule,
    data: Data,
    trainer: Trainer,
    callbacks: Sequence[Callback],
    checkpoint: Checkpoint,
) -> None:
    """Train for the data's number of steps, from ``checkpoint`` if the run can resume from it.

    The trainer's own callbacks come after ``callbacks``, so that they find the block's values, and before the
    checkpoint, which has their states and finds out whether they stopped the training.

    Raises:
        OutOfMemory: there is not enough memory for a step.
    """
    settle_numerics()
    # A whole run is one Lightning epoch; the epochs of the data are part of the batch plan.
    loop = trainer.fit_loop
    loop.epoch_loop.max_steps = data.steps
    loop.max_epochs = -1
    trainer.check_val_every_n_epoch = None
    trainer.callbacks = [*callbacks, *trainer.callbacks, checkpoint, Pace()]  # type: ignore[attr-defined]
    trainer.strategy.checkpoint_io = CheckpointFile()
    resume = resumable(checkpoint.path, module)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=None if resume is None else True)
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        raise _shortage(module, data, trainer) from error


def _shortage(module: LightningModule, data: Data, trainer: Trainer) -> OutOfMemory:
    """What to say, and which micro-batch to try next: what other devices would have to be told stays as it is."""
    share = data.batch_size // trainer.world_size
    micro_batch = data.plan(world_size=trainer.world_size).indices(0).shape[1]
    fewer = (size for size in range(micro_batch // 2, 0, -1) if share % size == 0)
    is_free = trainer.world_size == 1 and not any(task.batch_coupled for task in getattr(module, "tasks", (module,)))
    smaller = next(fewer, None) if is_free else None
    packed = not isinstance(module, Task)
    return OutOfMemory(trainer.strategy.root_device, micro_batch=micro_batch, packed=packed, smaller=smaller)


def _status(data: Data, trainer: Trainer, curves: Curves, error: BaseException | None) -> str:
    if error is not None:
        return "failed" if isinstance(error, Exception) else "interrupted"
    if curves.diverged_at is not None:
        return "diverged"
    return "finished" if trainer.global_step >= data.steps and not is_paused(trainer) else "interrupted"


def _device(trainer: Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    label = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    of_gpu: dict[str, Any] = {}
    if device.type == "cuda":
        of_gpu = {"tf32": uses_tf32(), "repeated_steps": getattr(trainer.lightning_module, "repeated_steps", 0)}
    threads = torch.get_num_threads()
    return {"kind": device.type, "name": label, "count": trainer.world_size, "threads": threads, **of_gpu}


def now() -> str:
    """The present time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
