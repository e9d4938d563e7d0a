"""Checkpoints on full disks, and checkpoints that are not what they should be: the run ends with the same losses."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from full_disks import fill, one_sentence
from lightning.pytorch import Callback
from small_runs import ADAM, losses, make_data, train

from suite.records import Store, StoreError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> list[float]:
    store = Store(tmp_path_factory.mktemp("whole"))
    return losses(store, train(store, make_data(data_dir, block_steps=5), ADAM))


class At(Callback):
    """Does something after a number of blocks, before the checkpoint is written."""

    def __init__(self, blocks: int, deed: Callable[[], Any]) -> None:
        self.blocks = blocks
        self.deed = deed

    def on_train_batch_end(self, *rest: Any) -> None:
        self.blocks -= 1
        if self.blocks == 0:
            self.deed()


def interrupt() -> None:
    raise KeyboardInterrupt


def go_on(store: Store, data_dir: Path, *disturbed: Callback) -> list[float]:
    data = make_data(data_dir, block_steps=5)
    return losses(store, train(store, data, ADAM, trainer={"callbacks": list(disturbed)}, checkpoint_seconds=0))


def interrupted(store: Store, data_dir: Path) -> Path:
    """The checkpoint of a run that was interrupted."""
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        go_on(store, data_dir, At(3, interrupt))
    (checkpoint,) = store.path.glob("runs/*/*/checkpoint.ckpt")
    return checkpoint


def test_full_disk_keeps_the_checkpoint_before(small_disk: Path, data_dir: Path, undisturbed: list[float]) -> None:
    store = Store(small_disk)
    checkpoint = interrupted(store, data_dir)
    before = checkpoint.read_bytes()
    with pytest.raises(StoreError, match="the disk is full") as caught:
        go_on(store, data_dir, At(1, lambda: fill(small_disk, leave=len(before) // 2)))
    assert str(checkpoint) in one_sentence(caught.value)
    assert checkpoint.read_bytes() == before and not list(small_disk.rglob("*.part"))
    assert [record["status"] for record in store.records()] == ["failed"]
    (small_disk / "filler").unlink()
    assert go_on(store, data_dir) == undisturbed and not checkpoint.exists()


class Hostile:
    """Runs code when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path: Path) -> None:
    with zipfile.ZipFile(path) as saved:
        largest = max(saved.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(path.read_bytes())
    content[largest.header_offset + largest.file_size // 2] ^= 1
    path.write_bytes(content)


def other_network(path: Path) -> None:
    saved = torch.load(path, weights_only=True)
    saved["state_dict"] = {name: tensor[..., :1] for name, tensor in saved["state_dict"].items()}
    torch.save(saved, path)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "cut": (cut, "cannot be read"),
    "one bit": (flipped, "is damaged"),
    "text": (lambda path: path.write_text("mine"), "cannot be read"),
    "a tensor": (lambda path: torch.save(torch.zeros(2), path), "lacks a part"),
    "another network": (other_network, "is of another network"),
    "hostile": (lambda path: torch.save({"state_dict": Hostile(path.with_name("trace"))}, path), "cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_checkpoints_are_set_aside(
    name: str, tmp_path: Path, data_dir: Path, undisturbed: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    damage, said = BROKEN[name]
    store = Store(tmp_path)
    checkpoint = interrupted(store, data_dir)
    damage(checkpoint)
    broken = checkpoint.read_bytes()
    left = checkpoint.with_name(f".{checkpoint.name}.0123abcd.part")
    left.touch()
    assert go_on(store, data_dir) == undisturbed
    (sentence,) = [record.getMessage() for record in caplog.records if "checkpoint" in record.getMessage()]
    assert str(checkpoint) in sentence and said in sentence and "\n" not in sentence
    aside = checkpoint.with_name("checkpoint.set_aside_0.ckpt")
    assert aside.read_bytes() == broken and aside.name in sentence
    assert not left.exists() and not checkpoint.with_name("trace").exists()
    assert str(aside) in dict(store.foreign_files())
