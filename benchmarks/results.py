"""From a store of reported sweeps to `docs/results`: figures, tables, and their rows in Markdown.

    python benchmarks/results.py STORE OUT [SWEEP ...]

For every plan of the store that has a report, or those whose names are given: its main figures as PNG, `gap.csv`,
`tuned.csv` and `runs.csv` (without what differs between machines), into a folder of its name below OUT. Printed are the
gap table in Markdown, the number of runs and the minutes that they took.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from suite.records import Store

FIGURES = ("branches", "panels", "gap", "sensitivity", "theory")
TABLES = ("gap", "tuned", "runs")
LEFT_OUT = ["packages", "commit", "dirty", "host", "device", "version", "data_fingerprint", "started", "ended"]
"""Columns of `runs.csv` that say where and when."""


def collect(report: Path, folder: Path) -> pd.DataFrame:
    """Copy what is kept of a report; returns its runs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FIGURES:
        if (figure := report / "figures" / f"{name}.png").exists():
            shutil.copyfile(figure, folder / figure.name)
    runs = pd.DataFrame()
    for name in TABLES:
        table = pd.read_csv(report / "tables" / f"{name}.csv")
        if name == "runs":
            table = runs = table.drop(columns=[column for column in LEFT_OUT if column in table])
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    return runs


def markdown(gaps: pd.DataFrame) -> str:
    """The gap table as Markdown; a star marks what lies on the edge of its grid."""
    several = gaps["task"].nunique() > 1
    pairs = gaps[["reference", "challenger"]].drop_duplicates()
    lines = []
    for reference, challenger in pairs.itertuples(index=False):
        mine = gaps[(gaps["reference"] == reference) & (gaps["challenger"] == challenger)]
        heads = [*(["panel"] if several else []), "batch size", reference, challenger, "gap", "±", "gap %", "better"]
        lines += ["| " + " | ".join([*heads, f"{reference}'s setting", f"{challenger}'s setting"]) + " |"]
        lines += ["|" + "---|" * (len(heads) + 2)]
        for row in mine.itertuples(index=False):
            cells = [row.task] if several else []
            stars = ["" if pd.isna(edges) else "\\*" for edges in (row.reference_edges, row.challenger_edges)]
            cells += [
                str(row.batch_size),
                f"{row.reference_loss:.4f}{stars[0]}",
                f"{row.challenger_loss:.4f}{stars[1]}",
            ]
            cells += [f"{row.gap:+.4f}", f"{row.uncertainty:.4f}", f"{row.relative_gap:+.2f}"]
            cells += [row.better if row.resolved else "not resolved", row.reference_setting, row.challenger_setting]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Collect and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sweeps", nargs="*")
    options = parser.parse_args()
    for plan in Store(options.store).plans():
        report = options.store / "sweeps" / plan["plan_id"] / "report"
        if not (report / "index.html").exists() or (options.sweeps and plan["name"] not in options.sweeps):
            continue
        runs = collect(report, options.out / plan["name"].replace("/", "_"))
        print(f"## {plan['name']}: {plan['question']}\n\n`{plan['command']}`\n")
        print(f"{len(runs)} runs, {runs['total_seconds'].sum() / 60:.0f} minutes summed over the runs.\n")
        print(markdown(pd.read_csv(report / "tables" / "gap.csv")))


if __name__ == "__main__":
    main()
