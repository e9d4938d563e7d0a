"""Batches of images: cached or streamed, corrupt files, heavy tails, the sample, and what is made ahead."""

from __future__ import annotations

import math
import pickle
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("simplejpeg")

from image_shards import open_images, samples, write_shards

from tasks.imagenet1k_lt.data import ImageNet1kLTData
from tasks.imagenet21k.data import ImageNet21kData
from tasks.kinds.images import decoded
from tasks.kinds.images.heavy_tail import heavy_tailed
from tasks.kinds.images.prefetch import prefetched
from tasks.kinds.images.shard_writer import write_shard


def same(a, b) -> bool:
    return all(x is y is None or torch.equal(x, y) for x, y in zip(a, b, strict=True))


def batches(data) -> list:
    return [micro for block in data.blocks(data.plan(), 0) for step in block for micro in step]


def test_cached_pixels_are_streamed_pixels(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    settings = {"flip": True, "mixup": 0.2, "micro_batch": 2}
    streamed = open_images(folder, tmp_path / "data", **settings)
    cached = open_images(folder, tmp_path / "data", cached=True, **settings)
    assert cached.fingerprint == streamed.fingerprint and cached.facts() == streamed.facts()
    assert all(same(a, b) for a, b in zip(batches(cached), batches(streamed), strict=True))
    assert same(cached.gather("val", np.arange(4)), streamed.gather("val", np.arange(4)))
    cached.verify()
    assert streamed.gather("val", np.arange(0)).images.shape == (0, 3, 16, 16)


def test_decoding_goes_on_after_a_kill_and_happens_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_shards(tmp_path / "shards")
    expected = open_images(folder, tmp_path / "whole", cached=True)
    monkeypatch.setattr(decoded, "CHUNK_IMAGES", 5)
    read, calls = decoded.Reader.read, []

    def killed(self, images, numbers, decoders):
        calls.append(numbers)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return read(self, images, numbers, decoders)

    monkeypatch.setattr(decoded.Reader, "read", killed)
    with pytest.raises(KeyboardInterrupt):
        open_images(folder, tmp_path / "data", cached=True)
    data = open_images(folder, tmp_path / "data", cached=True)
    assert [numbers.start for numbers in calls[4:]] == [15, 20, 0]
    assert same(data.gather("train", np.arange(24)), expected.gather("train", np.arange(24)))
    monkeypatch.setattr(decoded.Reader, "read", None)
    data = open_images(folder, tmp_path / "data", cached=True)
    assert data._decoded_folder is not None
    pixels = data._decoded_folder / "train-pixels.npy"
    pixels.write_bytes(pixels.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"train-pixels\.npy must have the checksum"):
        data.verify()
    pixels.write_bytes(b"short")
    with pytest.raises(ValueError, match=r"must hold decoded images, but it is damaged.*train-pixels"):
        open_images(folder, tmp_path / "data", cached=True)


def with_corrupt(folder: Path, numbers: tuple[int, ...]) -> Path:
    write_shards(folder)
    broken = [s._replace(data=s.data[:200]) if i in numbers else s for i, s in enumerate(samples(7))]
    write_shard(folder / "small-train-0000.tar", broken)
    return folder


@pytest.mark.parametrize("cached", [False, True])
def test_corrupt_images_are_named_and_replaced_by_the_next(
    tmp_path: Path, cached: bool, caplog: pytest.LogCaptureFixture
) -> None:
    data = open_images(with_corrupt(tmp_path / "shards", (2, 3)), tmp_path / "data", cached=cached, num_workers=3)
    batch = data.gather("train", np.arange(24))
    for number, taken in ((2, 4), (3, 4), (4, 4)):
        assert torch.equal(batch.images[number], data.gather("train", np.array([taken])).images[0])
        assert batch.labels[number] == taken % 4
    data.gather("train", np.arange(24))
    names = {f"small-train-0000.tar:photo_000{i}" for i in (2, 3)}
    assert set(data.reader.corrupt) == names
    assert sum(name in caplog.text for name in names) == 2


@pytest.mark.parametrize("cached", [False, True])
def test_too_many_corrupt_images_are_an_error(tmp_path: Path, cached: bool) -> None:
    folder = with_corrupt(tmp_path / "shards", (1, 2, 5))
    with pytest.raises(ValueError, match=r"At most 2 images may be impossible to decode, got 3 \(.*photo_0001"):
        open_images(folder, tmp_path / "data", cached=cached, max_corrupt=2).gather("train", np.arange(24))
    open_images(folder, tmp_path / "data", cached=cached, max_corrupt=3).gather("train", np.arange(24))
    if cached:  # found by an earlier preparation
        with pytest.raises(ValueError, match="At most 2 images"):
            open_images(folder, tmp_path / "data", cached=True, max_corrupt=2)


def test_an_error_ahead_of_training_is_raised(tmp_path: Path) -> None:
    data = open_images(with_corrupt(tmp_path / "shards", (1,)), tmp_path / "data", max_corrupt=0)
    with pytest.raises(ValueError, match="At most 0 images"):
        batches(data)


def test_nothing_but_corrupt_images_is_an_error(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", (3,))
    write_shard(folder / "small-train-0000.tar", [s._replace(data=b"none") for s in samples(3)])
    with pytest.raises(ValueError, match="At least one image"):
        open_images(folder, tmp_path / "data", batch_size=1).gather("train", np.arange(1))


def imagenet_like() -> np.ndarray:
    """Labels of 1,000 classes: most have 1,300 images, none under 732, as in ImageNet-1k; in mixed order."""
    rng = np.random.default_rng(0)
    counts = np.full(1000, 1300)
    counts[rng.choice(1000, 105, replace=False)] = rng.integers(732, 1300, 105)
    return rng.permutation(np.repeat(np.arange(1000), counts))


def test_the_heavy_tail_of_imagenet_has_10217_images() -> None:
    labels = imagenet_like()
    chosen = heavy_tailed(labels)
    assert len(chosen) == 10_217 and len(set(chosen.tolist())) == 10_217
    assert np.array_equal(chosen, heavy_tailed(labels)) and np.all(np.diff(chosen) > 0)
    counts, kept = np.bincount(labels), np.bincount(labels[chosen], minlength=1000)
    ranked = sorted(range(1000), key=lambda label: (-counts[label], label))
    assert [kept[label] for label in ranked] == [math.ceil(1300 / rank) for rank in range(1, 1001)]


def test_classes_too_small_for_the_tail_are_kept_whole() -> None:
    labels = np.repeat([0, 1, 3], [10, 6, 2])
    assert np.bincount(labels[heavy_tailed(labels)]).tolist() == [10, 5, 0, 2]
    assert np.bincount(labels[heavy_tailed(labels, head_images=100)]).tolist() == [10, 6, 0, 2]
    assert np.bincount(labels[heavy_tailed(labels, head_images=4)]).tolist() == [4, 2, 0, 2]


def test_the_sample_is_real_digits_and_has_a_tail(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    settings = {"source": "sample", "data_dir": str(tmp_path), "batch_size": 8, "image_size": 8, "resize": 8}
    whole = ImageNet21kData(**settings)
    whole.ensure_open()
    assert (whole.train_samples, whole.val_samples) == (1500, 297)
    assert whole.facts() == {"classes": 10, "image_size": 8, "channels": 3}
    from sklearn.datasets import load_digits

    digits = load_digits()
    train = whole.of_split("train")
    for number in (0, 700, 1499):
        original = int(train.key(number).rpartition("_")[2])
        batch = whole.gather("train", np.array([number]))
        assert batch.labels.item() == digits.target[original]
        expected = torch.from_numpy(digits.images[original]) / 8 - 1
        assert torch.allclose(batch.images[0].double(), expected.expand(3, 8, 8), atol=0.005)
    tail = ImageNet1kLTData(**settings)
    tail.ensure_open()
    counts = np.sort(np.bincount(tail.of_split("train").labels()))[::-1]
    assert counts.tolist() == [math.ceil(counts[0] / rank) for rank in range(1, 11)]
    assert tail.val_samples == 297 and tail.fingerprint != whole.fingerprint


def test_a_linear_classifier_learns_the_sample(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data = open_images("sample", tmp_path, image_size=8, resize=8, cached=True, batch_size=50, budget_epochs=4)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for batch in batches(data):
        loss = torch.nn.functional.cross_entropy(network(batch.images), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    val = data.gather("val", np.arange(data.val_samples))
    assert (network(val.images).argmax(1) == val.labels).float().mean() > 0.8


def test_batches_without_mixup_have_no_partners(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    plain = batches(open_images(folder, tmp_path / "data"))
    assert all(batch.partners is None and batch.share is None for batch in plain)
    mixed = batches(open_images(folder, tmp_path / "data", mixup=0.2, micro_batch=2))
    assert len(mixed) == 12 and all(len(batch.partners) == 2 for batch in mixed)
    first = mixed[0]
    own = plain[0].images[:2]
    assert torch.allclose(first.images, first.share * own + (1 - first.share) * own[first.partners], atol=1e-6)
    again = pickle.loads(pickle.dumps(first))
    assert same(again, first)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cached": True, "random_crop": True}, r"data\.cached keeps the centre"),
        ({"resize": 15}, r"data\.resize must be at least 16, got 15"),
        ({"mixup": -0.1}, r"data\.mixup must be at least 0"),
        ({"val_share": 1.0}, r"data\.val_share must be above 0 and below 1"),
        ({"shuffle_shards": 0}, r"data\.shuffle_shards must be at least 1"),
        ({"cache_gb": 0.0}, r"data\.cache_gb must be above 0"),
        ({"source": "paper"}, r"data\.source paper is not known"),
        ({"classes": 0}, r"data\.classes must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    source = settings.pop("source", tmp_path)
    with pytest.raises(ValueError, match=message):
        open_images(source, tmp_path / "data", **settings)


def test_data_can_be_pickled_after_use(tmp_path: Path) -> None:
    data = open_images(write_shards(tmp_path / "shards"), tmp_path / "data")
    before = data.gather("train", np.arange(5))
    again = pickle.loads(pickle.dumps(data))
    assert same(again.gather("train", np.arange(5)), before)


def test_items_come_in_order_and_a_few_ahead() -> None:
    made = []

    def source():
        for i in range(20):
            made.append(i)
            yield i

    items = prefetched(source(), 2)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2]
    assert list(items) == list(range(1, 20))


def test_an_error_comes_in_its_place_and_a_closed_iterator_leaves_no_thread() -> None:
    def failing():
        yield 1
        raise ValueError("second")

    items = prefetched(failing(), 3)
    assert next(items) == 1
    with pytest.raises(ValueError, match="second"):
        next(items)
    before = threading.active_count()
    endless = prefetched(iter(int, 1), 2)
    next(endless)
    assert threading.active_count() == before + 1
    endless.close()
    assert threading.active_count() == before


def test_the_real_slice_is_decoded_without_loss(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "images" / "caltech97_lt_wds"
    settings = {"image_size": 32, "batch_size": 64, "mixup": 0.2}
    cached = open_images(source, tmp_path, cached=True, **settings)
    streamed = open_images(source, tmp_path, **settings)
    assert not cached.reader.corrupt
    rows = np.random.default_rng(0).integers(0, 2058, 40)
    assert same(cached.gather("train", rows), streamed.gather("train", rows))
    tail = heavy_tailed(cached.of_split("train").labels())
    # The slice is a tail of 400 / k itself: hardly anything is left out.
    assert 2000 < len(tail) <= 2058
