"""``status``: how far a sweep is, from its store alone."""

from __future__ import annotations

from collections import Counter

from suite.cli.plans import parse_sweep, plan_of, sweep_parser
from suite.records import SETTLED, Store


def main(command: str, arguments: list[str]) -> int:
    """Print one line per optimizer and batch size."""
    parser = sweep_parser("status", "How far a sweep is.")
    options, spec, _ = parse_sweep(parser, arguments)
    assert spec is not None
    store = Store(options.store)
    plan = plan_of(spec, store)
    counts: dict[tuple[str, int], Counter[str]] = {}
    for run in plan["runs"]:
        record = store.record(run["run_id"])
        state = record["status"] if record else "missing"
        if state not in SETTLED and store.is_being_trained(run["run_id"]):
            state = "running"
        counts.setdefault((run["optimizer"], run["batch_size"]), Counter())[state] += 1
    columns = ["finished", "diverged", "running", "failed", "interrupted", "missing"]
    print(f"{'optimizer':14}{'batch size':>11}" + "".join(f"{name:>13}" for name in columns))
    for (label, size), count in counts.items():
        print(f"{label:14}{size:>11}" + "".join(f"{count[name]:>13}" for name in columns))
    total = sum(counts.values(), Counter())
    settled = sum(total[name] for name in SETTLED)
    print(f"{settled} of {sum(total.values())} runs have a result.")
    for path, reason in store.problems:
        print(f"set aside: {path} {reason}")
    return 0
