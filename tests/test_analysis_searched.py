"""What the analysis says of a sweep that searched."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from suite.analysis.searched import excess_of_search, level_of, search_sentence, until_sentence
from suite.analysis.surface import Tried
from suite.analysis.tuned import tuned_points
from suite.analysis.verdict import Interval, verdict

LRS, MOMENTA = tuple(10.0 ** (k / 2 - 3) for k in range(7)), (0.8, 0.9, 0.95)
LATTICE = (("lr", LRS), ("momentum", MOMENTA))
PLAN = {
    "seeds": [1, 2],
    "search": {
        "precision": 0.25, "chance": 0.1, "most": 40,
        "groups": [{"optimizer": "sgd", "batch_size": size, "axes": {}, "grid": 21,
                    "over": size < 2} for size in (1, 4)],
    },
}  # fmt: skip


def tried(rate: float, momentum: float, *, centre: float = -1.75, noise: float = 0.0) -> Tried:
    loss = 3 + 0.3 * (math.log10(rate) - centre) ** 2 + 0.1 * (math.log10(1 - momentum) + 1) ** 2 + noise
    return Tried(setting=(("lr", rate), ("momentum", momentum)), loss=loss, seeds=1)


def test_the_excess_is_what_the_lattice_leaves_below_the_chosen_setting() -> None:
    several = [tried(rate, momentum) for rate, momentum in itertools.product(LRS[1:5], MOMENTA)]
    chosen = min(several, key=lambda point: point.loss)
    excess = excess_of_search(chosen, several, LATTICE)
    true = chosen.loss - 3
    assert true == pytest.approx(0.3 * 0.25**2)
    assert abs(excess.loss - true) < 2.5 * excess.error
    assert excess.error < 0.03
    assert abs(excess.luck) < 0.01


def test_a_search_over_choices_alone_has_an_excess_too() -> None:
    several = [
        Tried(setting=(("nesterov", choice),), loss=loss, seeds=2) for choice, loss in ((True, 3.0), (False, 3.1))
    ]
    excess = excess_of_search(several[0], several, (("nesterov", (True, False)),))
    assert 0 <= excess.loss < 0.01 and 0 < excess.error < 0.1


def test_a_setting_that_won_by_luck_lies_below_the_surface() -> None:
    several = [tried(rate, momentum, centre=-1.5) for rate, momentum in itertools.product(LRS[1:5], MOMENTA)]
    lucky = tried(LRS[3], 0.8, centre=-1.5, noise=-0.06)
    others = [point for point in several if point.setting != lucky.setting]
    assert excess_of_search(lucky, [*others, lucky], LATTICE).luck > 0.005


def test_a_diverged_setting_takes_part() -> None:
    several = [tried(rate, 0.9) for rate in LRS[:5]]
    diverged = Tried(setting=(("lr", LRS[5]), ("momentum", 0.9)), loss=math.inf, seeds=1)
    excess = excess_of_search(min(several, key=lambda point: point.loss), [*several, diverged], LATTICE)
    assert math.isfinite(excess.loss) and math.isfinite(excess.error)


def runs(lattice: tuple[tuple[str, tuple[float, ...]], ...]) -> pd.DataFrame:
    rows = []
    for number, (rate, momentum) in enumerate([(LRS[2], 0.9), (LRS[1], 0.9), (LRS[1], 0.95)]):
        point = tried(rate, momentum)
        rows.append((point.setting, 1, point.loss, False, f"r{number}"))
        if number == 0:
            rows += [(point.setting, seed, point.loss + 0.001 * seed, True, f"s{seed}") for seed in (7, 8)]
    table = pd.DataFrame(rows, columns=["setting", "seed", "loss", "reporting", "run_id"])
    facts = {"task": "t", "optimizer": "sgd", "batch_size": 4, "status": "finished", "steps": 10}
    return table.assign(**facts, lattice=[lattice] * len(table))


def test_an_end_of_what_was_tried_is_no_edge_where_the_search_asked_about_more() -> None:
    (of_grid,) = tuned_points(runs(())).to_dict("records")
    (of_search,) = tuned_points(runs(LATTICE)).to_dict("records")
    assert of_grid["edges"] == (("lr", "largest"), ("momentum", "smallest"))
    assert of_search["edges"] == ()
    assert of_search["setting"] == of_grid["setting"]
    assert of_search["surface_error"] > 0
    assert of_search["loss"] == pytest.approx(of_search["mean_loss"] - of_search["excess"])
    assert np.isfinite(of_search["uncertainty"])


def test_the_rule_of_a_search_is_stated_with_what_it_saved() -> None:
    table = pd.concat([runs(()).assign(batch_size=size, total_seconds=30.0) for size in (1, 4)])
    sentence = search_sentence(PLAN, table)
    assert "6 runs chose (3.0 minutes of training), where the whole grid has 84 (about 42.0 minutes)" in sentence
    assert "0.25%" in sentence and "10%" in sentence and "1 of 2 searches are not over" in sentence
    assert "after 40 settings; the rule" in sentence
    at_most = {**PLAN, "search": {**PLAN["search"], "most": 3}}
    assert "after 3 settings, as 1 of 2 did; the rule" in search_sentence(at_most, table)
    begun = search_sentence(PLAN, table[table["batch_size"] == 1])  # no run of the other says what one takes there
    assert "3 runs chose (1.5 minutes of training), where the whole grid has 84. A search" in begun
    assert search_sentence({"seeds": [1]}, table) == ""


def test_a_verdict_that_is_looked_at_several_times_needs_more_confidence() -> None:
    until = {"until": {"precision": 0.5, "level": 0.95, "looks": [3, 6, 12, 24], "level_of_a_look": 0.9875}}
    assert level_of({}) == 0.95
    assert level_of(until) == pytest.approx(0.9875)
    assert "98.75% confidence" in until_sentence(until, runs(()))
    assert until_sentence({}, runs(())) == ""
    facts = {"estimate": 1.0, "error": 0.35, "freedom": 1000.0}
    said = [
        verdict(Interval(**facts), pair=("adam", "sgd"), margin=0.1, seeds=3, level=level_of(plan)).kind
        for plan in ({}, until)
    ]
    assert said == ["better", "better"]
    closer = Interval(**{**facts, "estimate": 0.8})
    assert verdict(closer, pair=("adam", "sgd"), margin=0.1, seeds=3).kind == "better"
    assert verdict(closer, pair=("adam", "sgd"), margin=0.1, seeds=3, level=level_of(until)).kind == "leans"
