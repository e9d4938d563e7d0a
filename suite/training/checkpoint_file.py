"""Checkpoint files: they are written atomically, read without executing code, and set aside if they are broken."""

from __future__ import annotations

import contextlib
import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.io import TorchCheckpointIO

from suite.records.files import StoreError, explain, write_atomically
from suite.training.task import Task

PARTS = ("state_dict", "optimizer_states", "loops", "callbacks")
"""Keys that a checkpoint must have so that a run can resume from it."""

_log = logging.getLogger(__name__)


class CheckpointFile(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file, flushes it to disk, and moves it to its path atomically."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            StoreError: the disk is full or the folder cannot be written; the earlier checkpoint is unchanged.
        """
        target = Path(path)
        try:
            write_atomically(target, lambda temporary: _write(checkpoint, temporary))
        except OSError as error:
            raise StoreError(
                f"The checkpoint {target} could not be written ({explain(error)}); make room or give another --store: "
                "the same command goes on from the checkpoint before, if there was one."
            ) from error


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    try:
        with open(path, "wb") as file:
            torch.save(checkpoint, file)
    except RuntimeError as error:  # torch raises it when a write fails
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def resumable(path: Path, module: LightningModule) -> Path | None:
    """Check the checkpoint at ``path``; one that is broken or belongs to another network is renamed.

    Args:
        path: path of the run's checkpoint. The caller must hold the run's lease.
        module: the run's module, with its network built.

    Returns:
        ``path`` if the run can resume from it; otherwise None, after a warning if a checkpoint was renamed.
    """
    for part in path.parent.glob(f".{path.name}.*.part"):  # left by a process that was killed while it wrote
        part.unlink(missing_ok=True)
    if not path.exists():
        return None
    problem = _problem(path, module)
    if problem is None:
        return path
    number = sum(1 for _ in path.parent.glob(f"{path.stem}.set_aside_*"))
    aside = path.with_name(f"{path.stem}.set_aside_{number}{path.suffix}")
    with contextlib.suppress(FileNotFoundError):  # another process of this run has renamed it
        os.replace(path, aside)
    _log.warning("The checkpoint %s %s; it is kept as %s, and the run begins anew.", path, problem, aside.name)
    return None


def _problem(path: Path, module: LightningModule) -> str | None:
    """The reason why a run cannot resume from a checkpoint, in words; None if it can."""
    saved = read_weights(path)
    if isinstance(saved, str):
        return saved
    if any(part not in saved for part in PARTS):
        return "lacks a part of what a run needs to go on"
    return _misfit(saved["state_dict"], module)


def read_weights(path: Path) -> dict[str, Any] | str:
    """The content of a checkpoint, mapped into memory, or the reason why it cannot be read. Executes no code in it."""
    if not path.is_file():
        return "is no regular file"
    try:
        with zipfile.ZipFile(path) as whole:
            damaged = whole.testzip()
        if damaged is not None:
            return f"is damaged (in {damaged})"
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged file can cause many kinds of error
        return f"cannot be read as weights ({type(error).__name__}: {(str(error).splitlines() or [''])[0].rstrip('.')})"
    return saved if isinstance(saved, dict) else "lacks a part of what a run needs to go on"


def _misfit(saved: Any, module: LightningModule) -> str | None:
    expected = module.state_dict()
    if not isinstance(saved, Mapping) or expected.keys() != saved.keys():
        return "is of a network with other parts"
    skip = 0 if isinstance(module, Task) else 1  # a pack's checkpoint may have fewer rows, as runs were dropped
    for name, tensor in expected.items():
        if saved[name].shape[skip:] != tensor.shape[skip:]:
            return f"is of another network ({name}: {list(saved[name].shape)}, not {list(tensor.shape)})"
    return None
