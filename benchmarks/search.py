"""How good the setting is that a search finds after a few runs, replayed on grids whose every run is known.

    python benchmarks/search.py --data FILE.parquet [--starts 20] [--methods surface,random,...] [--json FILE]
    python benchmarks/search.py --quick

FILE has a row per run: ``grid``, ``optimizer``, ``final_loss``, and the settings. A setting that has several values in
a grid is one of its axes; ``steps``, ``batch_size`` and lists are none. A search may train the settings of the grid and
nothing else. Regret is how far the lowest loss it has found lies above the grid's lowest, in percent of that.
An archive of a sweep (`python -m suite archive`) is read too: the runs of its first seed, a grid per task, optimizer
and batch size.

``surface`` is the suite's search, six settings and then rounds of four. ``neighbours`` is the same, knowing what
``surface`` has found in as many runs on the file's other grids of the same optimizer: what a sweep over batch sizes
has. The rivals go one run at a time, each knowing all results before it. Those of Optuna and BoTorch take part where
these are installed; they propose in the unit cube over the axes, and the nearest untried setting is trained.
``--quick`` makes grids of its own (bowls with a cliff and noise) and shows that all of this works, not how well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

from search_rivals import RIVALS, installed

from suite.api import load
from suite.records import Store
from suite.records.restore import is_archive, restore
from suite.surface.model import Results
from suite.surface.space import Space
from suite.sweep.search import START, Lattice
from suite.sweep.surface_search import SurfaceSearch

RUNS = (6, 10, 14, 18)
JUDGED = 14
SEARCH = SurfaceSearch()
OURS = {"surface", "neighbours"}
NO_AXES = ("grid", "steps", "batch_size", "final_loss", "train_loss", "optimizer")


@dataclass(frozen=True)
class Grid:
    """A grid whose every run is known.

    Attributes:
        name: its name.
        optimizer: grids of the same are neighbours.
        settings: one per run, with a value for every setting in the file.
        axes: names of the settings that have several values.
        losses: final losses, infinite where a run diverged.
    """

    name: str
    optimizer: str
    settings: list[dict[str, Any]]
    axes: list[str]
    losses: np.ndarray

    def values(self, name: str) -> list[Any]:
        """Of a setting, each once."""
        return sorted({setting[name] for setting in self.settings})

    def regret(self, tried: list[int], runs: int) -> float:
        """Percent."""
        best = float(self.losses.min())
        return 100 * (float(self.losses[tried[:runs]].min()) - best) / abs(best)


def read_grids(file: Path) -> list[Grid]:
    """Read a file of runs.

    Raises:
        SystemExit: it has none of the columns that are needed.
    """
    if is_archive(file):
        return grids_of(archived(file))
    table = pd.read_parquet(file)
    if missing := {"grid", "optimizer", "final_loss"} - set(table.columns):
        raise SystemExit(f"{file} must have a row per run with {', '.join(sorted(missing))}; add the columns.")
    return grids_of(table)


def archived(file: Path) -> pd.DataFrame:
    """The runs of the sweeps in an archive, as a file of runs has them."""
    with tempfile.TemporaryDirectory() as folder:
        restore(file, Store(folder))
        results = load(folder)
        sweeps = [results.sweep(plan).runs for plan in results.sweeps["plan_id"]]
    runs = pd.concat([sweep[sweep["seed"] == sweep["seed"].iloc[0]] for sweep in sweeps], ignore_index=True)
    names = [f"{run.task} {run.optimizer} {run.batch_size}" for run in runs.itertuples()]
    kept = runs[["optimizer", "batch_size", "steps"]].assign(grid=names, final_loss=runs["loss"])
    return kept.join(pd.DataFrame(runs["setting"].tolist()))


def grids_of(table: pd.DataFrame) -> list[Grid]:
    """The grids of a table; of rows with equal settings the first counts."""
    names = [c for c in table.columns if c not in NO_AXES and not isinstance(table[c].iloc[0], list | np.ndarray)]
    grids = []
    for name, rows in table.groupby("grid", sort=True):
        rows = rows.drop_duplicates(names)
        known = [c for c in names if rows[c].notna().any()]
        columns = {
            c: rows[c] if is_numeric_dtype(rows[c]) and rows[c].notna().all() else rows[c].astype(str) for c in known
        }
        settings = pd.DataFrame(columns).to_dict("records")
        losses = rows["final_loss"].fillna(np.inf).to_numpy(dtype=float)
        axes = [c for c in known if columns[c].nunique() > 1]
        grids.append(Grid(str(name), str(rows["optimizer"].iloc[0]), settings, axes, losses))
    return grids


@dataclass(frozen=True)
class Replay:
    """One search on one grid.

    Attributes:
        tried: settings in the order in which they were tried.
        covers: whether the interval after `JUDGED` runs holds the grid's lowest loss; None of a rival.
        width: of that interval, in percent of the loss.
        stops: runs after which the suite's rule would have ended the search; None: not within the replay.
    """

    tried: list[int]
    covers: bool | None = None
    width: float = 0.0
    stops: int | None = None


Known = dict[str, tuple[Grid, list[int]]]
"""Name of another grid -> the grid, and the settings that have been tried there."""


def searched(grid: Grid, runs: int, seed: int, known: Known) -> Replay:
    """The suite's search."""
    has_all = set.intersection(*(set(other.settings[0]) for other in [grid, *(other for other, _ in known.values())]))
    names = dict.fromkeys(
        [*grid.axes, *(axis for other, _ in known.values() for axis in other.axes if axis in has_all)]
    )
    space = Space({name: grid.values(name) for name in names}, groups=1 + len(known))
    lattice = Lattice(space, space.at(grid.settings), seed=seed)
    others = tuple(
        Results(space.at([other.settings[place] for place in tried], group=number), other.losses[tried])
        for number, (other, tried) in enumerate(known.values(), start=1)
    )
    tried, stops, facts = list(lattice.start(START, others).settings), None, {}
    while len(tried) < min(runs, len(grid.losses)):
        losses = grid.losses[tried]
        if len(tried) == JUDGED:
            low, high = lattice.best(tried, losses, others)
            facts = {"covers": low <= float(grid.losses.min()) <= high, "width": 100 * (high - low) / abs(high)}
        count = min(SEARCH.batch, runs - len(tried))
        proposal = lattice.following(tried, losses, count, precision=SEARCH.precision, others=others)
        if proposal.is_over and stops is None:
            stops = len(tried)
        tried += proposal.settings
    return Replay(tried, stops=stops, **facts)


def rival(name: str, grid: Grid, runs: int, seed: int) -> Replay:
    """Another search."""
    space = Space({axis: grid.values(axis) for axis in grid.axes})
    points = space.at(grid.settings)
    points[:, : space.numbers] = (points[:, : space.numbers] + 1) / 2
    choose, _ = RIVALS[name]
    return Replay(choose(points, lambda setting: float(grid.losses[setting]), runs, seed))


def replays(
    grids: list[Grid], method: str, starts: int, runs: int, alone: dict[str, list[Replay]]
) -> dict[str, list[Replay]]:
    """Grid -> one replay per start; ``alone`` has those of the suite's search without neighbours."""
    if method == "surface":
        return alone
    if method != "neighbours":
        return {grid.name: [rival(method, grid, runs, seed) for seed in range(starts)] for grid in grids}
    result = {}
    for grid in grids:
        near = [other for other in grids if other.optimizer == grid.optimizer and other is not grid]
        result[grid.name] = (
            alone[grid.name]
            if not near
            else [
                searched(grid, runs, seed, {o.name: (o, alone[o.name][seed].tried[:JUDGED]) for o in near})
                for seed in range(starts)
            ]
        )
    return result


def row(method: str, name: str, grid: Grid, several: list[Replay]) -> dict[str, Any]:
    """The figures of one method on one grid."""
    facts: dict[str, Any] = {"method": method, "grid": name, "settings": len(grid.losses)}
    for runs in RUNS:
        facts[f"regret_{runs}"] = statistics.fmean(grid.regret(replay.tried, runs) for replay in several)
    judged = [replay for replay in several if replay.covers is not None]
    if judged:
        stops = [replay.stops or len(replay.tried) for replay in several]
        facts |= {
            "covered": statistics.fmean(bool(replay.covers) for replay in judged),
            "width": statistics.fmean(replay.width for replay in judged),
            "runs_until_stop": statistics.fmean(stops),
            "regret_at_stop": statistics.fmean(grid.regret(r.tried, n) for r, n in zip(several, stops, strict=True)),
        }
    return facts


def mean_row(method: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over grids."""
    names = dict.fromkeys(name for one in rows for name in one if name not in ("method", "grid", "settings"))
    means = {name: statistics.fmean(one[name] for one in rows if name in one) for name in names}
    return {"method": method, "grid": "mean", "settings": sum(one["settings"] for one in rows), **means}


def line(facts: dict[str, Any]) -> str:
    """A row of the table."""
    regrets = [f"{facts[f'regret_{runs}']:.2f}" for runs in RUNS]
    covered = f"{facts['covered']:.0%}" if "covered" in facts else ""
    stop = f"{facts['runs_until_stop']:.1f}: {facts['regret_at_stop']:.2f}" if "covered" in facts else ""
    return f"| {' | '.join([facts['method'], facts['grid'], str(facts['settings']), *regrets, covered, stop])} |"


def made_up(count: int = 3) -> list[Grid]:
    """Grids of a learning rate and a momentum: a bowl that leans, a cliff at high rates, noise."""
    generator = np.random.default_rng(0)
    rows = []
    for grid in range(count):
        centre = generator.uniform(-0.5, 0.5, 2)
        for rate in np.linspace(-1, 1, 9):
            for momentum in np.linspace(-1, 1, 4):
                lr, slow = rate - centre[0], momentum - centre[1]
                loss = 3 + 0.2 * (lr + 0.4 * slow) ** 2 + 0.1 * slow**2 + 0.004 * generator.standard_normal()
                axes = {"lr": 10.0**rate, "momentum": 1 - 10.0 ** (-1.5 - momentum / 2)}
                rows.append(
                    {"grid": f"bowl {grid}", "optimizer": "sgd", **axes, "final_loss": loss if lr < 0.8 else np.inf}
                )
    return grids_of(pd.DataFrame(rows))


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Print the table of docs/search.md; returns its rows."""
    methods = ["surface", "neighbours", *installed()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="parquet with a row per run")
    parser.add_argument("--starts", type=int, default=20, help="searches per grid and method (default: %(default)s)")
    parser.add_argument("--methods", default=",".join(methods), help="with commas between (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="three small grids made here, two starts: ten seconds")
    parser.add_argument("--json", type=Path, help="file for every figure")
    options = parser.parse_args(arguments)
    if options.quick == (options.data is not None):
        parser.error("give --data FILE, or --quick")
    asked = options.methods.split(",")
    if unknown := set(asked) - {*OURS, *RIVALS}:
        parser.error(f"there is no method {sorted(unknown)[0]!r}; there are surface, neighbours, {', '.join(RIVALS)}")
    grids, starts = (made_up(), 2) if options.quick else (read_grids(options.data), options.starts)
    begun, runs, rows = time.perf_counter(), max(RUNS), []
    alone = {g.name: [searched(g, runs, seed, {}) for seed in range(starts)] for g in grids if set(asked) & OURS}
    print(f"| method | grid | settings | {' | '.join(f'{n} runs' for n in RUNS)} | covered | stops after: regret |")
    print("|---" * (5 + len(RUNS)) + "|")
    for method in asked:
        of_grids = replays(grids, method, starts, runs, alone)
        of_method = [row(method, grid.name, grid, of_grids[grid.name]) for grid in grids]
        rows += [*of_method, mean_row(method, of_method)]
        print("\n".join(map(line, rows[-len(grids) - 1 :])), flush=True)
    print(f"\n{time.perf_counter() - begun:.0f} s, {starts} starts per grid")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))
    return rows


if __name__ == "__main__":
    main()
