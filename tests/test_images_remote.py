"""Shards behind a URL: fetched when needed or before, bounded in number, named when they cannot be had."""

from __future__ import annotations

import io
import shutil
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("simplejpeg")
pytest.importorskip("fsspec")

from image_shards import open_images, write_shards

from tasks.imagenet1k_lt.data import ImageNet1kLTData
from tasks.imagenet21k.data import ImageNet21kData
from tasks.kinds.images.sources import PaperShards
from tasks.kinds.images.storage import Remote

LENGTHS = (6, 6, 6, 6, 6, 6)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{write_shards(tmp_path / 'far', LENGTHS)}"


def cached_shards(data) -> set[str]:
    return {path.name for path in data.of_split("train").storage.cache.glob("*.tar")}


def all_batches(data) -> list:
    return [micro for block in data.blocks(data.plan(), 0) for step in block for micro in step]


def test_remote_batches_are_local_batches(tmp_path: Path, url: str) -> None:
    local = open_images(tmp_path / "far", tmp_path / "local", shuffle_shards=2)
    remote = open_images(url, tmp_path / "data", shuffle_shards=2)
    assert not cached_shards(remote), "opening must fetch no shard"
    assert (remote.train_samples, remote.val_samples, remote.facts()) == (36, 4, local.facts())
    for a, b in zip(all_batches(local), all_batches(remote), strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
    assert len(cached_shards(remote)) == 6
    shutil.rmtree(tmp_path / "far")
    assert torch.equal(remote.gather("train", np.arange(36)).images, local_again(tmp_path, remote))


def local_again(tmp_path: Path, remote) -> torch.Tensor:
    write_shards(tmp_path / "near", LENGTHS)
    return open_images(tmp_path / "near", tmp_path / "local").gather("train", np.arange(36)).images


def test_the_cache_stays_within_its_bound(tmp_path: Path, url: str) -> None:
    largest = max(path.stat().st_size for path in (tmp_path / "far").glob("*.tar"))
    bound = 4.5 * largest
    data = open_images(url, tmp_path / "data", shuffle_shards=2, cache_gb=bound / 1e9, block_steps=1)
    most = 0
    for _ in data.blocks(data.plan(), 0):
        most = max(most, len(cached_shards(data)))
    assert 2 <= most <= 4
    # What was deleted is fetched again.
    assert data.gather("train", np.arange(36)).labels.tolist() == [i % 4 for i in range(36)]
    assert len(cached_shards(data)) <= 4
    with pytest.raises(ValueError, match=r"data\.cache_gb must hold the shards in use and the next ones"):
        open_images(url, tmp_path / "data", shuffle_shards=2, cache_gb=2.5 * largest / 1e9)


def test_shards_that_come_together_keep_the_bound(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = sorted(path.name for path in (tmp_path / "far").glob("*-train-*.tar"))
    largest = max((tmp_path / "far" / name).stat().st_size for name in names)
    place = Remote(url, tmp_path / "cache", cache_gb=2.5 * largest / 1e9)
    for name in names[:2]:
        place.local(name)
    make_room = Remote._make_room

    def slowly(self: Remote, needed: int) -> None:
        make_room(self, needed)
        time.sleep(0.2)  # time for another to look

    monkeypatch.setattr(Remote, "_make_room", slowly)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(place.local, names[2:4]))
    assert {path.name for path in place.cache.glob("*.tar")} == set(names[2:4])


def test_the_next_window_is_fetched_while_one_is_trained_on(tmp_path: Path, url: str) -> None:
    data = open_images(url, tmp_path / "data", shuffle_shards=2, batch_size=3)
    plan = data.plan()
    shards_of = lambda steps: {  # noqa: E731
        f"small-train-{int(i) // 6:04d}.tar" for step in steps for i in plan.indices(step).flat
    }
    for step in range(4):
        data.gather_steps(plan, step, step + 1)
    first, second, third = (shards_of(range(4 * w, 4 * w + 4)) for w in range(3))
    deadline = time.monotonic() + 10
    while not cached_shards(data) >= first | second and time.monotonic() < deadline:
        time.sleep(0.01)
    assert cached_shards(data) == first | second and not third & cached_shards(data)


def test_several_threads_fetch_a_shard_once(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Remote(url, tmp_path / "cache")
    fetched = []
    original = Remote._fetch
    monkeypatch.setattr(Remote, "_fetch", lambda self, *args: fetched.append(args[0]) or original(self, *args))
    threads = [threading.Thread(target=place.local, args=("small-train-0001.tar",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched == ["small-train-0001.tar"]
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [".locks", "small-train-0001.tar"]


def test_a_shard_that_is_not_there_is_named(tmp_path: Path, url: str) -> None:
    data = open_images(url, tmp_path / "data")
    (tmp_path / "far" / "small-train-0002.tar").unlink()
    with pytest.raises(ValueError, match=r"small-train-0002\.tar is missing"):
        data.gather("train", np.arange(36))


def test_a_failing_place_is_tried_again_and_then_named(tmp_path: Path, url: str) -> None:
    place = Remote(url, tmp_path / "cache", retry_seconds=0.001)
    original, calls = place._files.get_file, []

    def failing(*args) -> None:
        calls.append(args)
        if len(calls) < 3:
            raise ConnectionError("reset by peer")
        original(*args)

    place._files.get_file = failing
    try:
        assert place.local("small-train-0001.tar").stat().st_size and len(calls) == 3
        place._files.get_file = lambda *args: (_ for _ in ()).throw(ConnectionError("reset by peer"))
        with pytest.raises(ValueError, match=r"small-train-0000\.tar must be readable at file:.*reset by peer"):
            place.local("small-train-0000.tar")
    finally:
        del place._files.get_file
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_place_without_shards_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere must be a folder with every shard.*it is missing"):
        open_images(f"file://{tmp_path}/nowhere", tmp_path / "data")


def add_a_class_without_an_image(shard: Path, key: str) -> None:
    with tarfile.open(shard, "a") as tar:
        member = tarfile.TarInfo(f"{key}.cls")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"2"))


def test_remote_subfolders_are_read_and_what_is_left_out_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    far = tmp_path / "far"
    for part in ("one", "two"):
        write_shards(far / part, (3, 4), val=(), info=False)
    add_a_class_without_an_image(far / "two" / "small-train-0001.tar", "photo_gone")
    (far / "one" / "notes.doc").write_text("unread")
    (far / ".cache").mkdir()
    (far / ".cache" / "old.tar").write_text("hidden")
    local = open_images(far, tmp_path / "local")
    (said_locally,) = caplog.messages[-1:]
    remote = open_images(f"file://{far}", tmp_path / "data")
    (said,) = caplog.messages[-1:]
    assert remote.of_split("train").names == local.of_split("train").names
    assert remote.of_split("val").names == ("two/small-train-0001.tar",)
    for a, b in zip(all_batches(local), all_batches(remote), strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
    left_out = (
        "1 of a kind that is not read (one/notes.doc); 1 classes without an image (two/small-train-0001.tar:photo_gone)"
    )
    assert left_out in said_locally and left_out in said and "1 hidden (.cache/old.tar)" in said
    for number in range(6):
        (far / "one" / f"more-{number}.doc").write_text("unread")
    with pytest.raises(ValueError, match=r"At most 5 of the 22 images of file:.* may be left out, but 8 would be"):
        open_images(f"file://{far}", tmp_path / "data")


def test_a_remote_shard_that_is_indexed_late_names_its_classes_without_an_image(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    add_a_class_without_an_image(tmp_path / "far" / "small-train-0003.tar", "photo_gone")
    data = open_images(url, tmp_path / "data")
    assert not caplog.messages
    data.gather("train", np.arange(36))
    (said,) = (message for message in caplog.messages if "left out" in message)
    assert "small-train-0003.tar 6 images are used; left out are 1 classes without an image (photo_gone)" in said


def test_the_cache_bounds_shards_of_subfolders_and_of_any_name(tmp_path: Path) -> None:
    write_shards(tmp_path / "far" / "sub", (6, 6, 6), val=(), info=False)
    for number, name in enumerate(("a.TAR", "b.tar", "c.shard")):
        (tmp_path / "far" / "sub" / f"small-train-000{number}.tar").rename(tmp_path / "far" / "sub" / name)
    largest = max(path.stat().st_size for path in (tmp_path / "far" / "sub").iterdir())
    place = Remote(f"file://{tmp_path / 'far'}", tmp_path / "cache", cache_gb=2.5 * largest / 1e9)
    for name in ("sub/a.TAR", "sub/b.tar", "sub/c.shard"):
        place.local(name)
    assert sorted(path.name for path in (tmp_path / "cache" / "sub").glob("*.*") if path.is_file()) == [
        "b.tar",
        "c.shard",
    ]


def test_the_papers_datasets_are_read_through_the_same_code(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "far", LENGTHS, val=())
    paper = ImageNet21kData.paper
    assert paper is not None and (paper.classes, paper.held_out) == (19_167, 5)
    monkeypatch.setattr(ImageNet21kData, "paper", PaperShards(url, paper.classes, paper.held_out))
    data = ImageNet21kData(source="paper", batch_size=2, image_size=16, data_dir=str(tmp_path / "data"))
    data.ensure_open()
    assert (data.train_samples, data.val_samples, data.facts()["classes"]) == (6, 30, 19_167)
    assert not cached_shards(data)
    assert len(all_batches(data)) == 3


def test_the_heavy_tail_of_remote_shards_is_fetched_once(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageNet1kLTData, "paper", PaperShards(url, 4))
    largest = max(path.stat().st_size for path in (tmp_path / "far").glob("*.tar"))
    settings = {"source": "paper", "batch_size": 2, "image_size": 16, "data_dir": str(tmp_path / "data"), "mixup": 0}
    # The cache holds two shards at a time: most chosen images are fetched alone.
    tail = ImageNet1kLTData(cache_gb=2.2 * largest / 1e9, **settings)
    tail.ensure_open()
    assert np.bincount(tail.of_split("train").labels()).tolist() == [9, 5, 3, 3]
    local = open_images(tmp_path / "far", tmp_path / "local", heavy_tail=True)
    for number in range(20):
        assert tail.of_split("train").read(number)[:2] == local.of_split("train").read(number)[:2]
        assert tail.of_split("train").key(number).split(":")[1] == local.of_split("train").key(number).split(":")[1]
    monkeypatch.setattr(Remote, "_fetch", None)
    monkeypatch.setattr("tasks.kinds.images.heavy_tail._samples", None)
    again = ImageNet1kLTData(**settings)
    assert again.ensure_open() == tail.fingerprint
