"""Drill: a sweep is killed, stopped and frozen at random moments; in the end it must be as if undisturbed.

    python tests/drills/kill.py [--moments 50] [--seed 0] [--pack 3 | --pretend]

At a moment one of its workers, the sweep or all of them get SIGKILL, SIGTERM or SIGINT, or SIGSTOP and, when their
leases are long dead, SIGCONT; meanwhile a second sweep takes the store over and both go on. Sweeps are started again
until they end, in a fresh store each time, until enough moments have passed. What must hold: runs, losses, curves and
plan equal those of an undisturbed sweep, bit for bit; a result once in the store stays as it is (no run is trained
twice to the end); no record is ever read as broken; a sweep that was frozen or lost workers only ends with success;
nothing is left behind.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from suite.records import Store  # noqa: E402
from suite.records.lease import STALE_SECONDS  # noqa: E402

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSTOP)
TARGETS = ("worker", "sweep", "all")
PRETENDED_FREEZE_SECONDS = 3.0
SWEEP = """\
question: "Does it end as if nothing had happened?"
task: fineweb/gpt
overrides:
  {data.source: sample, data.tokenizer: byte, data.seq_len: 16, data.budget_steps: 400, data.eval_samples: 4,
   model.num_layers: 1, model.num_heads: 1, model.width: 8, trainer.accelerator: cpu, trainer.precision: 32-true}
batch_size: [1, 2]
seeds: [1, 2]
finalists: {settings: 2, seeds: [3]}
report_seeds: [4, 5]
extend_edges: 1
optimizers:
  sgd: {lr: {decades: [-3, -2], per_decade: 2}, momentum: 0.9}
  adam: {lr: {decades: [-4, -3], per_decade: 2}, beta: 0.9}
"""

Start = Callable[[Path], "subprocess.Popen[bytes]"]
"""Starts a sweep on a store."""

Table = dict[str, tuple[str, str]]
"""Run -> its status, and a digest of its losses, metrics and curves."""


@dataclasses.dataclass
class Outcome:
    """What a drill saw.

    Attributes:
        moments: moments by signal and target.
        sweeps: stores on which a sweep was driven to its end.
        starts: calls of the sweep that this took.
        runs: runs of the sweep, extensions, finalists and reporting seeds included.
        settled_at_moment: results that were in the store at each moment.
        calm_seconds: what the undisturbed sweep took.
    """

    moments: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    sweeps: int = 0
    starts: int = 0
    runs: int = 0
    settled_at_moment: list[int] = dataclasses.field(default_factory=list)
    calm_seconds: float = 0.0

    def __str__(self) -> str:
        shots = Counter[str]()
        for (name, _), count in self.moments.items():
            shots[name] += count
        return (
            f"{sum(shots.values())} moments ({', '.join(f'{n} {name}' for name, n in sorted(shots.items()))}) at "
            f"{self.sweeps} sweeps of {self.runs} runs ({self.calm_seconds:.0f} s undisturbed), {self.starts} starts: "
            "each ended with the runs, losses and plan of the undisturbed one; no result was lost or trained again"
        )


class Drill:
    """Shoots at sweeps; raises AssertionError where something is lost or wrong.

    Args:
        start: starts a sweep on a store.
        folder: folder for the stores.
        seed: seed of the moments, targets and signals.
        freeze_seconds: how long what is frozen stands still.
    """

    def __init__(self, start: Start, folder: Path, *, seed: int, freeze_seconds: float = STALE_SECONDS + 5) -> None:
        self.start = start
        self.folder = folder
        self.freeze_seconds = freeze_seconds
        self.outcome = Outcome()
        self._chance = random.Random(seed)
        self._signals: list[signal.Signals] = []
        self._targets: list[str] = []
        begun = time.monotonic()
        assert start(folder / "calm").wait() == 0, "the undisturbed sweep fails"
        self.outcome.calm_seconds = time.monotonic() - begun
        self._expected, self._plan = table(folder / "calm"), plan(folder / "calm")
        assert self._expected and all(status == "finished" for status, _ in self._expected.values())
        assert {run["run_id"] for run in self._plan} == set(self._expected)
        self.outcome.runs = len(self._plan)

    def run(self, moments: int) -> Outcome:
        """Drive sweeps to their end until so many moments have passed."""
        while (left := moments - sum(self.outcome.moments.values())) > 0:
            self._one_sweep(self.folder / f"shot-{self.outcome.sweeps}", left)
            self.outcome.sweeps += 1
        return self.outcome

    def _one_sweep(self, store: Path, moments: int) -> None:
        """Shoot at a sweep up to so many times, until it ends with success."""
        kept: dict[str, str] = {}
        alive, shot, success = [self._started(store)], set[int](), False
        while alive or not success:
            alive = alive or [self._started(store)]
            if moments:
                self._wait(alive, self._chance.uniform(0.05, 0.5) * self.outcome.calm_seconds)
            else:
                self._wait(alive, 24 * 3600)
            if moments and (targets := [process for process in alive if process.poll() is None]):
                moments -= 1
                alive += self._shoot(self._chance.choice(targets), store, shot)
            self.outcome.settled_at_moment.append(keep(store, kept, self._expected))
            for process in alive:
                if process.poll() not in (None, 0):
                    assert process.pid in shot, f"a sweep that was not shot at ended with {process.poll()}"
                success = process.poll() == 0 or success
            alive = [process for process in alive if process.poll() is None]
        keep(store, kept, self._expected)
        assert table(store) == self._expected, "the table differs from the undisturbed sweep's"
        assert plan(store) == self._plan, "the plan differs from the undisturbed sweep's"
        # A process that is killed between its record and its release leaves a lease that nobody needs to take over.
        held = [path for path in store.rglob("*lease*") if Store(store).is_being_trained(path.parent.name)]
        left = [*held, *store.rglob("checkpoint.ckpt")]
        assert not left, f"left behind: {left}"

    def _started(self, store: Path) -> subprocess.Popen[bytes]:
        self.outcome.starts += 1
        return self.start(store)

    def _wait(self, processes: list[subprocess.Popen[bytes]], seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(process.poll() is None for process in processes):
            time.sleep(0.05)

    def _next(self, deck: list[Any], kinds: tuple[Any, ...]) -> Any:
        """One of several kinds at random, each as often as the others."""
        deck[:] = deck or self._chance.sample(kinds, len(kinds))
        return deck.pop()

    def _shoot(self, sweep: subprocess.Popen[bytes], store: Path, shot: set[int]) -> list[subprocess.Popen[bytes]]:
        """Send a signal to a sweep, one of its workers or all of them; returns the sweep that was started meanwhile."""
        number, target = self._next(self._signals, SIGNALS), self._next(self._targets, TARGETS)
        workers = children(sweep.pid)
        if target == "worker":
            chosen = [self._chance.choice(workers)] if workers else []
        else:
            chosen = [sweep.pid, *(workers if target == "all" else [])]
        self.outcome.moments[number.name, target] += 1
        if number != signal.SIGSTOP and chosen:
            shot.add(sweep.pid)  # also for its workers: whose job is stopped too often is a failure
        send(chosen, number)
        if number != signal.SIGSTOP:
            return []
        other = self._started(store)
        self._wait([other], self.freeze_seconds)
        send(chosen, signal.SIGCONT)
        return [other]


def send(processes: list[int], number: signal.Signals) -> None:
    """Send a signal to those that still live."""
    for pid in processes:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def plan(store: Path) -> list[dict[str, Any]]:
    """The runs of the one plan in a store."""
    (file,) = store.glob("sweeps/*/plan.json")
    return list(json.loads(file.read_text())["runs"])


def table(store: Path) -> Table:
    """What a store holds by run; a record that is read as broken is an error."""
    reader, found = Store(store), {}
    for record in reader.records():
        curves = reader.curves(record["run_id"])
        numbers = record["final"], record["metrics"], record["steps"], curves and curves.to_pydict()
        found[record["run_id"]] = record["status"], hashlib.sha256(repr(numbers).encode()).hexdigest()
    assert not reader.problems, reader.problems
    return found


def keep(store: Path, kept: dict[str, str], expected: Table) -> int:
    """Check that results in the store are right and those seen before unchanged; returns their number."""
    settled = {run_id: result for run_id, result in table(store).items() if result[0] == "finished"}
    assert all(expected[run_id] == result for run_id, result in settled.items()), "a result differs"
    for run_id in settled:
        folder = Store(store).run_folder(run_id)
        digest = hashlib.sha256((folder / "record.json").read_bytes() + (folder / "curves.parquet").read_bytes())
        assert kept.setdefault(run_id, digest.hexdigest()) == digest.hexdigest(), f"{run_id} was trained again"
    assert set(kept) <= set(settled), "a result is gone"
    return len(settled)


def children(pid: int) -> list[int]:
    """Processes whose parent is ``pid``."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(folder.name))
        except (OSError, IndexError):
            continue
    return found


def real_sweep(folder: Path, pack: str = "off") -> Start:
    """Sweeps of real runs."""
    file = folder / "drill.yaml"
    file.write_text(SWEEP)

    def start(store: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "suite", "sweep", str(file), "--store", str(store), "--workers", "2"]
        return _started([*command, "--pack", pack, "--data.data_dir", str(folder / "data")])

    return start


def pretended_sweep(store: Path) -> subprocess.Popen[bytes]:
    """A sweep of pretended runs, whose leases are dead after two seconds."""
    command = [sys.executable, str(ROOT / "tests" / "drills" / "pretend_sweep.py"), str(store)]
    return _started(command, PRETEND_STALE="2")


def _started(command: list[str], **variables: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    """Run the drill and print what it saw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pack", default="off", help="runs trained at once, as in sweep")
    parser.add_argument("--pretend", action="store_true", help="pretended runs: many moments in little time")
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        start = pretended_sweep if options.pretend else real_sweep(Path(name), options.pack)
        freeze = PRETENDED_FREEZE_SECONDS if options.pretend else STALE_SECONDS + 5
        outcome = Drill(start, Path(name), seed=options.seed, freeze_seconds=freeze).run(options.moments)
    print(f"{outcome} in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
