"""The effect of a step on the loss, to first and to second order (paper 2, Figure 16; Pan & Li 2023)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from suite.diagnostics.at_weights import at_weights
from suite.diagnostics.diagnostic import Diagnostic, Part, Values
from suite.diagnostics.moment import Moment
from suite.diagnostics.probe import Probe, joined
from suite.optim.norms import norm_of


def second_order(gradient: Tensor, hessian_product: Callable[[Tensor], Tensor], update: Tensor) -> dict[str, Tensor]:
    r"""The terms of the loss's Taylor expansion along a step.

    .. math::
        f(\theta + \Delta) - f(\theta) \approx
        \underbrace{\nabla f^\top \Delta}_{\text{correlation}}
        + \underbrace{\tfrac12 \Delta^\top H \Delta}_{\text{sharpness}}

    Args:
        gradient: gradient before the step, ``[P]``.
        hessian_product: function from a vector ``[P]`` to the Hessian's product with it, ``[P]``.
        update: the step, ``[P]``.

    Returns:
        0-d tensors: ``gradient_correlation`` and ``directional_sharpness``, the two terms; ``predicted_change``, their
        sum; ``direction_sharpness``, independent of the step's length,
        :math:`\Delta^\top H \Delta / \lVert \Delta \rVert^2` (Pan & Li 2023); ``gradient_cosine``, the cosine between
        gradient and update.
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
    """Gradient correlation, directional sharpness and their sum along the step of the run.

    Quantities: those of `second_order`, and ``actual_change`` of the loss; all on the same training samples, for every
    optimizer and batch size.

    Attributes:
        samples: number of training samples for loss, gradient and Hessian.
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
