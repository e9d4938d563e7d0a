"""From a store of reported sweeps to `docs/results`: one section per question.

    python benchmarks/results.py STORE docs/results [SWEEP ...]

For every question of `docs/results/answers.yaml` (or those named) whose sweep has a report in the store (its own or the
index's, the newer one): the main figure and the tables `gap.csv` and `tuned.csv` into a folder of the sweep's name.
Then the pages, one per source with a section per question, and `README.md` with one row per question. What is said of a
question stands in `answers.yaml`, by the sweep's name:

    paper1/laptop/figure2:
      title: what the section is called
      answer: a sentence, for the table of all questions
      paper: agrees, contradicts or open, with what has to be added
      text: what the figures say and how far they carry
      figures: [names of the report's figures, where it is not the first of branches, panels, gap and tuned]

A question whose sweep is not in the store keeps its folder and the table in it.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from suite.analysis.csv_text import csv_text
from suite.analysis.words import number, optimizer_title, verdict_text
from suite.records import Store

FIGURES = ("branches", "panels", "gap", "tuned")
"""Figures of a report, the one that answers most first."""

PAGES = {
    "laptop": "The suite's own sweeps",
    "paper1": "Paper 1",
    "paper2": "Paper 2",
    "paper3": "Paper 3",
    "paper4": "Paper 4",
    "beyond": "Beyond the papers",
}

INTRODUCTION = """# Results at laptop scale

Every question as its laptop sweep answers it: real slices of the papers' data (photos of 97 classes with a heavy tail
stand in for ImageNet; for SlimPajama and TinyStories the embedded sample, prose of Python's documentation, here that of
3.11.7), networks of about 0.1M parameters, two CPU cores that are one physical core, grids that grew where the best
value lay on an edge (of 609 tuned points three still do). Gap is Adam minus the other optimizer in the tuned final
loss: positive where the other is better; ± as defined in [analysis.md](../analysis.md). Photos are compared by their
train loss: the validation set is balanced, and there a network that has learnt nothing beats most that have learnt the
heavy tail.
`sources.yaml` names the files of each dataset; `make results SOURCES=sources.yaml` trains all sweeps: 12,802 runs, many
of them shared between sweeps, 23 hours of training summed over the runs of two workers. Each folder holds `gap.csv` and
`tuned.csv`.

What is said here is said of this scale alone. The words of a verdict, and ±, are those of
[analysis.md](../analysis.md); how many seeds would decide a gap that is open is the column `seeds_needed` of `gap.csv`.
"""


def collect(report: Path, folder: Path, figures: list[str]) -> None:
    """Copy what is kept of a report."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    drawn = [name for name in FIGURES if (report / "figures" / f"{name}.png").exists()]
    for name in figures or drawn[:1]:
        shutil.copyfile(report / "figures" / f"{name}.png", folder / f"{name}.png")
    for name in ("gap", "tuned"):
        table = pd.read_csv(report / "tables" / f"{name}.csv")
        (folder / f"{name}.csv").write_text(csv_text(table, "%.6g"), encoding="utf-8")
    runs = pd.read_csv(report / "tables" / "runs.csv")
    facts = {"runs": len(runs), "minutes": round(float(runs["total_seconds"].sum()) / 60)}
    (folder / "facts.yaml").write_text(yaml.safe_dump(facts))


def row(cells: list[object]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def starred(loss: float, edges: object) -> str:
    """A tuned loss, with a star where it lies on an edge of its grid."""
    if pd.isna(loss):
        return "unknown"
    return "diverged" if math.isinf(loss) else f"{loss:.4f}" + ("" if pd.isna(edges) else "\\*")


def rounded(setting: str) -> str:
    """A setting with three digits per number."""
    return re.sub(r"\d+\.\d+(e-?\d+)?", lambda number: f"{float(number[0]):.3g}", str(setting))


def gap_table(gaps: pd.DataFrame) -> list[str]:
    """One row per task and batch size, of one pair of optimizers."""
    several = gaps["task"].nunique() > 1
    reference, challenger = gaps[["reference", "challenger"]].iloc[0]
    titles = {label: optimizer_title(label) for label in (reference, challenger)}
    heads = ["task"] * several + ["batch size", *titles.values(), "gap", "±", "gap %", "verdict"]
    lines = [row([*heads, *(f"{title}'s setting" for title in titles.values())]), "|" + "---|" * (len(heads) + 2)]
    for one in gaps.itertuples(index=False):
        losses = [starred(one.reference_loss, one.reference_edges), starred(one.challenger_loss, one.challenger_edges)]
        cells = [one.task] * several + [one.batch_size, *losses]
        cells += [
            f"{one.gap:+.4f}",
            number(one.uncertainty, ".4f"),
            f"{one.relative_gap:+.2f}",
            verdict_text(one._asdict()),
        ]
        lines.append(row([*cells, rounded(one.reference_setting), rounded(one.challenger_setting)]))
    return lines


def loss_table(tuned: pd.DataFrame) -> list[str]:
    """One row per task and batch size, one column of tuned losses per optimizer."""
    several = tuned["task"].nunique() > 1
    optimizers = list(dict.fromkeys(tuned["optimizer"]))
    heads = ["task"] * several + ["batch size", *(optimizer_title(label) for label in optimizers)]
    lines = [row(heads), "|" + "---|" * len(heads)]
    for (task, batch_size), mine in tuned.groupby(["task", "batch_size"], sort=False):
        losses = {one.optimizer: starred(one.loss, one.edges) for one in mine.itertuples(index=False)}
        lines.append(row([task] * several + [batch_size] + [losses.get(name, "") for name in optimizers]))
    return lines


def section(name: str, answer: dict[str, Any], folder: Path) -> str:
    """One question: figure, command, cost, table, text."""
    gaps, tuned = pd.read_csv(folder / "gap.csv"), pd.read_csv(folder / "tuned.csv")
    facts = yaml.safe_load((folder / "facts.yaml").read_text())
    sweep = yaml.safe_load((ROOT / "configs" / "sweeps" / f"{name}.yaml").read_text())
    figures = sorted(folder.glob("*.png"))
    pairs = gaps[["reference", "challenger"]].drop_duplicates()
    table = gap_table(gaps) if len(pairs) == 1 else loss_table(tuned)
    took = f"{facts['runs']} runs, {facts['minutes']} minutes of training summed over the runs of two workers."
    said = f"**{answer['paper'][0].upper()}{answer['paper'][1:]}.** {answer['text'].strip()}"
    starry = any("\\*" in line for line in table)
    return "\n".join(
        [
            f"## {answer['title']}",
            "",
            wrapped(f"*{sweep['question']}* ({sweep['source']})"),
            "",
            *(f"![{figure.stem}]({folder.name}/{figure.name})" for figure in figures),
            "",
            wrapped(f"`python -m suite sweep configs/sweeps/{name}.yaml --sources sources.yaml`: {took}"),
            "",
            *table,
            "",
            *(["\\* on the edge of the grid after all extensions.", ""] if starry else []),
            *(wrapped(paragraph) for paragraph in said.split("\n\n")),
            "",
        ]
    )


def wrapped(paragraph: str) -> str:
    """A paragraph in lines of 120 characters."""
    return textwrap.fill(" ".join(paragraph.split()), 120, break_long_words=False, break_on_hyphens=False)


def anchor(title: str) -> str:
    """The fragment under which a heading is found."""
    return "".join(letter for letter in title.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


def main() -> None:
    """Collect and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sweeps", nargs="*", metavar="SWEEP", help="for instance paper1/laptop/figure2")
    options = parser.parse_args()
    answers = yaml.safe_load((options.out / "answers.yaml").read_text())
    folders = {name: options.out / name.replace("/laptop/", "_") for name in answers}
    plans = {plan["file"]: plan["plan_id"] for plan in Store(options.store).latest_plans()}
    for name in options.sweeps or answers:
        plan = plans.get(f"configs/sweeps/{name}.yaml", "")
        pages = [options.store / "sweeps" / plan / "report", options.store / "report" / plan]
        if written := [page for page in pages if (page / "index.html").exists() and plan]:
            newest = max(written, key=lambda page: (page / "index.html").stat().st_mtime)
            collect(newest, folders[name], answers[name].get("figures", []))
    rows = [row(["question", "answer at this scale", "the paper's claim"]), "|---|---|---|"]
    for page, heading in PAGES.items():
        names = [name for name in answers if name.startswith(page) and (folders[name] / "gap.csv").exists()]
        if not names:
            continue
        sections = [section(name, answers[name], folders[name]) for name in names]
        (options.out / f"{page}.md").write_text("\n".join([f"# {heading}", "", *sections]))
        for name in names:
            one = answers[name]
            link = f"[{one['title']}]({page}.md#{anchor(one['title'])})"
            rows.append(row([link, one["answer"], one["paper"]]))
    (options.out / "README.md").write_text("\n".join([INTRODUCTION, *rows, ""]))


if __name__ == "__main__":
    main()
