"""Steps to a target loss and critical batch sizes are where they were planted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from law_records import EVALUATIONS, TOKENS, write_laws
from test_analysis_report import check

from suite.analysis.comparison import Comparison, compare_plan
from suite.analysis.critical import critical_sentences, critical_table, form
from suite.analysis.report import drawings, write_report
from suite.analysis.retrained import budgets_needed
from suite.analysis.slowdown import Curve
from suite.analysis.target import quotient, target_sentences, with_target
from suite.analysis.terminal import format_gap_table
from suite.api import load
from suite.records import Store

CRITICAL = {"sgd": 8.0, "adam": 40.0}
BUDGETS = (2.5e5, 1e6, 4e6, 1.6e7)
TARGET = 2.25
GRIDS = {name: {"lr": [0.01 * 10 ** (k / 2) for k in range(5)]} for name in CRITICAL}


def falling(panel: str, optimizer: str, size: int, setting: Any, share: float) -> float:
    """A loss that depends on samples / (1 + B / critical) alone, and on the rate."""
    samples = float(panel) * share / TOKENS
    return 5 - 0.3 * math.log(samples / (1 + size / CRITICAL[optimizer])) + 0.05 * math.log10(setting["lr"] / 0.1) ** 2


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any]]:
    panels = {f"{tokens:g}": {"data.budget_tokens": tokens} for tokens in BUDGETS}
    return write_laws(tmp_path_factory.mktemp("laws"), falling, panels=panels, grids=GRIDS, noise=0.004)


@pytest.fixture(scope="module")
def compared(sweep: tuple[Store, dict[str, Any]]) -> Comparison:
    store, plan = sweep
    return compare_plan(store, with_target(plan, TARGET))


def needed(optimizer: str, size: int) -> float:
    """Planted steps to the target, the budget made for it."""
    return math.exp((5 - TARGET) / 0.3) * (1 / CRITICAL[optimizer] + 1 / size)


def within(panel: str, optimizer: str, size: int) -> float:
    """Planted steps to the target within a run: the curve is straight between evaluations."""
    shares = np.arange(1, EVALUATIONS + 1) / EVALUATIONS
    losses = [falling(panel, optimizer, size, {"lr": 0.1}, share) for share in shares]
    share = np.interp(-TARGET, -np.array(losses), shares)
    return float(share * (float(panel) / TOKENS // size))


def test_steps_within_the_runs_are_those_that_were_planted(compared: Comparison) -> None:
    longest = compared.to_target[compared.to_target["task"] == "4e+06"]
    reached = longest[longest["outcome"] == "reached"]
    assert len(reached) >= 6
    for row in reached.itertuples():
        planted = within("4e6", str(row.optimizer), int(row.batch_size))  # type: ignore[call-overload]
        assert row.steps == pytest.approx(planted, rel=0.03)
        assert row.tokens == pytest.approx(row.samples * TOKENS) and row.samples == row.steps * row.batch_size
        assert row.steps_low < row.steps < row.steps_high and row.given
    shortest = compared.to_target[compared.to_target["task"] == "250000"]
    large = shortest[(shortest["optimizer"] == "sgd") & (shortest["batch_size"] == 256)].iloc[0]
    assert large["outcome"] == "not reached" and math.isnan(large["steps"]) and math.isinf(large["steps_low"])


def test_intervals_of_steps_cover_over_seeds(tmp_path: Path) -> None:
    covered = []
    for repeat in range(8):

        def loss(panel: str, *rest: Any) -> float:
            return falling("4e6", *rest)

        panels = {f"repeat {repeat}": {"data.budget_tokens": 4e6}}
        store, plan = write_laws(tmp_path / str(repeat), loss, panels=panels, grids=GRIDS, batch_sizes=(16, 64))
        for row in compare_plan(store, with_target(plan, TARGET)).to_target.itertuples():
            planted = within("4e6", str(row.optimizer), int(row.batch_size))  # type: ignore[call-overload]
            covered.append(row.steps_low < planted < row.steps_high)
    assert len(covered) == 32 and sum(covered) >= 27  # 95% of 32 is 30.4, less three standard deviations


def test_retrained_budgets_and_critical_batch_sizes(compared: Comparison) -> None:
    for row in compared.retrained[compared.retrained["outcome"] == "reached"].itertuples():
        assert row.steps == pytest.approx(needed(str(row.optimizer), int(row.batch_size)), rel=0.05)  # type: ignore[call-overload]
    critical = compared.critical.set_index("optimizer")
    assert critical["retrained"].all() and critical["fits"].all()
    for optimizer, planted in CRITICAL.items():
        row = critical.loc[optimizer]
        assert row["critical_low"] < planted < row["critical_high"] and row["critical"] == pytest.approx(
            planted, rel=0.1
        )
        assert row["critical_high"] / row["critical_low"] < 1.5
    assert critical.loc["sgd", "stops_from"] == 1 and critical.loc["sgd", "power_high"] < 1
    (sentence, _) = critical_sentences(compared.critical, several=False)
    assert sentence.startswith(
        "SGD, steps to a loss of 2.2500: doubling the batch has stopped halving them between 1 and 4 (they fall as its "
    )
    assert critical.loc["sgd", "largest_batch_size"] <= 256
    (sentence, _) = critical_sentences(compared.critical.assign(power_low=-math.inf, power_high=0.5), several=False)
    assert "95% interval up to 0.50)" in sentence


def test_who_is_sooner_is_said_where_the_interval_says_so(compared: Comparison) -> None:
    retrained = compared.retrained.set_index(["optimizer", "batch_size"])
    assert retrained.loc[("sgd", 64), "sooner"] == "adam" and retrained.loc[("sgd", 64), "ratio_high"] < 1
    assert retrained.loc[("adam", 64), "sooner"] is None
    words = target_sentences(compared.retrained)
    assert words[0] == "target loss 2.2500."
    assert any(word.startswith("Adam is there sooner than SGD at batch sizes") for word in words)


def test_a_ratio_has_an_interval() -> None:
    # Symmetric on logarithms: the halves add in squares.
    ratio, low, high = quotient((8.0, 8 / 1.2, 8 * 1.2), (4.0, 4 / 1.1, 4 * 1.1))
    half = math.hypot(math.log(1.2), math.log(1.1))
    assert (ratio, low, high) == pytest.approx((2, 2 * math.exp(-half), 2 * math.exp(half)))
    assert quotient((8.0, 7.0, math.inf), (4.0, 3.0, 5.0))[2] == math.inf
    assert math.isnan(quotient((8.0, math.nan, math.nan), (4.0, 3.0, 5.0))[1])


def test_budgets_are_interpolated_between_falling_losses() -> None:
    logs = np.log([1.0, 10.0, 100.0])
    losses = np.array([[3.0, 2.0, 1.0], [1.0, 0.5, 0.4], [3.0, 2.9, 2.8], [3.0, 1.0, 1.2]])
    found = np.exp(budgets_needed(logs, losses, 1.5))
    assert found == pytest.approx([10**1.5, 0, math.inf, 10 ** (1.5 / 1.9)])


def test_the_form_is_the_best_with_neither_term_below_zero() -> None:
    rng = np.random.default_rng(3)
    sizes, weights = np.array([1.0, 2, 8, 32]), np.array([1.0, 2, 3, 4])
    for steps in rng.normal(size=(20, 4)) + 5 / sizes:
        found = np.array([term[0] for term in form(sizes, steps[None], weights)])
        grid = np.stack(np.meshgrid(np.linspace(0, 4, 161), np.linspace(0, 9, 181)), axis=-1).reshape(-1, 2)

        def squares(terms: np.ndarray, steps: np.ndarray = steps) -> np.ndarray:
            return np.square((terms @ np.stack([np.ones(4), 1 / sizes]) - steps) * weights).sum(axis=-1)

        assert (found >= 0).all() and squares(found) <= squares(grid).min() + 1e-9


def test_no_critical_batch_size_where_the_form_contradicts() -> None:
    steps = pd.DataFrame(
        {
            "task": "t", "optimizer": "sgd", "target": 1.0, "outcome": "reached", "batch_size": [1, 2, 4, 8],
            "steps": [100.0, 10.0, 90.0, 8.0], "steps_low": [99.0, 9.9, 89.0, 7.9],
            "steps_high": [101.0, 10.1, 91.0, 8.1],
        }
    )  # fmt: skip
    (row,) = critical_table(steps, retrained=False).itertuples()
    assert not row.fits and math.isnan(row.critical)
    assert "contradicts the steps" in critical_sentences(critical_table(steps, retrained=False), several=False)[0]
    halving = steps.assign(steps=100.0 / steps["batch_size"])
    halving = halving.assign(steps_low=halving["steps"] * 0.98, steps_high=halving["steps"] * 1.02)
    (row,) = critical_table(halving, retrained=False).itertuples()
    assert row.fits and row.critical_low > 100 and math.isinf(row.critical_high) and math.isnan(row.stops_from)
    (sentence,) = critical_sentences(critical_table(halving, retrained=False), several=True)
    assert sentence.startswith(
        "t, SGD, steps to a loss of 1.0000: doubling the batch still halves them up to 8, as far as their intervals "
    )


def test_a_critical_batch_size_without_an_interval_is_not_given() -> None:
    sizes = np.array([1, 4, 16, 64])
    steps = pd.DataFrame({"task": "t", "optimizer": "sgd", "target": 1.0, "outcome": "reached", "batch_size": sizes})
    steps = steps.assign(steps=100 * (1 + 8 / sizes), steps_low=math.nan, steps_high=math.nan)
    table = critical_table(steps, retrained=False)
    (row,) = table.itertuples()
    assert row.critical == pytest.approx(8) and math.isnan(row.critical_low) and row.largest_batch_size == 64
    assert critical_sentences(table, several=False) == [
        "SGD, steps to a loss of 1.0000: their intervals do not tell whether doubling the batch stops halving them; no "
        "critical batch size is given, because its interval is not known."
    ]
    wide = steps.assign(steps_low=steps["steps"] / 8, steps_high=steps["steps"] * 8)
    (sentence,) = critical_sentences(critical_table(wide, retrained=False), several=False)
    assert "do not tell whether doubling the batch stops halving them; critical batch size 8 (95% interval" in sentence


def test_the_default_target_is_that_of_the_worst_point(sweep: tuple[Store, dict[str, Any]]) -> None:
    table = compare_plan(*sweep).to_target
    for _, rows in table.groupby("task"):
        assert set(rows["outcome"]) <= {"reached", "at most"} and not rows["given"].any()
        last = rows[rows["share"] == rows["share"].max()].iloc[0]
        assert (last["optimizer"], last["batch_size"], last["share"]) == ("sgd", 256, 1.0)


def test_a_curve_is_read_between_its_points() -> None:
    curve = Curve(np.array([0.25, 0.5, 0.75, 1.0]), np.array([4.0, 3.0, 3.2, 2.0]), validation=True)
    assert curve.falling.tolist() == [4.0, 3.1, 3.1, 2.0]
    assert curve.reached(3.55) == pytest.approx(0.375) and curve.reached(2.55) == pytest.approx(0.875)
    assert curve.reached(9.0) == 0.25 and curve.reached(1.0) == 1.0


def test_steps_are_in_the_report_in_python_and_on_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = drawings.drawings_of
    monkeypatch.setattr(drawings, "drawings_of", lambda *args: {"steps_to_target": every(*args)["steps_to_target"]})
    panels = {f"{tokens:g}": {"data.budget_tokens": tokens} for tokens in BUDGETS[1:3]}
    grids = {name: {"lr": axes["lr"][1:4]} for name, axes in GRIDS.items()}
    sizes = (16, 32, 64)
    store, plan = write_laws(tmp_path / "runs", falling, panels=panels, grids=grids, batch_sizes=sizes)
    page = write_report(store, with_target(plan, TARGET), tmp_path / "out").page
    words = " ".join(check(page).text)
    for said in ("Steps to a target loss", "The budget that a target loss takes", "critical batch", "loss 2.25"):
        assert said in words, said
    tables, figures = ({path.name for path in (tmp_path / "out" / name).iterdir()} for name in ("tables", "figures"))
    assert {"steps_to_target.csv", "steps_retrained.csv", "critical_batch_size.csv"} <= tables
    assert {"retrained-1.svg", "steps_to_target-2-4e-06.svg"} <= figures
    compared, results = compare_plan(store, with_target(plan, TARGET)), load(store.path).sweep("laws", target=TARGET)
    assert results.steps_to_target.equals(compared.to_target) and results.critical_batch_sizes.equals(compared.critical)
    assert results.steps_retrained.equals(compared.retrained)
    printed = format_gap_table(compared)
    assert "target loss 2.2500" in printed and "has stopped halving" in printed
    assert max(map(len, printed.splitlines())) <= 100
