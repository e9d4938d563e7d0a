"""The figures and tables of the papers: which sweep answers each, and what of its counts and lists is the paper's.

`configs/papers.yaml` has a list of papers, each with items, an item per figure, table or claim::

    - name: paper 1
      title: "Beyond a Single Explanation of the Adam-SGD Gap (arXiv 2606.14259)"
      items:
        - name: figure 3
          shows: "the vocabulary's size at a fixed network"
          sweeps: [paper1/figure3]
          ours: "the lists for characters"
          facts:
            - {sweep: paper1/figure3, panel: "4-mer", runs: {sgd: 28, adam: 28}, lists: {sgd: {lr: [0.01, 0.03]}}}

A fact is what the paper says. Where the sweep has other numbers of runs, ``here`` says so; everything else must be as
the paper has it, and `contradictions` names what is not.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from suite.fields import flattened, plain, read, read_yaml
from suite.sweep.branching import kept_steps
from suite.sweep.grid import Axis, fixed_value, read_axes, read_axis
from suite.sweep.panel import Panel
from suite.sweep.planned_run import GroupKey
from suite.sweep.skip import settings_of_grid
from suite.sweep.spec import SweepSpec
from suite.sweep.surface_search import SurfaceSearch
from suite.sweep.time_scales import with_times


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fact:
    """What a paper says of the runs behind a figure or table."""

    sweep: str
    """The sweep's name, such as ``paper1/figure1``."""

    panel: str | None = None
    """Panel of the sweep, a branching one for all its branch points; null: all panels together."""

    runs: dict[str, int] = dataclasses.field(default_factory=dict)
    """The paper's number of settings by optimizer, over all batch sizes."""

    more: int = 0
    """Settings that the paper counts beside those of ``runs``; the sweep has none of them."""

    here: dict[str, int] = dataclasses.field(default_factory=dict)
    """The sweep's number of settings, of optimizers for which it is another one."""

    batch_size: list[int] | None = None
    """The paper's batch sizes."""

    lists: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Optimizer -> setting -> the paper's values: a list, a single value, or a mapping by batch size to them."""

    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Settings of the task that the sweep must change, by dotted name; of ``model.schedule`` also single fields."""

    seeds: int | None = None
    """The paper's number of seeds behind a reported value."""

    branch_steps: list[int] = dataclasses.field(default_factory=list)
    """Steps of a trunk after which the paper's branches start."""

    of_steps: int = 0
    """Steps of that trunk."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """A figure, a table or a claim."""

    name: str
    """Such as ``figure 1``."""

    shows: str
    """What it shows, in a few words."""

    sweeps: list[str] = dataclasses.field(default_factory=list)
    """Sweeps at the paper's scale that answer it; a laptop twin has the same name in ``laptop/``."""

    commands: list[str] = dataclasses.field(default_factory=list)
    """Commands after ``python -m suite`` that answer it without training."""

    ours: str = ""
    """What of the values is ours, or why there is no sweep."""

    total: int | None = None
    """The paper's number of settings in all facts, needed where they tell any: their ``runs`` and ``more``, summed."""

    facts: list[Fact] = dataclasses.field(default_factory=list)
    """What the paper says of the runs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper, or the talks about them."""

    name: str
    """Such as ``paper 1``."""

    title: str
    """Title and source."""

    items: list[Item]
    """Everything that it shows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Papers:
    """The content of ``configs/papers.yaml``."""

    papers: list[Paper]
    """In the order of the README."""


def read_papers(file: Path) -> list[Paper]:
    """Read the list of papers.

    Raises:
        ValueError: no such file, or a key is unknown, missing or of the wrong type.
    """
    return read(Papers, read_yaml(file, what="The list of papers"), name="").papers


def twin_of(sweep: str) -> str:
    """The name of a sweep's laptop twin."""
    folder, _, name = sweep.rpartition("/")
    return f"{folder}/laptop/{name}"


def settings_by_optimizer(spec: SweepSpec, panel: str | None = None) -> dict[str, int]:
    """Numbers of settings in a sweep's grids by optimizer, over batch sizes and branch points, trunks left out.

    Args:
        spec: the sweep.
        panel: a panel alone, or a branching panel's branch points; None: all.
    """
    counts: Counter[str] = Counter()
    for part, label, size in _groups(spec, panel):
        counts[label] += _grid_size(spec, part, label, size)
    return dict(counts)


def runs_of(spec: SweepSpec) -> int:
    """Runs of a sweep's own grids with the seeds that choose, trunks included."""
    return sum(settings_by_optimizer(spec).values()) * len(spec.seeds) + trunks_of(spec)


def trunks_of(spec: SweepSpec) -> int:
    """Runs of a sweep from whose weights others start, with the seeds that choose."""
    trunks = (part for part in spec.parts if part.checkpoints)
    return sum(len(part.batch_size) * len(part.optimizers) for part in trunks) * len(spec.seeds)


def runs_of_search(spec: SweepSpec) -> int:
    """Runs of the same grids and trunks under ``search: surface``, at most: searches go past the ends of grids."""
    rule = spec.surface or SurfaceSearch()
    groups = ((_axes(part, label, size), _grid_size(spec, part, label, size)) for part, label, size in _groups(spec))
    return sum(rule.most_settings(axes.values(), grid) for axes, grid in groups) * len(spec.seeds) + trunks_of(spec)


def papers_settings(item: Item, sweep: str) -> tuple[int, int]:
    """The paper's number of settings behind a sweep, and of how many of the sweep's own it tells its number."""
    facts = [fact for fact in item.facts if fact.sweep == sweep]
    theirs = sum(sum(fact.runs.values()) + fact.more for fact in facts)
    return theirs, sum({**fact.runs, **fact.here}[name] for fact in facts for name in fact.runs)


def seeds_of(spec: SweepSpec) -> int:
    """Number of seeds that report a tuned loss."""
    return len(spec.report_seeds) or len(spec.seeds)


def contradictions(fact: Fact, spec: SweepSpec) -> list[str]:
    """What of a fact does not hold of its sweep, a sentence each.

    Raises:
        ValueError: the sweep has no such panel.
    """
    parts = {id(part): part for part, _, _ in _groups(spec, fact.panel)}.values()
    if not parts:
        raise ValueError(f"{fact.sweep} has no panel {fact.panel!r}.")
    counts = settings_by_optimizer(spec, fact.panel)
    wrong = [
        f"{optimizer} has {counts.get(optimizer, 0)} settings, not {number}"
        for optimizer, number in {**fact.runs, **fact.here}.items()
        if counts.get(optimizer, 0) != number
    ]
    for part in parts:
        if fact.batch_size is not None and part.batch_size != fact.batch_size:
            wrong.append(f"batch sizes are {part.batch_size}, not {fact.batch_size}")
        wrong += _of_lists(fact, part)
        wrong += _of_settings(fact.settings, part.overrides)
    shares = sorted({part.branch.share for part in parts if part.branch})
    if fact.branch_steps and list(kept_steps(tuple(shares), fact.of_steps)) != fact.branch_steps:
        wrong.append(f"branches start after {shares} of {fact.of_steps} steps, not after {fact.branch_steps}")
    if fact.seeds is not None and seeds_of(spec) != fact.seeds:
        wrong.append(f"{seeds_of(spec)} seeds report, not {fact.seeds}")
    return wrong


def _groups(spec: SweepSpec, panel: str | None = None) -> Iterator[tuple[Panel, str, int]]:
    for part in spec.parts:
        named = part.label if part.branch is None else part.branch.of
        if part.checkpoints or (panel is not None and panel not in (part.label, named)):
            continue
        for size in part.batch_size:
            for label in part.optimizers:
                yield part, label, size


def _axes(part: Panel, label: str, batch_size: int) -> dict[str, Axis]:
    return read_axes(with_times(part.optimizers[label]), batch_size)


def _grid_size(spec: SweepSpec, part: Panel, label: str, batch_size: int) -> int:
    """Number of settings of one optimizer at one batch size, without those that the sweep skips."""
    return len(settings_of_grid(_axes(part, label, batch_size), spec.skip, GroupKey(part.label, label, batch_size)))


def _of_lists(fact: Fact, part: Panel) -> Iterator[str]:
    for optimizer, lists in fact.lists.items():
        for name, stated in lists.items():
            for size in part.batch_size:
                of_size = stated.get(size) if isinstance(stated, Mapping) else stated
                swept = _values(name, part.optimizers.get(optimizer, {}).get(name), size)
                expected = _values(name, of_size, size)
                if swept != expected and of_size is not None:
                    yield f"{optimizer}.{name} at batch size {size} is {swept}, not {expected}"


def _values(name: str, value: Any, batch_size: int) -> list[Any]:
    axis = read_axis(name, value, batch_size)
    return [plain(fixed_value(value))] if axis is None else list(axis.values)


def _of_settings(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> Iterator[str]:
    changed = {name.replace(".init_args", ""): value for name, value in flattened(overrides).items()}
    for name, value in settings.items():
        here = changed.get(name, "the recipe's")
        if here != value:
            yield f"{name} is {here}, not {value}"
