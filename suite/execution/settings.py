"""Refuses impossible settings that the parser accepts, and fills in the precision, before anything is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace

from suite.diagnostics.catalogue import parse as parse_diagnostics
from suite.records.tuning import LARGEST_SEED

OWNED = {
    "max_steps": (-1, "data.budget_steps, data.budget_samples or data.budget_epochs"),
    "max_epochs": (None, "data.budget_epochs"),
    "min_steps": (None, "data.budget_steps"),
    "min_epochs": (None, "data.budget_epochs"),
    "limit_train_batches": (None, "data.budget_samples"),
    "overfit_batches": (0.0, "data.budget_samples and data.budget_epochs"),
    "fast_dev_run": (False, "data.budget_steps"),
    "limit_val_batches": (None, "data.eval_samples"),
    "val_check_interval": (None, "data.eval_every_steps"),
    "check_val_every_n_epoch": (1, "data.eval_every_steps"),
    "accumulate_grad_batches": (1, "data.batch_size and data.micro_batch"),
    "gradient_clip_val": (None, "model.clip_norm"),
    "gradient_clip_algorithm": (None, "model.clip_norm"),
    "sync_batchnorm": (False, "data.micro_batch, over whose samples BatchNorm takes its statistics"),
}
"""Trainer setting that repeats a setting of the task or its data -> its default, and the settings to use instead."""


def settle(config: Any) -> None:
    """Check and complete a parsed configuration, in place.

    Raises:
        ValueError: task, data or trainer have no settings, a trainer setting belongs to the task or the data, the
            devices or the seed are impossible, or a diagnostic is unknown.
    """
    for part in ("model", "data", "trainer"):
        if not isinstance(config.get(part), Mapping | Namespace):
            raise ValueError(f"{part} must be a mapping from settings to values, got {config.get(part)!r}.")
    _check_seed(config.get("seed_everything"))
    _check_devices(config.trainer.get("devices"))
    model = (config.get("model") or {}).get("init_args") or {}
    parse_diagnostics(model.get("diagnostics"))
    for key, (default, instead) in OWNED.items():
        value = config.trainer.get(key)
        if value != default:
            raise ValueError(f"trainer.{key} is not set directly, got {value}; set {instead}.")
    if config.trainer.get("precision") is None:  # never by what this machine has: precision is part of a run's id
        config.trainer.precision = "32-true"


def _check_seed(seed: Any) -> None:
    if seed not in (None, False) and (seed is True or not 0 <= seed <= LARGEST_SEED):
        raise ValueError(f"seed_everything must be a whole number from 0 to {LARGEST_SEED}, got {seed}.")


def refuse_unkeepable(values: Any, name: str = "") -> None:
    """Refuse values that no record could keep: infinite numbers, and what JSON has no form for.

    Args:
        values: nested values.
        name: the setting that they belong to.

    Raises:
        ValueError: there is one; the message names its setting.
    """
    setting = name.replace(".init_args.", ".")
    if isinstance(values, float) and not math.isfinite(values):
        raise ValueError(f"{setting} must be a finite number, got {values}; null is no limit.")
    if isinstance(values, Mapping):
        for key, value in values.items():
            refuse_unkeepable(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, list):
        for value in values:
            refuse_unkeepable(value, name)
    elif not isinstance(values, bool | int | float | str | None):
        raise ValueError(f"{setting} must be a plain value that a record can keep, got a {type(values).__name__}.")


def _check_devices(devices: Any) -> None:
    text = str(devices)
    if text.lstrip("-").isdecimal() and not (int(text) == -1 or int(text) > 0):
        raise ValueError(f"trainer.devices must be a number from 1 up, -1 (all there are) or auto, got {text}.")
