"""Laws over batch size, budget and settings of the task are those that were planted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from law_records import write_laws
from test_analysis_report import check

from suite.analysis.budget_law import crossover_table, law_table
from suite.analysis.collapse import collapse_table
from suite.analysis.comparison import Comparison, compare_plan
from suite.analysis.effects import effects_tables
from suite.analysis.families import factors, families, panel_settings
from suite.analysis.figures.budget_law import budget_law_figure
from suite.analysis.figures.collapse import collapse_figure
from suite.analysis.power_law import power_law
from suite.analysis.report import drawings, write_report
from suite.analysis.table import is_heavy_ball
from suite.analysis.tuned_laws import law_sentences, rule_of, tuned_laws, tuned_values
from suite.api import load

SIZES = (1, 4, 16, 64, 256)
RATES = [10 ** (k / 2) for k in range(-8, 5)]


def test_a_power_law_has_students_interval() -> None:
    x, y = np.array([1.0, 2, 4, 8]), np.array([3.0, 4.4, 5.8, 9.0])
    law = power_law(x, y)
    assert law is not None
    slope, level = np.polyfit(np.log(x), np.log(y), 1)
    left = np.log(y) - slope * np.log(x) - level
    error = math.sqrt(left @ left / 2 / np.square(np.log(x) - np.log(x).mean()).sum())
    assert (law.exponent, law.factor, law.error) == pytest.approx((slope, math.exp(level), error))
    assert law.interval == pytest.approx((slope - 4.302653 * error, slope + 4.302653 * error), rel=1e-6)
    low, high = law.band(np.array([math.exp(law.centre)]))
    assert math.log(high[0] / low[0]) == pytest.approx(2 * 4.302653 * math.sqrt(left @ left / 2 / 4), rel=1e-6)
    assert power_law(x, y, least_scatter=1.0).error == pytest.approx(1 / math.sqrt(np.var(np.log(x)) * 4))  # type: ignore[union-attr]
    assert power_law(x[:1], y[:1]) is None and math.isnan(power_law(x[:2], y[:2]).interval[0])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("ends", "rule", "said"),
    [
        ((0.3, 0.7), 0.5, "agrees"), ((-0.1, 0.7), 0.5, "open"), ((0.6, 0.9), 0.5, "contradicts"),
        ((-0.2, 0.3), 0.0, "agrees"), ((-0.9, 0.9), 0.0, "open"), ((0.1, 0.2), 0.0, "contradicts"),
    ],
)  # fmt: skip
def test_a_rule_is_judged_by_the_interval(ends: tuple[float, float], rule: float, said: str) -> None:
    x = np.array([1.0, 2, 4])
    law = power_law(x, x)
    assert law is not None
    low, high = ends
    half = (high - low) / 2 / (law.interval[1] - law.interval[0]) * 2 if law.error else 0.0
    assert half == 0  # an exact law: its interval is made by hand
    object.__setattr__(law, "exponent", (low + high) / 2)
    object.__setattr__(law, "error", (high - low) / 2 / 12.706205)
    assert law.interval == pytest.approx(ends) and law.judged(rule) == said


def grown(panel: str, optimizer: str, size: int, setting: Any, share: float) -> float:
    """The best rate grows as the root of the batch size for Adam and not for SGD; 1 - momentum as the batch size."""
    best = 0.001 * size**0.5 if optimizer == "adam" else 0.3
    loss = 3 + 0.1 * math.log10(setting["lr"] / best) ** 2
    if "momentum" in setting:
        loss += 0.1 * math.log10((1 - setting["momentum"]) / min(0.004 * size, 1)) ** 2
    return loss / share**0.01


MOMENTA = [0.0, 0.5, 0.75, 0.875, 0.9375, 0.96875, 0.984375, 0.992188, 0.996094, 0.998047]


def test_tuned_settings_follow_the_planted_laws(tmp_path: Path) -> None:
    grids = {"adam": {"lr": RATES}, "sgd": {"lr": [0.03, 0.1, 0.3, 1.0, 3.0], "momentum": MOMENTA}}
    sizes = (1, 2, 4, 8, 16, 32)
    store, plan = write_laws(
        tmp_path, grown, panels={"a": {}}, grids=grids, batch_sizes=sizes, report_seeds=(2, 3), noise=1e-4
    )
    compared = compare_plan(store, plan)
    laws = compared.tuned_laws.set_index(["optimizer", "quantity"])
    planted = {
        ("adam", "lr"): (0.5, "agrees"), ("sgd", "lr"): (0.0, "contradicts"),
        ("sgd", "1 - momentum"): (1.0, "agrees"), ("sgd", "lr / (1 - momentum)"): (-1.0, "contradicts"),
    }  # fmt: skip
    for key, (exponent, judgement) in planted.items():
        row = laws.loc[key]
        assert row["exponent"] == pytest.approx(exponent, abs=0.1) and row["low"] < exponent < row["high"], key
        assert row["judgement"] == judgement, key
    assert laws.loc[("adam", "lr"), "at_batch_size_1"] == pytest.approx(0.001, rel=0.2)
    (adam, _) = law_sentences(compared.tuned_laws)
    assert adam.startswith("Adam: learning rate as the batch size to the 0.5")
    assert adam.endswith("which agrees with the rule 'square root' (0.5).")
    assert laws.loc[("sgd", "1 - momentum"), "rule"] == "half-life of beta2, applied here"
    assert rule_of("1 - beta2") == rule_of("1 - adam.beta2") == ("half-life of beta2", 1.0)
    assert rule_of("1 - beta") == rule_of("1 - muon.beta1") == ("half-life of beta2, applied here", 1.0)


@pytest.mark.parametrize(
    ("label", "settings", "expected"),
    [
        ("sgd", {}, True),
        ("clipped", {"name": "sgd_coordinate_clip", "momentum": 0.9}, True),
        ("nesterov", {"name": "torch.optim.SGD", "momentum": 0.9, "dampening": 0}, True),
        ("sgd", {"name": "sgd", "momentum": 0.9, "damped": True}, False),
        ("signum", {"name": "signum", "momentum": 0.9}, False),
        ("schedule_free_sgd", {}, False),
    ],
)
def test_steps_grow_with_a_momentum_that_sums(label: str, settings: dict[str, Any], expected: bool) -> None:
    assert is_heavy_ball(label, settings) is expected


def test_an_averaging_momentum_has_no_step_length(tmp_path: Path) -> None:
    grids = {
        "signum": {"lr": [0.1, 0.3, 1.0], "momentum": [0.5, 0.75, 0.875]},
        "sgd": {"lr": [0.1, 0.3], "momentum": [0.5]},
    }
    store, plan = write_laws(tmp_path, grown, panels={"a": {}}, grids=grids, batch_sizes=(32, 64, 128))
    assert set(compare_plan(store, plan).tuned_values["quantity"]) == {"lr", "1 - momentum"}


def test_points_on_an_edge_are_bounds(tmp_path: Path) -> None:
    def loss(panel: str, optimizer: str, size: int, setting: Any, share: float) -> float:
        return grown(panel, "adam", size, setting, share)

    grids = {"adam": {"lr": [0.001, 0.002, 0.004, 0.008]}}
    store, plan = write_laws(tmp_path, loss, panels={"a": {}}, grids=grids, batch_sizes=(1, 4, 16, 64, 256))
    values = tuned_values(*(getattr(compare_plan(store, plan), name) for name in ("runs", "tuned")))
    assert values["edge"].tolist() == [True, False, False, True, True]
    assert tuned_laws(values).empty  # two batch sizes are left


def test_a_value_between_grid_points_is_found(tmp_path: Path) -> None:
    def loss(panel: str, optimizer: str, size: int, setting: Any, share: float) -> float:
        return 1 + math.log(setting["lr"] / 0.015) ** 2 / share**0.01

    store, plan = write_laws(
        tmp_path, loss, panels={"a": {}}, grids={"adam": {"lr": [0.003, 0.01, 0.03]}}, batch_sizes=(4,), noise=0.0
    )
    (row,) = compare_plan(store, plan).tuned_values.itertuples()
    assert row.value == pytest.approx(0.015, rel=1e-6) and not row.edge


def turning(power: float) -> Any:
    """A gap whose zero moves as a power of the budget: 4 at 1e5 tokens."""
    return turning_at(lambda tokens: 4 * (tokens / 1e5) ** power)


def turning_at(zero_of: Callable[[float], float]) -> Any:
    """A gap with a zero at a batch size for every budget; NaN: no gap at any batch size."""

    def loss(panel: str, optimizer: str, size: int, setting: Any, share: float) -> float:
        zero = zero_of(float(panel))
        gap = 0.0 if math.isnan(zero) else -0.02 * math.log2(size / zero)
        return 4 - (gap if optimizer == "sgd" else 0.0) + 0.1 * math.log10(setting["lr"] / 0.1) ** 2

    return loss


GRIDS = {name: {"lr": [0.01, 0.0316228, 0.1, 0.316228, 1.0]} for name in ("sgd", "adam")}


def of_budgets(path: Path, budgets: list[float], power: float, **others: Any) -> Comparison:
    return of_loss(path, budgets, turning(power), **others)


def of_loss(path: Path, budgets: list[float], loss: Any, **others: Any) -> Comparison:
    panels = {f"{tokens:g}": {"data.budget_tokens": tokens} for tokens in budgets}
    options: dict[str, Any] = {"panels": panels, "grids": GRIDS, "batch_sizes": SIZES, "noise": 0.004, **others}
    return compare_plan(*write_laws(path, loss, **options))


@pytest.mark.parametrize(("power", "judgement"), [(0.5, "agrees"), (0.0, "contradicts")])
def test_the_crossover_follows_the_planted_power_of_the_budget(tmp_path: Path, power: float, judgement: str) -> None:
    compared = of_budgets(tmp_path, [1e5, 4e5, 1.6e6], power)
    (law,) = compared.budget_laws
    low, high = law.interval
    assert len(law.zeros) == 3 and low < power < high < low + 0.35
    assert law.exponent == pytest.approx(power, abs=0.15) and law.judgement == judgement
    assert law.zeros[min(law.zeros)] == pytest.approx(4, rel=0.25)
    table = crossover_table([law])
    assert table["budget"].tolist() == pytest.approx([1e5, 4e5, 1.6e6], rel=1e-3) and table["claimed"].all()
    assert table["unit"].unique().tolist() == ["tokens"]
    assert law_table([law])["judgement"].tolist() == [judgement]
    words = "theory's 0.5 lies within it, no dependence (0) does not" if power else "contradicts theory's 0.5"
    assert words in law.sentence()


def test_budgets_without_a_crossover_are_named(tmp_path: Path) -> None:
    places = {1e5: 8.0, 4e5: math.nan}
    (law,) = of_loss(tmp_path, list(places), turning_at(places.__getitem__)).budget_laws
    assert math.isnan(law.exponent) and law.judgement is None and not law.bounds
    assert "takes two claimed crossovers" in law.sentence()
    assert "No crossover is claimed at 400,000 tokens" in law.sentence()


@pytest.mark.parametrize("falls", [False, True])
def test_a_budget_with_one_winner_bounds_the_law(tmp_path: Path, falls: bool) -> None:
    # Powers of 1 and more, so that the bound is what the third budget says: from 30 over 60, and from 34 over 17.
    third, bound = (3.2e6, (0.0, 1.0)) if falls else (1e6, (256.0, math.inf))
    places = {1e5: 34.0, 2e5: 17.0, third: 0.2} if falls else {1e5: 30.0, 2e5: 60.0, third: 1500.0}
    bounded, alone = (
        of_loss(tmp_path / str(count), budgets, turning_at(places.__getitem__), noise=0.006).budget_laws[0]
        for count, budgets in enumerate((list(places), list(places)[:2]))
    )
    assert bounded.zeros == alone.zeros and bounded.bounds == {third: bound} and not bounded.bends
    assert ("below 1 at 3.2M tokens" if falls else "above 256 at 1M tokens") in bounded.sentence()
    assert "No crossover is claimed" not in bounded.sentence()
    steepest = math.log2(1 / places[2e5] if falls else 256 / places[2e5]) / math.log2(third / 2e5)
    end = 1 if falls else 0
    assert bounded.interval[end] == pytest.approx(steepest, abs=0.15)
    assert abs(alone.interval[end]) < abs(steepest) - 0.15
    assert bounded.interval[1 - end] == pytest.approx(alone.interval[1 - end], abs=0.15)
    assert crossover_table([bounded])[["low", "high"]].iloc[2].tolist() == list(bound)


def test_bounds_that_no_power_fits_are_said(tmp_path: Path) -> None:
    places = {1e5: 8.0, 2e5: 8.0, 4e5: 3000.0}
    (law,) = of_loss(tmp_path, list(places), turning_at(places.__getitem__)).budget_laws
    assert law.bends and law.judgement is None and law.bounds == {4e5: (256.0, math.inf)}
    assert "follows no power of the budget" in law.sentence() and "above 256 at 400,000 tokens" in law.sentence()
    figure = budget_law_figure([law])
    assert figure is not None
    (arrow,) = figure.axes[0].texts
    assert arrow.arrow_patch is not None and arrow.xy[1] > 256 and figure.axes[0].get_ylim()[1] > arrow.xy[1]


@pytest.mark.parametrize(
    ("follows", "gap_of"),
    [
        ("steps", lambda size, tokens: 0.03 * math.log2(tokens / 32 / size / 1000)),
        ("batch size", lambda size, tokens: -0.03 * math.log2(size / 8)),
        ("either", lambda size, tokens: 0.0),
        ("neither", lambda size, tokens: 0.05 * math.log2(tokens / 4e5)),
    ],
)
def test_what_the_gap_follows_over_budgets_is_what_was_planted(tmp_path: Path, follows: str, gap_of: Any) -> None:
    def loss(panel: str, optimizer: str, size: int, setting: Any, share: float) -> float:
        gap = gap_of(size, float(panel)) if optimizer == "sgd" else 0.0
        return 4 - gap + 0.1 * math.log10(setting["lr"] / 0.1) ** 2

    compared = of_loss(tmp_path, [1e5, 4e5, 1.6e6], loss)
    (one,) = compared.collapses
    assert one.follows == follows and one.sentence() in compared.budget_sentences
    # 15 gaps, of 5 batch sizes and of 7 numbers of steps, though budgets are cut to whole batches.
    assert (one.steps_comparisons, one.batch_size_comparisons) == (8, 10) and one.gaps["steps"].nunique() == 7
    p_values = {"steps": one.steps_p, "batch size": one.batch_size_p}
    agree = {"either": {"steps", "batch size"}, "neither": set()}.get(follows, {follows})
    assert {name for name, p in p_values.items() if p > 0.05} == agree
    assert {name for name, p in p_values.items() if p < 0.001} == set(p_values) - agree
    figure = collapse_figure([one])
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes] == ["batch size", "number of steps"]
    assert [len(axes.get_legend_handles_labels()[1]) for axes in figure.axes] == [3, 3]
    assert collapse_table([one]).iloc[0]["follows"] == follows


def test_one_budget_tells_nothing_of_what_the_gap_follows(tmp_path: Path) -> None:
    assert not of_budgets(tmp_path, [1e5], 0.5).collapses and collapse_figure([]) is None
    assert not of_budgets(tmp_path / "two", [1e5, 3e5], 0.5).collapses  # no two gaps have equally many steps


def test_panels_that_differ_in_more_are_several_families() -> None:
    panels = {
        f"{budget} {scale}": {"task": "t", "data.budget_tokens": budget, "model.scale": scale}
        for budget in (1e5, 4e5)
        for scale in (0, 1)
    }
    runs = pd.DataFrame(
        [
            {"task": label, "steps": int(s["data.budget_tokens"] / 32 // size), "batch_size": size,
             "tokens_per_sample": 32}
            for label, s in panels.items() for size in (1, 4)
        ]
    )  # fmt: skip
    first, second = families(runs, panels)
    assert (first.name, second.name) == ("scale 0", "scale 1") and first.tasks == ("100000.0 0", "400000.0 0")
    assert first.budgets == (1e5, 4e5) and first.unit == "tokens"
    assert factors(panels) == {"data.budget_tokens": [1e5, 4e5], "model.scale": [0, 1]}
    by_steps = runs.assign(steps=100)
    assert families(by_steps, panels) == []  # a number of steps is another budget at another batch size


def gaps_of(values: dict[str, float], error: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": list(values), "reference": "adam", "challenger": "sgd", "batch_size": 16,
            "relative_gap": list(values.values()), "relative_error": error, "freedom": 10.0,
        }
    )  # fmt: skip


def crossed(*names: str) -> dict[str, dict[str, Any]]:
    return {
        " ".join(map(str, values)): {"task": "t", **dict(zip(names, values, strict=True))}
        for values in itertools.product((False, True), repeat=len(names))
    }


def test_effects_of_a_full_crossing_are_the_textbooks() -> None:
    panels = crossed("model.a", "model.b")
    values = dict(zip(panels, (-8.0, -6.0, 2.0, 6.0), strict=True))
    effects, explained = effects_tables(gaps_of(values), panels)
    rows = effects.set_index("effect_of")
    # By hand: a: (2 + 6) / 2 - (-8 - 6) / 2 = 11; b: 3; interaction: ((6 - 2) - (-6 + 8)) / 2 = 1.
    assert rows["effect"].to_dict() == pytest.approx({"a true (not false)": 11, "b true (not false)": 3, "a with b": 1})
    assert rows["error"].to_numpy() == pytest.approx(0.5)  # four errors of 0.5, each with weight 1/2
    assert rows["freedom"].to_numpy() == pytest.approx(40)
    assert rows["corrected"].tolist() == [True, True, False]
    half = 2.021075 * 0.5
    assert rows.loc["b true (not false)", ["low", "high"]].tolist() == pytest.approx([3 - half, 3 + half], rel=1e-5)
    assert rows.loc["a true (not false)", "share_of_gap"] == pytest.approx(11 / 8)  # of a gap of -8, which turns
    (row,) = explained.itertuples()
    # Sums of squares: a 121, b 9, interaction 1.
    assert row.explained_by_effects == pytest.approx(130 / 131)
    assert math.isnan(row.explained_with_interactions)  # four coefficients pass through any four gaps
    assert row.gap_at_first == pytest.approx(-8) and row.noise_share == pytest.approx(0.25 * 3 / 131)


def test_one_setting_at_a_time_is_compared_with_the_first() -> None:
    panels: dict[str, dict[str, Any]] = {
        "none": {"task": "t"}, "a": {"task": "t", "model.a": True}, "b2": {"task": "t", "model.b": 2},
        "b3": {"task": "t", "model.b": 3},
    }  # fmt: skip
    effects, _ = effects_tables(gaps_of({"none": 1.0, "a": 4.0, "b2": 0.0, "b3": -2.0}), panels)
    assert effects["effect"].tolist() == pytest.approx([3, -1, -3])
    assert effects["effect_of"].tolist() == ["a true (not default)", "b 2 (not default)", "b 3 (not default)"]
    assert effects["error"].to_numpy() == pytest.approx(0.5 * math.sqrt(2))


def test_effects_that_cannot_be_told_apart_are_none() -> None:
    panels = {"x": {"task": "t", "model.a": 0, "model.b": 0}, "y": {"task": "t", "model.a": 1, "model.b": 1}}
    assert all(table.empty for table in effects_tables(gaps_of({"x": 1.0, "y": 2.0}), panels))


def test_effects_hold_after_correction_for_all_of_their_pair() -> None:
    panels = crossed("model.a", "model.b")
    values = dict(zip(panels, (-8.0, -6.9, 2.0, 3.1), strict=True))  # b: 1.1, which excludes zero alone
    sizes = [gaps_of(values).assign(batch_size=size, freedom=1e6) for size in (4, 16)]
    effects = effects_tables(pd.concat(sizes), panels)[0].set_index(["effect_of", "batch_size"])
    assert effects["corrected"].dtype == bool and effects["corrected"].sum() == 2
    assert effects.loc["b true (not false)", "p"].tolist() == pytest.approx([0.0278, 0.0278], abs=1e-4)
    alone = effects_tables(pd.concat(sizes[:1]), {k: {**v, "model.c": 0} for k, v in panels.items()})[0]
    assert alone["corrected"].tolist() == [True, False, False]


def test_intervals_of_effects_and_shares_cover() -> None:
    panels = crossed("model.a", "model.b", "model.c")
    rng = np.random.default_rng(0)
    covered, shares = [], []
    for _ in range(200):
        drawn = {label: -6 + 2.0 * s["model.a"] + 0.5 * rng.standard_t(10) for label, s in panels.items()}
        rows = effects_tables(gaps_of(drawn), panels)[0].set_index("effect_of")
        row = rows.loc["a true (not false)"]
        covered.append(row["low"] < 2 < row["high"])
        shares.append(row["share_low"] < 1 / 3 < row["share_high"])
    # 95% of 200 is 190, less three standard deviations of 3.1.
    assert sum(covered) >= 180 and sum(shares) >= 180


def test_laws_are_in_the_report_and_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = drawings.drawings_of
    monkeypatch.setattr(drawings, "drawings_of", lambda *args: {"tuned_laws": every(*args)["tuned_laws"]})

    def loss(panel: str, optimizer: str, size: int, setting: Any, share: float) -> float:
        budget, _, scale = panel.partition(" ")
        moved = 0.1 if scale == "1" and optimizer == "sgd" else 0.0
        return moved + turning(0.5)(budget, optimizer, size, setting, share)  # type: ignore[no-any-return]

    panels = {f"{t:g} {s}": {"data.budget_tokens": t, "model.scale": s} for t in (1e5, 4e5) for s in (0, 1)}
    grids = {name: {"lr": axes["lr"][1:4]} for name, axes in GRIDS.items()}
    store, plan = write_laws(tmp_path / "runs", loss, panels=panels, grids=grids, batch_sizes=(2, 8, 32), noise=0.002)
    page = write_report(store, plan, tmp_path / "out").page
    words = " ".join(check(page).text)
    for said in (
        "How the tuned settings move with the batch size", "The crossover over the budget", "Effects of the settings",
        "scale 0: SGD against Adam", "scale 1 (not 0)", "400,000 tokens (not 100,000 tokens)",
        "fitted gap at the first values", "share of the gap taken away (negative: widened)",
    ):  # fmt: skip
        assert said in words, said
    tables, figures = ({path.name for path in (tmp_path / "out" / name).iterdir()} for name in ("tables", "figures"))
    assert {"tuned_laws.csv", "budget_law.csv", "crossover_by_budget.csv", "effects.csv", "explained.csv"} <= tables
    assert {"budget_law.svg", "effects.svg", "tuned_laws-1-100000-0.svg"} <= figures
    results, compared = load(store.path).sweep("laws"), compare_plan(store, plan)
    assert results.effects.equals(compared.effects[0]) and results.explained.equals(compared.effects[1])
    assert results.tuned_laws.equals(compared.tuned_laws) and len(results.budget_laws) == 2
    assert len(results.crossovers_by_budget) == 4 and "tuned_laws" in results.figures()
    assert panel_settings(plan)["100000 0"] == {"task": "toy/net", "data.budget_tokens": 1e5, "model.scale": 0}
