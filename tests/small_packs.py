"""Packs of a few small runs, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from small_runs import make_task, make_trainer, run_tasks

from suite.records import Store

SPECS: dict[str, list[dict[str, Any]]] = {
    "sgd": [{"name": "sgd", "lr": lr, "momentum": m} for lr in (0.1, 0.5) for m in (0.0, 0.9)],
    "damped": [{"name": "sgd", "lr": lr, "momentum": 0.9, "damped": True} for lr in (0.5, 1.0)],
    "adam": [{"name": "adam", "lr": lr, "beta": b} for lr in (1e-3, 1e-2) for b in (0.9, 0.99)],
    "adam eps": [{"name": "adam", "lr": 1e-2, "beta1": 0.9, "beta2": 0.95, "eps": eps} for eps in (1e-8, 1e-2)],
    "signum": [{"name": "signum", "lr": lr, "momentum": 0.9} for lr in (1e-3, 3e-3)],
    "nsgd": [{"name": "nsgd", "lr": lr, "momentum": 0.9} for lr in (0.1, 0.3)],
    "quantile clip": [{"name": "sgd_quantile_clip", "lr": lr, "momentum": 0.9} for lr in (0.1, 0.3)],
    "adamw": [{"name": "adamw", "lr": 1e-2, "weight_decay": wd, "undecayed": ["norm"]} for wd in (0.01, 0.1)],
    "independent decay": [
        {"name": "sgd", "lr": lr, "momentum": 0.9, "weight_decay": 1e-2, "decay": "independent"} for lr in (0.1, 0.3)
    ],
    "hybrid": [
        {"name": "hybrid", "adam": {"on": ["head", "norm"], "lr": lr}, "sgd": {"lr": 0.3, "momentum": 0.9}}
        for lr in (1e-3, 1e-2)
    ],
    "sophia": [{"name": "sophia", "lr": 1e-3, "rho": rho, "every": 5} for rho in (1.0, 10.0)],
    "muon": [{"name": "muon", "lr": lr, "adam": {"lr": 1e-3}} for lr in (0.01, 0.02)],
    "scion": [{"name": "scion", "lr": 1e-4, "momentum": m, "full_precision": True} for m in (0.5, 0.9)],
}


def config_of(spec: dict[str, Any], data: Any, model: dict[str, Any]) -> dict[str, Any]:
    return {
        "seed_everything": 42,
        "model": {"init_args": {"optimizer": spec, **model}},
        "data": {"init_args": {"batch_size": data.batch_size, "budget_steps": data.budget_steps}},
        "trainer": {"precision": None},
    }


def pack(store: Store, data: Any, specs: list[dict[str, Any]], *, trainer: Any = None, **options: Any) -> list[Any]:
    model = options.pop("model", {})
    return run_tasks(
        [make_task(spec, **model) for spec in specs],
        data,
        trainer or make_trainer(),
        configs=[config_of(spec, data, model) for spec in specs],
        store=store,
        **options,
    )


def curve(store: Store, outcome: Any) -> np.ndarray:
    return store.curves(outcome.record["run_id"])["train_loss"].to_numpy()
