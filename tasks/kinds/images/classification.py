"""Image classification: the loss, also of mixed images, and the metrics of every such task.

Shape letters: B batch, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from suite.training import Mean, Task
from tasks.kinds.images.batch import ImageBatch


class Classification(Task):
    """Cross-entropy of an image's class; the network gives logits ``[B, K]``.

    With MixUp (Zhang et al. 2018) the label is a mixture too: the loss is ``share`` times the cross-entropy with the
    image's own class plus ``1 - share`` times that with its partner's, which equals the cross-entropy with the mixed
    label. Pixels, partners and share come with the batch, so a run alone and in a pack sees the same numbers.
    """

    batch_coupled: ClassVar[bool] = True
    """A sample's loss depends on its micro-batch: MixUp takes partners from it, BatchNorm its statistics."""

    def inputs(self, batch: ImageBatch) -> tuple[Tensor, ...]:
        """The images, ``[B, 3, H, W]``."""
        return (batch.images,)

    def loss(self, outputs: Tensor, batch: ImageBatch) -> tuple[Tensor, int]:
        """Cross-entropy in nats, summed over the images, and their number."""
        log_p_BK = F.log_softmax(outputs.float(), dim=-1)
        total = F.nll_loss(log_p_BK, batch.labels, reduction="sum")
        if batch.partners is not None and batch.share is not None:
            of_partners = F.nll_loss(log_p_BK, batch.labels[batch.partners], reduction="sum")
            total = torch.lerp(of_partners, total, batch.share)
        return total, batch.labels.numel()

    def element_losses(self, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats of every image with its own class, and the classes, ``[B]``."""
        return F.cross_entropy(self(batch).float(), batch.labels, reduction="none"), batch.labels

    def element_classes(self, batch: ImageBatch) -> Tensor:
        """The images' own classes, ``[B]``."""
        return batch.labels

    def metrics(self, facts: dict[str, Any]) -> dict[str, Metric]:
        """Share of images whose class is the most likely, or among the five most likely where there are more."""
        return {name: Mean() for name, k in (("top1", 1), ("top5", 5)) if k < facts["classes"]}

    def measure(
        self, metrics: Mapping[str, Metric], outputs: Tensor, batch: ImageBatch, total: Tensor, count: int
    ) -> None:
        """Update the metrics with one batch."""
        ranked_Bk = outputs.topk(min(5, outputs.shape[-1]), dim=-1).indices
        is_hit_Bk = ranked_Bk == batch.labels.unsqueeze(-1)
        for name, metric in metrics.items():
            if name.startswith("top"):
                metric.update(is_hit_Bk[:, : int(name.removeprefix("top"))].sum(), count)

    def predict_step(self, batch: ImageBatch, batch_idx: int) -> Tensor:
        """Most likely class of every image, ``[B]``."""
        return self(batch).argmax(dim=-1)
