"""A sweep's YAML: what is asked, on which task, over which grids."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from suite.fields import nearest
from suite.records import FINAL_LOSSES
from suite.sweep.branching import branch_panels, check_branching, check_keys, merged
from suite.sweep.grid import read_axis
from suite.sweep.panel import Panel
from suite.sweep.published import check_published

_BESIDE = ("file", "question", "source", "published", "diagnose")
"""What a sweep says about itself, and asks beside its question: it changes no run that the answer rests on."""

_LATER = ("panels", "finalists", "report_seeds", "trunk", "branches")
"""Keys that count towards a plan's name only where they are given: plans of earlier stores keep theirs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """A sweep as its YAML states it.

    Attributes:
        name: the file's name without its ending, after the folders below ``sweeps`` that it lies in.
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
        finalists: ``settings``, how many of the best settings of a finished grid are trained with the further
            ``seeds``; the best of them over all those seeds is chosen (successive halving in two rounds, Jamieson &
            Talwalkar 2016).
        report_seeds: seeds that the tuned settings are trained again with; none of them has chosen.
        panels: label -> what a part of the sweep has instead of ``task``, ``batch_size`` and ``final_loss``, beside
            ``overrides``, and setting by setting in ``optimizers`` (null leaves an optimizer out), ``trunk`` and
            ``branches``.
        trunk: what the branches go on from; see `suite.sweep.branching`.
        branches: what the branches have in common.
        published: values that the paper prints for this question; see `suite.sweep.published`.
        diagnose: diagnostics, name -> settings, with which the tuned settings are trained once more in the end.
    """

    name: str
    file: str
    task: str = ""
    batch_size: list[int] = dataclasses.field(default_factory=list)
    optimizers: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    question: str = ""
    source: str = ""
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    seeds: list[int] = dataclasses.field(default_factory=lambda: [42])
    extend_edges: int = 0
    extend_axes: list[str] = dataclasses.field(default_factory=lambda: ["lr"])
    final_loss: str = "ema"
    finalists: dict[str, Any] = dataclasses.field(default_factory=dict)
    report_seeds: list[int] = dataclasses.field(default_factory=list)
    panels: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    trunk: dict[str, Any] = dataclasses.field(default_factory=dict)
    branches: dict[str, Any] = dataclasses.field(default_factory=dict)
    published: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    diagnose: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def parts(self) -> list[Panel]:
        """The panels with what they share filled in; one for every trunk and branch point, where there are any."""
        parts: list[Panel] = []
        for label, own in (self.panels or {"": {}}).items():
            panel, (trunk, branches) = self._panel(label, own), self.branching(own)
            parts += branch_panels(panel, trunk, branches) if trunk else [panel]
        return parts

    def branching(self, own: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Trunk and branches of the panel that has ``own`` for itself."""
        return merged(self.trunk, own.get("trunk", {})), merged(self.branches, own.get("branches", {}))

    def _panel(self, label: str, own: dict[str, Any]) -> Panel:
        changed = own.get("optimizers", {})
        optimizers = {
            name: {**(self.optimizers.get(name) or {}), **(changed.get(name) or {})}
            for name in dict.fromkeys([*self.optimizers, *changed])
            if name not in changed or changed[name] is not None
        }
        return Panel(
            label=label,
            task=own.get("task", self.task),
            batch_size=own.get("batch_size", self.batch_size),
            optimizers=optimizers,
            overrides={**self.overrides, **own.get("overrides", {})},
            final_loss=own.get("final_loss", self.final_loss),
        )

    def changed(self, overrides: dict[str, Any]) -> SweepSpec:
        """The sweep with settings of the task changed in every panel."""

        def with_them(given: dict[str, Any]) -> dict[str, Any]:
            parts = {part: with_them(given[part]) for part in ("trunk", "branches") if given.get(part)}
            return {**given, **parts, "overrides": {**given.get("overrides", {}), **overrides}}

        return dataclasses.replace(
            self,
            overrides={**self.overrides, **overrides},
            panels={label: with_them(own) for label, own in self.panels.items()},
            trunk=with_them(self.trunk) if self.trunk else {},
            branches=with_them(self.branches) if self.branches else {},
        )

    def with_sources(self, sources: Mapping[str, str]) -> SweepSpec:
        """The sweep on other data: dataset -> ``data.source``, for every panel whose task is of that dataset."""

        def with_theirs(part: dict[str, Any], task: str) -> dict[str, Any]:
            source = sources.get(task.partition("/")[0])
            return (
                part if source is None else {**part, "overrides": {**part.get("overrides", {}), "data.source": source}}
            )

        if not self.panels:
            return dataclasses.replace(self, **with_theirs({"overrides": self.overrides}, self.task))
        panels = {label: with_theirs(own, own.get("task", self.task)) for label, own in self.panels.items()}
        return dataclasses.replace(self, panels=panels)

    @property
    def plan_id(self) -> str:
        """Name of the sweep's plan in a store: the same as long as the same runs are asked for."""
        given = dataclasses.asdict(self).items()
        asked = {k: v for k, v in given if k not in _BESIDE and (v or k not in _LATER)}
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
    _check(path, content)
    spec = SweepSpec(name=_name(path), file=str(file), **{key: content[key] for key in content})
    for label, own in (spec.panels or {"": {}}).items():
        where = f"{path}, panel {label!r}," if label else f"{path}"
        check_branching(where, *spec.branching(own), own.get("batch_size", spec.batch_size))
    labels = [panel.label for panel in spec.parts]
    if len(set(labels)) < len(labels):
        raise ValueError(f"The panels of {path} must have different names, also of trunks and branches, got {labels}.")
    for panel in spec.parts:
        _check_panel(path, panel)
    return spec


def _name(path: Path) -> str:
    parts = path.resolve().with_suffix("").parts
    below = parts[len(parts) - parts[::-1].index("sweeps") :] if "sweeps" in parts else parts[-1:]
    return "-".join(below)


def _check_panel(path: Path, panel: Panel) -> None:
    where = f"{path}, panel {panel.label!r}," if panel.label else f"{path}"
    for key in ("task", "batch_size"):
        if not getattr(panel, key):
            raise ValueError(f"{where} must give {key}.")
    if not panel.optimizers:
        raise ValueError(f"{where} must name at least one optimizer under optimizers.")
    for label, settings in panel.optimizers.items():
        if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
            raise ValueError(f"optimizers.{label} in {where} must be a mapping from settings to values or grids.")
        for name, given in settings.items():
            for size in panel.batch_size:
                read_axis(f"optimizers.{label}.{name}", given, size)


_KINDS: dict[str, tuple[type, str]] = {
    "question": (str, "a text"),
    "source": (str, "a text"),
    "task": (str, "a task's name"),
    "overrides": (dict, "a mapping from dotted settings to values"),
    "optimizers": (dict, "a mapping from labels to settings"),
    "finalists": (dict, "a mapping with settings and seeds"),
    "extend_edges": (int, "a whole number"),
    "extend_axes": (list, "a list of settings"),
    "final_loss": (str, "a text"),
    "panels": (dict, "a mapping from labels to what each panel changes"),
    "published": (list, "a list of values that a paper prints"),
    "diagnose": (dict, "a mapping from diagnostics to their settings"),
}
_OF_PANELS = ("task", "batch_size", "final_loss", "overrides", "optimizers", "trunk", "branches")


def _check(path: Path, content: dict[str, Any]) -> None:
    _check_kinds(str(path), content)
    if content.get("extend_edges", 0) < 0:
        raise ValueError(f"extend_edges in {path} must be at least 0, got {content['extend_edges']}.")
    finalists = content.get("finalists") or {}
    if finalists:
        _check_finalists(path, finalists)
    groups = [content.get("seeds", [42]), finalists.get("seeds", []), content.get("report_seeds", [])]
    shared = [seed for seed, times in Counter(itertools.chain(*groups)).items() if times > 1]
    if shared:
        raise ValueError(
            f"report_seeds in {path} must differ from seeds, and those of finalists from both, got {sorted(shared)} "
            "twice; change one."
        )
    for label, own in content.get("panels", {}).items():
        if not isinstance(label, str) or not isinstance(own, dict) or not set(own) <= set(_OF_PANELS):
            raise ValueError(f"panels.{label} in {path} must be a mapping with {', '.join(_OF_PANELS)} alone.")
        _check_kinds(f"{path}, panel {label!r}", own)
    for number, value in enumerate(content.get("published", [])):
        check_published(f"published[{number}] in {path}", value)
    try:
        json.dumps(content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds a value that is neither number, text, list nor mapping: {error}.") from error


def _check_finalists(path: Path, given: dict[str, Any]) -> None:
    count = given.get("settings")
    if set(given) != {"settings", "seeds"} or not isinstance(count, int) or isinstance(count, bool) or count < 2:
        raise ValueError(
            f"finalists in {path} must give settings, how many are chosen from (at least 2), and seeds, got {given!r}."
        )
    given["seeds"] = _whole_numbers(f"finalists.seeds in {path}", given["seeds"], 0)


def _whole_numbers(where: str, given: Any, least: int) -> list[int]:
    values = given if isinstance(given, list) else [given]
    whole = all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in values)
    if not values or not whole or len(set(values)) != len(values):
        raise ValueError(f"{where} must list different whole numbers from {least} up, got {values!r}.")
    return values


def _check_kinds(where: str, content: dict[str, Any]) -> None:
    check_keys(where, content)
    for key, (kind, what) in _KINDS.items():
        value = content.get(key)
        if key in content and (not isinstance(value, kind) or isinstance(value, bool)):
            raise ValueError(f"{key} in {where} must be {what}, got {value!r}.")
    if content.get("final_loss", "ema") not in FINAL_LOSSES:
        raise ValueError(
            f"final_loss in {where} must be one of {', '.join(FINAL_LOSSES)}, got {content['final_loss']!r}."
        )
    for key in ("batch_size", "seeds", "report_seeds"):
        if key in content:
            content[key] = _whole_numbers(f"{key} in {where}", content[key], 1 if key == "batch_size" else 0)
    for label, settings in content.get("optimizers", {}).items():
        if not isinstance(label, str) or not isinstance(settings, dict | None):
            raise ValueError(f"optimizers.{label} in {where} must be a mapping from settings to values or grids.")
