"""What is said and drawn of branching sweeps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from pretend_branches import Pretend, done, identify, write

from suite.analysis.comparison import Comparison, compare_plan
from suite.analysis.figures.branches import branches_figure
from suite.analysis.figures.style import style
from suite.analysis.report import write_report
from suite.analysis.terminal import format_gap_table
from suite.records import Store
from suite.sweep import Plan, read_spec


def swept(tmp_path: Path, wild: tuple[str, ...] = ()) -> tuple[Store, dict, Comparison]:
    """A branching sweep that was trained, with two seeds; as trunks, optimizers in ``wild`` diverge."""
    plan = Plan(read_spec(write(tmp_path / "s.yaml", seeds=[1, 2])), identify)
    store = Store(tmp_path / "runs")
    done(plan, store, Pretend(store, wild))
    store.write_plan(plan.as_record(command="", title="A task"))
    record = store.plan(plan.spec.plan_id)
    assert record is not None
    return store, record, compare_plan(store, record)


def test_gaps_are_told_by_trunk_and_share(tmp_path: Path) -> None:
    _, _, comparison = swept(tmp_path)
    gaps = comparison.branch_gaps
    assert gaps[["trunk", "share"]].values.tolist() == [["adam", 0.25], ["adam", 0.5], ["sgd", 0.25], ["sgd", 0.5]]
    # The best lr is 0.1, which SGD's grid holds and Adam's misses by a decade, so that Adam's best lies on the edge.
    assert gaps["gap"].to_list() == pytest.approx([2.302585] * 4, abs=1e-3) and (gaps["leans"] == "sgd").all()
    assert set(comparison.trunks["optimizer"]) == {"adam", "sgd"} and len(comparison.trunks) == 4
    assert not set(comparison.trunks["run_id"]) & set(comparison.runs["run_id"])
    text = format_gap_table(comparison)
    assert "From the Adam trunk: leans SGD at 25%, 50%." in text and "From the SGD trunk: leans SGD" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_lost_trunk_is_no_result(tmp_path: Path) -> None:
    _, _, comparison = swept(tmp_path, wild=("adam",))
    assert "From the Adam trunk: no result at 25%, 50%." in format_gap_table(comparison)
    assert list(comparison.trunks["status"]) == ["diverged"] * 2 + ["finished"] * 2


def test_the_report_draws_a_line_per_trunk(tmp_path: Path) -> None:
    store, plan, comparison = swept(tmp_path)
    with style():
        figure = branches_figure(comparison.branch_gaps)
    assert figure is not None
    (axes,) = figure.axes
    _, names = axes.get_legend_handles_labels()
    assert names == ["Adam trunk", "SGD trunk"] and [tick.get_text() for tick in axes.get_xticklabels()] == [
        "25%",
        "50%",
    ]
    report = write_report(store, plan, tmp_path / "report")
    assert report.figure is not None and report.figure.stem == "branches"
    page = report.page.read_text()
    assert "From the trunks" in page and "From the Adam trunk: leans SGD" in page and "SGD trunk, 50%" in page
    table = pd.read_csv(tmp_path / "report" / "tables" / "branches.csv")
    assert (
        list(table["share"]) == [0.25, 0.5, 0.25, 0.5] and len(pd.read_csv(tmp_path / "report/tables/trunks.csv")) == 4
    )


def test_infinite_gaps_and_several_panels_are_drawn(tmp_path: Path) -> None:
    _, _, comparison = swept(tmp_path)
    gaps = comparison.branch_gaps
    gaps.loc[0, ["gap", "relative_gap"]] = float("inf")
    both = pd.concat([gaps.assign(panel="a"), gaps.assign(panel="b", batch_size=8)])
    with style():
        figure = branches_figure(both)
        assert figure is not None and len(figure.axes) == 2
        assert branches_figure(gaps.assign(relative_gap=float("nan"))) is None
