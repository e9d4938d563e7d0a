"""``report``: figures, tables and one self-contained page from the records of a sweep."""

from __future__ import annotations

from pathlib import Path

from suite.cli.plans import parse_sweep, plan_of, sweep_parser
from suite.records import Store


def main(command: str, arguments: list[str]) -> int:
    """Draw everything anew from the store."""
    parser = sweep_parser("report", "Figures, tables and a page of a sweep.")
    parser.add_argument("--out", type=Path, help="folder of the report (default: STORE/sweeps/<sweep>/report)")
    options, spec, _ = parse_sweep(parser, arguments)
    assert spec is not None
    store = Store(options.store)
    plan = plan_of(spec, store)
    from suite.analysis.report import write_report

    page = write_report(store, plan, options.out or store.path / "sweeps" / plan["plan_id"] / "report")
    print(f"Report: {page}")
    return 0
