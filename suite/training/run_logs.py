"""Logs of runs for other programs to show while they are trained: CSV, TensorBoard, Weights & Biases; one per run.

They lie in the store's ``logs/KIND`` and hold what the record's curves hold, by optimizer step (0-based): train loss,
learning rate, gradient norm, and every evaluation. The record stays the result; a log is thinned to `MOST_POINTS`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import operator
import os
import re
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch import LightningModule, Trainer

from suite.fields import ConfigError, flattened, nearest
from suite.optim.parsing import describe
from suite.records import Store
from suite.records.files import make_folder, write_text_atomically
from suite.training.blocks import BlockCallback
from suite.training.curves import Curves, CurvesOfRuns
from suite.training.observer import callback_of
from suite.training.opening import OpenRun

MOST_POINTS = 1000
"""Steps of a run that are logged, evenly spread, beside those with an evaluation and the last."""

FLUSH_SECONDS = 5.0
"""Least wall time between two writings of a CSV."""

_log = logging.getLogger(__name__)


class RunLog(Protocol):
    """Where the values of one run go."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log values as of an optimizer step."""

    def close(self) -> None:
        """Write what is left."""


class CSVLog:
    """``metrics.csv``: a row per logged step, a column per quantity, and ``settings.csv``.

    Args:
        folder: where the files go.
        settings: of the run.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._path = folder / "metrics.csv"
        self._rows: list[dict[str, float]] = []
        self._written = time.monotonic()
        write_text_atomically(folder / "settings.csv", _csv(["setting", "value"], settings.items()))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row; the file is replaced now and then."""
        self._rows.append({"step": step, **values})
        if time.monotonic() - self._written > FLUSH_SECONDS:
            self._flush()

    def close(self) -> None:
        """Write all rows."""
        self._flush()

    def _flush(self) -> None:
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        write_text_atomically(self._path, _csv(names, ([row.get(name, "") for name in names] for row in self._rows)))
        self._written = time.monotonic()


class TensorBoardLog:
    """Events for TensorBoard, with the run's settings as its hyperparameters.

    Args:
        folder: where the file goes; events of an earlier attempt there are no longer shown.
        settings: of the run.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self._writer = SummaryWriter(str(folder), purge_step=0)
        plain = {name: value if isinstance(value, int | float) else str(value) for name, value in settings.items()}
        assert self._writer.file_writer is not None
        for summary in hparams(plain, {"train/loss": 0, "val/loss": 0}):
            self._writer.file_writer.add_summary(summary)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to every curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WandbLog:
    """A run of Weights & Biases, kept on this machine unless ``WANDB_MODE`` says otherwise.

    Args:
        folder: where the run goes.
        settings: of the run.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "adam-sgd-gap"),
            id=str(settings["run_id"]),
            name=folder.name,
            group=str(settings["task"]).replace("/", "-"),
            config=dict(settings),
            dir=str(folder),
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            reinit="create_new",  # runs of a pack are logged at once
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values; the axis is the optimizer step."""
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """Hand over what is left."""
        self._run.finish()


KINDS: dict[str, tuple[type[CSVLog | TensorBoardLog | WandbLog], str]] = {
    "csv": (CSVLog, ""),
    "tensorboard": (TensorBoardLog, "tensorboard"),
    "wandb": (WandbLog, "wandb"),
}
"""Name -> the log, and the library that it needs."""


def check_kinds(kinds: Collection[str]) -> None:
    """Refuse logs that cannot be written.

    Raises:
        ConfigError: there is no such kind, or its library is not installed.
    """
    import importlib.util

    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"There is no logger {kind!r}{nearest(kind, KINDS)}; change --logger.")
        library = KINDS[kind][1]
        if library and importlib.util.find_spec(library) is None:
            raise ConfigError(f"--logger {kind} needs {library}: pip install 'adam-sgd-gap[loggers]'.")


@dataclasses.dataclass
class _Logged:
    """A run with its logs, and the number of its steps that they have."""

    opened: OpenRun
    curves: Curves
    logs: list[RunLog] = dataclasses.field(default_factory=list)
    steps: int = 0


class RunLogs(BlockCallback):
    """Writes the logs of one run, or of every run of a pack; one of a trainer's own callbacks.

    A log that cannot be written is given up with a warning; the training goes on.

    Args:
        opened: the runs that may be trained.
        kinds: names of `KINDS`.
        store: the store, in whose ``logs`` they are written.
    """

    def __init__(self, opened: Sequence[OpenRun], kinds: Collection[str], store: Store) -> None:
        self._opened = list(opened)
        self._runs: list[_Logged] = []
        self._kinds = list(kinds)
        self._store = store

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the logs; a run that goes on has its earlier steps logged anew."""
        single, several = callback_of(trainer, Curves), callback_of(trainer, CurvesOfRuns)
        curves = several.runs if several is not None else [single] if single is not None else []
        by_task = {id(opened.task): opened for opened in self._opened}
        tasks = getattr(pl_module, "tasks", (pl_module,))
        if trainer.is_global_zero:
            self._runs = [_Logged(by_task[id(task)], of) for task, of in zip(tasks, curves, strict=True)]
        for run in self._runs:
            settings = settings_of(run.opened)
            for kind in self._kinds:
                folder = self._store.path / "logs" / kind / folder_name(run.opened)
                try:
                    make_folder(folder, self._store.path)
                    run.logs.append(KINDS[kind][0](folder, settings))
                except Exception as error:  # each library has its own
                    _give_up(kind, run.opened, error)
        self._lap()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the block, unless it is evaluated first."""
        if trainer.val_check_batch != 1:
            self._write()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the block and its evaluation."""
        if trainer.state.fn == "fit":
            self._write()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the logs."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the logs."""
        self._close()

    def _write(self) -> None:
        for run in self._runs:
            curves, steps = run.curves, len(run.curves.losses)
            planned = run.opened.data.steps
            every = max(1, planned // MOST_POINTS)
            for step in range(run.steps, steps) if run.logs else ():
                evaluated = {name: values[step] for name, values in curves.evaluations.items() if step in values}
                if step % every == 0 or evaluated or step in (planned - 1, curves.diverged_at):
                    self._log(run, operator.methodcaller("write", step, curves.of_step(step) | evaluated))
            run.steps = steps
        self._lap()

    def _close(self) -> None:
        self._write()
        for run in self._runs:
            self._log(run, operator.methodcaller("close"))
            run.logs = []

    def _lap(self) -> None:
        for run in self._runs:
            run.curves.lap("log", share=len(self._runs))

    def _log(self, run: _Logged, change: Any) -> None:
        for log in list(run.logs):
            try:
                change(log)
            except Exception as error:  # a full disk, a service that is gone
                run.logs.remove(log)
                _give_up(type(log).__name__, run.opened, error)


def add_logs(trainer: Trainer, opened: Sequence[OpenRun], kinds: Collection[str], store: Store) -> None:
    """Have a trainer write the logs of its runs, where any are asked for."""
    if kinds:
        trainer.callbacks.append(RunLogs(opened, kinds, store))  # type: ignore[attr-defined]


def settings_of(opened: OpenRun) -> dict[str, Any]:
    """What tells a run from others, flat: its task, optimizer, data, seed and id."""
    task, data, config = opened.task, opened.data, opened.config
    assert task.optimizer_config is not None
    of_parts = {part: dict((config.get(part) or {}).get("init_args") or {}) for part in ("model", "data")}
    of_parts["model"].pop("optimizer", None)
    flat = flattened({**of_parts, "optimizer": describe(task.optimizer_config)})
    named = {"run_id": opened.run_id, "task": task.pair_name, "batch_size": data.batch_size, "seed": task.seed}
    return {**named, "steps": data.steps, **{name: value for name, value in flat.items() if value is not None}}


def folder_name(opened: OpenRun) -> str:
    """A name for people, of letters that any file system takes."""
    optimizer = describe(opened.task.optimizer_config)  # type: ignore[arg-type]
    words = [opened.task.pair_name, optimizer["name"], f"lr{optimizer.get('lr', '')}"]
    words += [f"bs{opened.data.batch_size}", f"seed{opened.task.seed}", opened.run_id[:8]]
    return re.sub(r"[^\w.-]+", "_", "-".join(words))[:120]


def _give_up(what: str, opened: OpenRun, error: Exception) -> None:
    _log.warning("The log %s of run %s is not written any further: %s", what, opened.run_id, error)


def _csv(names: Sequence[str], rows: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()
