"""Power laws through a few measured points, with an interval of the exponent, held against a rule's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from suite.analysis.verdict import LEVEL

Judgement = Literal["agrees", "contradicts", "open"]
"""What an exponent's interval says of a rule."""


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """``y = factor * x ** exponent``.

    Attributes:
        exponent: by least squares on logarithms.
        factor: y at x = 1.
        error: standard error of the exponent; NaN with two points.
        freedom: degrees of freedom behind it.
        centre: mean of log x, about which exponent and level are independent.
        scatter: standard deviation of log y about the law.
        points: how many.
    """

    exponent: float
    factor: float
    error: float
    freedom: float
    centre: float
    scatter: float
    points: int

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the exponent's 95% interval, by Student's t; NaN where nothing tells them."""
        half = self._quantile * self.error
        return self.exponent - half, self.exponent + half

    @property
    def _quantile(self) -> float:
        return float(stdtrit(self.freedom, (1 + LEVEL) / 2)) if self.freedom > 0 else math.nan

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The law's y."""
        return self.factor * np.asarray(x, dtype=float) ** self.exponent

    def band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the 95% interval of the law's y."""
        away = np.log(x) - self.centre
        half = self._quantile * np.sqrt(self.scatter**2 / self.points + (self.error * away) ** 2)
        return self(x) * np.exp(-half), self(x) * np.exp(half)

    def judged(self, rule: float) -> Judgement:
        """What the interval says of a rule's exponent.

        It contradicts a rule outside of it. It agrees with one inside where it excludes no dependence (for the rule of
        none: where it is narrower than half a power on each side); else both are possible, and it is open.
        """
        low, high = self.interval
        if math.isnan(low):
            return "open"
        if not low <= rule <= high:
            return "contradicts"
        decided = high - low <= 1 if rule == 0 else not low <= 0 <= high
        return "agrees" if decided else "open"


def power_law(x: np.ndarray, y: np.ndarray, *, least_scatter: float = 0.0) -> PowerLaw | None:
    """Fit a power law; None with fewer than two different x.

    Args:
        x: positive, shape ``[points]``.
        y: positive, likewise.
        least_scatter: standard deviation of log y that is known to be there, such as that of values on a grid: the
            scatter about the law is not taken to be less.
    """
    if len(np.unique(x)) < 2:
        return None
    logs, values = np.log(np.asarray(x, dtype=float)), np.log(np.asarray(y, dtype=float))
    centre = float(logs.mean())
    spread = float(np.square(logs - centre).sum())
    exponent = float((logs - centre) @ values / spread)
    level = float(values.mean())
    freedom = len(logs) - 2
    residual = float(np.square(values - level - exponent * (logs - centre)).sum())
    scatter = max(math.sqrt(residual / freedom), least_scatter) if freedom else math.nan
    return PowerLaw(
        exponent=exponent,
        factor=math.exp(level - exponent * centre),
        error=scatter / math.sqrt(spread),
        freedom=float(freedom),
        centre=centre,
        scatter=scatter,
        points=len(logs),
    )
