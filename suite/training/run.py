"""One run: from a resolved configuration to a record in the store."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from suite.optim.registry import describe
from suite.records import SETTLED, Diagnosed, Store, final_losses, run_id_of
from suite.records.provenance import code_version, host_name, package_versions
from suite.training.checkpoint import Checkpoint
from suite.training.checkpoint_file import CheckpointFile, resumable
from suite.training.curves import Curves
from suite.training.data import Data
from suite.training.progress import StepProgress
from suite.training.task import Task
from suite.training.weights import KeepWeights

if TYPE_CHECKING:
    from suite.diagnostics.recorder import Findings, Recorder

CHECKPOINT_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        record: the run's record.
        trained: False when the record was already there.
    """

    record: dict[str, Any]
    trained: bool


def run_identity(
    config: Mapping[str, Any], data: Data, *, coupled: bool, world_size: int = 1
) -> tuple[str, dict[str, Any]]:
    """Run id and identity of a resolved configuration, for opened data.

    Args:
        config: the resolved configuration.
        data: made from it, open.
        coupled: whether samples of a micro-batch influence each other's gradient; its size is then science.
        world_size: devices that share each batch.

    Raises:
        ValueError: the batch size or budget is impossible for the data and devices.
    """
    data.require_evaluation(world_size)
    plan = data.plan(world_size=world_size)
    micro_batch = plan.indices(0).shape[1] if coupled else None
    return run_id_of(config, data_fingerprint=data.fingerprint, micro_batch=micro_batch)


def run(
    task: Task,
    data: Data,
    trainer: Trainer,
    *,
    name: str,
    config: Mapping[str, Any],
    store: Store,
    rerun: bool = False,
    keep_checkpoint: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Outcome:
    """Train one run and record it, going on from its checkpoint if it was interrupted.

    Args:
        task: the task, its network not built yet.
        data: its data.
        trainer: a trainer; its limits on steps and evaluation are set here, from the budget.
        name: the task's name, ``<dataset>/<architecture>``.
        config: the resolved configuration that all three were made from.
        store: where the record goes.
        rerun: train again even if there is a record.
        keep_checkpoint: leave the final weights beside the record.
        checkpoint_seconds: least wall time between checkpoints.

    Returns:
        The outcome; divergence is one, not an error.

    Raises:
        ValueError: the configuration is impossible.
        LeaseHeld: another process is training this run.
        StoreError: the record cannot be written.
    """
    if task.optimizer_config is None:
        raise ValueError("fit needs an optimizer; give --optimizer NAME and --optimizer.lr VALUE.")
    data.ensure_open()
    task.seed = int(config.get("seed_everything") or 0)
    data.seed = data.seed_of_order(task.seed)
    run_id, identity = run_identity(config, data, coupled=task.batch_coupled, world_size=trainer.world_size)
    data.stops = task.keep_weights_at
    if any(not 0 < step <= data.steps for step in data.stops):
        raise ValueError(
            f"model.keep_weights_at must name steps from 1 to {data.steps}, the run's last, got {list(data.stops)}."
        )
    if not rerun and store.settled(run_id, data.stops):
        return Outcome(store.record(run_id) or {}, trained=False)
    if task.start is not None:
        task.start.read(store)
    task.build_network(data.facts())
    lease = store.lease(run_id) if trainer.is_global_zero else contextlib.nullcontext()
    with lease as held:
        if not rerun and store.settled(run_id, data.stops):  # by another process, between the first look and the lease
            return Outcome(store.record(run_id) or {}, trained=False)
        folder = store.run_folder(run_id)
        checkpoint = folder / "checkpoint.ckpt"
        if rerun and trainer.is_global_zero:
            checkpoint.unlink(missing_ok=True)
        curves = Curves(data.eval_every_steps)
        recorder = _recorder(task, data)
        started, clock = now(), time.perf_counter()
        callbacks: list[Callback] = [curves, StepProgress(curves), KeepWeights(store, run_id, data.stops)]
        callbacks += [] if recorder is None else [recorder]
        error = _try(task, data, trainer, callbacks, checkpoint, checkpoint_seconds)
        record = describe_run(
            task, data, trainer, curves, name=name, config=config, run_id=run_id, identity=identity,
            started=started, seconds=time.perf_counter() - clock, error=error,
        )  # fmt: skip
        if data.stops:
            record["weights"] = store.sums_of_weights(run_id, data.stops)
        if trainer.is_global_zero:
            store.write_record(
                record,
                curves.table(task.clipping),
                held,
                found_in(None if recorder is None else recorder.findings, curves),
            )
            if record["status"] in SETTLED:
                checkpoint.unlink(missing_ok=True)
        if keep_checkpoint and record["status"] == "finished":
            trainer.save_checkpoint(folder / "final.ckpt")
    if error is not None:
        raise error
    return Outcome(store.record(run_id) or record, trained=True)


def _recorder(task: Task, data: Data) -> Recorder | None:
    """What watches the run for the diagnostics that its task asks for; None where it asks for none."""
    if not task.diagnostics:
        return None
    from suite.diagnostics.recorder import Recorder

    task.observer = recorder = Recorder(task, data)
    return recorder


def _try(
    task: Task, data: Data, trainer: Trainer, callbacks: list[Callback], checkpoint: Path, checkpoint_seconds: float
) -> BaseException | None:
    """Train, and return what ended it early; an impossible configuration is raised, because no run came of it."""
    try:
        train(task, data, trainer, callbacks, checkpoint, checkpoint_seconds)
    except (ValueError, MisconfigurationException):
        raise
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return error
    return None


def found_in(findings: Findings | None, curves: Curves) -> Diagnosed | None:
    """What diagnostics found in a run, for its record; None where there were none."""
    if findings is None:
        return None
    table = findings.table(curves.grad_norms, curves.diverged_at)
    return Diagnosed(table, sorted(findings.diagnostics), findings.seconds)


def describe_run(
    task: Task,
    data: Data,
    trainer: Trainer,
    curves: Curves,
    *,
    name: str,
    config: Mapping[str, Any],
    run_id: str,
    identity: Mapping[str, Any],
    started: str,
    seconds: float,
    error: BaseException | None,
) -> dict[str, Any]:
    """The record of a run that has ended, however it ended; see `run` for the arguments."""
    assert task.optimizer_config is not None
    status = _status(trainer, curves, error)
    finished = status == "finished"
    return {
        "run_id": run_id,
        "status": status,
        "task": name,
        "optimizer": describe(task.optimizer_config),
        "batch_size": data.batch_size,
        "seed": task.seed,
        "steps": data.steps,
        "steps_done": len(curves.losses),
        "diverged_at": curves.diverged_at,
        "final": final_losses(curves.losses, curves.last_metrics().get("val/loss")) if finished else {},
        "metrics": curves.last_metrics(),
        "config": config,
        "identity": identity,
        "data": {"name": name.partition("/")[0], "fingerprint": data.fingerprint, "samples": data.train_samples},
        "facts": data.facts(),
        "parameters": sum(p.numel() for p in task.parameters() if p.requires_grad),
        "code": code_version(),
        "packages": package_versions(),
        "device": _device(trainer),
        "host": host_name(),
        "started": started,
        "ended": now(),
        "seconds": {**curves.seconds, "total": seconds},
        "error": None if error is None else f"{type(error).__name__}: {error}",
    }


def train(
    module: LightningModule,
    data: Data,
    trainer: Trainer,
    callbacks: list[Callback],
    checkpoint: Path,
    every_seconds: float,
) -> None:
    """Fit for the data's number of steps, going on from ``checkpoint`` if it is there."""
    # Whole runs are one Lightning epoch: the batch plan knows the data's epochs, the budget the number of steps.
    loop = trainer.fit_loop
    loop.epoch_loop.max_steps = data.steps
    loop.max_epochs = -1
    trainer.check_val_every_n_epoch = None
    trainer.callbacks.extend(  # type: ignore[attr-defined]
        [*callbacks, Checkpoint(checkpoint, every_seconds)]
    )
    trainer.strategy.checkpoint_io = CheckpointFile()
    resume = resumable(checkpoint, module)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=None if resume is None else True)


def _status(trainer: Trainer, curves: Curves, error: BaseException | None) -> str:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "interrupted"
    if error is not None:
        return "failed"
    if curves.diverged_at is not None:
        return "diverged"
    return "finished" if trainer.global_step >= trainer.max_steps and not trainer.interrupted else "interrupted"


def _device(trainer: Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    label = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"kind": device.type, "name": label, "count": trainer.world_size, "threads": torch.get_num_threads()}


def now() -> str:
    """The time, ISO 8601 in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
