"""The rules of the verdict: intervals, moderated spreads, words, seeds, and what a grid's choice costs."""

import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import stdtrit

from suite.analysis.surface import Tried, coordinates, excess_of
from suite.analysis.verdict import (
    Interval,
    Verdict,
    combined,
    errors_of_means,
    holm,
    moderated,
    seeds_for_power,
    standing_out,
    verdict,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

LRS, MOMENTA = (0.01, 0.03162278, 0.1, 0.3162278, 1.0), (0.9, 0.97, 0.99)


def grid(loss, seeds=1, variance=math.nan):
    """A grid's settings with losses from a function of log10(lr) and -log10(1 - momentum)."""
    return [
        Tried(
            setting=(("lr", lr), ("momentum", momentum)),
            loss=loss(math.log10(lr), -math.log10(1 - momentum)),
            seeds=seeds,
            variance=variance,
        )
        for lr in LRS
        for momentum in MOMENTA
    ]


def best(tried):
    return min(tried, key=lambda point: point.loss)


def test_an_interval_is_students():
    interval = Interval(estimate=0.3, error=0.1, freedom=4)
    assert interval.half_width() == pytest.approx(0.1 * stats.t.ppf(0.975, 4))
    assert interval.p == pytest.approx(2 * stats.t.sf(3, 4)) and interval.excludes_zero()
    for unknown in (Interval(estimate=1, error=math.nan, freedom=4), Interval(estimate=1, error=1, freedom=0)):
        assert math.isnan(unknown.half_width()) and math.isnan(unknown.p) and not unknown.excludes_zero()
    assert Interval(estimate=0.1, error=0, freedom=1).excludes_zero()


def test_variances_are_drawn_towards_the_mean_of_the_others():
    # Others: mean (2 * 1 + 2 * 3) / 4 = 2 with weight 5 * 4 / (5 + 4).
    variances, freedoms = moderated(np.array([9.0, 1.0, 3.0]), np.array([2.0, 2.0, 2.0]))
    weight = 20 / 9
    assert variances[0] == pytest.approx((weight * 2 + 2 * 9) / (weight + 2)) and freedoms[0] == pytest.approx(
        weight + 2
    )
    alone = moderated(np.array([4.0]), np.array([3.0]))
    assert (alone[0][0], alone[1][0]) == (4, 3)
    lent = moderated(np.array([math.nan, 4.0]), np.array([0.0, 5.0]))
    assert lent[0][0] == 4 and lent[1][0] == pytest.approx(2.5)
    nothing = moderated(np.array([math.nan, math.nan]), np.array([0.0, 0.0]))
    assert np.isnan(nothing[0]).all() and (nothing[1] == 0).all()


def test_a_variance_that_stands_out_is_not_pooled():
    usual, freedom = np.array([1.0, 2.0, 1.0, 1.5]), 2.0
    unstable = np.append(usual, 500.0)
    assert list(standing_out(unstable, np.full(5, freedom))) == [False] * 4 + [True]
    variances, freedoms = moderated(unstable, np.full(5, freedom))
    expected, expected_freedoms = moderated(usual, np.full(4, freedom))
    np.testing.assert_allclose(variances, [*expected, 500.0])
    np.testing.assert_allclose(freedoms, [*expected_freedoms, freedom])
    assert not standing_out(np.append(usual, 20.0), np.full(5, freedom)).any()  # chance explains it
    assert list(standing_out(np.array([1.0, 1e4, math.nan, 1.2, 1e9]), np.array([4.0, 4, 0, 4, 4]))) == [
        False, True, False, False, True,
    ]  # fmt: skip
    assert not standing_out(np.array([0.0, 0.0]), np.array([2.0, 2.0])).any()
    rows = standing_out(np.stack([unstable, unstable[::-1]]), np.full((2, 5), freedom))
    assert list(rows.argmax(axis=1)) == [4, 0] and rows.sum() == 2


def test_an_unstable_batch_size_does_not_spoil_the_others():
    rng = np.random.default_rng(0)
    scale = np.exp(0.33 * rng.standard_normal((4000, 5)))
    scale[:, 4] *= 10
    losses = scale[..., None] * rng.standard_normal((4000, 5, 3))
    errors, freedoms, _ = errors_of_means(losses.var(axis=-1, ddof=1), np.full((4000, 5), 3), np.zeros((4000, 5)))
    false = (np.abs(losses.mean(axis=-1)) > stdtrit(freedoms, 0.975) * errors).mean(axis=0)
    assert np.all((false[:4] > 0.02) & (false[:4] < 0.06))  # 0.002 if its spread were lent
    assert false[4] < 0.2  # 0.24 then; see docs/analysis.md


def test_errors_add_in_quadrature_and_degrees_of_freedom_by_satterthwaite():
    error, freedom = combined(np.array([3.0, 4.0]), np.array([2.0, 10.0]))
    assert error == 5 and freedom == pytest.approx(625 / (81 / 2 + 256 / 10))
    assert combined(np.array([0.0, 0.0]), np.array([2.0, 10.0])) == (0, 2)
    errors, freedoms, _ = errors_of_means(np.array([math.nan, math.nan]), np.array([1, 1]), np.array([0.1, 0.1]))
    assert np.isnan(errors).all() and (freedoms == 0).all()  # a surface alone tells no spread between seeds


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_holds_what_the_textbook_holds(p):
    ordered, expected = sorted(range(len(p)), key=p.__getitem__), [False] * len(p)
    for step, place in enumerate(ordered):
        if p[place] * (len(p) - step) > 0.05 + 1e-12:
            break
        expected[place] = True
    near = [abs(p[place] * (len(p) - step) - 0.05) < 1e-9 for step, place in enumerate(ordered)]
    assert any(near) or holm(np.array(p)).tolist() == expected


def test_words_of_the_verdict():
    def said(estimate, error=0.1, **facts):
        settled = {"pair": ("adam", "sgd"), "margin": 0.05, "seeds": 5} | facts
        return verdict(Interval(estimate=estimate, error=error, freedom=8), **settled)

    assert said(1.0) == Verdict(kind="better", ahead="sgd") and said(-1.0).ahead == "adam"
    assert said(0.2) == Verdict(kind="leans", ahead="sgd")  # t(8): 2.31 at 95%, 1.40 at 80%
    assert said(0.1).kind == "open" and said(0.1).ahead is None
    assert said(0.001, error=0.01).kind == "level" and said(0.04, error=0.01).kind != "level"
    # A point on the edge of its grid is not tuned: nobody is better than it, and nothing is level with it.
    assert said(1.0, edges=(True, False)) == Verdict(kind="leans", ahead="sgd")
    assert said(1.0, edges=(False, True)).kind == "better"
    assert said(0.001, error=0.01, edges=(False, True)).kind == "open"
    # One seed decides nothing, however large the gap.
    assert said(100.0, seeds=1).kind == "open" and said(math.inf, seeds=1).kind == "open"
    assert said(-math.inf) == Verdict(kind="better", ahead="adam")
    assert said(-math.inf, edges=(False, True)).kind == "leans"


@pytest.mark.parametrize(("gap", "expected"), [(1.0, 13), (0.5, 44)])
def test_seeds_are_the_fewest_with_the_asked_power(gap, expected):
    def power(n):
        return stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, gap * math.sqrt(n))

    assert seeds_for_power(gap, 1.0) == expected == seeds_for_power(-gap, 1.0)
    assert power(expected) >= 0.9 > power(expected - 1)


def test_seeds_for_level_for_a_surface_and_for_nothing():
    # Level within 0.5 at 90%, the gap in the middle: both ends of the interval inside.
    needed = int(seeds_for_power(0.0, 1.0, margin=0.5))
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((20_000, needed))
    half = stats.t.ppf(0.975, needed - 1) * draws.std(axis=1, ddof=1) / math.sqrt(needed)
    assert 0.88 < (np.abs(draws.mean(axis=1)) + half < 0.5).mean() < 0.92
    assert math.isinf(seeds_for_power(0.1, 0.1, surface_error=0.1)) and math.isinf(seeds_for_power(0.0, 1.0))
    assert math.isnan(seeds_for_power(math.nan, 1.0)) and math.isnan(seeds_for_power(1.0, math.nan))
    assert seeds_for_power(1.0, 0.0) == 2 and seeds_for_power(0.5, 1.0, sizes=4) <= seeds_for_power(0.5, 1.0)


@pytest.mark.parametrize("sizes", [1, 5])
@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_a_larger_gap_never_needs_more_seeds(sizes, margin):
    needed = [
        seeds_for_power(gap, 0.02, surface_error=0.01, margin=margin, sizes=sizes)
        for gap in np.geomspace(0.05, 50, 400)
    ]
    assert needed[-1] == 2 and needed == sorted(needed, reverse=True)


def test_coordinates_are_where_the_loss_is_smooth():
    assert coordinates("lr", [0.1, 1.0]) == pytest.approx([math.log(0.1), 0])
    assert coordinates("inner.momentum", [0, 0.9]) == pytest.approx([0, math.log(10)])
    assert coordinates("weight_decay", [0.0, 0.1]) == [0.0, 0.1]


def test_the_excess_of_a_quadratic_is_exact_with_its_cross_term():
    def loss(lr, momentum):
        x, y = lr + 1.1, momentum - 1.45
        return 200 * math.exp((x**2 + y**2 + 0.5 * x * y) / 200)

    tried = grid(loss, seeds=2, variance=1e-12)
    excess = excess_of(best(tried), tried)
    assert excess.loss == pytest.approx(best(tried).loss - 200, rel=1e-3) and excess.loss > 0.01
    assert excess.error == pytest.approx(excess.loss / 8, rel=0.02) and excess.luck == pytest.approx(0, abs=1e-6)


def test_a_cliff_takes_no_part():
    def loss(lr, momentum):
        cliff = 4.0 if lr > -0.6 or (lr > -1.1 and momentum > 1.9) else 0.0
        return 3 + 0.1 * (lr + 1.05) ** 2 + 0.05 * (momentum - 1.5) ** 2 + cliff

    rng = np.random.default_rng(0)
    tried = grid(lambda lr, momentum: loss(lr, momentum) + 1e-3 * rng.standard_normal())
    excess = excess_of(best(tried), tried)
    assert excess.loss < 0.003 and excess.error < 0.005


def test_losses_that_differ_by_factors_leave_a_loss_that_can_be():
    """Of an Adam on a quadratic: a parabola through the losses themselves has its minimum at -75."""
    rates, losses = (10**-1.5, 0.1, 10**-0.5, 1.0), (3900.0, 206.0, 3.03, 560.0)
    tried = [
        Tried(setting=(("lr", lr),), loss=loss, seeds=3, variance=(0.1 * loss) ** 2)
        for lr, loss in zip(rates, losses, strict=True)
    ]
    excess = excess_of(tried[2], tried)
    assert 0 < excess.loss < 3.03 and math.isfinite(excess.error)
    # The same in units of a thousandth, and where no loss is positive: as the losses stand.
    small = [dataclasses.replace(p, loss=p.loss / 1000, variance=p.variance / 1e6) for p in tried]
    assert excess_of(small[2], small).loss == pytest.approx(excess.loss / 1000)
    below = [dataclasses.replace(p, loss=p.loss - 1e4) for p in tried]
    assert excess_of(below[2], below).loss > 3.03


def test_three_settings_do_not_read_a_minimum_off_a_cliff():
    def three(*losses):
        return [
            Tried(setting=(("lr", lr),), loss=x, seeds=1) for lr, x in zip((1e-4, 10**-3.5, 1e-3), losses, strict=True)
        ]

    tried = three(99.2, 40.8, 3.9e13)
    assert excess_of(tried[1], tried, between_seeds=(30.0, 1)) is None
    tried = three(43.0, 40.8, 44.0)
    assert 0 < excess_of(tried[1], tried, between_seeds=(0.1, 1)).loss < 0.2


def test_a_cliff_beside_the_chosen_setting_promises_no_depth():
    """The losses of an SGD at batch size 32: nothing near them is a tenth lower than the lowest."""
    lrs, momenta = (1.0, 10**0.5, 10.0), (0.0, 0.5, 0.8)
    losses = (4.338, 4.005, 3.865, 3.907, 3.829, 3.859, 5.291, 5.407, 7.806)
    settings = [(("lr", lr), ("momentum", momentum)) for lr in lrs for momentum in momenta]
    tried = [Tried(setting=setting, loss=loss, seeds=1) for setting, loss in zip(settings, losses, strict=True)]
    excess = excess_of(best(tried), tried, between_seeds=(1e-4, 2))
    assert 0 < excess.loss < 0.1 and excess.error > 0.05


def test_nothing_is_extrapolated_past_the_grid_or_into_divergence():
    def falling(lr, momentum):
        return math.inf if lr > -0.9 else 300 - lr + 0.02 * lr**2 + 0.1 * (momentum - 1.5) ** 2

    tried = grid(falling, seeds=2, variance=1e-10)
    chosen = best(tried)
    assert dict(chosen.setting)["lr"] == 0.1
    # The learning rate is held; what is left is the momentum's part, 1.523 instead of 1.5.
    assert excess_of(chosen, tried).loss == pytest.approx(0.1 * (1.5 - 1.52288) ** 2, rel=0.1)


def test_a_grid_that_tells_nothing_has_no_excess():
    two = [Tried(setting=(("lr", lr),), loss=lr, seeds=3, variance=0.1) for lr in (0.1, 1.0)]
    assert excess_of(two[0], two) is None
    three = [Tried(setting=(("lr", lr),), loss=(lr - 0.3) ** 2, seeds=1) for lr in (0.1, 0.3, 1.0)]
    assert excess_of(three[1], three) is None  # nothing tells the noise
    named = [Tried(setting=(("lr", 0.1), ("name", n)), loss=1.0, seeds=1) for n in "abc"]
    assert excess_of(named[0], named) is None


def test_settings_of_another_choice_take_no_part():
    tried = grid(lambda lr, momentum: 2 + (lr + 1) ** 2 + (momentum - 1.52) ** 2, seeds=2, variance=1e-8)
    tried = [Tried(setting=(*p.setting, ("nesterov", False)), loss=p.loss, seeds=2, variance=1e-8) for p in tried]
    other = [Tried(setting=(*p.setting[:2], ("nesterov", True)), loss=1 + p.loss, seeds=2) for p in tried]
    assert excess_of(best(tried), tried) == excess_of(best(tried), tried + other)


def test_luck_is_what_the_chosen_setting_won_by():
    def bowl(lr, momentum):
        return 2 + 0.1 * (lr + 1) ** 2 + 0.1 * (momentum - 1.52288) ** 2

    tried = grid(bowl, seeds=3, variance=1e-4)
    lucky = next(p for p in tried if p.setting == (("lr", 0.1), ("momentum", 0.97)))
    luckier = Tried(setting=lucky.setting, loss=lucky.loss - 0.02, seeds=3, variance=1e-4)
    excess = excess_of(luckier, [luckier if p is lucky else p for p in tried])
    assert 0.01 < excess.luck <= 0.02


@pytest.mark.slow
def test_verdicts_hold_on_data_made_to_order():
    import verdicts

    for case in list(verdicts.cases())[1::5]:
        for row in verdicts.measure(case, 500):
            assert row["false_better"] <= 0.07 and row["false_crossover"] <= 0.07, row
            assert row["coverage"] <= 0.985 and abs(row["bias"]) < 0.13, row
    power = verdicts.power_of(next(verdicts.cases()), 1500, 5)["power"]
    assert 0.88 <= power <= 0.93
