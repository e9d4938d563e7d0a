"""``report``: figures, tables and one self-contained page from the records of a sweep."""

from __future__ import annotations

import argparse
from pathlib import Path

from suite.cli.places import DEFAULT_STORE
from suite.cli.plans import plan_of
from suite.records import Store


def main(command: str, arguments: list[str]) -> int:
    """Draw everything anew from the store."""
    parser = argparse.ArgumentParser(prog="python -m suite report", description="Figures, tables and a page of a sweep.")
    parser.add_argument("file", help="the sweep's YAML")
    parser.add_argument("--store", default=DEFAULT_STORE, help="folder of the records (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder of the report (default: STORE/sweeps/<sweep>/report)")
    options = parser.parse_args(arguments)
    store = Store(options.store)
    plan = plan_of(options.file, store)
    from suite.analysis.report import write_report

    page = write_report(store, plan, options.out or store.path / "sweeps" / plan["plan_id"] / "report")
    print(f"Report: {page}")
    return 0
