"""Writes the report of one plan: the page, its figures as PNG, SVG and PDF, its tables as CSV and LaTeX."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite.analysis.caveats import caveats
from suite.analysis.comparison import Comparison, compare_plan
from suite.analysis.csv_text import csv_text
from suite.analysis.curves import LossReader, store_losses
from suite.analysis.diagnosed import DiagnosticReader, diagnosed_points, store_diagnostics
from suite.analysis.report.drawings import (
    ON_A_PAGE,
    Easel,
    Shown,
    draw_diagnosed,
    draw_figures,
    draw_law,
    draw_overview,
    draw_retrained,
)
from suite.analysis.report.kept import NAME, is_kept, keep, made_from
from suite.analysis.report.law_sections import (
    budget_section,
    collapse_section,
    effects_section,
    laws_section,
    retrained_section,
    target_section,
)
from suite.analysis.report.page import Markup, bullets, element, page, section
from suite.analysis.report.progress import progress_section
from suite.analysis.report.provenance import provenance, provenance_caveats
from suite.analysis.report.sections import (
    BESIDE,
    answers_section,
    branching_section,
    cost_section,
    downloads,
    gap_section,
    head,
    published_section,
    settings_section,
    width_section,
)
from suite.analysis.report.tables import write_tables
from suite.analysis.verdict import LEVEL
from suite.analysis.words import VERDICT_WORDS
from suite.records import Store
from suite.records.files import explain, make_folder, write_text_atomically


@dataclasses.dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        page: path of its page.
        comparison: the numbers in it.
        figure: the figure that answers the question, as SVG; None without one.
    """

    page: Path
    comparison: Comparison
    figure: Path | None


def write_report(
    store: Store,
    plan: Mapping[str, Any],
    out_dir: Path,
    *,
    final_loss: str | None = None,
    anew: bool = True,
    root: Path | None = None,
    shown: Shown = ON_A_PAGE,
) -> Report:
    """Write the report of one plan; files of an earlier call are replaced.

    Args:
        store: where the records are.
        plan: see `suite.records.Store.plan`.
        out_dir: folder for ``index.html``, ``figures/`` (PNG, SVG, PDF) and ``tables/`` (CSV, LaTeX); made when absent.
        final_loss: definition of the final loss; by default the plan's.
        anew: draw it even where the folder holds a page that was made from the same plan, runs and code.
        root: folder below which no link is followed: that of the store, of pages elsewhere by default ``out_dir``.
        shown: what is drawn of it, and how.

    Returns:
        The report; its page holds its figures and loads nothing.

    Raises:
        ValueError: the folder cannot be written, or a record lacks the final loss.
    """
    # The curves of the tuned points are needed for the noise, the slowdown and the figure: read them once.
    losses = functools.cache(store_losses(store))
    comparison = compare_plan(store, plan, losses=losses, final_loss=final_loss, selection=shown.selection)
    folder = Path(out_dir)
    digest = made_from(store, plan, comparison, repr(shown))
    if is_kept(folder, digest) and not anew:
        return _report(folder, comparison)
    try:
        _make_folders(folder, store.path if folder.is_relative_to(store.path) else root or folder)
        with comparison.named():
            written = _page(store, plan, comparison, losses, folder, shown)
        write_text_atomically(folder / "index.html", written)
        keep(folder, digest)
    except OSError as error:
        raise not_writable(out_dir, error) from error
    return _report(folder, comparison)


def _page(
    store: Store, plan: Mapping[str, Any], comparison: Comparison, losses: LossReader, folder: Path, shown: Shown
) -> str:
    """The page, whose tables and figures are written beside it."""
    labels = list(dict.fromkeys([*shown.labels, *(run["optimizer"] for run in plan["runs"])]))
    easel = Easel(folder=folder / "figures", labels=labels, looks=shown.looks)
    write_tables(comparison, folder / "tables")
    seconds = shown.watch_seconds
    content = [
        head(comparison, caveats(comparison) + provenance_caveats(comparison.runs)),
        Markup("") if seconds is None else progress_section(comparison, seconds, datetime.datetime.now(datetime.UTC)),
        downloads(folder / "tables"),
        draw_overview(comparison, easel),
        answers_section(comparison),
        branching_section(comparison),
        budget_section(comparison, draw_law(comparison, easel, "budget_law")),
        collapse_section(comparison, draw_law(comparison, easel, "collapse")),
        effects_section(comparison, draw_law(comparison, easel, "effects")),
        retrained_section(comparison, draw_retrained(comparison, easel)),
        *_bodies(comparison, losses, store_diagnostics(store, [plan]), easel),
        section("Provenance", provenance(comparison.runs, plan, store.problems, store.path)),
        section("How to read this", bullets(_READING)),
    ]
    return page(comparison.title, *content, refresh_seconds=seconds)


def not_writable(folder: Path, error: OSError) -> ValueError:
    """The error for a folder that a page cannot be written to."""
    where = f": {error.filename}" if error.filename else ""
    return ValueError(f"Expected a folder that can be written, got {folder} ({explain(error)}{where}); change --out.")


def _make_folders(folder: Path, root: Path) -> None:
    """Make the folders of a page, without what an earlier page would show in this one's place.

    Raises:
        OSError: they cannot be made, or a link below ``root`` leads elsewhere.
    """
    for name in ("figures", "tables"):
        make_folder(folder / name, root)
    for old in (folder / NAME, *_answers(folder), *(folder / "tables" / f"{name}.csv" for name in BESIDE)):
        old.unlink(missing_ok=True)


def _answers(folder: Path) -> list[Path]:
    """The figures that can answer a sweep's question, the best first."""
    return [folder / "figures" / f"{name}.svg" for name in ("branches", "panels", "gap")]


def _report(folder: Path, comparison: Comparison) -> Report:
    shown = _answers(folder)
    return Report(folder / "index.html", comparison, next((figure for figure in shown if figure.exists()), None))


def _bodies(comparison: Comparison, losses: LossReader, diagnostics: DiagnosticReader, easel: Easel) -> list[Markup]:
    """The sections of each task, under its name where there are several."""
    points = diagnosed_points(comparison.tuned, diagnostics)
    if not points.empty:
        write_text_atomically(easel.folder.parent / "tables" / "diagnostics.csv", csv_text(points))
    tasks = list(comparison.runs["task"].drop_duplicates())
    if len(tasks) == 1:
        body = _body(comparison, draw_figures(comparison, losses, easel), published_section(comparison))
        return [body, draw_diagnosed(comparison, points, easel)]
    bodies = [published_section(comparison)]
    for number, task in enumerate(tasks):
        part = comparison.of_task(task)
        suffix = panel_suffix(number, task)
        figures = draw_figures(part, losses, easel, suffix=suffix)
        bodies += [element("h1", comparison.task_title(task), class_="panel"), _body(part, figures)]
        bodies.append(draw_diagnosed(part, points[points["task"] == task], easel, suffix=suffix))
    return bodies


def panel_suffix(number: int, task: str) -> str:
    """What follows a figure's name where a sweep has several panels: ``-1-heterogeneous`` of the one of number 0."""
    return f"-{number + 1}-" + re.sub(r"[^a-z0-9]+", "-", task.lower()).strip("-")


def _body(comparison: Comparison, figures: Mapping[str, Markup], published: Markup | str = "") -> Markup:
    parts = [
        figures["gap"],
        gap_section(comparison),
        published,
        settings_section(comparison),
        figures["tuned"],
        laws_section(comparison, figures["tuned_laws"]),
        target_section(comparison, figures["steps_to_target"]),
        cost_section(comparison, figures["tuning_cost"]),
        width_section(comparison, figures["sensitivity"]),
        *(figures[name] for name in ("heatmap", "momenta", "curves")),
    ]
    return Markup("".join(parts))


_READING = (
    "Tuned point: the lowest final loss over the whole grid, for one optimizer and batch size, on the mean over the "
    "seeds that the settings share (finalists, which share more, are compared on all of theirs). A diverged setting "
    "counts as infinitely bad.",
    "Tuned loss: with several seeds their mean, less what the grid's coarseness costs by the smooth surface through it "
    "(and where the seeds that chose report too, plus what the setting won by luck); with one seed that seed's loss.",
    "Gap: tuned loss of the reference minus tuned loss of the challenger. Positive: the challenger is ahead. The "
    "relative gap is in percent of the reference's loss.",
    f"\N{PLUS-MINUS SIGN}: half the {LEVEL:.0%} interval of the gap, by Student's t on the differences between runs of "
    "equal seed; spreads at other batch sizes of the sweep moderate that at one. One seed has none.",
    VERDICT_WORDS,
    "On the edge: the best value of an axis is the smallest or largest that was tried, so a better one may lie "
    "outside. Such points are drawn open.",
    "Slowdown: share of the budget after which the better optimizer has reached the other's final loss, on the "
    "validation losses where they are compared, else on the train losses; not on a moving average.",
    "Steps to a target loss: where the mean curve over seeds is at the target; their interval ends where it is at the "
    "target plus and minus half the interval of the mean loss. One optimizer is sooner where the ratio of their steps "
    f"excludes 1 at {LEVEL:.0%}.",
    "Crossover: claimed between two batch sizes at which different optimizers are better, where both verdicts hold "
    "after Holm's correction for the number of batch sizes. Its place in between is the zero of the weighted line, "
    f"where that fits, else of the monotone interpolation, with a {LEVEL:.0%} interval from gaps drawn anew within "
    "their errors.",
)
