"""A batch of labelled images, as the data side makes it and every image task takes it.

Shape letters: B batch, H height, W width; the three channels are red, green, blue.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ImageBatch(NamedTuple):
    """Images and their classes.

    With MixUp the pixels are mixed already: sample i is ``share * x[i] + (1 - share) * x[partners[i]]``.

    Attributes:
        images: normalised pixels, float32 ``[B, 3, H, W]``.
        labels: class of each image, int64 ``[B]``.
        partners: position in this batch of the image that was mixed into each, int64 ``[B]``; None without MixUp.
        share: weight of each sample's own image, float32, 0-d; None without MixUp.
    """

    images: Tensor
    labels: Tensor
    partners: Tensor | None = None
    share: Tensor | None = None
