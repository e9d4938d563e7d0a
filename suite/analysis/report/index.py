"""The index of a store: every question that was asked in it, its answer, and its page."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from suite.analysis.csv_text import csv_text
from suite.analysis.figures.profile import profile_figure
from suite.analysis.figures.style import PAGE, Look
from suite.analysis.profile import factors_of, profile, profile_sentences, scores
from suite.analysis.report.drawings import Caption, Easel, Shown
from suite.analysis.report.page import Markup, bullets, data_address, element, page, section, table, text
from suite.analysis.report.sections import answers
from suite.analysis.report.write import Report, not_writable, write_report
from suite.analysis.table import STATUSES
from suite.records import Store
from suite.records.files import make_folder, write_text_atomically


def write_index(
    store: Store, out_dir: Path, *, final_loss: str | None = None, workers: int = 1, looks: Sequence[Look] = (PAGE,)
) -> tuple[Path, list[str]]:
    """Write a report for every sweep of a store, and a page that links to them; pages that are up to date are kept.

    A sweep whose YAML or overrides were changed between calls has several plans; the one written last is reported.

    Args:
        store: where the plans and records are.
        out_dir: folder for ``index.html`` and a folder per plan; made when absent.
        final_loss: definition of the final loss; by default each plan's.
        workers: processes that draw pages side by side, each of some 260 MB. With more than one the caller's main
            module is imported again in each, so that it has to be guarded by its name.
        looks: in which figures are drawn, that of the pages first.

    Returns:
        Path of the index, and what it leaves out: a sentence for every plan that could not be reported, and one for
        earlier plans.

    Raises:
        ValueError: the store has no plan, the folder cannot be written, or a process that draws was killed.
    """
    latest = store.latest_plans()
    labels = tuple(dict.fromkeys(run["optimizer"] for plan in latest for run in plan["runs"]))
    shown = Shown(labels=labels, looks=tuple(looks))
    damaged = [f"{path} {reason}" for path, reason in store.problems]
    written = list(_written(store.path, latest, out_dir, final_loss, shown, workers))
    reports = [report for report in written if isinstance(report, Report)]
    left_out = [*damaged, *(reason for reason in written if isinstance(reason, str))]
    if not reports:
        reason = f"; {left_out[0]}" if left_out else ""
        raise ValueError(f"Expected a store with a sweep's plan, got {store.path}{reason}; run a sweep into it first.")
    earlier = sum(1 for _ in store.plans()) - len(latest)
    if earlier:
        plans = "plan" if earlier == 1 else "plans"
        left_out.append(f"{earlier} earlier {plans} of these sweeps: the last of each is shown")
    content = [
        element("h1", "Every question of this store"),
        element("p", _total(reports), class_="subtitle"),
        bullets(left_out, class_="caveats"),
        table(["question", "task", "runs", "no result", "batch sizes"], _rows(reports, out_dir), left=(0, 1)),
        *(_entry(report, out_dir) for report in reports),
    ]
    path = out_dir / "index.html"
    try:
        make_folder(out_dir, store.path if out_dir.is_relative_to(store.path) else out_dir)
        content.insert(-len(reports), _profile(reports, out_dir, labels, looks))
        write_text_atomically(path, page("Every question of this store", *content))
    except OSError as error:
        raise not_writable(out_dir, error) from error
    return path, left_out


def _profile(reports: Sequence[Report], folder: Path, labels: Sequence[str], looks: Sequence[Look]) -> Markup:
    """The performance profile over the tasks of all sweeps; nothing where fewer than two tasks share two optimizers."""
    steps = {report.page.parent.name: report.comparison.to_target for report in reports}
    factors = factors_of(steps)
    scored = scores(factors)
    if scored.empty or scored["tasks"].iloc[0] < 2:
        return Markup("")
    make_folder(folder / "figures", folder)
    make_folder(folder / "tables", folder)
    write_text_atomically(folder / "tables" / "profile.csv", csv_text(scored))
    write_text_atomically(folder / "tables" / "factors.csv", csv_text(factors.reset_index()))
    caption = Caption(
        "",
        "Share of the workloads on which each optimizer is within a factor of the soonest.",
        "Performance profile: the share of the workloads, a task at a batch size each, on which an optimizer reaches "
        "the target loss in at most so many times the fewest steps.",
        inline=True,
    )
    easel = Easel(folder=folder / "figures", labels=labels, looks=looks)
    figure = easel.place(lambda: profile_figure(profile(factors), labels), "profile", caption)
    return section("Over all tasks", figure, bullets(profile_sentences(scored)))


def _written(
    store: Path, plans: Sequence[Mapping[str, Any]], out_dir: Path, final_loss: str | None, shown: Shown, workers: int
) -> Iterator[Report | str]:
    """The plans' reports in their order, or why there is none; several processes draw, which takes longest."""
    write = functools.partial(_report_or_reason, store, out_dir, final_loss, shown)
    workers = min(workers, len(plans))
    if workers < 2:
        yield from map(write, plans)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(write, plans)
        except BrokenProcessPool as error:
            raise ValueError(
                f"Expected {workers} processes to draw the pages, one of them was killed, perhaps for its memory; call "
                "again, with fewer cores (taskset) if it recurs: the pages that were drawn are kept."
            ) from error


def _report_or_reason(
    store: Path, out_dir: Path, final_loss: str | None, shown: Shown, plan: Mapping[str, Any]
) -> Report | str:
    try:
        folder = out_dir / plan["plan_id"]
        return write_report(Store(store), plan, folder, final_loss=final_loss, anew=False, root=out_dir, shown=shown)
    except ValueError as error:
        return f"{plan['plan_id']}: {error}"


def _rows(reports: Sequence[Report], folder: Path) -> list[list[object]]:
    rows: list[list[object]] = []
    for report in reports:
        runs = report.comparison.runs
        settled = int(runs["loss"].notna().sum())
        sizes = sorted(runs["batch_size"].unique())
        many = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
        tasks = list(runs["task"].drop_duplicates())
        named = tasks[0] if len(tasks) == 1 else f"{len(tasks)} panels"
        rows.append([_link(report, folder), named, len(runs), len(runs) - settled, many])
    return rows


def _entry(report: Report, folder: Path) -> Markup:
    """One question with its figure and answer."""
    with report.comparison.named():
        answered = answers(report.comparison)
    figure = Markup("")
    if report.figure is not None:
        address = data_address(report.figure.read_text(encoding="utf-8"), "image/svg+xml")
        image = Markup(f'<img src="{address}" alt="{text("Gap: " + report.comparison.title)}">')
        figure = element("figure", element("div", image, class_="wide"))
    return element(
        "section",
        element("h2", _link(report, folder)),
        element("p", report.comparison.subtitle, class_="subtitle"),
        answered,
        figure,
        class_="question",
    )


def _link(report: Report, folder: Path) -> Markup:
    return element("a", report.comparison.title, href=os.path.relpath(report.page, folder))


def _total(reports: Sequence[Report]) -> str:
    statuses = Counter(status for report in reports for status in report.comparison.runs["status"])
    counts = {status: statuses[status] for status in STATUSES}
    parts = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{len(reports)} question{'s' if len(reports) > 1 else ''}, {sum(counts.values())} runs: {parts}."
