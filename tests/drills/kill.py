"""Drill: kill -9 of a worker, of the sweep, of both, at random moments; then the sweep must end as if undisturbed.

    python tests/drills/kill.py [--moments 50] [--seed 0] [--pack 5 | --pretend]

Sweeps are started, shot at and started again until they end, in a fresh store each time, until enough moments have
passed. What must hold: the table of results equals that of an undisturbed sweep; a result once in the store stays as it
is, byte for byte (no run is trained twice to the end); no record is ever read as broken; nothing is left behind.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
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

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from suite.records import Store  # noqa: E402

TARGETS = ("worker", "sweep", "both")
SWEEP = """\
question: "Does it end as if nothing had happened?"
task: fineweb/gpt
overrides:
  {data.source: sample, data.tokenizer: byte, data.seq_len: 16, data.budget_steps: 600, data.eval_samples: 4,
   model.num_layers: 1, model.num_heads: 1, model.width: 8, trainer.accelerator: cpu, trainer.precision: 32-true}
batch_size: [1, 2]
optimizers: {sgd: {lr: [0.03, 0.1, 0.3], momentum: 0.9}, adam: {lr: [0.001, 0.01], beta: 0.9}}
"""

Start = Callable[[Path], "subprocess.Popen[bytes]"]
"""Starts a sweep on a store."""

Table = dict[str, tuple[str, float | None]]


@dataclasses.dataclass
class Outcome:
    """What a drill saw.

    Attributes:
        kills: moments by target.
        sweeps: sweeps that were shot at until they ended.
        settled_at_kill: results that were in the store at each moment.
    """

    kills: Counter[str] = dataclasses.field(default_factory=Counter)
    sweeps: int = 0
    settled_at_kill: list[int] = dataclasses.field(default_factory=list)


def drill(start: Start, folder: Path, *, moments: int, seed: int) -> Outcome:
    """Run the drill; raises AssertionError where something is lost or wrong."""
    chance = random.Random(seed)
    outcome = Outcome()
    begun = time.monotonic()
    assert start(folder / "calm").wait() == 0, "the undisturbed sweep fails"
    calm_seconds = time.monotonic() - begun
    expected = table(folder / "calm")
    assert expected and all(status == "finished" for status, _ in expected.values())
    while sum(outcome.kills.values()) < moments:
        store = folder / f"shot-{outcome.sweeps}"
        kept: dict[str, str] = {}
        process = start(store)
        while sum(outcome.kills.values()) < moments:
            wait = chance.uniform(0.1, 0.7) * calm_seconds
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                target = chance.choice(TARGETS)
                shoot(process, target, chance)
                outcome.kills[target] += 1
            outcome.settled_at_kill.append(keep(store, kept, expected))
            if process.poll() == 0:
                break
            if process.poll() is not None:
                process = start(store)
        assert process.wait() == 0 or start(store).wait() == 0
        keep(store, kept, expected)
        assert table(store) == expected, "the table differs from the undisturbed sweep's"
        left = [path for path in store.rglob("*") if path.name in ("lease.json", "checkpoint.ckpt")]
        assert not left, f"left behind: {left}"
        outcome.sweeps += 1
    return outcome


def table(store: Path) -> Table:
    """Status and final loss by run; a record that is read as broken is an error."""
    reader = Store(store)
    found = {record["run_id"]: (record["status"], record["final"].get("ema")) for record in reader.records()}
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


def shoot(process: subprocess.Popen[bytes], target: str, chance: random.Random) -> None:
    """Kill the sweep, one of its workers, or the sweep and all its workers."""
    workers = children(process.pid)
    chosen = [chance.choice(workers)] if target == "worker" and workers else workers if target == "both" else []
    if target != "worker":
        process.kill()
        process.wait()
    for pid in chosen:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


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
    """Sweeps of ten real runs."""
    file = folder / "drill.yaml"
    file.write_text(SWEEP)

    def start(store: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "suite", "sweep", str(file), "--store", str(store), "--workers", "2"]
        return _started([*command, "--pack", pack, "--data.data_dir", str(folder / "data")])

    return start


def pretended_sweep(store: Path) -> subprocess.Popen[bytes]:
    """A sweep of pretended runs."""
    return _started([sys.executable, str(ROOT / "tests" / "drills" / "pretend_sweep.py"), str(store)])


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
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
        outcome = drill(start, Path(name), moments=options.moments, seed=options.seed)
    shots = ", ".join(f"{count} of {target}" for target, count in sorted(outcome.kills.items()))
    seconds = time.monotonic() - begun
    print(
        f"{sum(outcome.kills.values())} kills ({shots}) of {outcome.sweeps} sweeps in {seconds:.0f} s: every table "
        "equals the undisturbed one, no result was trained again, no record was read as broken."
    )


if __name__ == "__main__":
    main()
