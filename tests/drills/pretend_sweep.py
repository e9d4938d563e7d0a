"""A sweep of pretended runs through the real plan, launcher, leases and store; starts in a second, without torch.

python tests/drills/pretend_sweep.py STORE [LEARNING_RATES]
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from pretend_worker import COMMAND, request_of, shorten_leases  # noqa: E402

from suite.execution.execute import Backlog, execute  # noqa: E402
from suite.execution.launchers import local  # noqa: E402
from suite.records import Store  # noqa: E402
from suite.sweep import Plan, RunSpec, SweepSpec  # noqa: E402
from suite.sweep.spec import Finalists  # noqa: E402

STEPS = 15


def identify(run: RunSpec) -> tuple[str, int]:
    """An id that is the same in every process."""
    return hashlib.sha256(repr((run.settings, run.batch_size, run.seed)).encode()).hexdigest()[:16], STEPS


def plan_of(lrs: int) -> Plan:
    """A grid of so many learning rates, which grows: the loss of a pretended run falls with its learning rate."""
    spec = SweepSpec(
        name="pretend", file="pretend.yaml", task="fineweb/gpt", batch_size=[4], seeds=[1, 2], report_seeds=[4],
        finalists=Finalists(settings=2, seeds=[3]), extend_edges=1,
        optimizers={"sgd": {"lr": [0.001 * 2**number for number in range(lrs)]}},
    )  # fmt: skip
    return Plan(spec, identify)


def main(folder: str, lrs: int = 8) -> int:
    """Train what is missing, in packs of two."""
    shorten_leases()
    store, plan = Store(folder), plan_of(lrs)
    plan.remember((store.plan(plan.spec.plan_id) or {}).get("runs") or ())

    def write_plan(*_: object) -> None:
        store.write_plan(plan.as_record(command="", title=""))

    write_plan()
    with contextlib.closing(local.LocalLauncher(2, command=COMMAND, logs=store.path / "logs")) as launcher:
        backlog = Backlog(plan, store, on_growth=write_plan, pack=lambda key: 2)
        return len(execute(backlog, launcher, request_of(store.path)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], *map(int, sys.argv[2:])))
