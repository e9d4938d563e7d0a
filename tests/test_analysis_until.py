"""Which batch sizes more reporting seeds may decide."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from suite.analysis.until import undecided

ROW: dict[str, Any] = {
    "task": "small", "batch_size": 4, "reference": "adam", "challenger": "sgd", "verdict": "open", "provisional": False,
    "gap": 0.02, "uncertainty": 0.05, "seed_spread": 0.03, "reference_loss": 4.0, "reference_edges": (),
    "challenger_edges": (),
}  # fmt: skip
"""Half a percent of the loss, three seeds."""


def asked(surface_error: float = 0.0, *, plan: dict[str, Any] | None = None, margin: float = 0.5, **row: Any) -> Any:
    gaps = pd.DataFrame([{**ROW, **row}])
    tuned = pd.DataFrame(
        [{"task": ROW["task"], "optimizer": name, "batch_size": 4, "surface_error": surface_error}
         for name in ("adam", "sgd")]
    )  # fmt: skip
    return undecided(SimpleNamespace(gaps=gaps, tuned=tuned, margin=margin), plan or {})  # type: ignore[arg-type]


def test_what_is_open_or_leans_is_undecided_under_its_panel() -> None:
    assert asked() == asked(verdict="leans") == {("", 4)}
    assert asked(plan={"panels": ["small"]}) == {("small", 4)}


@pytest.mark.parametrize(
    "row",
    [
        {"verdict": "better"},
        {"verdict": "level"},
        {"provisional": True},
        {"reference_edges": (("lr", "lowest"),)},
        {"challenger_edges": (("lr", "lowest"),)},
    ],
    ids=str,
)
def test_what_seeds_do_not_help_is_left_alone(row: dict[str, Any]) -> None:
    assert asked(**row) == set()


def test_where_the_grid_leaves_more_doubt_than_seeds_can_remove_none_are_added() -> None:
    # 0.2 is 5% of the loss: neither a gap within 0.09 nor a level one within 0.02 would ever be decided.
    assert asked(0.2) == set()
    # A gap at the far end of the interval would be decided, or one near zero be level in a wide margin.
    assert asked(0.01) == {("", 4)}
    assert asked(0.06) == set() and asked(0.06, margin=15.0) == {("", 4)}
    # The same gap beside a wide interval: seeds may yet show a large one.
    assert asked(0.06, uncertainty=0.4) == {("", 4)}


@pytest.mark.parametrize("unknown", ["gap", "uncertainty", "surface_error"])
def test_where_an_error_is_not_known_seeds_may_help(unknown: str) -> None:
    if unknown == "surface_error":
        assert asked(math.nan) == {("", 4)}
    else:
        assert asked(0.2, **{unknown: math.nan}) == {("", 4)}
