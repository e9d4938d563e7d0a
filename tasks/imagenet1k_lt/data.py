"""The heavy-tailed subset of ImageNet-1k, paper 1's test of class imbalance on images."""

from __future__ import annotations

from typing import ClassVar

from suite.training import configurable
from tasks.kinds.images.data import ImageData
from tasks.kinds.images.sources import PaperShards


@configurable
class ImageNet1kLTData(ImageData):
    """ImageNet-1k with heavy-tailed classes: 10,217 training images of 1,000 classes (paper 1, appendix A.5).

    ``source: paper`` is ``timm/imagenet-1k-wds`` on the Hugging Face hub, whose terms must be accepted there. To
    choose the subset every training shard is fetched once (about 150 GB pass through, ``cache_gb`` bounds what is
    kept); the subset itself is about 1 GB. ``source: <path>`` is ImageNet-1k as shards or as one folder per class,
    or any other images, whose subset is built by the same rule (`tasks.kinds.images.heavy_tail`). Validation images
    stay balanced.
    """

    dataset: ClassVar[str] = "imagenet1k_lt"
    paper: ClassVar[PaperShards] = PaperShards("hf://datasets/timm/imagenet-1k-wds", classes=1000)

    heavy_tail: bool = True
    """Train on the subset; off, on all images."""
