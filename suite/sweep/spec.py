"""Reads and checks a sweep's YAML: its question, tasks, grids and seeds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.fields import ConfigError, field_types, nearest, plain, read, read_yaml, require
from suite.records.tuning import LARGEST_SEED, MARGIN
from suite.sweep.grid import read_axis
from suite.sweep.panel import Panel, PanelSettings
from suite.sweep.parts import TITLE, parts_of, untitled
from suite.sweep.published import Published
from suite.sweep.skip import entries_about
from suite.sweep.surface_search import SurfaceSearch
from suite.sweep.time_scales import with_times
from suite.sweep.until import Until

MOST_RUNS = 150_000
"""Runs of a sweep's own grids. A plan of so many is made in half a minute; more are several sweeps."""

_BESIDE = ("file", "question", "source", "published", "diagnose", "margin", "until", "target")
"""Keys that do not count towards a plan's id: they describe the sweep, or add runs that do not affect its answer."""

_BESIDE_IN_PANELS = ("target",)
"""The same of a panel."""

_LATER_IN_PANELS = ("vary",)
"""Keys of a panel that count only if they are given, likewise."""

_LATER = ("vary", "panels", "finalists", "report_seeds", "trunk", "branches", "search", "skip")
"""Keys that count towards a plan's id only if they are given, so that plans in earlier stores keep their ids."""

_SEEDS = {"at_least": 0, "at_most": LARGEST_SEED, "different": True, "most": 10_000}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finalists:
    """A second round of tuning, as in successive halving (Jamieson & Talwalkar 2016)."""

    settings: int = dataclasses.field(metadata={"at_least": 2})
    """Number of best settings of a finished grid that are trained with further seeds; the best mean is chosen."""

    seeds: list[int] = dataclasses.field(metadata=_SEEDS)
    """The further seeds."""

    def __post_init__(self) -> None:
        require(bool(self.seeds), "finalists.seeds", "at least one seed", self.seeds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepSettings(PanelSettings):
    """The settings in a sweep's YAML."""

    question: str = ""
    """The question of the sweep, which the report shows."""

    source: str = ""
    """The figure or table of a paper, or any other source, that the sweep follows."""

    task: str = ""
    batch_size: list[int] = dataclasses.field(
        default_factory=list, metadata={"at_least": 1, "different": True, "most": 1000}
    )
    optimizers: dict[str, dict[str, Any] | None] = dataclasses.field(default_factory=dict)
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    final_loss: str = "ema"

    seeds: list[int] = dataclasses.field(default_factory=lambda: [42], metadata=_SEEDS)
    """Seeds of initial weights and data order."""

    extend_edges: int = dataclasses.field(default=0, metadata={"at_least": 0})
    """Number of times that each edge of a grid may be extended when the best value lies on it."""

    extend_axes: list[str] = dataclasses.field(default_factory=lambda: ["lr"])
    """The settings whose grids may be extended; a search goes past any end."""

    search: str | SurfaceSearch | None = None
    """How settings are found: grid trains all of them (the default), surface a few; see `suite.sweep.search`."""

    finalists: Finalists | None = None
    """The second round of tuning; null: none."""

    report_seeds: list[int] = dataclasses.field(default_factory=list, metadata=_SEEDS)
    """Seeds with which the tuned settings are trained again; they must not be seeds that tuning uses."""

    margin: float = dataclasses.field(default=MARGIN, metadata={"above": 0})
    """Percent of the loss within which two optimizers are called level; stated before any run is looked at."""

    until: Until | None = None
    """Reporting seeds are added until there is a verdict; see `suite.sweep.until`."""

    skip: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """Settings that are not trained, such as ``{optimizer: sgd, batch_size: 1, lr: 3.16}``; the report names them. See
    `suite.sweep.skip`."""

    panels: dict[str, PanelSettings] = dataclasses.field(default_factory=dict)
    """Label -> settings of a part of the sweep, which override those above."""

    published: list[Published] = dataclasses.field(default_factory=list)
    """Values that the paper prints for this question."""

    diagnose: dict[str, dict[str, Any] | None] = dataclasses.field(default_factory=dict)
    """Diagnostics, name -> settings, with which the tuned settings are trained once more in the end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepSpec(SweepSettings):
    """The settings of a sweep with its file; they are checked against each other.

    Attributes:
        name: the file's path below ``sweeps``, without its suffix and joined by hyphens.
        file: the file.

    Raises:
        ConfigError: settings contradict each other.
    """

    name: str
    file: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.seeds), "seeds", "at least one seed", self.seeds)
        is_search = not isinstance(self.search, str) or self.search in ("grid", "surface")
        require(is_search, "search", "grid, surface or a mapping with precision, most, batch", self.search)
        seeds = Counter([*self.seeds, *self.finalist_seeds, *self.report_seeds])
        if twice := sorted(seed for seed, count in seeds.items() if count > 1):
            raise ConfigError(
                f"report_seeds must differ from seeds, and those of finalists from both, got {twice} twice; change one."
            )
        _ = self.titles
        labels = [panel.label for panel in self.parts]
        if len(set(labels)) < len(labels):
            raise ConfigError(f"panels must have different names, also of trunks and branches, got {labels}.")
        _refuse_too_many(sum(map(_check_panel, self.parts)) * len(self.seeds))
        self._check_extend_axes()

    @property
    def within(self) -> float:
        """Percent of the loss within which two optimizers are called level."""
        return self.margin if self.until is None else self.until.precision

    @property
    def looks(self) -> list[list[int]]:
        """The reporting seeds at every look at the verdicts."""
        if self.until is None:
            return [self.report_seeds]
        return self.until.seeds(self.report_seeds, [*self.seeds, *self.finalist_seeds])

    @property
    def surface(self) -> SurfaceSearch | None:
        """The settings of the search; None where all settings of a grid are trained."""
        if isinstance(self.search, SurfaceSearch):
            return self.search
        return SurfaceSearch() if self.search == "surface" else None

    def _check_extend_axes(self) -> None:
        optimizers = [item for panel in self.parts for item in panel.optimizers.items()]
        settings = {"lr", *(name for _, values in optimizers for name in [*values, *with_times(values)])}
        if set(self.extend_axes) <= settings:
            return
        from suite.optim.registry import config_class

        classes = {config_class(values.get("name", label)) for label, values in optimizers}
        if all(dataclasses.is_dataclass(cls) for cls in classes):
            settings |= {name for cls in classes for name in field_types(cls)}
            for name in self.extend_axes:
                if name not in settings:
                    raise ConfigError(f"extend_axes names {name!r}, which no optimizer has{nearest(name, settings)}.")

    @property
    def titles(self) -> dict[str, str]:
        """What figures and tables call the optimizers, by their label; those that the YAML names, as `label`.

        Raises:
            ConfigError: a title is no text, or stands for several optimizers.
        """
        titles: dict[str, str] = {}
        for optimizers in (self.optimizers, *(panel.optimizers or {} for panel in self.panels.values())):
            for label, values in optimizers.items():
                if values and TITLE in values:
                    title = values[TITLE]
                    is_title = isinstance(title, str) and 0 < len(title.strip()) <= 60 and title.isprintable()
                    require(is_title, f"optimizers.{label}.label", "a text of 1 to 60 printable characters", title)
                    if titles.setdefault(label, title) != title:
                        raise ConfigError(f"optimizers.{label}.label must be the same in all panels, got {title!r}.")
        twice = [title for title, count in Counter(titles.values()).items() if count > 1]
        if twice:
            raise ConfigError(f"optimizers must have different labels, got {twice[0]!r} twice; change one.")
        return titles

    @property
    def targets(self) -> dict[str, float]:
        """The target losses that are given, by panel."""
        return {panel.label: panel.target for panel in self.parts if panel.target is not None}

    @property
    def finalist_seeds(self) -> list[int]:
        """The seeds that choose among the finalists; empty if there are no finalists."""
        return [] if self.finalists is None else self.finalists.seeds

    @property
    def parts(self) -> list[Panel]:
        """The panels with the shared settings filled in; a branching panel gives one per trunk and branch point.

        Raises:
            ConfigError: they are too many, or no trunk can be made of its settings.
        """
        parts: list[Panel] = []
        groups = 0
        for label, settings in (self.panels or {"": PanelSettings()}).items():
            for part in parts_of(label, settings, self):
                parts.append(part)
                groups += max(1, len(part.optimizers) * len(part.batch_size))
                _refuse_too_many(groups)
        return parts

    def only(self, labels: Sequence[str]) -> SweepSpec:
        """A copy of the sweep with some of its panels; its runs are those of the whole sweep.

        What is published or skipped of other panels alone is left out.

        Raises:
            ConfigError: there is no such panel.
        """
        for label in labels:
            if label not in self.panels:
                there = f"{nearest(label, self.panels)}" if self.panels else ": it has none"
                raise ConfigError(f"{self.file} has no panel {label!r}{there}.")
        panels = {label: panel for label, panel in self.panels.items() if label in labels}
        published = [one for one in self.published if one.panel is None or one.panel in labels]
        some = dataclasses.replace(self, panels=panels, published=published)
        return dataclasses.replace(some, skip=entries_about(self.skip, some.parts))

    def changed(self, overrides: Mapping[str, Any]) -> SweepSpec:
        """A copy of the sweep in which ``overrides`` change settings of the task in every panel."""

        def with_them(part: Any) -> Any:
            inner = {
                name: with_them(getattr(part, name)) for name in ("trunk", "branches") if getattr(part, name, None)
            }
            return dataclasses.replace(part, **inner, overrides={**(part.overrides or {}), **overrides})

        panels = {label: with_them(panel) for label, panel in self.panels.items()}
        changed: SweepSpec = with_them(dataclasses.replace(self, panels=panels))
        return changed

    def with_sources(self, sources: Mapping[str, str]) -> SweepSpec:
        """A copy of the sweep with other data; ``sources`` maps a dataset to the ``data.source`` of its panels."""

        def with_source(part: Any, task: str) -> Any:
            source = sources.get(task.partition("/")[0])
            if source is None:
                return part
            return dataclasses.replace(part, overrides={**(part.overrides or {}), "data.source": source})

        if not self.panels:
            return with_source(self, self.task)  # type: ignore[no-any-return]
        panels = {label: with_source(panel, panel.task or self.task) for label, panel in self.panels.items()}
        return dataclasses.replace(self, panels=panels)

    @property
    def plan_id(self) -> str:
        """The id of the sweep's plan in a store: the name and a hash of the settings that determine its runs."""
        settings = plain(self)
        for part in (settings.get("panels") or {}).values():
            for key in (*_BESIDE_IN_PANELS, *(key for key in _LATER_IN_PANELS if not part.get(key))):
                part.pop(key, None)
        for part in (settings, *(settings.get("panels") or {}).values()):
            if part.get("optimizers"):
                part["optimizers"] = untitled(part["optimizers"])
        counted = {k: v for k, v in settings.items() if k not in _BESIDE and (v or k not in _LATER)}
        digest = hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"


def read_spec(file: str | Path) -> SweepSpec:
    """Read and check a sweep's YAML.

    Raises:
        ValueError: there is no such file; it is not YAML; or a key is unknown, missing or of the wrong type.
    """
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"There is no sweep file {path}; see configs/sweeps for those that come with the suite.")
    content = read_yaml(path)
    try:
        return SweepSpec(name=_name(path), file=str(file), **vars(read(SweepSettings, content, name="")))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _name(path: Path) -> str:
    parts = path.resolve().with_suffix("").parts
    below = parts[len(parts) - parts[::-1].index("sweeps") :] if "sweeps" in parts else parts[-1:]
    return "-".join(below)


def _refuse_too_many(runs: int) -> None:
    if runs > MOST_RUNS:
        raise ConfigError(
            f"A sweep may have {MOST_RUNS:,} runs, got {runs:,} at least; leave values out, or make several sweeps."
        )


def _check_panel(panel: Panel) -> int:
    """Refuse what no grid can be made of; returns the number of settings, those of each batch size counted."""
    where = f"panels.{panel.label}." if panel.label else ""
    for key, what in (("task", "a task"), ("batch_size", "a batch size"), ("optimizers", "at least one optimizer")):
        if not getattr(panel, key):
            raise ConfigError(f"{where}{key} must name {what}, got none.")
    settings = 0
    for label, values in panel.optimizers.items():
        is_name = isinstance(label, str) and 0 < len(label) <= 60 and label == label.strip() and label.isprintable()
        require(is_name, f"{where}optimizers", "names of 1 to 60 printable characters", label)
        name = values.get("name", label)
        require(isinstance(name, str), f"{where}optimizers.{label}.name", "a text", name)
        for size in panel.batch_size:
            named = with_times(values)
            axes = [read_axis(f"{where}optimizers.{label}.{name}", value, size) for name, value in named.items()]
            settings += math.prod(len(axis.values) for axis in axes if axis)
    return settings
