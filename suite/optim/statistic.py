"""Rules that need one number about a parameter, or about the network, between two elementwise passes."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from suite.optim.broadcast import Hyper, State
from suite.optim.config import OptimizerConfig, Scope


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatisticConfig(OptimizerConfig):
    """A rule in three pure stages, so that no optimizer has to join a network's tensors.

    `accumulate` moves the state coordinate by coordinate, `sketch` and `statistic` take one number from it, and
    `finish` makes the step from state and number. `rule` runs the three over one vector.

    The scope must be ``global`` or ``tensor``: what the statistic is taken over.
    """

    @property
    def scope(self) -> Scope:
        """All parameters as one vector."""
        return "global"

    def accumulate(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> State:
        """The new state, coordinate by coordinate, in new tensors; arguments as in `update`."""
        raise NotImplementedError

    def sketch(self, state: State, *, offset: int, total: int) -> Tensor:
        """What the statistic needs of a piece of the state.

        Args:
            state: a piece ``[P]``, or ``[R, P]``, of the new state.
            offset: where the piece begins in the vector that the statistic is over.
            total: length of that vector.

        Returns:
            Shape ``[K]`` or ``[R, K]``.
        """
        raise NotImplementedError

    def statistic(self, sketches: Tensor, hyper: Hyper) -> Tensor:
        """The number, ``[1]`` or ``[R, 1]``, from the joined sketches of all pieces, ``[N]`` or ``[R, N]``."""
        raise NotImplementedError

    def finish(self, state: State, statistic: Tensor, hyper: Hyper) -> Tensor:
        """The step, which is added to the parameter, coordinate by coordinate, in a new tensor."""
        raise NotImplementedError

    def observe(self, state: State, statistic: Tensor) -> State:
        """Quantities of one parameter, shape ``[1]`` or ``[R, 1]`` each, for those who watch a run; by default none."""
        return {}

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step over a vector ``[P]`` or ``[R, P]``."""
        new = self.accumulate(grad, param, state, hyper, step)
        statistic = self.statistic(self.sketch(new, offset=0, total=grad.shape[-1]), hyper)
        return self.finish(new, statistic, hyper), new
