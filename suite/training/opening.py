"""Prepares a run for training: seeds its task and data, opens the data, and computes the run's identity."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from suite.fields import without_beside
from suite.optim.parsing import named_classes
from suite.records import Store, changed_code, run_id_of, user_code
from suite.training.data import Data
from suite.training.task import Task

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A run that is ready to be trained.

    Attributes:
        task: the task; its network need not be built yet.
        data: the open data.
        config: the resolved configuration of task and data.
        run_id: the run's id.
        identity: the values of which the id is the hash.
    """

    task: Task
    data: Data
    config: Mapping[str, Any]
    run_id: str
    identity: Mapping[str, Any]


def open_run(task: Task, data: Data, config: Mapping[str, Any], *, world_size: int = 1) -> OpenRun:
    """Seed a task and its data, open the data, and identify the run.

    Args:
        task: the task.
        data: the task's data; they are prepared here if need be.
        config: the resolved configuration of task and data.
        world_size: number of devices that share each batch.

    Raises:
        ValueError: there is no optimizer, or the configuration is impossible for the data and devices.
    """
    if task.optimizer_config is None:
        raise ValueError("fit needs an optimizer; give --optimizer NAME and --optimizer.lr VALUE.")
    give_seed(task, data, config)
    data.ensure_open()
    run_id, identity = run_identity(config, task, data, world_size=world_size)
    return OpenRun(task, data, config, run_id, identity)


def name_changed_code(opened: OpenRun, store: Store) -> None:
    """Warn of records of what would be this run, had the user's own code not changed since; they stay as they are."""
    for record in store.records() if "code" in opened.identity else ():
        changed = changed_code(record.get("identity") or {}, opened.identity)
        if changed:
            _log.warning(
                "Run %s (%s) was trained with other code of %s; code is part of a run, so its record stays and run %s "
                "begins anew.",
                *(record["run_id"], record["status"], ", ".join(changed), opened.run_id),
            )


def give_seed(task: Task, data: Data, config: Mapping[str, Any]) -> None:
    """Set the seed of a configuration in its task (initial weights) and its data (order of samples)."""
    task.seed = int(config.get("seed_everything") or 0)
    data.seed = data.seed_of_order(task.seed)


def run_identity(
    config: Mapping[str, Any], task: Task, data: Data, *, world_size: int = 1
) -> tuple[str, dict[str, Any]]:
    """Run id and identity of a resolved configuration, for opened data.

    Args:
        config: the resolved configuration.
        task: the task of this configuration.
        data: the open data of this configuration.
        world_size: number of devices that share each batch.

    Raises:
        ValueError: the batch size or budget is impossible for the data and devices.
    """
    data.require_evaluation(world_size)
    if any(not 0 < step <= data.steps for step in task.kept_steps):
        raise ValueError(
            f"model.keep_weights_at must name steps from 1 to {data.steps}, the run's last, got "
            f"{list(task.kept_steps)}."
        )
    micro_batch = data.plan(world_size=world_size).indices(0).shape[1]
    return run_id_of(
        identity_of(
            config,
            type(task),
            type(data),
            fingerprint=data.fingerprint,
            micro_batch=micro_batch if task.batch_coupled else None,
            recipes=data.recipes(),
        )
    )


def identity_of(
    config: Mapping[str, Any],
    task: type,
    data: type,
    *,
    fingerprint: str,
    micro_batch: int | None = None,
    recipes: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The part of a resolved configuration that can change the run's numbers.

    It consists of the seed, the settings of task and data (without those whose fields have ``beside``, see
    `suite.fields`), the data's checksum, the trainer's precision and the user's own code (see
    `suite.records.user_code`); not of devices, logging or the store.

    Args:
        config: the resolved configuration (LightningCLI form: ``seed_everything``, ``trainer``, ``model``, ``data``).
        task: class of the task.
        data: class of the data.
        fingerprint: checksum of the prepared data's content.
        micro_batch: samples per forward pass on one device if they influence each other's gradient (BatchNorm,
            MixUp); None otherwise.
        recipes: see `suite.training.data.Data.recipes`.
    """
    identity = {key: config[key] for key in ("seed_everything", "model", "data") if key in config}
    for key, cls in (("model", task), ("data", data)):
        part = dict(identity.get(key) or {})
        identity[key] = {**part, "init_args": without_beside(cls, part.get("init_args") or {})}
    identity["data"]["fingerprint"] = fingerprint
    if micro_batch is not None:
        identity["data"]["micro_batch"] = micro_batch
    if recipes:
        identity["data"]["recipes"] = dict(recipes)
    settings = (config.get("model") or {}).get("init_args") or {}
    named = named_classes([settings.get(part) for part in ("optimizer", "schedule", "diagnostics")])
    code = user_code((task, data, *named))
    if code:
        identity["code"] = code
    identity["trainer"] = {"precision": (config.get("trainer") or {}).get("precision")}
    return identity
