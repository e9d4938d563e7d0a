"""Images of noise with a class each, as small as a network allows: for tests of networks, not of data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from suite.training import Data
from tasks.kinds.images.batch import ImageBatch


class RandomImages(Data):
    """32 images; with ``mixup`` the partners and shares are a function of the sample numbers."""

    def __init__(self, *, classes: int = 7, image_size: int = 16, mixup: bool = True, **settings: Any) -> None:
        super().__init__(**settings)
        self.classes = classes
        self.image_size = image_size
        self.mixup = mixup

    def prepare(self) -> str:
        return f"{self.classes} {self.image_size} {self.mixup}"

    def open(self) -> None:
        rng = np.random.default_rng(0)
        self.train_samples = self.val_samples = 32
        self.pixels = torch.from_numpy(rng.standard_normal((32, 3, self.image_size, self.image_size), dtype=np.float32))
        self.labels = torch.from_numpy(rng.integers(0, self.classes, 32))

    def facts(self) -> dict[str, Any]:
        return {"classes": self.classes, "image_size": self.image_size, "channels": 3}

    def class_counts(self) -> np.ndarray:
        return np.bincount(self.labels, minlength=self.classes)

    def gather(self, split: str, indices: np.ndarray) -> ImageBatch:
        images, labels = self.pixels[indices], self.labels[indices]
        if split == "val" or not self.mixup:
            return ImageBatch(images, labels)
        rng = np.random.default_rng(indices)
        share = torch.tensor(rng.uniform(0.5, 1), dtype=torch.float32)
        partners = torch.from_numpy(rng.permutation(len(indices)))
        return ImageBatch(torch.lerp(images[partners], images, share), labels, partners, share)
