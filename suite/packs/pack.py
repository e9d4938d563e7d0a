"""A pack: runs that differ only in numbers that broadcast, trained at once in one process on one shared batch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, Trainer

from suite.optim.kernels import has_compiler
from suite.packs.curves import PackCurves
from suite.packs.packed_task import PackedTask, PackRefused, StepKind
from suite.records import SETTLED, LeaseHeld, Store
from suite.training.data import Data
from suite.training.run import Outcome, describe_run, found_in, now, run_identity, train
from suite.training.task import Task
from suite.training.weights import StartingPoint

if TYPE_CHECKING:
    from suite.diagnostics.pack_recorder import PackRecorder

__all__ = ["PackRefused", "run_pack"]

PRECISIONS = ("32-true", "bf16-mixed")
"""Of packs; loss scaling, which 16-mixed needs, is per run."""

RECORD_FROM = 200
"""Steps from which recording a step saves more than the seconds that it takes."""


def run_pack(
    tasks: Sequence[Task],
    data: Data,
    trainer: Trainer,
    *,
    name: str,
    configs: Sequence[Mapping[str, Any]],
    store: Store,
    checkpoint_seconds: float = 60.0,
    compiled: bool = False,
    recorded: bool | None = None,
) -> list[Outcome]:
    """Train runs at once and record each as a single run is recorded; see `suite.training.run.run`.

    Args:
        tasks: one per run, networks not built.
        data: shared by all.
        trainer: a trainer on one device.
        name: the tasks' name.
        configs: the resolved configuration of each run; they share data and batch size.
        store: where the records go.
        checkpoint_seconds: least wall time between checkpoints.
        compiled: have the whole step be one compiled graph, where there is a compiler and the step can be traced.
        recorded: else have forward and backward executed as recorded once; None: where the runs have `RECORD_FROM`
            steps.

    Returns:
        One outcome per run, in order; runs that have a record are not trained again.

    Raises:
        PackRefused: the runs cannot be trained at once.
        LeaseHeld: another process is training one of them.
    """
    _refuse_what_runs_alone(tasks, trainer)
    data.ensure_open()
    for task, config in zip(tasks, configs, strict=True):
        task.seed = int(config.get("seed_everything") or 0)
        data.seed = data.seed_of_order(task.seed)
        if data.seed != data.seed_of_order(tasks[0].seed):
            raise PackRefused(
                "Runs trained at once see the same batches; give data.order_seed to share them over seeds."
            )
    coupled = tasks[0].batch_coupled
    identities = [run_identity(config, data, coupled=coupled) for config in configs]
    todo = [i for i, (run_id, _) in enumerate(identities) if not store.settled(run_id)]
    if todo:
        _read_starts([tasks[i] for i in todo], store)
        chosen = [configs[i] for i in todo]
        step = _step_kind(data, trainer, compiled=compiled, recorded=recorded)
        data.same_shapes = step == "compiled"
        signature = _signature(name, chosen[0], data, trainer)
        packed = PackedTask([tasks[i] for i in todo], data.facts(), signature=signature, step=step)
        _train_pack(packed, data, trainer, name, chosen, [identities[i] for i in todo], store, checkpoint_seconds)
    return [Outcome(store.record(run_id) or {}, trained=i in todo) for i, (run_id, _) in enumerate(identities)]


def worth_recording(data: Data) -> bool:
    """Whether runs are long enough for recorded steps."""
    return data.steps >= RECORD_FROM


def _refuse_what_runs_alone(tasks: Sequence[Task], trainer: Trainer) -> None:
    if trainer.world_size > 1:
        raise PackRefused("A pack is trained on one device.")
    if trainer.precision not in PRECISIONS:
        raise PackRefused(f"A pack is trained in {' or '.join(PRECISIONS)}, not in {trainer.precision}.")
    if any(task.keep_weights_at for task in tasks):
        raise PackRefused("A run that keeps weights on its way is trained by itself.")
    single = [name for name, diagnostic in tasks[0].diagnostics.items() if not diagnostic.packable]
    if single:
        raise PackRefused(f"The diagnostics {', '.join(single)} are measured of runs trained one by one.")


def _step_kind(data: Data, trainer: Trainer, *, compiled: bool, recorded: bool | None) -> StepKind:
    """How steps are executed; see `run_pack`."""
    if compiled and has_compiler(trainer.strategy.root_device.type):
        return "compiled"
    return "recorded" if (worth_recording(data) if recorded is None else recorded) else "plain"


def _read_starts(tasks: Sequence[Task], store: Store) -> None:
    """Read the weights that tasks start from, each once."""
    read: dict[StartingPoint, StartingPoint] = {}
    for task in tasks:
        if task.start is not None:
            if task.start not in read:
                task.start.read(store)
            task.start = read.setdefault(task.start, task.start)


def _signature(name: str, config: Mapping[str, Any], data: Data, trainer: Trainer) -> str:
    """What decides the arithmetic of a step beside the optimizer."""
    model = {key: value for key, value in config["model"]["init_args"].items() if key != "optimizer"}
    told = {"name": name, "model": model, "facts": data.facts(), "precision": trainer.precision}
    return json.dumps(told, sort_keys=True, default=repr)


def _recorder(packed: PackedTask, data: Data) -> PackRecorder | None:
    """What watches the runs for the diagnostics that they ask for; None where they ask for none."""
    if not any(task.diagnostics for task in packed.tasks):
        return None
    from suite.diagnostics.pack_recorder import PackRecorder

    packed.observer = recorder = PackRecorder(packed, data)
    return recorder


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
    curves = PackCurves(packed.peaks, data.eval_every_steps)
    recorder = _recorder(packed, data)
    started, clock = now(), time.perf_counter()
    with contextlib.ExitStack() as held:
        leases = [held.enter_context(store.lease(run_id)) for run_id, _ in identities]
        if any(store.settled(run_id) for run_id, _ in identities):
            raise LeaseHeld("Another process has trained a run of this pack meanwhile.")
        callbacks: list[Callback] = [curves, *([] if recorder is None else [recorder])]
        train(packed, data, trainer, callbacks, checkpoint, checkpoint_seconds)
        seconds = (time.perf_counter() - clock) / len(identities)
        settled = True
        for i, (task, mine) in enumerate(zip(packed.tasks, curves.runs, strict=True)):
            run_id, identity = identities[i]
            record = describe_run(
                task, data, trainer, mine, name=name, config=configs[i], run_id=run_id, identity=identity,
                started=started, seconds=seconds, error=None,
            )  # fmt: skip
            record["parameters"] = packed.layout.size
            record["pack"] = {"runs": len(identities), "compiled": packed.compiles}
            found = found_in(None if recorder is None else recorder.findings[i], mine)
            store.write_record(record, mine.table(task.clipping), leases[i], found)
            settled &= record["status"] in SETTLED
        if settled:
            checkpoint.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # what is set aside stays
                checkpoint.parent.rmdir()
