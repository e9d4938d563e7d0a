"""The slowdown of made curves whose answer is known, with noise, a high start and few evaluations."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from suite.analysis.slowdown import Curve, curve_of, slowdown, slowdown_sentences

STEPS = 2000


def made(level: float, *, tau: float = 0.2, start: float = 6.0, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Losses that fall to a level with a time constant, in shares of the budget."""
    shares = np.arange(1, STEPS + 1) / STEPS
    return level + (start - level) * np.exp(-shares / tau) + noise * np.random.default_rng(seed).standard_normal(STEPS)


def train(losses: np.ndarray) -> Curve:
    curve = curve_of(losses, np.empty(0), validation=False)
    assert curve is not None
    return curve


@pytest.mark.parametrize("start", [6.0, 60.0])
@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("target", [2.5, 2.1])
def test_the_share_is_that_at_which_the_curve_passes_the_others_end(start: float, noise: float, target: float) -> None:
    truth = 0.1 * math.log((start - 2) / (target - 2))
    better = [train(made(2.0, tau=0.1, start=start, noise=noise, seed=seed)) for seed in range(3)]
    other = [train(np.full(STEPS, target) + noise * np.random.default_rng(9).standard_normal(STEPS))]
    assert slowdown(better, other) == pytest.approx(truth, abs=0.002 if noise == 0 else 0.03)


def test_evaluations_are_interpolated_and_the_train_loss_has_no_part() -> None:
    every = STEPS // 10
    measured = np.full(STEPS, math.nan)
    measured[every - 1 :: every] = made(3.0)[every - 1 :: every]
    better = curve_of(np.full(STEPS, 1.0), measured, validation=True)
    other = curve_of(np.full(STEPS, 0.5), np.where(np.isnan(measured), math.nan, 3.2), validation=True)
    assert slowdown([better], [other]) == pytest.approx(0.2 * math.log(3 / 0.2), abs=0.02)
    evenly = curve_of(np.full(STEPS, 1.0), measured[every - 1 :: every], validation=True)
    assert evenly is not None and better is not None and np.allclose(evenly.shares, better.shares)


def test_too_few_evaluations_or_none_at_the_end_give_no_curve() -> None:
    measured = np.full(STEPS, math.nan)
    measured[STEPS // 4 - 1 :: STEPS // 4] = 3.0
    assert curve_of(made(2.0), measured, validation=True) is None
    measured[STEPS // 10 - 1 :: STEPS // 10] = 3.0
    assert curve_of(made(2.0), measured, validation=True) is not None
    measured[-1] = math.nan
    assert curve_of(made(2.0), measured, validation=True) is None
    assert curve_of(np.empty(0), np.empty(0), validation=False) is None


def test_curves_that_contradict_the_final_losses_give_none() -> None:
    low, high = train(made(2.0)), train(made(2.5))
    assert math.isnan(slowdown([high], [low])) and slowdown([low], [low]) == pytest.approx(0.95, abs=0.05)
    assert math.isnan(slowdown([low, None], [high])) and math.isnan(slowdown([], [high]))
    short = Curve(high.shares[1:], high.losses[1:], validation=False)
    assert math.isnan(slowdown([low, short], [high]))


def test_a_level_from_the_first_step_on_is_reached_at_once() -> None:
    assert slowdown([train(np.full(50, 1.0))], [train(np.full(50, 2.0))]) == pytest.approx(1 / 50)


def test_a_slowdown_that_is_not_computed_is_no_finding() -> None:
    gaps = pd.DataFrame({"task": ["a", "a", "b"], "batch_size": [1, 4, 16], "gap": 0.1, "slowdown": math.nan})
    by_validation, by_train = slowdown_sentences(gaps, {"a": "val", "b": "ema"})
    assert by_validation.startswith("The slowdown is not computed at batch sizes 1, 4: it takes 5 evaluations of")
    assert by_train.startswith("The slowdown is not computed at batch size 16: it takes the train losses")
    assert slowdown_sentences(gaps.assign(slowdown=0.5), {"a": "val", "b": "ema"}) == []
