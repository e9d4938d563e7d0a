"""How far does a step move each layer, and each role relative to its weights?"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from torch import Tensor

from suite.diagnostics.clipping import global_norm
from suite.diagnostics.diagnostic import Diagnostic, Part, Values
from suite.diagnostics.moment import Moment, Tensors
from suite.optim.norms import norm_of


def rms(tensor: Tensor) -> Tensor:
    """Root of the mean square, 0-d."""
    return norm_of(tensor) / tensor.numel() ** 0.5


def ratios_by_role(update: Tensors, weights: Tensors, roles: dict[str, str]) -> dict[str, Tensor]:
    """Norm of the update over the norm of the weights, of all parameters of a role together.

    Weights that are all zero (a head at the start) give infinity.
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

    Quantities: ``rms`` by parameter, root mean square of the update's coordinates (for Adam about the learning rate);
    ``ratio`` by role, norm of the update over norm of the weights it is added to.
    """

    default: ClassVar[dict[str, int]] = {"every": 100}
    looks_at = "update"
    needs: ClassVar[frozenset[Part]] = frozenset({"before"})

    def measure(self, moment: Moment) -> Values:
        """The sizes of one step."""
        ratios = ratios_by_role(moment.update, moment.before, moment.roles)
        values: Values = {("rms", name): rms(change) for name, change in moment.update.items()}
        return values | {("ratio", role): value for role, value in ratios.items()}
