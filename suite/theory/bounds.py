"""What gradient norm can a trust-region method with momentum reach on a budget, as a function of the batch size?

Setting of paper 1, section 5 (after Kovalev 2025): ``f`` is ``L``-smooth in a norm, a gradient from ``B`` samples has
variance at most ``sigma^2 / B`` in the Euclidean norm, and ``||x||_* <= rho ||x||_2``. Steps have length ``eta`` in the
norm and follow the momentum ``m <- (1 - alpha) m + alpha g``. The Euclidean norm gives normalised SGD (``rho = 1``),
the maximum norm sign descent (``rho = sqrt(d)``).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constants:
    """Constants of a problem that do not depend on the norm.

    Attributes:
        noise: ``sigma``, standard deviation of one sample's gradient.
        suboptimality: ``Delta_0``, initial loss above the infimum.
        budget: ``T``, samples that may be consumed.

    Raises:
        ValueError: a field, here or in a subclass, is not a positive number.
    """

    noise: float
    suboptimality: float
    budget: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{field.name} must be a positive number, got {value}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(Constants):
    """A trust-region method on a problem.

    Attributes:
        smoothness: ``L``, in the method's norm.
        rho: largest ratio of the dual norm to the Euclidean norm.
    """

    smoothness: float
    rho: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem(Constants):
    """A problem with its smoothness in both norms.

    Attributes:
        dimension: ``d``.
        smoothness_2: ``L_2``, Euclidean.
        smoothness_inf: ``L_inf``, in the maximum norm; ``1 <= r = L_inf / L_2 <= d``.

    Raises:
        ValueError: the ratio is below 1 or above ``d``, or a field is not a positive number.
    """

    dimension: int
    smoothness_2: float
    smoothness_inf: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 - 1e-12 <= self.ratio <= self.dimension * (1 + 1e-12):
            raise ValueError(
                "smoothness_inf must be 1 to dimension times smoothness_2, got a ratio of "
                f"{self.ratio:g} at dimension {self.dimension}; change one of the three."
            )

    @property
    def ratio(self) -> float:
        """``r = L_inf / L_2``."""
        return self.smoothness_inf / self.smoothness_2

    @property
    def normalised_sgd(self) -> Method:
        """Normalised SGD: ``L = L_2``, ``rho = 1``."""
        return self._method(self.smoothness_2, 1.0)

    @property
    def sign_sgd(self) -> Method:
        """Sign descent: ``L = L_inf``, ``rho = sqrt(d)``."""
        return self._method(self.smoothness_inf, math.sqrt(self.dimension))

    def _method(self, smoothness: float, rho: float) -> Method:
        constants = {field.name: getattr(self, field.name) for field in dataclasses.fields(Constants)}
        return Method(smoothness=smoothness, rho=rho, **constants)


FIGURE_8 = {"dimension": 1000, "noise": 0.01, "suboptimality": 10.0, "budget": 1e6}
"""Constants of paper 1, Figure 8, without the smoothness: ``L_2`` is 1 in its first panel, 1000 in its second."""

FIGURE_8_SMOOTHNESS = (1.0, 1000.0)
FIGURE_8_RATIOS = {"I": (1, 2, 4, 6, 8), "II": (10, 20, 50, 100, 1000)}
"""Ratios ``r`` that Figure 8 draws, by regime."""


def largest_admissible_batch_size(method: Method) -> float:
    r"""Batch size up to which the best momentum weight is at most 1: :math:`\rho\sigma\sqrt{T} / \sqrt{L\Delta_0}`.

    Beyond it the tuned bound is an extrapolation. Paper 1's crossovers all lie beyond it for normalised SGD.
    """
    return method.rho * method.noise * math.sqrt(method.budget) / math.sqrt(method.smoothness * method.suboptimality)


def optimal_batch_size(method: Method) -> float:
    r"""Batch size at which `tuned_bound` is least: :math:`2^{-2/3} (\rho\sigma)^{5/3} T^{1/6} / (L\Delta_0)^{5/6}`.

    It grows with the sixth root of the budget alone. Where it is below 1, a batch of one sample is best, where it is
    above the budget, one of all samples; see `possible_batch_size`.
    """
    _, falling, rising = bound_coefficients(method)
    return (falling / (2 * rising)) ** (2 / 3)


def possible_batch_size(method: Method) -> float:
    """The batch size from one sample to the whole budget at which `tuned_bound` is least."""
    return min(max(1.0, optimal_batch_size(method)), max(1.0, method.budget))


def tuned_bound(method: Method, batch_size: ArrayLike) -> Array:
    r"""Bound on the gradient norm at the best momentum and step length (paper 1, section 5 and appendix C).

    .. math::
        U(B) = \frac{(L\Delta_0)^{1/4} (\rho\sigma)^{1/2}}{T^{1/4}} + \frac{(\rho\sigma)^2}{\sqrt{L\Delta_0 T B}}
        + \frac{(L\Delta_0)^{3/4} B}{(\rho\sigma)^{1/2} T^{3/4}}

    Args:
        method: the method, with the constants of the problem.
        batch_size: ``B``, any shape.
    """
    b = np.asarray(batch_size, dtype=float)
    constant, falling, rising = bound_coefficients(method)
    return constant + falling / np.sqrt(b) + rising * b


def bound_coefficients(method: Method) -> tuple[float, float, float]:
    """The three coefficients of `tuned_bound`: of ``1``, ``B^(-1/2)`` and ``B``."""
    noise, scale, budget = method.rho * method.noise, method.smoothness * method.suboptimality, method.budget
    return (
        (scale / budget) ** 0.25 * math.sqrt(noise),
        noise**2 / math.sqrt(scale * budget),
        (scale / budget) ** 0.75 / math.sqrt(noise),
    )
