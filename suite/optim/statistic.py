"""Rules that compute one number over a parameter, or over the network, between two elementwise passes."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from suite.optim.broadcast import Hyper, State
from suite.optim.config import OptimizerConfig, Scope


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatisticConfig(OptimizerConfig):
    """A rule in three pure stages, so that an optimizer need not copy a network's tensors into one vector.

    `accumulate` updates the state coordinate by coordinate, `sketch` and `statistic` reduce the state to one number,
    and `finish` computes the step from the state and the number. `rule` runs all stages on one vector.

    The scope must be ``global`` or ``tensor``: the statistic is over all parameters, or over each.
    """

    @property
    def scope(self) -> Scope:
        """All parameters as one vector."""
        return "global"

    def accumulate(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> State:
        """The new state, coordinate by coordinate, in new tensors; arguments as in `update`."""
        raise NotImplementedError

    def sketch(self, state: State, *, offset: int, total: int) -> Tensor:
        """The numbers that `statistic` needs from a piece of the state.

        Args:
            state: a piece ``[P]``, or ``[R, P]``, of the new state.
            offset: index of the piece's first coordinate in the vector over which the statistic is taken.
            total: length of that vector.

        Returns:
            K numbers, ``[K]`` or ``[R, K]``; K may differ between pieces.
        """
        raise NotImplementedError

    def statistic(self, sketches: Tensor, hyper: Hyper) -> Tensor:
        """The statistic, ``[1]`` or ``[R, 1]``, from the joined sketches of all pieces, ``[N]`` or ``[R, N]``."""
        raise NotImplementedError

    def finish(self, state: State, statistic: Tensor, hyper: Hyper) -> Tensor:
        """The step of a piece, which is added to the parameter, coordinate by coordinate; in a new tensor."""
        raise NotImplementedError

    def observe(self, state: State, statistic: Tensor) -> State:
        """Measurements of one parameter for diagnostics, by name, ``[1]`` or ``[R, 1]`` each; by default none."""
        return {}

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step over a vector ``[P]`` or ``[R, P]``."""
        new = self.accumulate(grad, param, state, hyper, step)
        statistic = self.statistic(self.sketch(new, offset=0, total=grad.shape[-1]), hyper)
        return self.finish(new, statistic, hyper), new
