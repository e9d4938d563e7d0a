"""Images of a dataset as batches: which images, which pixels, in which order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from suite.training import Data, configurable
from suite.training.batches import BatchPlan
from tasks.kinds.array_files import verify_arrays
from tasks.kinds.images import decoded
from tasks.kinds.images.augment import MIXUP_RECIPE, draw_augmentation, draw_mixup, flipped, mixed, normalised
from tasks.kinds.images.batch import ImageBatch
from tasks.kinds.images.decode import centre_pixels, cropped_pixels
from tasks.kinds.images.encoded import Images
from tasks.kinds.images.heavy_tail import tail_of
from tasks.kinds.images.prefetch import prefetched
from tasks.kinds.images.reader import Decoder, Reader
from tasks.kinds.images.shards import Shards
from tasks.kinds.images.sources import ImageSource, PaperShards, open_source
from tasks.kinds.left_out import allowed

BLOCK_BYTES = 1 << 26
"""Bytes of pixels in a block of optimizer steps, about; a block has one step at least."""

AHEAD_BYTES = 1 << 29
"""Bytes of pixels in the blocks that are made ahead, about; one block is made ahead at least."""

MOST_CORRUPT = 100
"""More images that cannot be decoded are not passed over unless ``max_corrupt`` says so."""

CHANNELS = 3


@configurable
class ImageData(Data):
    """Labelled images, decoded as they are needed or once.

    A dataset's class sets ``dataset`` and what ``source: paper`` means; `tasks.kinds.images.digits` is the ``sample``.
    ``source: <path>`` is a folder of webdataset shards (``key.jpg`` and ``key.cls``, with ``_info.json`` as timm
    writes it, or without) or of one folder per class, below ``train`` and ``val`` or without splits; a URL that
    fsspec understands (``hf://datasets/...``) is a remote folder of shards.

    Pixels are -1 to 1: mean and standard deviation one half. By default the short side is resized to 8/7 of
    ``image_size`` and the centre is cut (256 and 224; paper 1's released code), in training as in evaluation.
    """

    dataset: ClassVar[str] = "images"
    """Name of the dataset, for prepared folders."""

    paper: ClassVar[PaperShards | None] = None
    """What ``source: paper`` means."""

    image_size: int = dataclasses.field(default=224, metadata={"at_least": 1, "at_most": 8192})
    """Height and width of the images that the network sees."""

    resize: int | None = dataclasses.field(default=None, metadata={"at_least": 1, "at_most": 8192})
    """Short side before the centre is cut; null: 8/7 of ``image_size``."""

    random_crop: bool = False
    """Train on random parts of the images, of 5 to 100% of their area, in place of the centre."""

    flip: bool = False
    """Mirror training images at random."""

    mixup: float = dataclasses.field(default=0.2, metadata={"at_least": 0})
    """Concentration of MixUp's Beta distribution; 0: no MixUp. An image's partner is another one of its micro-batch,
    which must hold two."""

    draft: bool = True
    """Decode large JPEGs at 1/2, 1/4 or 1/8 of their size where that is enough; off, pixels are those of torchvision's
    transforms."""

    cached: bool = dataclasses.field(
        default=False, metadata={"beside": "whether decoded images are kept; they are the same"}
    )
    """Decode all images once, to uint8 on disk; the pixels are the same. Not with ``random_crop``."""

    heavy_tail: bool = False
    """Train on the heavy-tailed subset: the k-th most frequent class keeps ``head_images / k`` images."""

    head_images: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    """Images of the most frequent class in that subset; null: all that it has (1,300 in ImageNet-1k)."""

    classes: int | None = dataclasses.field(default=None, metadata={"at_least": 1})
    """Number of classes; null: as the source says."""

    val_share: float = dataclasses.field(default=0.1, metadata={"above": 0, "below": 1})
    """Share of the source that is held out where it has no validation split: whole shards, or images drawn by a fixed
    seed."""

    shuffle_shards: int | None = dataclasses.field(default=16, metadata={"at_least": 1})
    """An epoch takes the shards in random order and permutes images within so many of them; null: over all. Remote
    sources need it."""

    cache_gb: float | None = dataclasses.field(
        default=None, metadata={"above": 0, "beside": "room for downloaded shards"}
    )
    """Bound on the remote shards that are kept locally, in 1e9 bytes; null: all are kept."""

    max_corrupt: int | None = dataclasses.field(
        default=None,
        metadata={
            "at_least": 0,
            "beside": "unreadable samples before preparation gives up; those that it names are left out",
        },
    )
    """At most so many images that cannot be decoded are replaced by the next; one more is an error. Null: one in a
    hundred, five at least and a hundred at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.short_side = self.image_size * 8 // 7 if self.resize is None else self.resize
        if self.short_side < self.image_size:
            raise ValueError(f"data.resize must be at least {self.image_size}, got {self.short_side}.")
        if self.cached and self.random_crop:
            raise ValueError("data.cached keeps the centre of each image, got data.random_crop as well; turn one off.")
        bytes_per_image = 4 * CHANNELS * self.image_size**2
        self.block_samples = max(1, min(self.block_samples, BLOCK_BYTES // bytes_per_image))
        block_bytes = bytes_per_image * max(self.block_samples, self.batch_size)
        self.blocks_ahead = max(1, min(4, AHEAD_BYTES // block_bytes))
        self.images: ImageSource | None = None
        self._decoded: dict[str, decoded.Decoded] = {}
        self._decoded_folder: Path | None = None

    # Preparation.

    def prepare(self) -> str:
        """Index what is local, make the sample or the subset, and decode all images if they shall be ``cached``."""
        self.images = self._opened()
        fingerprint = self.images.fingerprint()
        allowed_corrupt = min(MOST_CORRUPT, allowed(len(self.images.train) + len(self.images.val)))
        self.reader = Reader(allowed_corrupt if self.max_corrupt is None else self.max_corrupt, self.workers)
        if self.cached:
            splits = {"train": self.images.train, "val": self.images.val}
            settings = {"image_size": self.image_size, "resize": self.short_side, "draft": self.draft}
            self._decoded_folder = decoded.decoded_folder(self.prepared_root, self.dataset, splits, settings)
            self._manifest = decoded.prepare_decoded(
                splits, self._decoded_folder, size=self.image_size, decoder=self._centre(), reader=self.reader
            )
            self.reader.restore(self._manifest["corrupt"])
        return fingerprint

    def _opened(self) -> ImageSource:
        source = open_source(
            self.source, self.paper, self.prepared_root, val_share=self.val_share, classes=self.classes,
            cache_gb=self.cache_gb, threads=self.workers,
        )  # fmt: skip
        return (
            tail_of(source, self.head_images, self.prepared_root, threads=self.workers) if self.heavy_tail else source
        )

    def verify(self) -> None:
        """Compare the decoded images, where they are ``cached``, with their checksums.

        Raises:
            ValueError: a file was changed; the message names it.
        """
        self.ensure_open()
        if self._decoded_folder is not None:
            verify_arrays(self._decoded_folder, self._manifest["arrays"])

    def setup(self, stage: str) -> None:
        """Open the data; decode with this device's share of the cores, which is known now."""
        super().setup(stage)
        self.reader.threads = self.workers

    def open(self) -> None:
        """Map decoded images into memory, and set the numbers of samples and shards.

        Raises:
            ValueError: the cache for remote shards is too small for the order.
        """
        assert self.images is not None
        if self._decoded_folder is not None:
            self._decoded = {split: decoded.Decoded(self._decoded_folder, split) for split in ("train", "val")}
        train = self.images.train
        self.train_samples, self.val_samples = len(train), len(self.images.val)
        if self.shuffle_shards is not None and len(train.lengths) > 1:
            self.shards, self.shard_window = train.lengths, self.shuffle_shards
        if isinstance(train, Shards) and train.storage.remote and self.cache_gb is not None:
            window = min(self.shuffle_shards or len(train.names), len(train.names))
            needed = 2 * window * train.storage.size(train.names[0]) / 1e9
            if needed > self.cache_gb:
                raise ValueError(
                    f"data.cache_gb must hold the shards in use and the next ones, about {needed:.3g} GB at "
                    f"data.shuffle_shards {self.shuffle_shards}, got {self.cache_gb:g}; raise the first or lower the "
                    "second."
                )

    def facts(self) -> dict[str, Any]:
        """Number of classes, image size and channels."""
        assert self.images is not None
        return {"classes": self.images.classes, "image_size": self.image_size, "channels": CHANNELS}

    def facts_ahead(self) -> dict[str, Any]:
        """The least number of classes, image size and channels."""
        return {"classes": 1, "image_size": self.image_size, "channels": CHANNELS}

    def class_counts(self) -> np.ndarray:
        """Training images of each class, int64 ``[classes]``; what is remote is fetched for it."""
        return np.bincount(self.of_split("train").labels(), minlength=self.facts()["classes"])

    def recipes(self) -> dict[str, int]:
        """That of MixUp, where it is used."""
        return {"mixup": MIXUP_RECIPE} if self.mixup else {}

    # Batches.

    def plan(self, *, world_size: int = 1, rank: int = 0) -> BatchPlan:
        """The batch plan of this run on one of ``world_size`` devices.

        Raises:
            ValueError: the batch cannot be cut so, or MixUp would find no partner.
        """
        plan = super().plan(world_size=world_size, rank=rank)
        if self.mixup and plan.batch_size < 2 * plan.accumulation * world_size:
            raise ValueError(
                "MixUp needs two images at least in a micro-batch, got data.micro_batch 1 (data.batch_size "
                f"{plan.batch_size} on {world_size} devices); set data.mixup to 0, then for all batch sizes that are "
                "compared, or raise data.micro_batch or data.batch_size."
            )
        return plan

    def of_split(self, split: str) -> Images:
        """The encoded images of ``train`` or ``val``."""
        assert self.images is not None
        return self.images.train if split == "train" else self.images.val

    def gather(self, split: str, indices: np.ndarray) -> ImageBatch:
        """Some images as they are: their centres, neither mirrored nor mixed.

        Args:
            split: ``train`` or ``val``.
            indices: sample numbers, int64 ``[n]``.
        """
        pixels, labels = self._pixels(split, indices)
        return ImageBatch(normalised(pixels), labels)

    def gather_steps(self, plan: BatchPlan, first: int, end: int) -> list[ImageBatch]:
        """Micro-batches of training steps, cropped, mirrored and mixed as the settings say."""
        rows = [plan.indices(step) for step in range(first, end)]
        self._fetch_ahead(plan, first, end, rows)
        positions = [self._positions(plan, micro) for micro in range(plan.accumulation)]
        drawn = [
            draw_augmentation(plan.seed, step, position, plan.batch_size, crop=self.random_crop, flip=self.flip)
            for step in range(first, end)
            for position in positions
        ]
        decoders: list[Decoder] | None = None
        if self.random_crop:
            crops = [crop for augmentation in drawn for crop in augmentation.crops or ()]
            decoders = [partial(cropped_pixels, crop=crop, size=self.image_size, draft=self.draft) for crop in crops]
        micro_batch = rows[0].shape[1]
        pixels, labels = self._pixels("train", np.concatenate(rows).reshape(-1), decoders)
        batches = []
        for i, part in enumerate(zip(pixels.split(micro_batch), labels.split(micro_batch), drawn, strict=True)):
            images, flips = normalised(part[0]), part[2].flips
            if flips is not None:
                images = flipped(images, flips)
            if not self.mixup:
                batches.append(ImageBatch(images, part[1]))
                continue
            step, micro = divmod(i, plan.accumulation)
            partners, share = draw_mixup(plan.seed, first + step, positions[micro], self.mixup)
            batches.append(ImageBatch(mixed(images, partners, share), part[1], partners, share))
        return batches

    def blocks(self, plan: BatchPlan, first_step: int) -> Iterator[list[list[ImageBatch]]]:
        """Blocks of steps, made ahead of training by a thread of their own."""
        return prefetched(super().blocks(plan, first_step), self.blocks_ahead)

    @staticmethod
    def _positions(plan: BatchPlan, micro: int) -> slice:
        share = plan.batch_size // plan.world_size
        start = plan.rank * share + micro * (share // plan.accumulation)
        return slice(start, start + share // plan.accumulation)

    def _fetch_ahead(self, plan: BatchPlan, first: int, end: int, rows: list[np.ndarray]) -> None:
        """Have the shards of the next window fetched while this one is trained on."""
        train = self.of_split("train")
        if self._decoded or not (isinstance(train, Shards) and train.storage.remote):
            return
        window = self.shard_window * self.train_samples // len(train.lengths)
        ahead = -(-window // plan.batch_size)
        coming = [plan.indices(step + ahead) for step in range(first, end) if step + ahead < plan.steps]
        train.fetch_soon(np.concatenate([*rows, *coming]).reshape(-1))

    def _centre(self) -> Decoder:
        return partial(centre_pixels, resize=self.short_side, size=self.image_size, draft=self.draft)

    def _pixels(self, split: str, numbers: np.ndarray, decoders: list[Decoder] | None = None) -> tuple[Tensor, Tensor]:
        """Pixels uint8 ``[n, 3, S, S]`` and labels int64 ``[n]``."""
        if self._decoded:
            return self._decoded[split].read(numbers)
        if not len(numbers):
            return torch.empty(0, CHANNELS, self.image_size, self.image_size, dtype=torch.uint8), torch.empty(
                0, dtype=torch.int64
            )
        return self.reader.read(self.of_split(split), numbers.tolist(), decoders or [self._centre()] * len(numbers))
