"""How long 10,000 runs take to report, and to read from a CSV export.

    python benchmarks/report.py [RUNS]

Writes a store of planted runs into a temporary folder, then times the gap table, the report of the sweep, the index
over the store, and the gap table of the same runs as a CSV with histories of 400 points.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from synthetic_records import Planted, write_store

from suite.analysis.comparison import compare_csv, compare_plan
from suite.analysis.report import write_index, write_report
from suite.analysis.terminal import format_gap_table
from suite.records import Store

BATCH_SIZES = tuple(2**k for k in range(13))


def planted(runs: int) -> Planted:
    seeds = max(1, round(runs / (2 * len(BATCH_SIZES) * 12 * 4)))
    lrs = {"sgd": tuple(np.geomspace(0.003, 30, 12)), "adam": tuple(np.geomspace(3e-5, 0.3, 12))}
    best = {name: values[5] for name, values in lrs.items()}
    return Planted(batch_sizes=BATCH_SIZES, seeds=tuple(range(seeds)), lrs=lrs, best_lr=best, steps=400)


def write_csv(path: Path, chosen: Planted) -> int:
    rng, count = np.random.default_rng(0), 0
    texts = [str(rng.normal(3.4 + 0.02 * k, 0.05, 400).round(5).tolist()) for k in range(30)]
    with open(path, "w") as file:
        file.write("data,lr,wd,bs,mom,opt,seed,tr_loss_history,vl_loss_history\n")
        for optimizer, lrs in chosen.lrs.items():
            for size in chosen.batch_sizes:
                for lr in lrs:
                    for momentum in chosen.momenta:
                        for seed in chosen.seeds:
                            text = texts[int(rng.integers(len(texts)))]
                            file.write(f'd,{lr},0,{size},{momentum},{optimizer},{seed},"{text}","[]"\n')
                            count += 1
    return count


@contextlib.contextmanager
def timed(what: str):
    start, worked = time.perf_counter(), time.process_time()
    yield
    spent = f"{time.perf_counter() - start:7.1f} s, {time.process_time() - worked:7.1f} s of processor time"
    print(f"{what:32} {spent}", flush=True)


def main() -> None:
    chosen = planted(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with timed("(writing the store)"):
            store, plan = write_store(folder / "store", chosen)
        print(f"{len(plan['runs'])} runs, {len(chosen.batch_sizes)} batch sizes, {len(chosen.seeds)} seeds")
        with timed("gap table"), contextlib.redirect_stdout(io.StringIO()):
            print(format_gap_table(compare_plan(store, plan)))
        with timed("report of the sweep"):
            page = write_report(store, plan, folder / "report").page
        print(f"page of {page.stat().st_size / 1e6:.1f} MB")
        with timed("index over the store"):
            write_index(Store(folder / "store"), folder / "index")
        count = write_csv(folder / "runs.csv", chosen)
        with timed(f"CSV of {count} runs"):
            compare_csv(folder / "runs.csv")


if __name__ == "__main__":
    main()
