"""The search over a lattice: its surface, its proposals and the benchmark that replays it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import search as replay

from suite.surface.model import Results, Surface
from suite.surface.space import Space
from suite.sweep.search import Lattice

AXES = {"lr": tuple(10.0 ** (k / 4 - 3) for k in range(9)), "momentum": (0.8, 0.9, 0.95, 0.975)}
SETTINGS = [{"lr": lr, "momentum": momentum} for lr in AXES["lr"] for momentum in AXES["momentum"]]


def loss_of(setting: dict[str, float], *, shift: float = 0.0) -> float:
    """A bowl around lr 0.01 and momentum 0.9, with a cliff above lr 0.06."""
    rate, slow = np.log10(setting["lr"]) + 2 - shift, np.log10(1 - setting["momentum"]) + 1
    return float("inf") if setting["lr"] > 0.06 else 3 + 0.4 * rate**2 + 0.2 * (slow + 0.3 * rate) ** 2


LOSSES = np.array([loss_of(setting) for setting in SETTINGS])


def lattice(seed: int = 0, groups: int = 1) -> Lattice:
    space = Space(AXES, groups=groups)
    return Lattice(space, space.at(SETTINGS), seed=seed)


def test_axes_reach_from_minus_one_to_one_and_zero_lies_a_step_below() -> None:
    space = Space({"lr": (0.01, 0.1, 1.0), "beta": (0.9, 0.99), "decay": (0.0, 0.001, 0.01)})
    at = space.at([{"lr": 0.1, "beta": 0.9, "decay": 0.0}, {"lr": 10.0, "beta": 0.99, "decay": 0.001}])
    assert np.allclose(at, [[0, -1, -1], [2, 1, 0]])


def test_a_choice_and_the_group_have_a_column_per_value() -> None:
    space = Space({"lr": (0.1, 1.0), "nesterov": (False, True)}, groups=2)
    assert np.allclose(space.at([{"lr": 1.0, "nesterov": True}], group=1), [[1, 0, 1, 0, 1]])
    assert space.kinds == [0, 1, 1, 2, 2]


def test_losses_drawn_from_a_surface_agree_with_the_runs_and_widen_away_from_them() -> None:
    space = Space(AXES)
    at, tried = space.at(SETTINGS), np.arange(0, 20, 3)
    drawn = Surface(space, Results(at[tried], LOSSES[tried])).samples(at, 512)
    assert np.abs(drawn[:, tried].mean(axis=0) - LOSSES[tried]).max() < 0.05 * 3
    assert drawn[:, -1].std() > 3 * drawn[:, tried[2]].std()


@pytest.mark.parametrize("seed", range(4))
def test_a_search_finds_the_best_setting_in_a_third_of_the_runs(seed: int) -> None:
    search, tried = lattice(seed), list(lattice(seed).start(6).settings)
    while len(tried) < 12:
        tried += search.following(tried, LOSSES[tried], 2, precision=0.25).settings
    assert len(set(tried)) == 12
    assert LOSSES[tried].min() <= LOSSES.min() * 1.0025
    assert search.following(tried, LOSSES[tried], 2, precision=0.25).is_over


def test_the_same_results_give_the_same_proposals_and_another_seed_others() -> None:
    tried = list(lattice().start(6).settings)
    assert tried == list(lattice().start(6).settings) != list(lattice(seed=1).start(6).settings)
    twice = [lattice().following(tried, LOSSES[tried], 4, precision=0.25) for _ in range(2)]
    assert twice[0] == twice[1]


def test_a_search_is_not_over_while_nothing_trains() -> None:
    nothing = np.full(6, np.inf)
    tried = list(lattice().start(6).settings)
    proposal = lattice().following(tried, nothing, 4, precision=0.25)
    assert not proposal.is_over
    assert len(set(proposal.settings) - set(tried)) == 4


def test_a_search_starts_with_what_was_best_at_another_batch_size() -> None:
    space = Space(AXES, groups=2)
    others = Results(space.at(SETTINGS[:20], group=1), LOSSES[:20])
    first = lattice(groups=2).start(6, [others]).settings
    assert first[0] == int(np.argmin(LOSSES[:20]))
    assert len(set(first)) == 6


def test_the_interval_holds_the_lowest_loss_and_ends_at_the_lowest_tried() -> None:
    for seed in range(6):
        tried = list(lattice(seed).start(6).settings)
        first, _ = lattice(seed).best(tried, LOSSES[tried])
        tried += lattice(seed).following(tried, LOSSES[tried], 4, precision=0.25).settings
        low, high = lattice(seed).best(tried, LOSSES[tried])
        assert high == LOSSES[tried].min()
        assert low <= LOSSES.min() <= high
        assert first <= LOSSES.min() * 1.005
    everything = list(range(len(SETTINGS)))
    assert lattice().best(everything, LOSSES) == (LOSSES.min(), LOSSES.min())


def test_a_lattice_of_one_setting_is_searched_at_once() -> None:
    space = Space({"lr": (0.1,)})
    one = Lattice(space, space.at([{"lr": 0.1}]), seed=0)
    assert one.start(6).settings == (0,)
    assert one.following([0], np.array([2.0]), 4, precision=0.25).is_over


def test_the_benchmark_replays_grids_of_any_axes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = replay.main(["--quick", "--methods", "surface,neighbours,random", "--json", str(tmp_path / "rows.json")])
    means = {row["method"]: row for row in rows if row["grid"] == "mean"}
    assert means["surface"]["regret_14"] < means["random"]["regret_14"]
    assert json.loads((tmp_path / "rows.json").read_text()) == rows
    assert capsys.readouterr().out.count("| mean |") == 3


def test_the_benchmark_says_what_a_file_lacks(tmp_path: Path) -> None:
    import pandas as pd

    file = tmp_path / "runs.parquet"
    pd.DataFrame({"grid": ["a"], "lr": [0.1]}).to_parquet(file)
    with pytest.raises(SystemExit, match="final_loss"):
        replay.main(["--data", str(file)])


def test_an_archive_of_a_sweep_is_a_file_of_grids() -> None:
    archive = Path(__file__).resolve().parents[1] / "docs" / "results" / "laptop_fineweb_gpt" / "grid.parquet"
    grids = {grid.name: grid for grid in replay.read_grids(archive)}
    assert len(grids) == 10 and sum(len(grid.losses) for grid in grids.values()) == 605
    one = grids["fineweb/gpt sgd 1"]
    best = int(one.losses.argmin())
    assert one.axes == ["lr", "momentum"] and one.settings[best]["momentum"] == 0.8
    assert one.losses[best] == pytest.approx(3.899684, abs=1e-6)


def test_a_search_does_not_fill_its_batches_with_settings_that_are_out_of_the_race() -> None:
    """The best setting may stand out so much that a smooth surface doubts it: its neighbours are asked then."""
    rates = [10 ** (-3.5 + step / 4) for step in range(11)]
    settings = [{"lr": lr, "beta": beta} for lr in rates for beta in (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)]
    steps = np.array([abs(4 * (np.log10(setting["lr"]) + 1.75)) for setting in settings])
    losses = 4.44 * (1 + 0.045 * steps**1.5 + 0.03 * np.array([abs(setting["beta"] - 0.5) for setting in settings]))
    space = Space({"lr": rates, "beta": (0.5, 0.8, 0.9, 0.95, 0.98)})
    search = Lattice(space, space.at(settings), seed=0)
    tried, is_over = list(search.start(6).settings), False
    while not is_over and len(tried) < 40:
        proposal = search.following(tried, losses[tried], 4, precision=0.25)
        tried, is_over = tried + list(proposal.settings), proposal.is_over
    assert losses[tried].min() == losses.min()
    far = [number for number in tried[6:] if steps[number] > 4]
    assert len(tried) <= 22 and len(far) <= 2, (len(tried), len(far))


def test_a_rate_and_the_momentum_of_its_optimizer_trade_along_the_length_of_a_step() -> None:
    space = Space({"lr": (0.01, 0.1, 1.0), "momentum": (0.9, 0.99), "adam.lr": (0.1, 1.0), "adam.beta": (0.0, 0.9)})
    assert [(trade.rate, trade.momentum) for trade in space.trades] == [(0, 1), (2, 3)]
    for trade, one, other in (
        (space.trades[0], {"lr": 1.0, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.99}),
        (space.trades[1], {"adam.lr": 1.0, "adam.beta": 0.0}, {"adam.lr": 0.1, "adam.beta": 0.9}),
    ):
        rest = {"lr": 0.1, "momentum": 0.9, "adam.lr": 0.1, "adam.beta": 0.0}
        at = space.at([{**rest, **one}, {**rest, **other}])
        lengths = at[:, trade.rate] + trade.size * at[:, trade.momentum]
        assert lengths[0] == pytest.approx(lengths[1])
    assert Space({"momentum": (0.0, 0.9), "eps": (0.1, 1.0)}).trades == ()


def test_few_runs_show_a_ridge_of_equal_steps() -> None:
    """Losses of heavy ball depend on lr / (1 - momentum): a dozen runs foretell those at momenta not tried."""
    rates, momenta = [10 ** (-3 + step / 4) for step in range(13)], (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
    settings = [(rate, momentum) for rate in rates for momentum in momenta]
    losses = 3 + 0.4 * np.array([np.log10(rate / (1 - momentum)) + 0.5 for rate, momentum in settings]) ** 2
    known = [(rate, momentum) for rate in rates[::2] for momentum in (0.5, 0.9)]
    tried = np.array([settings.index(setting) for setting in known])
    asked = np.array([number for number, (_, momentum) in enumerate(settings) if momentum == 0.98])
    regrets = {}
    for name in ("lr", "width"):
        space = Space({name: rates, "momentum": momenta})
        at = space.at([{name: rate, "momentum": momentum} for rate, momentum in settings])
        drawn = Surface(space, Results(at[tried], losses[tried])).samples(at[asked], 512)
        chosen = asked[np.median(drawn, axis=0).argmin()]
        regrets[name] = losses[chosen] - losses[asked].min()
    assert regrets["lr"] < 0.25 * regrets["width"], regrets
