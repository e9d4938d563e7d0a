"""Axes of a grid by hand: what they are read from, and the value past each edge."""

from __future__ import annotations

from typing import Any

import pytest

from suite.fields import ConfigError
from suite.sweep.grid import Axis, fixed_value, read_axis, rounded


def beyond(name: str, values: tuple[Any, ...], per_decade: int | None = None) -> tuple[Any, Any]:
    """The values past the low and the high edge; None where there is none."""
    axis = Axis(name, values, per_decade)
    low, high = axis.extended("low"), axis.extended("high")
    for longer, kept in ((low, slice(1, None)), (high, slice(None, -1))):
        assert longer is None or (longer.name, longer.per_decade, longer.values[kept]) == (name, per_decade, values)
    return low and low.values[0], high and high.values[-1]


@pytest.mark.parametrize(
    ("name", "values", "per_decade", "expected"),
    [
        ("lr", (0.1, 1.0), 1, (0.01, 10.0)),
        ("lr", (0.1, 0.316228, 1.0), 2, (0.0316228, 3.16228)),
        ("lr", (1.0,), 1, (None, None)),
        ("lr", (0.25, 0.5, 2.0), None, (0.125, 8.0)),
        ("lr", (0.0, 0.5, 2.0), None, (None, 8.0)),
        ("lr", (0.0, 0.5), None, (None, None)),
        ("lr", (-1.0, 0.0), None, (None, None)),
        ("lr", (-2.0, -1.0), None, (None, None)),
        ("lr", (1, 3), None, (0.333333, 9.0)),
        ("lr", (1.0, 1e300), None, (1e-300, None)),
        ("momentum", (0.9, 0.99), None, (0.0, 0.999)),
        ("momentum", (0.8, 0.9), None, (0.6, 0.95)),
        ("momentum", (0.5, 0.9), None, (0.0, 0.98)),
        ("head.beta2", (0.9, 0.95), None, (0.8, 0.975)),
        ("momentum", (0.0, 0.5), None, (None, 0.75)),
        ("momentum", (0.9, 1.0), None, (None, None)),
        ("momentum", (-0.5, 0.5), None, (None, None)),
        ("betas_of_head", (0.5, 0.75), 3, (0.0, 0.875)),
        ("tau", (0.9, 0.95), None, (0.8, 0.975)),
        ("gamma", (0.9, 0.96), None, (0.84375, 1.024)),
        ("beta_one.lr", (0.5, 0.75), None, (0.333333, 1.125)),
        ("nesterov", (False, True), None, (None, None)),
        ("kind", ("a", "b"), None, (None, None)),
    ],
)
def test_the_value_past_each_edge(
    name: str, values: tuple[Any, ...], per_decade: int | None, expected: tuple[Any, Any]
) -> None:
    assert beyond(name, values, per_decade) == expected


def test_values_have_six_digits() -> None:
    assert rounded(1 / 3) == 0.333333 and rounded(123456789.0) == 123457000.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"decades": [-2, 0]}, (0.01, 0.1, 1.0)),
        ({"decades": [0, 0]}, (1.0,)),
        ({"decades": [-0.5, 0.5], "per_decade": 2}, (0.316228, 1.0, 3.16228)),
        ({"decades": [-300, -300]}, (1e-300,)),
        ({"decades": [300, 300]}, (1e300,)),
        ([3, 1, 2], (1, 2, 3)),
        ([0.5], (0.5,)),
        (["b", "a"], ("b", "a")),
        ([True, False], (True, False)),
        ({"by_batch_size": {8: [2, 1]}}, (1, 2)),
        ({"by_batch_size": {"8": {"decades": [0, 1]}}}, (1.0, 10.0)),
    ],
)
def test_what_a_grid_is_read_from(value: Any, expected: tuple[Any, ...]) -> None:
    axis = read_axis("lr", value, 8)
    assert axis is not None and axis.values == expected and axis.name == "lr"
    logarithmic = "decades" in str(value)
    assert axis.per_decade == ((2 if "per_decade" in value else 1) if logarithmic else None)


@pytest.mark.parametrize("value", [0.1, "a", None, {"value": [1, 2]}, {"by": [1]}])
def test_anything_else_is_a_fixed_value(value: Any) -> None:
    assert read_axis("lr", value, 8) is None and read_axis("lr", {"by_batch_size": {8: value}}, 8) is None


def test_a_list_is_a_value_where_it_is_called_one() -> None:
    assert fixed_value({"value": [1, 2]}) == [1, 2] and fixed_value(0.1) == 0.1
    assert fixed_value({"value": 1, "other": 2}) == {"value": 1, "other": 2} and fixed_value({}) == {}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"decades": [0]}, r"lr.decades must be two exponents, ascending multiples of 1/1, got \[0"),
        ({"decades": [0, 1, 2]}, "two exponents"),
        ({"decades": [1, 0]}, "ascending"),
        ({"decades": [0, 0.5]}, "multiples of 1/1"),
        ({"decades": [0.5, 1]}, "multiples of 1/1"),
        ({"decades": [-301, 0]}, "at least -300"),
        ({"decades": [0, 301]}, "at most 300"),
        ({"decades": [0, 1], "per_decade": 0}, "at least 1"),
        ({"decades": [0, 1], "per_decade": 101}, "at most 100"),
        ({"by_batch_size": {4: [1]}}, "lr.by_batch_size has no entry for batch size 8"),
        ({"by_batch_size": {8: []}}, "lr must list at least one value"),
        ({"by_batch_size": [1]}, "lr.by_batch_size"),
        ([], "lr must list at least one value, got none"),
        ([1, 2, 1], r"lr lists a value twice: \[1, 2, 1\]"),
        ([1, 1.0], "twice"),
        (["a", "b", "b"], "twice"),
    ],
)
def test_what_is_no_grid_is_one_sentence(value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_axis("lr", value, 8)
    assert read_axis("lr", {"decades": [0, 1], "per_decade": 100}, 8) is not None
