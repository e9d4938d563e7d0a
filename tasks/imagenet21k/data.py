"""ImageNet-21k, the image data of paper 1."""

from __future__ import annotations

from tasks.kinds.images.data import ImageData
from tasks.kinds.images.sources import PaperShards


class ImageNet21kData(ImageData):
    """The winter 2021 release of ImageNet-21k: 19,167 classes, 13,125,676 images (paper 1, appendix A.4).

    ``source: paper`` is ``timm/imagenet-w21-wds`` on the Hugging Face hub, 2,048 shards; the last five are held out,
    of which the released code evaluates 25,600 images (``eval_samples``). Its steps per epoch count all images but
    those 25,600, 13,100,076; here an epoch is the 2,043 training shards' own number.

    Shards are fetched as the order needs them: ``cache_gb`` bounds what is kept, ``shuffle_shards`` what must be
    there at a time.
    """

    dataset = "imagenet21k"
    paper = PaperShards("hf://datasets/timm/imagenet-w21-wds", classes=19_167, held_out=5)
