"""Grids of one hyperparameter: exact values that nest under refinement and extend past their edges."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from suite.records import tuning
from suite.records.tuning import Side


@dataclasses.dataclass(frozen=True)
class Axis:
    """The values of one hyperparameter, ascending.

    Attributes:
        name: the optimizer's setting.
        values: numbers ascending; or, for a choice, anything in the order given.
        per_decade: of a logarithmic grid; None for a list.
    """

    name: str
    values: tuple[Any, ...]
    per_decade: int | None = None

    @property
    def ordered(self) -> bool:
        """Whether the values are numbers, so that the axis has edges."""
        return tuning.is_ordered(self.values)

    def edge(self, value: Any) -> Side | None:
        """The edge that ``value`` lies on; see `suite.records.tuning.edge`."""
        return tuning.edge(value, self.values)

    def extended(self, side: Side) -> Axis | None:
        """The axis with one more value past an edge; all old values stay exactly as they are.

        A logarithmic grid goes on at its spacing, a list at the ratio of its two outermost values. Momenta and betas
        move geometrically in ``1 - value``.

        Returns:
            None where the next value cannot be told (zero, one value, equal values).
        """
        if not self.ordered or len(self.values) < 2:
            return None
        outer, inner = (self.values[0], self.values[1]) if side == "low" else (self.values[-1], self.values[-2])
        if _is_momentum(self.name):
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


def read_axis(name: str, given: Any, batch_size: int) -> Axis | None:
    """Read one entry of a sweep's optimizer.

    Args:
        name: the optimizer's setting.
        given: a list of values; ``{decades: [low, high], per_decade: n}``, powers of ten; or
            ``{by_batch_size: {B: either}}``. Anything else is a fixed value.
        batch_size: chooses from ``by_batch_size``.

    Returns:
        The axis, or None for a fixed value.

    Raises:
        ValueError: the grid is malformed.
    """
    if isinstance(given, Mapping) and "by_batch_size" in given:
        table = given["by_batch_size"]
        if not isinstance(table, Mapping) or not all(isinstance(size, int) for size in table):
            raise ValueError(f"{name}.by_batch_size must map batch sizes to values or grids, got {table!r:.60}.")
        if batch_size not in table:
            raise ValueError(f"{name}.by_batch_size has no entry for batch size {batch_size}; add one.")
        return read_axis(name, table[batch_size], batch_size)
    if isinstance(given, Mapping) and "decades" in given:
        return _log_axis(name, given)
    if isinstance(given, list):
        values = [_number_if_text(value) for value in given]
        if not values:
            raise ValueError(f"{name} must list at least one value, got none.")
        if len(set(map(repr, values))) != len(values):
            raise ValueError(f"{name} lists a value twice: {given}.")
        axis = Axis(name, tuple(values))
        return Axis(name, tuple(sorted(values))) if axis.ordered else axis
    return None


def fixed_value(given: Any) -> Any:
    """A fixed setting; ``{value: [...]}`` is a list that is one value."""
    if isinstance(given, Mapping) and set(given) == {"value"}:
        return given["value"]
    return given


def log_value(exponent: Fraction) -> float:
    """Ten to an exact exponent, to six digits: the same number in every grid that holds it."""
    return rounded(10.0 ** float(exponent))


def rounded(value: float) -> float:
    """``value`` to six significant digits."""
    return float(f"{value:.6g}")


def _log_axis(name: str, given: Mapping[str, Any]) -> Axis:
    unknown = set(given) - {"decades", "per_decade"}
    decades, per_decade = given["decades"], given.get("per_decade", 1)
    if unknown or not isinstance(per_decade, int) or per_decade < 1:
        raise ValueError(f"{name} takes decades: [low, high] and per_decade: a whole number, got {dict(given)}.")
    try:
        low, high = (Fraction(str(end)) * per_decade for end in decades)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}.decades must be two exponents [low, high], got {decades!r}.") from error
    if low.denominator != 1 or high.denominator != 1 or low > high:
        raise ValueError(f"{name}.decades must be ascending multiples of 1/{per_decade}, got {decades!r}.")
    values = tuple(log_value(Fraction(k, per_decade)) for k in range(int(low), int(high) + 1))
    return Axis(name, values, per_decade)


def _number_if_text(value: Any) -> Any:
    # YAML 1.1 reads 1e-3 as text.
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _is_momentum(name: str) -> bool:
    return name.rpartition(".")[2].startswith(("momentum", "beta"))


def _momentum_beyond(outer: float, inner: float) -> float | None:
    if not (0 <= outer < 1 and 0 <= inner < 1) or outer == 0:
        return None
    return max(0.0, rounded(1 - (1 - outer) ** 2 / (1 - inner)))
