"""The heavy-tailed subset of ImageNet-1k: the k-th class keeps ceil(1300 / k) images."""

from __future__ import annotations

import numpy as np

SEED = 42
"""Of the drawing, whatever the runs' seeds are."""


def heavy_tailed(labels: np.ndarray, *, head_images: int | None = None) -> np.ndarray:
    """Which images of a dataset make its heavy-tailed subset.

    Classes are ranked by their number of images, most first, equals by label. Of the class of rank k (from 1)
    ``ceil(head_images / k)`` images are drawn without replacement by numpy's ``default_rng(42)``, all of them where
    there are fewer. On ImageNet-1k that leaves 10,217 images (paper 1, section on heavy-tailed class imbalance; the
    construction is Kunstner et al. 2024's).

    Args:
        labels: class of each image, int64 ``[images]``.
        head_images: images that the most frequent class keeps; None: all that it has (1,300 in ImageNet-1k).

    Returns:
        Numbers of the chosen images, int64, ascending.
    """
    counts = np.bincount(labels)
    ranked = [label for label in np.argsort(-counts, kind="stable") if counts[label]]
    head = int(counts.max()) if head_images is None else head_images
    # One stable sort in place of a search per class.
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    rng = np.random.default_rng(SEED)
    chosen = []
    for rank, label in enumerate(ranked, start=1):
        keep = min(-(-head // rank), len(by_class[label]))
        chosen.append(rng.choice(by_class[label], keep, replace=False))
    return np.sort(np.concatenate(chosen)).astype(np.int64)
