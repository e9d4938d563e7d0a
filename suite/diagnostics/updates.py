"""The size of a step, per layer and, relative to the weights, per role."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from torch import Tensor

from suite.diagnostics.clipping import global_norm
from suite.diagnostics.diagnostic import Diagnostic, Part, Values
from suite.diagnostics.moment import Moment, Tensors
from suite.optim.norms import norm_of


def rms(tensor: Tensor) -> Tensor:
    """Root mean square of all elements, 0-d."""
    return norm_of(tensor) / tensor.numel() ** 0.5


def ratios_by_role(update: Tensors, weights: Tensors, roles: dict[str, str]) -> dict[str, Tensor]:
    """Norm of the update divided by the norm of the weights, over all parameters of each role, 0-d each.

    The ratio is infinite for weights that are all zero (a head at the start).
    """
    names: dict[str, list[str]] = {}
    for name, role in roles.items():
        names.setdefault(role, []).append(name)
    return {
        role: global_norm(update[name] for name in of_role) / global_norm(weights[name] for name in of_role)
        for role, of_role in names.items()
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Updates(Diagnostic):
    """Size of a step, per layer and per role.

    Quantities: ``rms`` by parameter, the root mean square of the update (for Adam about the learning rate); ``ratio``
    by role, the norm of the update divided by the norm of the weights before it.
    """

    default: ClassVar[dict[str, int]] = {"every": 100}
    looks_at = "update"
    needs: ClassVar[frozenset[Part]] = frozenset({"before"})

    def measure(self, moment: Moment) -> Values:
        """The sizes of one step."""
        ratios = ratios_by_role(moment.update, moment.before, moment.roles)
        values: Values = {("rms", name): rms(change) for name, change in moment.update.items()}
        return values | {("ratio", role): value for role, value in ratios.items()}
