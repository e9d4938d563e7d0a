"""Grids of one hyperparameter: a refined or extended grid contains the old values exactly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from suite.fields import ConfigError, read, read_value
from suite.records.tuning import Side, hashable, is_momentum, is_ordered


@dataclasses.dataclass(frozen=True)
class Axis:
    """The values of one hyperparameter.

    Attributes:
        name: the optimizer's setting.
        values: numbers in ascending order; other values in the order of the YAML.
        per_decade: values per power of ten of a logarithmic grid; None for a list.
    """

    name: str
    values: tuple[Any, ...]
    per_decade: int | None = None

    def extended(self, side: Side) -> Axis | None:
        """The axis with one more value past an edge; the old values are kept exactly.

        A logarithmic grid continues at its spacing, a list at the ratio of its two outermost values. For momenta and
        betas this ratio is that of ``1 - value``.

        Returns:
            The longer axis; None if there is no next value (below zero, for a single value, for values without order).
        """
        if not is_ordered(self.values) or len(self.values) < 2:
            return None
        outer, inner = (self.values[0], self.values[1]) if side == "low" else (self.values[-1], self.values[-2])
        if is_momentum(self.name):
            new = _momentum_beyond(outer, inner)
        elif self.per_decade is not None:
            step = -1 if side == "low" else 1
            new = log_value(Fraction(round(math.log10(outer) * self.per_decade) + step, self.per_decade))
        else:
            new = rounded(outer * outer / inner) if outer > 0 and inner > 0 else None
        if new is None or not math.isfinite(new) or new in self.values:
            return None
        values = (new, *self.values) if side == "low" else (*self.values, new)
        return dataclasses.replace(self, values=values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decades:
    """A logarithmic grid in a sweep's YAML.

    Attributes:
        decades: the exponents of ten of the smallest and the largest value.
        per_decade: values per power of ten.
    """

    decades: list[float] = dataclasses.field(metadata={"at_least": -300, "at_most": 300})
    per_decade: int = dataclasses.field(default=1, metadata={"at_least": 1, "at_most": 100})

    def axis(self, name: str) -> Axis:
        """The axis with the grid's values.

        Raises:
            ConfigError: ``decades`` are not two ascending multiples of ``1 / per_decade``.
        """
        exponents = [Fraction(str(end)) * self.per_decade for end in self.decades]
        if len(exponents) != 2 or exponents[0] > exponents[1] or any(end.denominator != 1 for end in exponents):
            raise ConfigError(
                f"{name}.decades must be two exponents, ascending multiples of 1/{self.per_decade}, got "
                f"{self.decades!s:.80}."
            )
        low, high = map(int, exponents)
        return Axis(name, tuple(log_value(Fraction(k, self.per_decade)) for k in range(low, high + 1)), self.per_decade)


FORMS: tuple[tuple[str, str], ...] = (
    ("0.1", "one value, the same for every run"),
    ("[0.1, 0.3, 1.0]", "a grid of these values"),
    ("{decades: [-2, 0]}", "a grid of powers of ten: 0.01, 0.1, 1"),
    ("{decades: [-1, 0], per_decade: 2}", "the same with two values per power: 0.1, 0.316228, 1"),
    ("{by_batch_size: {1: [0.1, 0.3], 4: {decades: [-1, 0]}}}", "another value or grid at each batch size"),
    (
        "{half_life_tokens: [1.0e+5, 1.0e+6]}",
        "of a momentum or beta: the tokens (`half_life_samples`: samples) in which its average forgets half, or a grid",
    ),
    (
        "{time_scale_tokens: {decades: [5, 6]}}",
        "of a weight decay: the tokens (`time_scale_samples`: samples) in which it shrinks weights by a factor of e",
    ),
    ("[none, decoupled]", "a grid of choices, for a setting that takes words"),
    ("{value: [norm, bias]}", "one value that is itself a list, and no grid"),
)
"""What the value of an optimizer's setting may be in a sweep's YAML, and what it means."""


def read_axis(name: str, value: Any, batch_size: int) -> Axis | None:
    """Read one entry of a sweep's optimizer.

    Args:
        name: the optimizer's setting.
        value: a list of values; ``{decades: [low, high], per_decade: n}``, powers of ten; or
            ``{by_batch_size: {B: one of these}}``. Anything else is a fixed value.
        batch_size: the batch size, by which ``by_batch_size`` is looked up.

    Returns:
        The axis, or None for a fixed value.

    Raises:
        ConfigError: the grid is malformed.
    """
    if isinstance(value, Mapping) and "by_batch_size" in value:
        table = read_value(value["by_batch_size"], dict[int, Any], f"{name}.by_batch_size")
        if batch_size not in table:
            raise ConfigError(f"{name}.by_batch_size has no entry for batch size {batch_size}; add one.")
        return read_axis(name, table[batch_size], batch_size)
    if isinstance(value, Mapping) and "decades" in value:
        return read(Decades, value, name=name).axis(name)
    if not isinstance(value, list):
        return None
    if not value:
        raise ConfigError(f"{name} must list at least one value, got none.")
    if len({hashable(item) for item in value}) < len(value):
        raise ConfigError(f"{name} lists a value twice: {value!s:.80}.")
    return Axis(name, tuple(sorted(value) if is_ordered(value) else value))


def read_axes(settings: Mapping[str, Any], batch_size: int) -> dict[str, Axis]:
    """The grids among an optimizer's settings at one batch size, by name; see `read_axis`."""
    return {name: axis for name, value in settings.items() if (axis := read_axis(name, value, batch_size))}


def fixed_value(value: Any) -> Any:
    """The value of a fixed setting; ``{value: [...]}`` stands for the list itself, which is not a grid."""
    return value["value"] if isinstance(value, Mapping) and set(value) == {"value"} else value


def log_value(exponent: Fraction) -> float:
    """Ten to an exact exponent, rounded to six digits, so that it is the same number in every grid."""
    return rounded(10.0 ** float(exponent))


def rounded(value: float) -> float:
    """Round ``value`` to six significant digits."""
    return float(f"{value:.6g}")


def _momentum_beyond(outer: float, inner: float) -> float | None:
    if not (0 <= outer < 1 and 0 <= inner < 1) or outer == 0:
        return None
    beyond = rounded(1 - (1 - outer) ** 2 / (1 - inner))
    return beyond if beyond > 1e-6 else 0.0  # below is below zero, or zero but for rounding: 1 - 0.1² / 0.01
