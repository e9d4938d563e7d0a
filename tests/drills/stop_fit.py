"""Drill: ``fit`` is stopped and killed at random moments and called again until it ends; its numbers must be whole.

    python tests/drills/stop_fit.py --moments 20

A stop (SIGTERM, SIGINT, SIGHUP) must end with 128 and its number, one sentence, and every step in the checkpoint; a
kill may lose what the interval between checkpoints allows. What ends must equal an undisturbed run bit for bit.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from suite.records import Store  # noqa: E402

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)
SMALL = """
--task fineweb/gpt --data.source sample --data.tokenizer byte --data.seq_len 64 --optimizer adam --optimizer.lr 3e-3
--data.batch_size 8 --data.budget_steps 600 --data.eval_every_steps 50 --data.eval_samples 256 --model.width 32
--model.num_layers 2 --model.num_heads 2 --checkpoint_seconds 1 --diagnostics clipping --trainer.accelerator cpu
--trainer.precision 32-true
"""


@dataclasses.dataclass
class Outcome:
    """What the drill saw."""

    signals: Counter[str] = dataclasses.field(default_factory=Counter)
    phases: Counter[str] = dataclasses.field(default_factory=Counter)
    runs: int = 0


def drill(arguments: list[str], folder: Path, *, moments: int, seed: int) -> Outcome:
    """Run the drill; raises AssertionError where something is lost or wrong."""
    chance, outcome = random.Random(seed), Outcome()
    begun = time.monotonic()
    calm = started(arguments, folder / "calm")
    _, words = calm.communicate()
    assert calm.returncode == 0, words
    seconds = time.monotonic() - begun
    expected = result(folder / "calm")
    while sum(outcome.signals.values()) < moments:
        store = folder / f"shot-{outcome.runs}"
        while True:
            process = started(arguments, store)
            if sum(outcome.signals.values()) < moments:
                shoot(process, store, chance.choice(SIGNALS), chance.uniform(0, seconds), outcome)
            _, words = process.communicate()
            if process.returncode == 0:
                break
            if process.returncode > 0:
                check_stop(process.returncode, words, store)
        assert result(store) == expected, "the numbers differ from the undisturbed run's"
        outcome.runs += 1
    return outcome


def started(arguments: list[str], store: Path) -> subprocess.Popen[str]:
    """A call of ``fit``."""
    command = [sys.executable, "-m", "suite", "fit", *arguments, "--store", str(store)]
    data = ["--data.data_dir", str(store.parent / "data")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, *data], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def shoot(process: subprocess.Popen[str], store: Path, number: signal.Signals, wait: float, outcome: Outcome) -> None:
    """Send a signal after some time, if the process still lives, and note in which phase that was."""
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        outcome.phases[phase(store)] += 1
        outcome.signals[number.name] += 1
        process.send_signal(number)


def phase(store: Path) -> str:
    """How far a call has come, from what it has written."""
    if any(store.glob("runs/*/*/lease.json")):
        return "with a checkpoint" if any(store.glob("runs/*/*/checkpoint.ckpt")) else "without a checkpoint"
    return "before the training"


def check_stop(code: int, words: str, store: Path) -> None:
    """What a call that a signal has stopped must leave."""
    sentences = [line for line in words.splitlines() if line.startswith("suite: ")]
    assert code in (129, 130, 143) and len(sentences) == 1, f"{code}: {words}"
    assert sentences[0].startswith(f"suite: Ended by {signal.Signals(code - 128).name}"), sentences
    assert "Traceback" not in words and not list(store.glob("runs/*/*/lease.json")), words
    if " steps; " in sentences[0]:
        assert Path(sentences[0].rpartition(", ")[2].removesuffix(".")).exists(), sentences
        assert "of step" not in sentences[0], f"steps are lost: {sentences}"


def result(store: Path) -> str:
    """The numbers of the one run of a store, and the names of its files, in words: NaN equals NaN there."""
    (record,) = Store(store).records()
    assert record["status"] == "finished"
    tables = [Store(store).curves(record["run_id"]), Store(store).diagnostics(record["run_id"])]
    columns = [None if table is None else table.to_pydict() for table in tables]
    files = sorted(path.name for path in Store(store).run_folder(record["run_id"]).iterdir())
    return repr((record["final"], record["metrics"], columns, files))


def main() -> None:
    """Run the drill and print what it saw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fit", default=SMALL, help="arguments of fit, in one text; default: a run of half a minute")
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        outcome = drill(options.fit.split(), Path(name), moments=options.moments, seed=options.seed)
    shots, phases = (", ".join(f"{n} {what}" for what, n in c.items()) for c in (outcome.signals, outcome.phases))
    print(
        f"{sum(outcome.signals.values())} signals ({shots}; {phases}) at {outcome.runs} runs in "
        f"{time.monotonic() - begun:.0f} s: the numbers equal the undisturbed run's."
    )


if __name__ == "__main__":
    main()
