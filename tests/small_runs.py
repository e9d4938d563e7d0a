"""A run of the real pair, small enough for a test."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from suite.diagnostics.pack_recorder import pack_recorder_of
from suite.diagnostics.recorder import recorder_of
from suite.packs.pack import run_pack
from suite.records import Store
from suite.training import Data, Outcome, Task, open_run, run
from tasks.fineweb.data import FineWeb
from tasks.fineweb.gpt import FineWebGPT

SGD = {"name": "sgd", "lr": 0.3, "momentum": 0.9}
ADAM = {"name": "adam", "lr": 1e-2, "beta": 0.9}
ARGUMENTS = [
    "--task", "fineweb/gpt", "--data.source", "sample", "--data.tokenizer", "byte", "--data.seq_len", "32",
    "--data.eval_samples", "16", "--model.width", "16", "--model.num_layers", "1", "--model.num_heads", "1",
    "--trainer.accelerator", "cpu", "--trainer.precision", "32-true",
]  # fmt: skip
"""The same run on the command line, but for optimizer, batch size and budget."""


def make_data(data_dir: Path, *, batch_size: int = 4, **settings: Any) -> FineWeb:
    settings = {"budget_steps": 40, "eval_samples": 16, "seq_len": 32, **settings}
    return FineWeb(batch_size=batch_size, source="sample", tokenizer="byte", data_dir=str(data_dir), **settings)


def make_task(optimizer: dict[str, Any] | None = None, **settings: Any) -> FineWebGPT:
    return FineWebGPT(optimizer=optimizer or SGD, num_layers=1, num_heads=1, width=16, **settings)


def make_trainer(**settings: Any) -> Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, **settings}
    return Trainer(enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, **settings)


def run_task(
    task: Task, data: Data, trainer: Trainer, *, config: dict[str, Any], store: Store, **options: Any
) -> Outcome:
    """Open and train a run."""
    opened = open_run(task, data, config, world_size=trainer.world_size)
    return run(opened, trainer, store, observe=recorder_of, **options)


def run_tasks(
    tasks: list[Any], data: Data, trainer: Trainer, *, configs: list[dict[str, Any]], store: Store, **options: Any
) -> list[Outcome]:
    """Open runs on the same data and train them at once."""
    runs = [open_run(task, data, config) for task, config in zip(tasks, configs, strict=True)]
    return run_pack(runs, trainer, store, observe=pack_recorder_of, **options)


def train(
    store: Store,
    data: FineWeb,
    optimizer: dict[str, Any] | None = None,
    *,
    seed: int = 42,
    trainer: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    **settings: Any,
) -> Outcome:
    """Train; the configuration that identifies the run is what was chosen here."""
    config = {
        "seed_everything": seed,
        "model": {"init_args": {"optimizer": optimizer or SGD, **(model or {})}},
        "data": {"init_args": {"batch_size": data.batch_size, "budget_steps": data.budget_steps}},
        "trainer": {"precision": (trainer or {}).get("precision")},
    }
    return run_task(
        make_task(optimizer, **(model or {})),
        data,
        make_trainer(**(trainer or {})),
        config=config,
        store=store,
        **settings,
    )


def losses(store: Store, outcome: Outcome) -> list[float]:
    return store.curves(outcome.record["run_id"])["train_loss"].to_pylist()
