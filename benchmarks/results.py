"""`docs/results` from archives of runs: figures, tables, pages, and the table in README.

    python benchmarks/results.py                          draws and writes everything anew
    python benchmarks/results.py --check                  says what is stale, and changes nothing
    python benchmarks/results.py --archive STORE SWEEP    first takes the runs of a sweep from a store

`docs/results/SWEEP/runs.parquet` (`python -m suite archive`) holds the runs behind a question. Its figure, `gap.csv`
and `tuned.csv` are made from it; the words of a verdict are the suite's. `docs/results/answers.yaml` adds what is
judged by hand; `result_texts.py` holds it to the tables. A question without an archive is not in these pages.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from law_tables import law_tables
from result_texts import answer_of, filled, judged, row, wrapped
from why_page import draw_why, measured, why_page

from suite.analysis.csv_text import csv_text
from suite.analysis.report.write import panel_suffix
from suite.analysis.words import format_setting, number, optimizer_title, seeds_text, verdict_text
from suite.api import SweepResults, load
from suite.records import Store
from suite.records.archive import write_archive
from suite.records.restore import restore

OUT = ROOT / "docs" / "results"

LEAST = 1e-12
"""Smaller numbers in a table are zero."""

FIGURES = ("branches", "panels", "gap", "tuned")
"""Figures of a report, the one that answers most first."""

PAGES = {
    "study": "Three studies",
    "laptop": "The suite's own sweeps",
    "paper1": "Paper 1",
    "paper2": "Paper 2",
    "paper3": "Paper 3",
    "paper4": "Paper 4",
    "beyond": "Beyond the papers",
}

INTRODUCTION = """# Results at laptop scale

Questions as their laptop sweeps answer them: real slices of the papers' data (photos of 97 classes with a heavy tail
stand in for ImageNet), networks of about 0.1M parameters, two CPU cores. Gap is Adam's tuned final loss minus the
other's, in percent of Adam's: positive where the other is better. Verdicts hold at 95% by the rules of
[analysis.md](../analysis.md); ± is half the 95% interval. What is said here is said of this scale alone.

Every number of an answer comes from the archive of runs in its question's folder: `python benchmarks/results.py` draws
and writes all of this anew from them, and `python -m suite restore docs/results/NAME/runs.parquet --store runs` makes
them a store. `python -m suite sweep configs/sweeps/NAME.yaml --sources sources.yaml` trains them again, where
`sources.yaml` names the files of each dataset.
"""

WITHDRAWN = """## Withdrawn

An earlier form of these pages called 242 gaps of 42 sweeps resolved, most of them by two reporting seeds: 117 of them
have a sign at 95% with the seeds they had. The runs behind them are lost, and all that is not in the table above is
withdrawn. Where a question has been trained again, 8 of its 14 resolved gaps have the same verdict now. The sweeps are
in `configs/sweeps/`, unanswered; `python -m suite papers` lists them.
"""


def folder_of(sweep: str) -> Path:
    """Where the archive, the tables and the figures of a sweep are."""
    return OUT / sweep.replace("/laptop/", "_")


def command_of(sweep: str, trained: Collection[str]) -> str:
    """The command that trains a sweep again, with `--panel` where only some of its file's panels are trained."""
    spec = yaml.safe_load((ROOT / "configs" / "sweeps" / f"{sweep}.yaml").read_text())
    panels = spec.get("panels") or {}
    there = [panel for panel in panels if panel in trained]
    some = there if len(there) < len(panels) else []
    return " ".join(
        [
            f"python -m suite sweep configs/sweeps/{sweep}.yaml --sources sources.yaml",
            *(f"--panel {shlex.quote(panel)}" for panel in some),
        ]
    )


def take(store: Path, sweep: str) -> None:
    """Write the archive of a sweep from the plan of its file in a store; runs without a result are left out.

    Of several plans, as a file leaves them that was changed, the one with most results is taken.
    """
    kept, file = Store(store), f"configs/sweeps/{sweep}.yaml"
    plans = list(kept.plans())
    settled = [
        (plan, [run for run in plan["runs"] if kept.settled(run["run_id"])])
        for plan in plans
        if plan["file"].endswith(file)
    ]
    if not settled:
        there = ", ".join(plan["file"] for plan in plans)
        raise SystemExit(f"{store} should hold a sweep of {file}, but has {there or 'none'}.")
    plan, runs = max(settled, key=lambda one: len(one[1]))
    command = command_of(sweep, plan["panels"] or ())
    folder_of(sweep).mkdir(parents=True, exist_ok=True)
    write_archive(kept, folder_of(sweep) / "runs.parquet", {**plan, "file": file, "command": command, "runs": runs})
    print(f"{len(runs)} of {len(plan['runs'])} runs of {sweep} have a result and are archived.")


def restored(sweeps: Iterable[str], folder: str) -> tuple[Store, dict[str, SweepResults]]:
    """A store of the archives that there are, and the results of their sweeps."""
    store = Store(folder)
    archives = {sweep: folder_of(sweep) / "runs.parquet" for sweep in sweeps}
    archives = {sweep: path for sweep, path in archives.items() if path.exists()}
    for path in archives.values():
        restore(path, store)
    plans = {plan["file"]: plan["plan_id"] for plan in store.plans()}
    results = load(folder)
    return store, {sweep: results.sweep(plans[f"configs/sweeps/{sweep}.yaml"]) for sweep in archives}


def draw(results: SweepResults, folder: Path, names: list[str]) -> None:
    """The figures of a question, by default the one that answers most."""
    for old in folder.glob("*.png"):
        old.unlink()
    if not names:
        there = results.figures()
        names = [name for name in FIGURES if name in there][:1]
    for name in names:
        figure_named(results, name).savefig(folder / f"{name}.png", dpi=160)


def figure_named(results: SweepResults, name: str) -> Figure:
    """A figure by the name of its file in the report, which ends on the panel where every panel has one."""
    for order, task in enumerate(results.runs["task"].unique()):
        alone = name.removesuffix(panel_suffix(order, task))
        if alone != name:
            return results.figure(alone, task=task)
    return results.figure(name)


def tables_of(results: SweepResults) -> dict[str, str]:
    """The tables beside a page, by name, as CSV; what rounding leaves of zero, other on every processor, is zero."""
    tables = {"gap": results.gaps, "tuned": results.tuned}
    for table in tables.values():
        numbers = table.select_dtypes("float").columns
        table[numbers] = table[numbers].mask(table[numbers].abs() < LEAST, 0.0)
    return {name: csv_text(table, "%.6g") for name, table in tables.items()}


def gap_table(gaps: pd.DataFrame) -> list[str]:
    """One row per task, pair of optimizers and batch size."""
    several, pairs = gaps["task"].nunique() > 1, len(gaps[["reference", "challenger"]].drop_duplicates()) > 1
    heads = ["task"] * several + ["optimizer"] * pairs
    heads += ["batch size", "gap %", "±", "verdict", "seeds", "seeds needed"]
    if not pairs:
        heads += [f"{optimizer_title(gaps[side].iloc[0])}'s setting" for side in ("reference", "challenger")]
    lines = [row(heads), "|" + "---|" * len(heads)]
    for one in gaps.to_dict("records"):
        cells = [one["task"]] * several + [optimizer_title(one["challenger"])] * pairs
        cells += [one["batch_size"], number(one["relative_gap"], "+.2f"), number(one["relative_uncertainty"], ".2f")]
        cells += [verdict_text(one), one["seeds"], seeds_text(one["seeds_needed"])]
        cells += [] if pairs else [_setting(one["reference_setting"]), _setting(one["challenger_setting"])]
        lines.append(row(cells))
    return lines


def shown_gaps(gaps: pd.DataFrame, answer: dict[str, Any]) -> pd.DataFrame:
    """The gaps that a page shows: those of the one task or panel that its answer names, or all.

    Raises:
        ValueError: there is no such task or panel.
    """
    shown = gaps[gaps["task"] == answer["rows_of"]] if "rows_of" in answer else gaps
    if shown.empty:
        raise ValueError(
            f"{answer['title']}: rows_of should name a task or panel of the gaps, got {answer['rows_of']!r}."
        )
    return shown


def _setting(setting: Any) -> str:
    """A setting with three digits per number."""
    return format_setting([(name, float(f"{x:.3g}") if isinstance(x, float) else x) for name, x in setting])


def section(sweep: str, answer: dict[str, Any], results: SweepResults) -> str:
    """One question: figure, command, cost, verdicts, judgement."""
    folder, gaps = folder_of(sweep), results.gaps
    tables, rows_of = answer.get("tables", []), answer.get("rows_of")
    figures = answer.get("figures") or [figure.stem for figure in sorted(folder.glob("*.png"))]
    laws = results.laws[: len(results.budget_laws)] if "critical" in tables else results.laws
    spec = yaml.safe_load((ROOT / "configs" / "sweeps" / f"{sweep}.yaml").read_text())
    runs = results.runs
    took = f"{len(runs)} runs, {runs['total_seconds'].sum() / 60:.0f} minutes of training summed over them"
    paragraphs = [*filled(answer.get("text", ""), gaps).strip().split("\n\n"), judged(answer, gaps), *results.caveats]
    return "\n".join(
        [
            f"## {answer['title']}",
            "",
            wrapped(f"*{spec['question']}* ({spec['source']})"),
            "",
            *(f"![{figure}]({folder.name}/{figure}.png)" for figure in figures),
            "",
            wrapped(f"`{command_of(sweep, set(gaps['task']))}`: {took}."),
            "",
            wrapped(f"**{answer_of(results, rows_of)}**"),
            "",
            *(f"{wrapped(law)}\n" for law in laws),
            *law_tables(results, tables, rows_of),
            *gap_table(shown_gaps(gaps, answer)),
            "",
            *(f"{wrapped(paragraph)}\n" for paragraph in paragraphs if paragraph),
        ]
    )


def anchor(title: str) -> str:
    """The fragment under which a heading is found."""
    return "".join(letter for letter in title.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


def documents(answers: dict[str, Any], found: dict[str, SweepResults]) -> dict[Path, str]:
    """Every document by its path: tables, pages, and README with the table of its sweep."""
    written: dict[Path, str] = {}
    rows = [row(["question", "answer at this scale", "the paper's claim"]), "|---|---|---|"]
    for page, heading in PAGES.items():
        here = [sweep for sweep in found if sweep.startswith(page)]
        for sweep in here:
            title, results = answers[sweep]["title"], found[sweep]
            for name, table in tables_of(results).items():
                written[folder_of(sweep) / f"{name}.csv"] = table
            claim = judged(answers[sweep], results.gaps)
            said = answer_of(results, answers[sweep].get("rows_of"))
            rows.append(row([f"[{title}]({page}.md#{anchor(title)})", said, claim]))
        if here:
            sections = [section(sweep, answers[sweep], found[sweep]) for sweep in here]
            written[OUT / f"{page}.md"] = "\n".join([f"# {heading}", "", *sections])
    written[OUT / "README.md"] = "\n".join([INTRODUCTION, *rows, "", WITHDRAWN])
    readme = (ROOT / "README.md").read_text()
    written[ROOT / "README.md"] = _with_tables(readme, found)
    return written


def _with_tables(text: str, found: dict[str, SweepResults]) -> str:
    """A document with what stands between its marks made anew.

    ``<!-- verdicts: SWEEP -->`` leads a table of gaps, ``<!-- laws: SWEEP -->`` the laws of the crossover over the
    budget, those that there are; both go to ``<!-- end -->``.
    """

    def between(mark: re.Match[str]) -> str:
        results = found[mark[2]]
        lines = [*gap_table(results.gaps), "", wrapped(answer_of(results))]
        if mark[1] == "laws":
            known = results.budget_laws["exponent"].notna().tolist()
            laws = [law for law, is_known in zip(results.laws, known, strict=False) if is_known]
            lines = [wrapped(f"- {law}").replace("\n", "\n  ") for law in laws]
        return "\n".join([mark[0].splitlines()[0], *lines, mark[3]])

    return re.sub(r"<!-- (verdicts|laws): (\S+) -->\n.*?(<!-- end -->)", between, text, flags=re.DOTALL)


def main() -> int:
    """Draw and write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--archive", nargs=2, metavar=("STORE", "SWEEP"), help="for instance runs paper1/laptop/figure2"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where something is stale")
    options = parser.parse_args()
    if options.archive:
        take(Path(options.archive[0]), options.archive[1])
    answers = yaml.safe_load((OUT / "answers.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        store, found = restored(answers, folder)
        inside = measured(store)
        if not options.check:
            for sweep, results in found.items():
                draw(results, folder_of(sweep), answers[sweep].get("figures", []))
            if inside is not None:
                draw_why(inside, OUT / "why.png")
        written = documents(answers, found)
        written[ROOT / "docs" / "why.md"] = why_page(inside)
    stale = [path for path, text in written.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{'stale' if options.check else 'written'}: {path.relative_to(ROOT)}")
        if not options.check:
            path.write_text(written[path], encoding="utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
