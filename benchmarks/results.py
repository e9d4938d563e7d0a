"""`docs/results` from archives of runs: figures, tables, pages, and the table in README.

    python benchmarks/results.py                          draws and writes everything anew
    python benchmarks/results.py --check                  says what is stale, and changes nothing
    python benchmarks/results.py --archive STORE SWEEP    first takes the runs of a sweep from a store

`docs/results/SWEEP/runs.parquet` (`python -m suite archive`) holds the runs behind a question. Its figure, `gap.csv`
and `tuned.csv` are made from it; the words of a verdict are the suite's. `docs/results/answers.yaml` adds what is
judged by hand; `result_texts.py` holds it to the tables. Archives and figures are those of `result_archives.py`. A
question without an archive is not in these pages.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from law_tables import law_tables
from result_archives import OUT, command_of, draw, folder_of, restored, spec_of, take
from result_texts import answer_of, filled, judged, row, wrapped
from why_page import draw_why, measured, why_page

from suite.analysis.csv_text import csv_text
from suite.analysis.words import format_setting, number, optimizer_title, seeds_needed_text, verdict_text
from suite.api import SweepResults

LEAST = 1e-12
"""Smaller numbers in a table are zero."""

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
stand in for ImageNet), networks of 0.02M to 0.16M parameters, two CPU cores. Gap is Adam's tuned final loss minus the
other's, in percent of Adam's: positive where the other is better. Verdicts hold at 95% by the rules of
[analysis.md](../analysis.md); ± is half the 95% interval. *Measured* is the gap of the reporting seeds' mean losses;
each loss is then lowered by the estimated excess of its setting over the best one between the tried ones. Where
reporting seeds were added by looks at the verdicts, as a page then says, a verdict takes 98.75% at every look, so that
a gap a little larger than its ± only leans. What is said here is said of this scale alone.

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
    heads += ["batch size", "gap %", "±", "measured %", "verdict", "seeds", "seeds needed"]
    if not pairs:
        heads += [f"{optimizer_title(gaps[side].iloc[0])}'s setting" for side in ("reference", "challenger")]
    lines = [row(heads), "|" + "---|" * len(heads)]
    for one in gaps.to_dict("records"):
        cells = [one["task"]] * several + [optimizer_title(one["challenger"])] * pairs
        cells += [one["batch_size"], number(one["relative_gap"], "+.2f"), number(one["relative_uncertainty"], ".2f")]
        cells += [number(one["relative_measured"], "+.2f"), verdict_text(one), one["seeds"], seeds_needed_text(one)]
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
    laws = results.laws[: len(results.budget_laws) + len(results.collapses)] if "critical" in tables else results.laws
    spec, runs = spec_of(sweep), results.runs
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
    budget that tell something of theory's, ``<!-- follows: SWEEP -->`` what the gap follows; all go to
    ``<!-- end -->``.
    """

    def between(mark: re.Match[str]) -> str:
        results = found[mark[2]]
        budget_laws = results.budget_laws
        if mark[1] == "verdicts":
            lines = [*gap_table(results.gaps), "", wrapped(answer_of(results))]
        else:
            count = len(budget_laws)
            decided = budget_laws["judgement"].isin(["agrees", "contradicts"]).tolist()
            laws = [law for law, is_decided in zip(results.laws, decided, strict=False) if is_decided]
            laws = laws if mark[1] == "laws" else results.laws[count : count + len(results.collapses)]
            lines = [wrapped(f"- {law}").replace("\n", "\n  ") for law in laws]
        return "\n".join([mark[0].splitlines()[0], *lines, mark[3]])

    return re.sub(r"<!-- (verdicts|laws|follows): (\S+) -->\n.*?(<!-- end -->)", between, text, flags=re.DOTALL)


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
