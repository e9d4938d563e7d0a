"""The archive of a question's runs in `docs/results`: taken from a store, made one again, drawn."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from suite.analysis.report.write import panel_suffix
from suite.api import SweepResults, load
from suite.records import Store
from suite.records.archive import write_archive
from suite.records.restore import restore

OUT = ROOT / "docs" / "results"

FIGURES = ("branches", "panels", "gap", "tuned")
"""Figures of a report, the one that answers most first."""


def folder_of(sweep: str) -> Path:
    """Where the archive, the tables and the figures of a sweep are."""
    return OUT / sweep.replace("/laptop/", "_")


@functools.cache
def spec_of(sweep: str) -> dict[str, Any]:
    """What a sweep's file says."""
    spec: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "sweeps" / f"{sweep}.yaml").read_text())
    return spec


def command_of(sweep: str, trained: Collection[str]) -> str:
    """The command that trains a sweep again, with `--panel` where only some of its file's panels are trained."""
    panels = spec_of(sweep).get("panels") or {}
    there = [panel for panel in panels if panel in trained]
    some = there if len(there) < len(panels) else []
    return " ".join(
        [
            f"python -m suite sweep configs/sweeps/{sweep}.yaml --sources sources.yaml",
            *(f"--panel {shlex.quote(panel)}" for panel in some),
        ]
    )


def take(store: Path, sweep: str) -> None:
    """Write the archive of a sweep from the plan of its file in a store; runs without a result are left out.

    Of several plans, as a file leaves them that was changed, the one with most results is taken.
    """
    kept, file = Store(store), f"configs/sweeps/{sweep}.yaml"
    plans = list(kept.plans())
    settled = [
        (plan, [run for run in plan["runs"] if kept.settled(run["run_id"])])
        for plan in plans
        if plan["file"].endswith(file)
    ]
    if not settled:
        there = ", ".join(plan["file"] for plan in plans)
        raise SystemExit(f"{store} should hold a sweep of {file}, but has {there or 'none'}.")
    plan, runs = max(settled, key=lambda one: len(one[1]))
    command = command_of(sweep, plan["panels"] or ())
    folder_of(sweep).mkdir(parents=True, exist_ok=True)
    write_archive(kept, folder_of(sweep) / "runs.parquet", {**plan, "file": file, "command": command, "runs": runs})
    print(f"{len(runs)} of {len(plan['runs'])} runs of {sweep} have a result and are archived.")


def restored(sweeps: Iterable[str], folder: str) -> tuple[Store, dict[str, SweepResults]]:
    """A store of the archives that there are, and the results of their sweeps."""
    store = Store(folder)
    archives = {sweep: folder_of(sweep) / "runs.parquet" for sweep in sweeps}
    archives = {sweep: path for sweep, path in archives.items() if path.exists()}
    for path in archives.values():
        restore(path, store)
    plans = {plan["file"]: plan["plan_id"] for plan in store.plans()}
    results = load(folder)
    return store, {sweep: results.sweep(plans[f"configs/sweeps/{sweep}.yaml"]) for sweep in archives}


def draw(results: SweepResults, folder: Path, names: list[str]) -> None:
    """The figures of a question, by default the one that answers most."""
    for old in folder.glob("*.png"):
        old.unlink()
    if not names:
        there = results.figures()
        names = [name for name in FIGURES if name in there][:1]
    for name in names:
        figure_named(results, name).savefig(folder / f"{name}.png", dpi=160)


def figure_named(results: SweepResults, name: str) -> Figure:
    """A figure by the name of its file in the report, which ends on the panel where every panel has one."""
    for order, task in enumerate(results.runs["task"].unique()):
        alone = name.removesuffix(panel_suffix(order, task))
        if alone != name:
            return results.figure(alone, task=task)
    return results.figure(name)
