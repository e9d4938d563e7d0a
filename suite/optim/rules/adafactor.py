"""Adafactor whose second moment has a decay of its own choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from torch import Tensor

from suite.optim.broadcast import Hyper, State, average, rounded
from suite.optim.config import AVERAGE, NOT_NEGATIVE, OptimizerConfig, Scope


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdafactorBeta2(OptimizerConfig):
    r"""Adafactor (Shazeer & Stern 2018) without momentum, its second moment an average with one decay (paper 4).

    .. math::
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) (g_t^2 + \epsilon), \quad
        u_t = g_t / \sqrt{\hat v_t}, \quad
        \theta_t = \theta_{t-1} - \eta_t \, s_t \, \frac{u_t}{\max(1, \mathrm{RMS}(u_t) / c)}

    For a matrix :math:`\hat v` is the product of its row means and column means over its mean, for other parameters
    :math:`v` itself. The scale :math:`s_t` is the root mean square of the parameter, at least ``smallest_scale``, or 1.
    Adafactor as its authors define it has :math:`\beta_2 = 1 - t^{-0.8}` (``adafactor``). Averages start at zero and
    are not corrected: the clipping at c is what keeps the first steps short.

    Means of rows and columns of an average are averages of means, so that keeping the whole average gives the numbers
    of keeping the means, at more memory.

    Attributes:
        beta2: decay of the squared gradient's average, 0 to below 1.
        clip_rms: largest root mean square of a parameter's step before learning rate and scale; null: not clipped.
        eps: constant added to the squared gradient.
        relative: whether steps are scaled with the size of their parameter.
        smallest_scale: smallest scale of a parameter's steps.
        factored: whether matrices have a second moment of rows and columns.
        smallest_factored: rows and columns that a matrix must have for that.
    """

    beta2: float = dataclasses.field(default=0.999, metadata=AVERAGE)
    clip_rms: float | None = dataclasses.field(default=1.0, metadata={"above": 0})
    eps: float = dataclasses.field(default=1e-30, metadata=NOT_NEGATIVE)
    relative: bool = True
    smallest_scale: float = dataclasses.field(default=1e-3, metadata=NOT_NEGATIVE)
    factored: bool = True
    smallest_factored: int = dataclasses.field(default=128, metadata={"at_least": 1})

    buffers = ("exp_avg_sq",)

    @property
    def scope(self) -> Scope:
        """Each matrix; without factors, each parameter as a vector."""
        return "matrix" if self.factored else "tensor"

    def assign(
        self, parameters: Mapping[str, Tensor], roles: Callable[[], Mapping[str, str]]
    ) -> list[tuple[str, OptimizerConfig, list[str]]]:
        """Assign matrices that are large enough to the factored rule, everything else to the plain one."""
        matrices = {name for name, p in parameters.items() if self.factored and self._is_factored(p)}
        others = [name for name in parameters if name not in matrices]
        plain = dataclasses.replace(self, factored=False)
        parts = [("factored", self, [name for name in parameters if name in matrices]), ("whole", plain, others)]
        return [part for part in parts if part[2]]

    def _is_factored(self, param: Tensor) -> bool:
        rows = len(param) if param.ndim > 1 else 0
        return rows > 0 and min(rows, param.numel() // rows) >= self.smallest_factored

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step on a matrix or vector, in a pack with the runs in front."""
        square = average(state["exp_avg_sq"], grad * grad + rounded(hyper["eps"], grad), hyper["beta2"])
        if self.factored:
            rows, columns = square.mean(dim=-1, keepdim=True), square.mean(dim=-2, keepdim=True)
            direction = grad * (rows / rows.mean(dim=-2, keepdim=True)).rsqrt() * columns.rsqrt()
        else:
            direction = grad * square.rsqrt()
        if self.clip_rms is not None:
            direction = direction / (self._rms(direction) / self.clip_rms).clamp(min=1.0)
        size = rounded(-hyper["lr"], grad)
        if self.relative:
            direction = direction * _at_least(self._rms(param), hyper["smallest_scale"])
        return direction * size, {"exp_avg_sq": square}

    def _rms(self, values: Tensor) -> Tensor:
        return values.square().mean(dim=(-2, -1) if self.factored else -1, keepdim=True).sqrt()


def _at_least(values: Tensor, bound: float | Tensor) -> Tensor:
    return values.clamp(min=bound.to(values.dtype) if isinstance(bound, Tensor) else bound)
