"""Images read by number: shards against webdataset's own reader, class folders, and what can be wrong with them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("simplejpeg")

from image_shards import open_images, photo, samples, write_shards

from tasks.kinds.images.encoded import Encoded
from tasks.kinds.images.shard_writer import write_shard
from tasks.kinds.images.shards import read_info
from tasks.kinds.images.storage import Folder
from tasks.kinds.images.tar_index import index_tar, load_index, save_index


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def test_samples_are_those_that_webdataset_reads(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(folder_member("n01"))
        for number, sample in enumerate(samples(5)):
            # The class first or last, a long name, members that are neither image nor class.
            members = [("jpg", sample.data), ("cls", str(sample.label).encode()), ("json", b"{}")]
            for extension, content in members if number % 2 else reversed(members):
                add(tar, f"n01/{'long' * 40 if number == 3 else ''}{sample.key}.{extension}", content)
    index = index_tar(path)
    expected = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert index.keys.tolist() == [sample["__key__"] for sample in expected]
    assert index.labels.tolist() == [int(sample["cls"]) for sample in expected]
    content = path.read_bytes()
    for offset, size, sample in zip(index.offsets, index.sizes, expected, strict=True):
        assert content[offset : offset + size] == sample["jpg"]
    save_index(index, tmp_path / "index.npz")
    again = load_index(tmp_path / "index.npz")
    assert again is not None and load_index(tmp_path / "none.npz") is None
    assert all(np.array_equal(a, b) for a, b in zip(index, again, strict=True))


def folder_member(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def test_every_sample_of_the_real_slice_is_what_webdataset_reads(shared_data: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    folder = shared_data / "images" / "caltech97_lt_wds"
    data = open_images(folder, tmp_path)
    assert (data.train_samples, data.val_samples, data.facts()["classes"]) == (2058, 485, 97)
    shards = [str(path) for path in sorted(folder.glob("*train*.tar"))]
    expected = webdataset.WebDataset(shards, shardshuffle=False)
    train = data.of_split("train")
    for number, sample in enumerate(expected):
        encoded = train.read(number)
        assert (encoded.data, encoded.label) == (sample["jpg"], int(sample["cls"]))
        assert encoded.key.endswith(f":{sample['__key__']}") and train.key(number) == encoded.key
    assert number == 2057
    counts = json.loads((folder / "_info.json").read_text())["splits"]["train"]["class_counts"]
    assert np.bincount(train.labels()).tolist() == counts


@pytest.mark.parametrize("keep", [0.999, 0.6, 0.37, 0.05])
def test_a_shard_that_ends_early_is_named(tmp_path: Path, keep: float) -> None:
    folder = write_shards(tmp_path / "shards")
    shard = folder / "small-train-0002.tar"
    # Tar files end with zeros: what matters is what comes before them.
    content = shard.read_bytes().rstrip(b"\0")
    shard.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ValueError, match=r"small-train-0002.*(cut off|must hold 6 images)"):
        open_images(folder, tmp_path / "data")


def test_a_file_that_is_no_tar_is_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    (folder / "small-train-0001.tar").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(ValueError, match=r"small-train-0001\.tar must be a whole tar file"):
        open_images(folder, tmp_path / "data")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    (folder / "small-train-0003.tar").unlink()
    with pytest.raises(ValueError, match=r"small-train-0003\.tar is missing"):
        open_images(folder, tmp_path / "data")


def test_a_sample_without_a_class_is_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", (3,), info=False)
    with tarfile.open(folder / "more.tar", "w") as tar:
        add(tar, "lonely.jpg", photo(0))
    with pytest.raises(ValueError, match=r"more\.tar must have its class.*lonely has none"):
        open_images(folder, tmp_path / "data")
    with tarfile.open(folder / "more.tar", "w") as tar:
        add(tar, "lonely.jpg", photo(0))
        add(tar, "lonely.cls", b"dog")
    with pytest.raises(ValueError, match=r"decimal number, got b'dog' in lonely\.cls"):
        open_images(folder, tmp_path / "data")


def test_a_class_out_of_range_is_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    write_shard(folder / "small-train-0003.tar", [*samples(5), Encoded(photo(1), 4, "stray")])
    with pytest.raises(ValueError, match=r"below 4, got 4 for stray in .*small-train-0003"):
        open_images(folder, tmp_path / "data")
    assert open_images(folder, tmp_path / "data", classes=5).facts()["classes"] == 5
    write_shard(folder / "small-train-0003.tar", [*samples(5), Encoded(photo(1), -1, "stray")])
    with pytest.raises(ValueError, match="0 or more and below 5, got -1"):
        open_images(folder, tmp_path / "data", classes=5)


def test_an_empty_or_absent_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"must hold images.*empty holds none"):
        open_images(tmp_path / "empty", tmp_path / "data")
    (tmp_path / "tree" / "cats").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"must hold images.*tree holds none"):
        open_images(tmp_path / "tree", tmp_path / "data")
    with pytest.raises(ValueError, match="there is no folder .*nowhere"):
        open_images(tmp_path / "nowhere", tmp_path / "data")


@pytest.mark.parametrize(
    "info",
    ["{", '{"splits": {}}', '{"splits": {"train": {"filenames": ["a.tar"]}}}', '{"splits": []}',
     '{"splits": {"train": {"filenames": ["a.tar"], "shard_lengths": []}}}'],
)  # fmt: skip
def test_an_info_file_of_another_form_is_refused(tmp_path: Path, info: str) -> None:
    folder = write_shards(tmp_path / "shards")
    (folder / "_info.json").write_text(info)
    with pytest.raises(ValueError, match=r"_info\.json in .* must give splits"):
        open_images(folder, tmp_path / "data")


def test_without_an_info_file_names_tell_the_splits(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", info=False)
    (folder / "small-retrieval-0000.tar").write_bytes((folder / "small-train-0000.tar").read_bytes())
    splits, _ = read_info(Folder(folder))
    assert splits["val"].names == ("small-validation-0000.tar",)
    assert len(splits["train"].names) == 5
    (folder / "small-retrieval-0000.tar").unlink()
    told, seen = open_images(write_shards(tmp_path / "told"), tmp_path), open_images(folder, tmp_path)
    assert (seen.train_samples, seen.val_samples, seen.facts()) == (24, 4, told.facts())
    assert seen.fingerprint == told.fingerprint


def test_the_last_shards_are_held_out_where_there_is_no_validation_split(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", val=())
    data = open_images(folder, tmp_path / "data", val_share=0.4)
    assert (data.of_split("train").lengths, data.of_split("val").lengths) == ((7, 5), (6, 6))
    with pytest.raises(ValueError, match=r"more than the 4 that are held out"):
        open_images(folder, tmp_path / "data", val_share=0.9)


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    first = open_images(folder, tmp_path / "data")
    again = open_images(write_shards(tmp_path / "copy"), tmp_path / "elsewhere", num_workers=1, image_size=8)
    assert again.fingerprint == first.fingerprint
    changed = [s._replace(label=0) if s.key == "photo_0001" else s for s in samples(7)]
    write_shard(folder / "small-train-0000.tar", changed)
    assert open_images(folder, tmp_path / "data").fingerprint != first.fingerprint


def write_tree(folder: Path, per_class: dict[str, int]) -> Path:
    number = 0
    for name, count in per_class.items():
        (folder / name / "inner").mkdir(parents=True)
        for i in range(count):
            (folder / name / ("inner" if i == 0 else "") / f"{i}.JPG").write_bytes(photo(number))
            number += 1
    (folder / "readme.txt").write_text("no class")
    return folder


def test_class_folders_are_labelled_as_torchvision_labels_them(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    root = write_tree(tmp_path / "tree", {"dog": 6, "cat": 9, "eel": 5})
    data = open_images(root, tmp_path / "data")
    assert (data.train_samples, data.val_samples, data.facts()["classes"]) == (18, 2, 3)
    expected = {str(Path(p).relative_to(root)): label for p, label in datasets.ImageFolder(str(root)).samples}
    found = {}
    for split in ("train", "val"):
        images = data.of_split(split)
        found |= {images.key(i): images.read(i).label for i in range(len(images))}
        assert images.labels().tolist() == [images.read(i).label for i in range(len(images))]
    assert found == expected
    assert open_images(root, tmp_path / "b").fingerprint == data.fingerprint
    (root / "cat" / "8.JPG").write_bytes(photo(99, width=60))
    assert open_images(root, tmp_path / "b").fingerprint != data.fingerprint


def test_class_folders_below_splits(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree" / "train", {"cat": 3, "dog": 3, "eel": 3})
    write_tree(tmp_path / "tree" / "val", {"cat": 1, "eel": 2})
    data = open_images(tmp_path / "tree", tmp_path / "data")
    assert (data.train_samples, data.val_samples) == (9, 3)
    assert data.of_split("val").labels().tolist() == [0, 2, 2]
    write_tree(tmp_path / "tree" / "val" / "fox", {"inner": 1})
    with pytest.raises(ValueError, match=r"among those of the training images, got fox"):
        open_images(tmp_path / "tree", tmp_path / "data")


def test_the_real_class_folders_are_read(shared_data: Path, tmp_path: Path) -> None:
    data = open_images(shared_data / "images" / "caltech_original_tree", tmp_path)
    assert data.train_samples + data.val_samples == 45 and data.facts()["classes"] == 15
    batch = data.gather("train", np.arange(data.train_samples))
    assert batch.images.shape == (data.train_samples, 3, 16, 16) and not data.reader.corrupt
