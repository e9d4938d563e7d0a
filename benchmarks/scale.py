"""Plan, status and report of a sweep of 100,000 runs, and 1,000 processes that take leases from one store.

The store is synthetic: its records are as large as real ones, its losses follow a formula. Every measurement is made in
a process of its own, which tells its time and its largest memory. Expected: report under 60 s and 2 GB, no run leased
twice.

    python benchmarks/scale.py [--runs 100000] [--takers 1000] [--leased-runs 5000] [--only plan status report leases]
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from suite.cli.main import main as suite_main
from suite.records import LeaseHeld, Store
from suite.records.store import SCHEMA
from suite.records.tables import write_table
from suite.sweep import Plan, RunSpec, SweepSpec, read_spec

STEPS = 400
BATCH_SIZES = [4**k for k in range(6)]
MOMENTA = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99]


def write_sweep(folder: Path, runs: int) -> Path:
    """A sweep of about so many runs: two optimizers, six batch sizes, six momenta, ten seeds, and learning rates."""
    rates = max(2, round(runs / (2 * len(BATCH_SIZES) * len(MOMENTA) * 10)))
    optimizers = {
        name: {"lr": [float(f"{best * 10 ** (4 * k / (rates - 1) - 2):.6g}") for k in range(rates)], key: MOMENTA}
        for name, key, best in (("sgd", "momentum", 0.3), ("adam", "beta", 0.003))
    }
    file = folder / "scale.yaml"
    asked = {
        "question": "Does a store of many runs stay usable?",
        "task": "fineweb/gpt",
        "batch_size": BATCH_SIZES,
        "seeds": list(range(10)),
        "optimizers": optimizers,
    }
    file.write_text(json.dumps(asked))
    return file


def identify(run: RunSpec) -> tuple[str, int]:
    """An id from the settings alone: no task is opened."""
    text = json.dumps([run.settings, run.batch_size, run.seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16], STEPS


def write_store(file: Path, store: Store) -> int:
    """Fill the store with a record per run; returns their number."""
    plan = Plan(read_spec(file), identify)
    store.write_plan(plan.as_record(command="python benchmarks/scale.py", title="GPT on FineWeb-Edu"))
    config = {"model": {f"setting_{n}": n for n in range(60)}, "data": {f"setting_{n}": n for n in range(40)}}
    packages = {"torch": "2.15.0", "lightning": "2.6.6", "python": "3.11.2"}
    for number, run in enumerate(plan.runs):
        if number % 1000 == 0:  # curves of their own for every run would only fill the disk
            noise = random.Random(number)
            losses = [3 + 3 * math.exp(-step / 40) + noise.gauss(0, 0.05) for step in range(STEPS)]
            ones = [1.0] * STEPS
            columns = {"step": list(range(STEPS)), "train_loss": losses, "lr": ones, "grad_norm": ones}
            curves = pa.table({**columns, "clipped": [False] * STEPS})
        best = 0.3 if run.optimizer == "sgd" else 0.003
        loss = 3.4 + 0.3 * math.log10(run.axes["lr"] / best) ** 2 + 0.001 * run.seed
        diverged = run.axes["lr"] > 30 * best
        final = {} if diverged else {"ema": loss, "val": loss}
        folder = store.run_folder(run.run_id)
        folder.mkdir(parents=True)
        written = write_table(folder / "curves.parquet", curves, lambda path, write: write(path), final)
        record = {
            "schema": SCHEMA, "run_id": run.run_id, "status": "diverged" if diverged else "finished",
            "task": "fineweb/gpt", "optimizer": run.settings, "batch_size": run.batch_size, "seed": run.seed,
            "steps": STEPS, "steps_done": STEPS, "diverged_at": 3 if diverged else None,
            "final": final, "metrics": {}, "config": config,
            "identity": config, "data": {"name": "fineweb", "fingerprint": "0" * 16, "samples": 1000},
            "parameters": 1000, "code": {"version": "0.1.0", "commit": "0" * 8, "dirty": False},
            "packages": packages, "device": {"kind": "cpu", "name": "synthetic", "count": 1}, "host": "nowhere",
            "started": "2026-01-02T03:04:05+00:00", "ended": "2026-01-02T03:05:05+00:00",
            "seconds": {"train": 50.0, "eval": 5.0, "log": 5.0, "total": 60.0}, "error": None,
            "curves": written,
        }  # fmt: skip
        (folder / "record.json").write_text(json.dumps(record, indent=1))
    return len(plan.runs)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a measurement took.

    Attributes:
        seconds: wall time.
        cpu_seconds: time on a processor; what the wall time would be on a quiet machine.
        megabytes: largest resident memory of its process.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float


def alone(work: Callable[[], object]) -> Cost:
    """Do something in a process of its own."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def measured() -> None:
        begun = time.perf_counter()
        with open(os.devnull, "w") as nowhere:
            sys.stdout = nowhere
            work()
        used = resource.getrusage(resource.RUSAGE_SELF)
        there.send(Cost(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024))

    process = context.Process(target=measured)
    process.start()
    while not here.poll(0.2):
        if not process.is_alive() and not here.poll():
            raise SystemExit("a measurement failed")
    process.join()
    return here.recv()


def plan_and_missing(file: Path, store: Store) -> None:
    """What ``sweep`` does before it starts the first run."""
    plan = Plan(read_spec(file), identify)
    assert not plan.missing(store)


def identities(spec: SweepSpec, folder: Path, count: int = 500) -> float:
    """Milliseconds to identify one run of a real task, after the first."""
    from suite.execution.runs import Runs

    small = {"data.source": "sample", "data.tokenizer": "byte", "data.seq_len": 16, "data.budget_steps": 10}
    runs = Runs(spec.changed({**small, "data.data_dir": str(folder / "data")}))
    specs = [RunSpec(settings={"name": "sgd", "lr": 0.1}, batch_size=1, seed=seed) for seed in range(count)]
    runs.identify(specs[0])
    begun = time.perf_counter()
    for run in specs:
        runs.identify(run)
    return 1000 * (time.perf_counter() - begun) / count


def take_leases(folder: str, runs: int, number: int, gate: Any, results: Any) -> None:
    """One simulated worker: take the lease of every run that nobody has, note it, go on."""
    store = Store(folder)
    mine, refused = [], 0
    order = list(range(runs))
    random.Random(number).shuffle(order)
    gate.wait()
    for run in order:
        run_id = f"{run:016x}"
        done = store.run_folder(run_id) / "done"
        if done.exists():
            continue
        try:
            with store.lease(run_id):
                if not done.exists():
                    mine.append(run)
                    done.touch()
        except LeaseHeld:
            refused += 1
    results.put((mine, refused))


def leases(folder: Path, takers: int, runs: int) -> str:
    """Throughput of leases, and whether a run was given out twice."""
    context = multiprocessing.get_context("fork")
    gate, results = context.Event(), context.Queue()
    arguments = [(str(folder), runs, number, gate, results) for number in range(takers)]
    processes = [context.Process(target=take_leases, args=one) for one in arguments]
    for process in processes:
        process.start()
    time.sleep(1)
    begun = time.perf_counter()
    gate.set()
    taken, refused = [], 0
    for _ in processes:
        mine, lost = results.get()
        taken += mine
        refused += lost
    seconds = time.perf_counter() - begun
    for process in processes:
        process.join()
    assert sorted(taken) == list(range(runs)), "a run was leased twice, or never"
    return (
        f"leases: {takers} processes took {runs} runs in {seconds:.1f} s, {runs / seconds:.0f} leases/s, {refused} "
        "refusals, every run once"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--takers", type=int, default=1000)
    parser.add_argument("--leased-runs", type=int, default=5000)
    parser.add_argument("--only", nargs="+", default=["plan", "status", "report", "leases"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"plan", "status", "report"} & set(options.only):
            file, store = write_sweep(folder, options.runs), Store(folder / "runs")
            begun = time.perf_counter()
            print(f"store: {write_store(file, store)} runs written in {time.perf_counter() - begun:.1f} s", flush=True)
            told = [str(file), "--store", str(store.path)]
            work: dict[str, Callable[[], object]] = {
                "plan": lambda: plan_and_missing(file, store),
                "status": lambda: suite_main(["status", *told]),
                "report": lambda: suite_main(["report", *told]),
            }
            for what in [what for what in work if what in options.only]:
                cost = alone(work[what])
                print(
                    f"{what}: {cost.seconds:.1f} s ({cost.cpu_seconds:.1f} s of CPU), {cost.megabytes:.0f} MB",
                    flush=True,
                )
            if "plan" in options.only:
                print(f"identify: {identities(read_spec(file), folder):.2f} ms a run of fineweb/gpt", flush=True)
        if "leases" in options.only:
            print(leases(folder / "leased", options.takers, options.leased_runs))


if __name__ == "__main__":
    main()
