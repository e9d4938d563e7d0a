"""Whether several processes train more on one GPU than one does, each its own packs: measured, all at the same time.

    python benchmarks/gpu_sharing.py PAIR RUNS [--tiny]     one of the processes, which `benchmarks/gpu.py` starts

Steps that are repeated from recordings keep a GPU busy, and processes take turns on it, so sharing may win nothing;
plain steps that the host launches more slowly than the device executes them leave room for a neighbour.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

CASES = (("fineweb/gpt", 8), ("zinc/gat", 8))
"""Pairs and runs per pack: repeated steps, and batches of many shapes."""

COUNTS = (1, 2, 4)
"""Processes at a time."""


def measure(emit: Callable[[dict[str, Any]], None], *, tiny: bool) -> None:
    """A row per pair and number of processes: the pack's step, and runs times steps per second over one process's."""
    for pair, runs in [("fineweb/gpt", 2)] if tiny else CASES:
        one: float | None = None
        counts = COUNTS[:2] if tiny else COUNTS
        processes = [_start(pair, runs, tiny=tiny) for _ in range(counts[-1])]
        try:
            for process in processes:
                _answer(process)  # each has built its network, and begins when it is told
            for count in counts:
                seconds = _together(processes[:count])
                one = statistics.median(seconds) if one is None else one
                emit({
                    "pair": pair, "runs": runs, "processes": count,
                    "ms per step": round(1000 * statistics.median(seconds), 3),
                    "x one process": round(sum(one / each for each in seconds), 2),
                })  # fmt: skip
        except (OSError, ValueError) as error:
            emit({"pair": pair, "runs": runs, "not measured": str(error)[:200]})
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _start(pair: str, runs: int, *, tiny: bool) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, pair, str(runs), *(["--tiny"] if tiny else [])]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _together(processes: list[subprocess.Popen[str]]) -> list[float]:
    """The seconds per step of every process, while all train."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("train\n")
        process.stdin.flush()
    return [_answer(process)["seconds"] for process in processes]


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of a process that is an answer; libraries print others.

    Raises:
        ValueError: it says why it has none, or it has ended.
    """
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            answer = json.loads(line)
            if "error" in answer:
                raise ValueError(answer["error"])
            return answer
    raise ValueError(f"a process ended with code {process.wait()}")


def serve(pair: str, runs: int, *, tiny: bool) -> None:
    """Train packs for some seconds as often as a line asks for it."""
    from gpu_parts import Timed

    from suite.fields import one_line

    try:
        timed = Timed(pair, tiny=tiny, batch_size=1)
        print("{}", flush=True)
        for _ in sys.stdin:
            row = timed.row(0.3 if tiny else 3.0, runs=runs)
            print(json.dumps({"seconds": row["ms per step"] / 1000}), flush=True)
    except Exception as error:
        print(json.dumps({"error": one_line(f"{type(error).__name__}: {error}")}), flush=True)


if __name__ == "__main__":
    from pathlib import Path

    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "benchmarks")]
    serve(sys.argv[1], int(sys.argv[2]), tiny="--tiny" in sys.argv)
