"""Loss and clipped gradients of a single run's step, repeated from a recording where that is faster.

The optimizer's step follows outside of the recording: it is a few fused kernels, and so works for every optimizer, with
learning rate and step count where the optimizer has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from suite.training.captured_step import Capture, CapturedStep, Results


class CapturedGradients:
    """Computes what `Task.training_step` needs before the optimizer's step.

    Args:
        network: the network, whose buffers a step may change.
        parameters: those that the optimizer moves.
        losses: the summed loss of a micro-batch and its number of terms.
        clip: clips gradients in place; returns their norm.
        capture: records and times.
        name: of the task, for the log.

    Attributes:
        step: the step.
    """

    def __init__(
        self,
        network: nn.Module,
        parameters: list[Tensor],
        losses: Callable[[Any], tuple[Tensor, int]],
        clip: Callable[[list[Tensor]], Tensor],
        capture: Capture,
        *,
        name: str,
    ) -> None:
        self._parameters = parameters
        self._losses = losses
        self._clip = clip
        self._buffers = list(network.buffers())
        self._reached: list[Tensor] = []
        self.step = CapturedStep(self._gradients, self._tensors, capture, name=name)

    def __call__(self, micro_batches: list[Any], plain: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Leave the clipped gradients with the parameters.

        Args:
            micro_batches: of one step.
            plain: does the same; returns loss and norm.

        Returns:
            The mean loss and the gradients' norm before clipping, 0-d.
        """
        results = self.step(lambda: self._plainly(plain), micro_batches)
        for parameter, grad in zip(self._reached, results["gradient"], strict=True):
            parameter.grad = grad
        (loss,), (norm,) = results["loss"], results["norm"]
        return loss.clone(), norm.clone()

    def _tensors(self) -> tuple[list[Tensor], list[Tensor]]:
        # A parameter is among what is written so that there is always something: it stays as it is.
        return [*self._parameters, *self._buffers], [*self._buffers, self._parameters[0].detach()]

    def _plainly(self, plain: Callable[[], tuple[Tensor, Tensor]]) -> Results:
        for parameter in self._parameters:
            parameter.grad = None
        loss, norm = plain()
        self._reached = [parameter for parameter in self._parameters if parameter.grad is not None]
        return {"loss": [loss], "norm": [norm], "gradient": [p.grad for p in self._reached if p.grad is not None]}

    def _gradients(self, micro_batches: list[Any]) -> Results:
        """The step as it is recorded: by functions alone, with gradients in new tensors."""
        share = 1 / len(micro_batches)
        totals: list[Tensor] = []
        losses = []
        with torch.enable_grad():
            for batch in micro_batches:
                total, count = self._losses(batch)
                loss = total * (share / count)
                grads = list(torch.autograd.grad(loss, self._reached))
                if totals:
                    torch._foreach_add_(totals, grads)
                else:
                    totals = _apart(grads)
                losses.append(loss.detach())
        return {"loss": [torch.stack(losses).sum()], "norm": [self._clip(totals)], "gradient": totals}


def _apart(grads: list[Tensor]) -> list[Tensor]:
    """Gradients that may be written in place: parameters that are added to each other have one tensor for both."""
    seen: set[int] = set()
    apart = []
    for grad in grads:
        whole = grad.contiguous()
        apart.append(whole.clone() if whole.data_ptr() in seen else whole)
        seen.add(whole.data_ptr())
    return apart
