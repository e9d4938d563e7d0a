"""Images in one folder per class, as torchvision's ``ImageFolder`` reads them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tasks.kinds.images.encoded import Encoded, Images, digest
from tasks.kinds.images.shards import VALIDATION
from tasks.kinds.images.tar_index import IMAGE_EXTENSIONS


class Tree(Images):
    """Images below class folders.

    Args:
        root: folder that holds the class folders.
        classes: names of the folders, in the order of their labels; None: those that are there, sorted.

    Raises:
        ValueError: there is no image, or a folder that is no known class.
    """

    def __init__(self, root: Path, classes: list[str] | None = None) -> None:
        self.root = root
        folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        self.classes = folders if classes is None else classes
        labels = {name: label for label, name in enumerate(self.classes)}
        unknown = [name for name in folders if name not in labels]
        if unknown:
            raise ValueError(
                f"The class folders in {root} must be among those of the training images, got {unknown[0]}; rename "
                "or remove it."
            )
        files = [(path, labels[name]) for name in folders for path in _image_files(root / name)]
        if not files:
            raise ValueError(
                f"data.source must hold images (webdataset shards *.tar, or one folder per class), but {root} holds "
                "none; set it to another folder."
            )
        self.files = [path for path, _ in files]
        self._labels = np.array([label for _, label in files], dtype=np.int64)
        self.lengths = (len(files),)

    def read(self, number: int) -> Encoded:
        """One image."""
        return Encoded((self.root / self.files[number]).read_bytes(), int(self._labels[number]), self.key(number))

    def key(self, number: int) -> str:
        """Path of an image below the root."""
        return self.files[number]

    def labels(self) -> np.ndarray:
        """All classes, int64 ``[samples]``."""
        return self._labels

    def identity(self) -> list[str]:
        """Class folders, and a checksum over files' names and sizes."""
        sizes = np.array([os.stat(self.root / file).st_size for file in self.files])
        return [*self.classes, digest(self.files, sizes)]


def tree_splits(root: Path) -> dict[str, Tree]:
    """``train`` and ``val`` below ``root`` where it has such folders; else all of it as ``train``.

    Raises:
        ValueError: there is no image.
    """
    if not (root / "train").is_dir():
        return {"train": Tree(root)}
    train = Tree(root / "train")
    held_out = next((root / name for name in VALIDATION if (root / name).is_dir()), None)
    return {"train": train} | ({} if held_out is None else {"val": Tree(held_out, train.classes)})


def _image_files(folder: Path) -> list[str]:
    return sorted(
        str(Path(folder.name, file.relative_to(folder)))
        for file in folder.rglob("*")
        if file.suffix.lower().removeprefix(".") in IMAGE_EXTENSIONS
    )
