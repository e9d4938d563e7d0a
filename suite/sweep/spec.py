"""A sweep's YAML: what is asked, on which task, over which grids."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from suite.optim.config import nearest
from suite.records import final_losses
from suite.sweep.grid import read_axis

FINAL_LOSSES = tuple(final_losses([0.0], 0.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """A sweep as its YAML states it.

    Attributes:
        name: the file's name without its ending.
        file: the file.
        question: shown in the report.
        source: the paper's figure or table, or what else the sweep follows.
        task: name of the task.
        overrides: settings of the task that the sweep changes, dotted as on the command line.
        batch_size: batch sizes.
        seeds: seeds of initial weights and data order.
        optimizers: label -> settings, each fixed or a grid; the label is the optimizer unless ``name`` says otherwise.
        extend_edges: times a grid may grow when its best value lies on the edge.
        extend_axes: the settings whose grids grow.
        final_loss: definition of the final loss that tuning goes by.
    """

    name: str
    file: str
    task: str
    batch_size: list[int]
    optimizers: dict[str, dict[str, Any]]
    question: str = ""
    source: str = ""
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    seeds: list[int] = dataclasses.field(default_factory=lambda: [42])
    extend_edges: int = 0
    extend_axes: list[str] = dataclasses.field(default_factory=lambda: ["lr"])
    final_loss: str = "ema"

    @property
    def plan_id(self) -> str:
        """Name of the sweep's plan in a store: the same as long as the same runs are asked for."""
        asked = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("file", "question", "source")}
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"


def read_spec(file: str | Path) -> SweepSpec:
    """Read and check a sweep's YAML.

    Raises:
        ValueError: no such file, not YAML, a key is unknown or missing or of the wrong type.
    """
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"There is no sweep file {path}; see configs/sweeps for those that come with the suite.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a mapping with task, batch_size and optimizers.")
    known = {f.name: f for f in dataclasses.fields(SweepSpec) if f.name not in ("name", "file")}
    for key in content:
        if key not in known:
            raise ValueError(f"{path} has a key {key!r} that a sweep does not know{nearest(str(key), known)}.")
    for key in ("task", "batch_size", "optimizers"):
        if key not in content:
            raise ValueError(f"{path} must give {key}.")
    _check(path, content)
    return SweepSpec(name=path.stem, file=str(file), **{key: content[key] for key in content})


def _check(path: Path, content: dict[str, Any]) -> None:
    expected = {
        "question": (str, "a text"),
        "source": (str, "a text"),
        "task": (str, "a task's name"),
        "overrides": (dict, "a mapping from dotted settings to values"),
        "optimizers": (dict, "a mapping from labels to settings"),
        "extend_edges": (int, "a whole number"),
        "extend_axes": (list, "a list of settings"),
        "final_loss": (str, "a text"),
    }
    for key, (kind, what) in expected.items():
        value = content.get(key)
        if key in content and (not isinstance(value, kind) or isinstance(value, bool)):
            raise ValueError(f"{key} in {path} must be {what}, got {value!r}.")
    for key in ("batch_size", "seeds"):
        if key not in content:
            continue
        values = content[key] = content[key] if isinstance(content[key], list) else [content[key]]
        least = 1 if key == "batch_size" else 0
        whole = all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in values)
        if not values or not whole or len(set(values)) != len(values):
            raise ValueError(f"{key} in {path} must list different whole numbers from {least} up, got {values!r}.")
    if content.get("extend_edges", 0) < 0:
        raise ValueError(f"extend_edges in {path} must be at least 0, got {content['extend_edges']}.")
    if content.get("final_loss", "ema") not in FINAL_LOSSES:
        raise ValueError(
            f"final_loss in {path} must be one of {', '.join(FINAL_LOSSES)}, got {content['final_loss']!r}."
        )
    if not content["optimizers"]:
        raise ValueError(f"optimizers in {path} must name at least one optimizer.")
    for label, settings in content["optimizers"].items():
        if (
            not isinstance(label, str)
            or not isinstance(settings, dict)
            or not all(isinstance(k, str) for k in settings)
        ):
            raise ValueError(f"optimizers.{label} in {path} must be a mapping from settings to values or grids.")
        for name, given in settings.items():
            for size in content["batch_size"]:
                read_axis(f"optimizers.{label}.{name}", given, size)
    try:
        json.dumps(content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds a value that is neither number, text, list nor mapping: {error}.") from error
