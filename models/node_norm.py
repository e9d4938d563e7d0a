"""BatchNorm over the rows of a graph's nodes or edges of which some may be filler."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NodeNorm(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` on ``[N, C]``, with statistics of the rows that are no filler.

    Batches that are filled up to a fixed shape have filler rows; see ``filled`` of the networks.
    """

    def forward(self, x_NC: Tensor, real_N1: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Normalise; the values of filler rows are arbitrary.

        Args:
            x_NC: rows of nodes or edges.
            real_N1: bool, which rows are no filler; None: all.
        """
        if real_N1 is None or not self.training:
            return super().forward(x_NC)
        share = real_N1.to(x_NC.dtype)
        count = share.sum()
        mean_C = (x_NC * share).sum(0) / count
        centred_NC = x_NC - mean_C
        var_C = (centred_NC.square() * share).sum(0) / count
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            unbiased_C = var_C * (count / (count - 1).clamp(min=1))
            for kept_C, seen_C in ((self.running_mean, mean_C), (self.running_var, unbiased_C)):
                kept_C.mul_(1 - self.momentum).add_(self.momentum * seen_C.to(kept_C.dtype))
        return centred_NC * torch.rsqrt(var_C + self.eps) * self.weight + self.bias
