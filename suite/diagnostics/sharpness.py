"""What does the step taken do to the loss, to first and to second order? (paper 2, Figure 16; Pan & Li 2023)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from suite.diagnostics.diagnostic import Diagnostic, Part, Values
from suite.diagnostics.moment import Moment
from suite.diagnostics.probe import Probe, joined
from suite.diagnostics.undisturbed import at_weights
from suite.optim.norms import norm_of


def second_order(gradient: Tensor, hessian_product: Callable[[Tensor], Tensor], update: Tensor) -> dict[str, Tensor]:
    r"""The terms of a step's Taylor expansion.

    .. math::
        f(\theta + \Delta) - f(\theta) \approx
        \underbrace{\nabla f^\top \Delta}_{\text{correlation}}
        + \underbrace{\tfrac12 \Delta^\top H \Delta}_{\text{sharpness}}

    Args:
        gradient: ``[P]``.
        hessian_product: of a vector ``[P]``.
        update: ``[P]``.

    Returns:
        ``gradient_correlation`` and ``directional_sharpness``, the two terms; ``predicted_change``, their sum;
        ``direction_sharpness``, the sharpness of the direction whatever its length,
        :math:`\Delta^\top H \Delta / \lVert \Delta \rVert^2` (Pan & Li 2023); ``gradient_cosine``, of gradient and
        update.
    """
    curved = torch.dot(update, hessian_product(update))
    slope = torch.dot(gradient, update)
    square = torch.dot(update, update)
    return {
        "gradient_correlation": slope,
        "directional_sharpness": curved / 2,
        "predicted_change": slope + curved / 2,
        "direction_sharpness": curved / square,
        "gradient_cosine": slope / (square.sqrt() * norm_of(gradient)),
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sharpness(Diagnostic):
    """Gradient correlation, directional sharpness and their sum along the step that was taken.

    Quantities: those of `second_order`, and ``actual_change`` of the loss; all on the same training samples, which no
    optimizer and no batch size decides.

    Attributes:
        samples: training samples that loss, gradient and Hessian are of.
    """

    samples: int = 16

    looks_at = "update"
    needs: ClassVar[frozenset[Part]] = frozenset({"before"})

    def measure(self, moment: Moment) -> Values:
        """The terms of one step."""
        probe = Probe.of(moment, self.samples)
        after = probe.loss()
        with at_weights(moment.network, moment.before):
            change = after - probe.loss()
            terms = second_order(probe.gradient(), probe.hessian_product, joined(moment.update))
        return {(name, ""): value for name, value in {**terms, "actual_change": change}.items()}
