"""Images in one folder per class, as torchvision's ``ImageFolder`` reads them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tasks.kinds.images.encoded import Encoded, Images, digest
from tasks.kinds.images.shards import VALIDATION
from tasks.kinds.images.tar_index import IMAGE_EXTENSIONS
from tasks.kinds.left_out import LeftOut
from tasks.kinds.local_files import is_hidden, note_unread, readable, walk

TRAINING = ("train", "training")


class Tree(Images):
    """Images below class folders.

    A class is a folder with a file of an image's name in it, whether that can be decoded or not; hidden folders and
    empty ones are none.

    Args:
        root: folder that holds the class folders.
        classes: names of the folders, in the order of their labels; None: those that are there, sorted.
        left_out: takes what is not read.

    Raises:
        ValueError: there is no image, a folder that is no known class, or one with nothing but files of other kinds.
    """

    def __init__(self, root: Path, left_out: LeftOut, classes: list[str] | None = None) -> None:
        self.root = root
        files = _files_by_class(root, left_out)
        self.classes = list(files) if classes is None else classes
        labels = {name: label for label, name in enumerate(self.classes)}
        unknown = [name for name in files if name not in labels]
        if unknown:
            raise ValueError(
                f"The class folders in {root} must be among those of the training images, got {unknown[0]}; rename "
                "or remove it."
            )
        if not files:
            raise ValueError(
                f"data.source must hold images (webdataset shards *.tar, or one folder per class), but {root} holds "
                "none; set it to another folder."
            )
        self.files = [path for of_class in files.values() for path in of_class]
        self._labels = np.repeat([labels[name] for name in files], [len(of_class) for of_class in files.values()])
        self.lengths = (len(self.files),)

    def read(self, number: int) -> Encoded:
        """One image."""
        path = self.root / self.files[number]
        with readable(path):
            return Encoded(path.read_bytes(), int(self._labels[number]), self.key(number))

    def key(self, number: int) -> str:
        """Path of an image below the root."""
        return self.files[number]

    def labels(self) -> np.ndarray:
        """All classes, int64 ``[samples]``."""
        return self._labels

    def identity(self) -> list[str]:
        """Class folders, and a checksum over files' names and sizes."""
        with readable(self.root):
            sizes = np.array([os.stat(self.root / file).st_size for file in self.files])
        return [*self.classes, digest(self.files, sizes)]


def tree_splits(root: Path, left_out: LeftOut) -> dict[str, Tree]:
    """``train`` and ``val`` below ``root`` where it has such folders; else all of it as ``train``.

    Args:
        root: holds the folders of the splits or of the classes.
        left_out: takes what is not read.

    Raises:
        ValueError: there is no image.
    """
    with readable(root):
        entries = {entry.name.lower(): Path(entry.path) for entry in os.scandir(root) if not is_hidden(entry.name)}
    folders = {name: path for name, path in entries.items() if path.is_dir()}
    training = next((folders[name] for name in TRAINING if name in folders), None)
    if training is None or not any(path.is_dir() for path in training.iterdir()):  # a class may be called train
        return {"train": Tree(root, left_out)}
    held_out = next((folders[name] for name in VALIDATION if name in folders), None)
    left_out.add(
        "beside the splits", sorted({p.name for p in entries.values() if p not in (training, held_out)}), lost=False
    )
    train = Tree(training, left_out)
    return {"train": train} | ({} if held_out is None else {"val": Tree(held_out, left_out, train.classes)})


def is_image(name: str) -> bool:
    """Whether a file of this name is read as an image."""
    return name.lower().rpartition(".")[2] in IMAGE_EXTENSIONS


def _files_by_class(root: Path, left_out: LeftOut) -> dict[str, list[str]]:
    """Paths of images below the root, by class folder, both sorted.

    Raises:
        ValueError: a folder holds nothing but files that are not read.
    """
    walked = walk(root)
    files: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for path in walked.files:
        name, slash, _ = path.partition("/")
        of_kind = files if slash and is_image(path) else others
        of_kind.setdefault(name if slash else "", []).append(path)
    for name, paths in others.items():
        if name and name not in files:
            raise ValueError(
                f"Every class folder must hold images ({', '.join(sorted(IMAGE_EXTENSIONS))}), but {root / name} holds "
                f"{len(paths)} other files, such as {paths[0]}; convert them or take the folder away."
            )
    unread = [path for paths in others.values() for path in paths]
    loose = [path for path in unread if is_image(path)]
    left_out.add("beside the class folders", loose)
    note_unread(left_out, walked._replace(files=sorted(set(unread) - set(loose))), lambda path: False)
    folders = {name for name in os.listdir(root) if os.path.isdir(root / name) and not is_hidden(name)}
    links = sorted(name for name in folders - set(files) if os.path.islink(root / name) and os.listdir(root / name))
    if links:
        raise ValueError(
            f"Every class must have a folder of its own, but {root / links[0]} is a link to one that is read already; "
            "remove it, or copy what it leads to."
        )
    left_out.add("empty", sorted(folders - set(files)), lost=False)
    return {name: files[name] for name in sorted(files)}
