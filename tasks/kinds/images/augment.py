"""Random crops, flips and MixUp, each a function of the seed, the step and the position in the global batch.

A run that goes on from a checkpoint, and every run of a pack, thus sees the same pixels as an uninterrupted single
run, however many devices and decoding threads there are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CROP_SHARE = (0.05, 1.0)
"""Share of the image that a random crop may have (paper 1's released code)."""

CROP_RATIO = (3 / 4, 4 / 3)
"""Width by height that a random crop may have (torchvision's default)."""

MIXUP_RECIPE = 2
"""Raised whenever `draw_mixup` would draw otherwise; it is in the identity of runs with MixUp."""

CROP_ATTEMPTS = 10
_PER_ATTEMPT = 4
_SAMPLES, _MIXUP = 1, 2
"""Numbers of the independent streams of random numbers of one seed."""


class Crop(NamedTuple):
    """A random part of an image, before its size is known.

    Attributes:
        draws: uniform on [0, 1), float64 ``[attempts, 4]``: share, ratio, top, left.
    """

    draws: np.ndarray

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part, as torchvision's ``RandomResizedCrop`` distributes them.

        The first attempt that fits is taken; where none does, the largest centred part of an allowed ratio.
        """
        low, high = (math.log(ratio) for ratio in CROP_RATIO)
        for share, ratio, top, left in self.draws.tolist():
            area = height * width * (CROP_SHARE[0] + share * (CROP_SHARE[1] - CROP_SHARE[0]))
            root = math.exp((low + ratio * (high - low)) / 2)
            wide, tall = round(math.sqrt(area) * root), round(math.sqrt(area) / root)
            if 0 < wide <= width and 0 < tall <= height:
                return int(top * (height - tall + 1)), int(left * (width - wide + 1)), tall, wide
        wide = min(width, round(height * CROP_RATIO[1]))
        tall = min(height, round(width / CROP_RATIO[0]))
        return (height - tall) // 2, (width - wide) // 2, tall, wide


class Augmentation(NamedTuple):
    """What is drawn for the n samples of one micro-batch.

    Attributes:
        crops: one per sample; None: the centre of each image.
        flips: which samples are mirrored, bool ``[n]``; None: none.
    """

    crops: list[Crop] | None
    flips: np.ndarray | None


def draw_augmentation(
    seed: int, step: int, positions: slice, batch_size: int, *, crop: bool, flip: bool
) -> Augmentation:
    """Draw crops and flips.

    Args:
        seed: seed of the run.
        step: optimizer step, 0-based.
        positions: positions of the micro-batch in the global batch.
        batch_size: samples of the global batch.
        crop: whether crops are drawn.
        flip: whether flips are drawn.
    """
    if not crop and not flip:
        return Augmentation(None, None)
    uniform = np.random.default_rng([seed, step, _SAMPLES]).random((batch_size, CROP_ATTEMPTS * _PER_ATTEMPT + 1))
    of_batch = uniform[positions]
    crops = [Crop(row[1:].reshape(CROP_ATTEMPTS, _PER_ATTEMPT)) for row in of_batch] if crop else None
    return Augmentation(crops, of_batch[:, 0] < 0.5 if flip else None)


def draw_mixup(seed: int, step: int, positions: slice, concentration: float) -> tuple[Tensor, Tensor]:
    """Draw which images of a micro-batch are mixed, and how.

    MixUp (Zhang et al. 2018): one share from Beta(concentration, concentration) for the micro-batch; as in paper 1's
    released code, a share s below one half is replaced by 1 - s, so that each sample's own image weighs more. The
    partner of an image is the next one on a random ring of the micro-batch: each other image equally often, never the
    image itself. That code draws a permutation, which leaves one image per micro-batch unmixed on average: a quarter of
    them at 4 and hardly any at 1024, so that what is studied would change with the batch size.

    Args:
        seed: seed of the run.
        step: optimizer step, 0-based.
        positions: positions of the micro-batch in the global batch, at least two.
        concentration: both parameters of the Beta distribution.

    Returns:
        ``partners`` int64 ``[n]`` and ``share`` float32, 0-d, between 0.5 and 1.
    """
    rng = np.random.default_rng([seed, step, _MIXUP, positions.start])
    share = rng.beta(concentration, concentration)
    ring = rng.permutation(positions.stop - positions.start)
    partners = np.empty_like(ring)
    partners[ring] = np.roll(ring, -1)
    return torch.from_numpy(partners), torch.tensor(max(share, 1 - share), dtype=torch.float32)


def normalised(pixels: Tensor) -> Tensor:
    """Pixels 0 to 255 as -1 to 1: normalised with mean and standard deviation one half, as in paper 1.

    Args:
        pixels: uint8, of any shape.

    Returns:
        float32 of the same shape, contiguous.
    """
    return pixels.to(torch.float32, memory_format=torch.contiguous_format).mul_(1 / 127.5).sub_(1)


def flipped(images: Tensor, flips: np.ndarray) -> Tensor:
    """Mirror some images left to right.

    Args:
        images: ``[n, 3, H, W]``.
        flips: which images are mirrored, bool ``[n]``.
    """
    return torch.where(torch.from_numpy(flips)[:, None, None, None], images.flip(-1), images)


def mixed(images: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    """``share * images + (1 - share) * images[partners]``, float32 ``[n, 3, H, W]``."""
    return torch.lerp(images[partners], images, share)
