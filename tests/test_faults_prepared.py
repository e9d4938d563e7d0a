"""Disks that run full while data is prepared: one sentence, and with room again the same data is made."""

from __future__ import annotations

import collections
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from full_disks import fill, one_sentence

from suite.training.data import Data
from tasks.kinds import prepared_folder

SETTINGS: dict[str, Any] = {"batch_size": 2, "num_workers": 1}


def write(path: Path, content: str) -> Path:
    """Write a file, once: its time of change is part of what it is known by; returns its folder."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.write_text(content)
    return path.parent


def text(source: Path, data_dir: Path) -> Data:
    from tasks.fineweb.data import FineWeb

    write(source / "a.txt", "a line of text\n" * 3000)
    return FineWeb(source=str(source), data_dir=str(data_dir), tokenizer="byte", seq_len=32, **SETTINGS)


def genome(source: Path, data_dir: Path) -> Data:
    from tasks.hg38.data import HG38

    write(source / "g.fa", ">c\n" + "".join(random.Random(0).choices("ACGT", k=60_000)) + "\n")
    return HG38(source=str(source), data_dir=str(data_dir), seq_len=32, **SETTINGS)


def molecules(source: Path, data_dir: Path, **settings: Any) -> Data:
    pytest.importorskip("rdkit")
    from tasks.zinc.data import Zinc

    write(source / "m.csv", "smiles\n" + "".join("C" * (20 + i % 20) + "O\n" for i in range(100)))
    return Zinc(source=str(source), data_dir=str(data_dir), **settings, **SETTINGS)


def walks(source: Path, data_dir: Path) -> Data:
    return molecules(source, data_dir, rrwp_steps=2)


def images(source: Path, data_dir: Path, **settings: Any) -> Data:
    pytest.importorskip("simplejpeg")
    from image_shards import write_shards

    from tasks.kinds.images.data import ImageData

    if not source.exists():
        write_shards(source)
    return ImageData(source=str(source), data_dir=str(data_dir), image_size=64, **settings, **SETTINGS)


def decoded(source: Path, data_dir: Path) -> Data:
    return images(source, data_dir, cached=True)


class Case(NamedTuple):
    """A kind of data, and the bytes of room at which its preparation stops half-way."""

    make: Callable[[Path, Path], Data]
    room: int


CASES = {
    "text": Case(text, 32_768),
    "text, its validation split": Case(text, 90_112),
    "genome": Case(genome, 32_768),
    "molecules": Case(molecules, 8_192),
    "molecules, their arrays": Case(molecules, 45_056),
    "walks": Case(walks, 200_000),
    "index of shards": Case(images, 0),
    "decoded images": Case(decoded, 120_000),
}


@pytest.fixture
def room_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check before the start pass, as it does where another program fills the disk later."""
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(prepared_folder.shutil, "disk_usage", lambda folder: usage(1 << 40, 0, 1 << 40))


@pytest.mark.parametrize("name", CASES)
def test_full_disk_is_one_sentence(name: str, tmp_path: Path, small_disk: Path, room_at_first: None) -> None:
    make, room = CASES[name]
    source = tmp_path / "source"
    expected = make(source, tmp_path / "whole").ensure_open()
    data_dir = small_disk / "data"
    data_dir.mkdir()
    filler = fill(small_disk, leave=room)
    with pytest.raises(ValueError, match="is full; free some space") as caught:
        make(source, data_dir).ensure_open()
    assert str(data_dir) in one_sentence(caught.value)
    if name != "walks":  # they are made when the graphs are whole
        finished = {path.name for path in (tmp_path / "whole").iterdir()} - {".locks", "shard-indices"}
        assert not finished & {path.name for path in data_dir.iterdir()}
    filler.unlink()
    assert make(source, data_dir).ensure_open() == expected
    make(source, data_dir).ensure_open()
    assert not list(data_dir.rglob("*.partial")) and not list(data_dir.rglob("*.part"))


def test_too_small_a_disk_is_refused_before_the_start(tmp_path: Path, small_disk: Path) -> None:
    for make in (text, genome, walks, decoded):
        source = tmp_path / make.__name__
        with pytest.raises(ValueError, match=r"needs about .* GB at .*, which has 0\.0 GB free") as caught:
            make(source, small_disk).ensure_open()
        assert str(small_disk) in one_sentence(caught.value)


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    expected = images(source, tmp_path / "data").ensure_open()
    index = next((tmp_path / "data" / "shard-indices").glob("*.npz"))
    index.write_bytes(index.read_bytes()[:50])
    assert images(source, tmp_path / "data").ensure_open() == expected
