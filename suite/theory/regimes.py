"""At which batch sizes does theory favour SGD, at which sign descent, and where does the gap pass zero?

The gap of paper 1's theory is ``Delta(B) = U_inf(B) - U_2(B)``: bound of sign descent minus bound of normalised SGD, so
that a positive gap favours SGD.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from suite.theory.bounds import Array, Problem, bound_coefficients, tuned_bound

Regime = Literal["I", "II"]


@dataclasses.dataclass(frozen=True)
class GapModel:
    r"""The three-term gap :math:`\Delta(B) = c_0 + c_1 B^{-1/2} + c_2 B` (paper 1, appendix C).

    Theory gives ``c_0 > 0`` and ``c_1 > 0``, and the sign of ``c_2`` decides the regime; a fit may give any.

    Attributes:
        c0: the constant term.
        c1: coefficient of ``B^(-1/2)``.
        c2: coefficient of ``B``.
    """

    c0: float
    c1: float
    c2: float

    def __call__(self, batch_size: ArrayLike) -> Array:
        """Gap at some batch sizes, any shape."""
        b = np.asarray(batch_size, dtype=float)
        return self.c0 + self.c1 / np.sqrt(b) + self.c2 * b

    def derivative(self, batch_size: ArrayLike) -> Array:
        r""":math:`d\Delta / dB = -c_1 / (2 B^{3/2}) + c_2`."""
        b = np.asarray(batch_size, dtype=float)
        return -self.c1 / (2 * b**1.5) + self.c2

    @property
    def regime(self) -> Regime:
        """I where ``c2 < 0``: the gap falls without bound, and large batches favour sign descent; else II."""
        return "I" if self.c2 < 0 else "II"

    @property
    def smallest_at(self) -> float | None:
        r""":math:`B_{min} = (c_1 / 2 c_2)^{2/3}`, where the gap of Regime II is smallest; None without a minimum."""
        if self.c1 <= 0 or self.c2 <= 0:
            return None
        return (self.c1 / (2 * self.c2)) ** (2 / 3)

    def crossovers(self) -> tuple[float, ...]:
        """Batch sizes where the gap passes zero, ascending: ``z = sqrt(B)`` solves ``c2 z^3 + c0 z + c1 = 0``."""
        # The cubic is rescaled so that coefficients of any size give roots of order one.
        if self.c2 == 0:
            z = -self.c1 / self.c0 if self.c0 else 0.0
            return (z * z,) if z > 0 else ()
        unit = max(math.sqrt(abs(self.c0 / self.c2)), abs(self.c1 / self.c2) ** (1 / 3))
        if unit == 0:
            return ()
        cubic = [1.0, 0.0, self.c0 / self.c2 / unit**2, self.c1 / self.c2 / unit**3]
        roots = np.roots(cubic)
        real = sorted(float(z.real) for z in roots if abs(z.imag) < 1e-9 and z.real > 1e-12)
        slopes = [3 * z * z + cubic[2] for z in real]
        return tuple((unit * z) ** 2 for z, slope in zip(real, slopes, strict=True) if slope != 0)

    def crossover(self) -> float | None:
        """The batch size from 1 up where the gap last passes from positive to negative; None when it does not."""
        falling = [b for b in self.crossovers() if b >= 1 and self.derivative(b) < 0]
        return falling[-1] if falling else None


def gap_model(problem: Problem) -> GapModel:
    r"""Coefficients of the gap of a problem (paper 1, appendix C).

    .. math::
        c_0 = (\sigma^2\Delta_0/T)^{1/4} [(d L_\infty)^{1/4} - L_2^{1/4}], \quad
        c_1 = \frac{\sigma^2}{\sqrt{\Delta_0 T}} \Big[\frac{d}{\sqrt{L_\infty}} - \frac{1}{\sqrt{L_2}}\Big], \quad
        c_2 = \frac{\Delta_0^{3/4}}{\sigma^{1/2} T^{3/4}} [L_\infty^{3/4} d^{-1/4} - L_2^{3/4}]
    """
    sign, sgd = bound_coefficients(problem.sign_sgd), bound_coefficients(problem.normalised_sgd)
    c0, c1, c2 = (a - b for a, b in zip(sign, sgd, strict=True))
    # On the boundary r = d^(1/3) the difference of c2 is rounding alone, and its sign would decide the regime.
    return GapModel(c0, c1, 0.0 if abs(c2) < 1e-12 * sgd[2] else c2)


def relative_gap(problem: Problem, batch_size: ArrayLike) -> Array:
    """``(U_inf - U_2) / (U_inf + U_2)``, as in paper 1, Figure 8; between -1 and 1, positive: SGD better."""
    sign, sgd = tuned_bound(problem.sign_sgd, batch_size), tuned_bound(problem.normalised_sgd, batch_size)
    return (sign - sgd) / (sign + sgd)


def regime(problem: Problem) -> Regime:
    """Regime I if ``r = L_inf / L_2 < d^(1/3)``, else II (the boundary, where ``c2 = 0``, counts as II)."""
    return gap_model(problem).regime


def approximate_crossover(problem: Problem) -> float | None:
    r"""The crossover without the term ``c_1`` (paper 1, section 5); None in Regime II.

    .. math::
        B_\times \approx \frac{\sigma\sqrt{T}}{\sqrt{L_2\Delta_0}} \cdot \frac{(rd)^{1/4} - 1}{1 - r^{3/4} d^{-1/4}}

    It grows with noise and budget, without bound as ``r`` nears ``d^(1/3)``, and is at most the exact crossover.
    """
    if regime(problem) == "II":
        return None
    r, d = problem.ratio, problem.dimension
    scale = problem.noise * math.sqrt(problem.budget) / math.sqrt(problem.smoothness_2 * problem.suboptimality)
    return scale * ((r * d) ** 0.25 - 1) / (1 - r**0.75 * d**-0.25)
