"""A sweep of pretended runs through the real plan, launcher, leases and store; starts in a second, without torch.

python tests/drills/pretend_sweep.py STORE [RUNS]
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from pretend_worker import COMMAND, request_of  # noqa: E402

from suite.execution.execute import Backlog, execute  # noqa: E402
from suite.execution.launchers import local  # noqa: E402
from suite.records import Store  # noqa: E402
from suite.sweep import Plan, RunSpec, SweepSpec  # noqa: E402

STEPS = 15


def identify(run: RunSpec) -> tuple[str, int]:
    """An id that is the same in every process."""
    return hashlib.sha256(repr((run.settings, run.batch_size, run.seed)).encode()).hexdigest()[:16], STEPS


def plan_of(runs: int) -> Plan:
    """So many runs of one optimizer."""
    lrs = [0.001 * (number + 1) for number in range(runs)]
    spec = SweepSpec(
        name="pretend", file="pretend.yaml", task="fineweb/gpt", batch_size=[4], optimizers={"sgd": {"lr": lrs}}
    )
    return Plan(spec, identify)


def main(folder: str, runs: int = 24) -> int:
    """Train what is missing."""
    path = Path(folder)
    with contextlib.closing(local.LocalLauncher(2, command=COMMAND, logs=path / "logs")) as launcher:
        return len(execute(Backlog(plan_of(runs), Store(path)), launcher, request_of(path)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], *map(int, sys.argv[2:])))
