"""In which layers are coordinates clipped? (paper 2, Figure 20)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from torch import Tensor

from suite.diagnostics.diagnostic import Diagnostic, Part, Values
from suite.diagnostics.moment import Moment


def share_at_limit(clipped: Tensor, limit: float) -> Tensor:
    """Share of coordinates that lie at the limit of their magnitude, 0-d."""
    return (clipped.abs() >= limit).float().mean()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClippedCoordinates(Diagnostic):
    """Share of each layer's coordinates that a limit on coordinates clips.

    Quantities, by parameter: ``gradient_share``, at the limit ``clip_coordinate`` of the gradient, where there is one;
    ``momentum_share``, beyond the quantile of the optimizer ``sgd_quantile_clip`` (paper 2, Algorithm 1).

    Runs trained at once do not show their optimizer's quantile, so that this is measured of single runs.
    """

    default: ClassVar[dict[str, int]] = {"every": 100}
    looks_at = "update"
    needs: ClassVar[frozenset[Part]] = frozenset({"clipped"})
    packable = False

    def measure(self, moment: Moment) -> Values:
        """The shares of one step."""
        values: Values = {}
        limit = moment.task.clipping.max_coordinate
        if limit is not None:
            values |= {("gradient_share", n): share_at_limit(g, limit) for n, g in moment.clipped.items()}
        shares = moment.report().get("clipped_share", {})
        return values | {("momentum_share", name): share.squeeze() for name, share in shares.items()}
