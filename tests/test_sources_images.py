"""Odd folders and shards of images: the same classes whatever lies beside them, or one sentence."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("simplejpeg")

from full_disks import one_sentence
from image_shards import open_images, photo, samples, write_shards
from PIL import Image

from suite.training.opening import identity_of
from tasks.imagenet21k.data import ImageNet21kData
from tasks.kinds.images import decode
from tasks.kinds.images.augment import draw_mixup
from tasks.kinds.images.decode import Undecodable, centre_pixels
from tasks.kinds.images.shard_writer import write_info, write_shard
from tasks.kinds.images.tar_index import index_tar


def write_classes(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / name / f"{number}.jpg").write_bytes(photo(len(name) * 100 + number))
    return root


def refusal(source: Path, **settings: Any) -> str:
    with pytest.raises(ValueError) as caught:
        open_images(source, source.parent / "data", **settings)
    return one_sentence(caught.value)


def add(tar: tarfile.TarFile, name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = (len(content), kind, "")
    if kind != tarfile.REGTYPE:
        member.size, member.linkname = 0, "a.jpg"
    tar.addfile(member, io.BytesIO(content))


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            add(tar, name, content)
    return path


# Class folders.


@pytest.mark.parametrize("extra", [".ipynb_checkpoints", "__MACOSX", "aardvark", ".hidden/inner", "aardvark/inner"])
def test_hidden_and_empty_folders_are_no_classes(tmp_path: Path, extra: str, caplog: pytest.LogCaptureFixture) -> None:
    root = write_classes(tmp_path / "tree", {"cat": 10, "dog": 10})
    expected = open_images(root, tmp_path / "data")
    (root / extra).mkdir(parents=True)
    if extra.startswith((".", "_")):
        (root / extra / "0.jpg").write_bytes(photo(1))
    (root / "cat" / "._0.jpg").write_bytes(b"\0\5\x16\7")  # what macOS puts beside a file
    (root / "dog" / ".ipynb_checkpoints").mkdir()
    (root / "dog" / ".ipynb_checkpoints" / "0.jpg").write_bytes(photo(2))
    caplog.clear()
    data = open_images(root, tmp_path / "data")
    assert data.facts()["classes"] == 2 and data.fingerprint == expected.fingerprint
    assert data.of_split("train").labels().tolist() == expected.of_split("train").labels().tolist()
    (said,) = caplog.messages
    assert "Of " in said and extra.partition("/")[0] in said and "20 images are used" in said


def test_every_folder_with_images_is_a_class_whether_they_can_be_decoded_or_not(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "tree", {"bad": 1, "cat": 10, "dog": 10})
    (root / "bad" / "0.jpg").write_bytes(b"\xff\xd8 no image")
    data = open_images(root, tmp_path / "data")
    labels = {
        data.of_split(s).key(i): int(k) for s in ("train", "val") for i, k in enumerate(data.of_split(s).labels())
    }
    assert labels["bad/0.jpg"] == 0 and labels["cat/3.jpg"] == 1 and labels["dog/3.jpg"] == 2


def test_folder_of_other_files_is_refused_not_dropped(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "tree", {"cat": 10, "dog": 10, "eel": 0})
    (root / "eel" / "0.gif").write_bytes(photo(1, format="GIF"))
    assert "eel holds 1 other files, such as eel/0.gif" in refusal(root)
    (root / "eel" / "1.TIFF").write_bytes(photo(1, format="TIFF"))
    assert open_images(root, tmp_path / "data").facts()["classes"] == 3


def test_files_that_are_not_read_are_named_and_limited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_classes(tmp_path / "tree", {"cat": 10, "dog": 10})
    (root / "README.md").write_text("about")
    (root / "loose.jpg").write_bytes(photo(1))
    for number in range(3):
        (root / "cat" / f"{number}.gif").write_bytes(photo(1, format="GIF"))
    os.mkfifo(root / "dog" / "pipe.jpg")
    open_images(root, tmp_path / "data")
    assert "1 beside the class folders (loose.jpg)" in caplog.text and "1 about the data (README.md)" in caplog.text
    assert (
        "3 of a kind that is not read (cat/0.gif" in caplog.text
        and "neither file nor folder (dog/pipe.jpg)" in caplog.text
    )
    (root / "cat" / "3.gif").write_bytes(b"")
    assert "At most 5 of the 26 images" in refusal(root)


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "tree" / "unpacked", {"cat": 10, "dog": 10}).parent
    assert "has unpacked alone; point it one folder deeper" in refusal(root)
    assert open_images(root, tmp_path / "data", classes=1).facts()["classes"] == 1


def test_splits_in_any_case_and_a_class_called_train(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split in ("Training", "Test", "extra"):
        write_classes(tmp_path / "tree" / split, {"cat": 4, "dog": 4})
    data = open_images(tmp_path / "tree", tmp_path / "data")
    assert (data.train_samples, data.val_samples, data.facts()["classes"]) == (8, 8, 2)
    assert "beside the splits (extra)" in caplog.text
    data = open_images(write_classes(tmp_path / "vehicles", {"car": 5, "train": 5}), tmp_path / "data")
    assert data.facts()["classes"] == 2


def test_linked_folders_are_read(tmp_path: Path) -> None:
    write_classes(tmp_path / "elsewhere", {"cat": 10, "inner": 5})
    root = write_classes(tmp_path / "tree", {"dog": 10})
    os.symlink(tmp_path / "elsewhere" / "cat", root / "cat")
    os.symlink(tmp_path / "elsewhere" / "inner", root / "dog" / "inner")
    data = open_images(root, tmp_path / "data")
    assert data.train_samples + data.val_samples == 25 and data.facts()["classes"] == 2
    (tmp_path / "nothing").mkdir()
    os.symlink(tmp_path / "nothing", root / "none")
    assert open_images(root, tmp_path / "data").facts()["classes"] == 2
    os.symlink(root / "dog", root / "hound")
    with pytest.raises(ValueError, match="hound is a link to one that is read already"):
        open_images(root, tmp_path / "data")


def test_an_image_that_went_away_is_one_sentence(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "tree", {"cat": 10, "dog": 10})
    data = open_images(root, tmp_path / "data")
    for path in root.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(ValueError, match="must be readable, but it is not"):
        data.gather("train", np.arange(3))


# Shards.


@pytest.mark.parametrize(
    "names", [("a.jpg", "a.cls"), ("a.jpg", "a.png"), ("x/a.jpg", "x/a.jpeg"), ("a.jpg", "a.jpg"), ("a.jpg", "./a.jpg")]
)
def test_name_that_is_there_twice_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    content = {"cls": b"0"}
    stem = names[0].rpartition(".")[0]
    members = [(names[0], photo(1)), (f"{stem}.cls", b"1"), (names[1], content.get(names[1][-3:], photo(2)))]
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(ValueError, match=rf"under a name of its own, but {names[1]} is there twice"):
        index_tar(path)


def test_names_may_hold_dots(tmp_path: Path) -> None:
    keys = ["img.v1.0001", "img.v1.0002", "./plain", "v1.0/n01.5"]
    members = [m for i, key in enumerate(keys) for m in ((f"{key}.jpg", photo(i)), (f"{key}.cls", str(i).encode()))]
    members += [("img.v1.0001.mask.png", b"mask"), ("plain.json", b"{}"), ("./plain.seg.png", b"mask")]
    index = index_tar(write_tar(tmp_path / "a.tar", members))
    assert index.keys.tolist() == keys and index.labels.tolist() == [0, 1, 2, 3]
    write_tar(tmp_path / "a.tar", [*members, ("img.v1.0003.jpg", photo(9))])
    with pytest.raises(ValueError, match=r"img\.v1\.0003 has none"):
        index_tar(tmp_path / "a.tar")


def test_hidden_members_are_passed_over_and_links_refused(tmp_path: Path) -> None:
    members = [("a.jpg", photo(1)), ("a.cls", b"1"), ("._a.jpg", b"junk"), ("__MACOSX/._a.cls", b"junk")]
    path = write_tar(tmp_path / "a.tar", members)
    assert index_tar(path).keys.tolist() == ["a"]
    for kind in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE):
        with tarfile.open(path, "w") as tar:
            for name, content in members:
                add(tar, name, content)
            add(tar, "b.jpg", b"", kind)
        with pytest.raises(ValueError, match=r"b\.jpg is a link or a device"):
            index_tar(path)


@pytest.mark.parametrize("text", [b"", b"dog", b"1_0", b"1.0", b"0x1", b"9" * 30, "٣".encode()])
def test_class_that_is_no_number_is_named(tmp_path: Path, text: bytes) -> None:
    path = write_tar(tmp_path / "a.tar", [("a.jpg", photo(1)), ("a.cls", text)])
    with pytest.raises(ValueError, match=r"A class must be a decimal number.*a\.cls"):
        index_tar(path)


def test_class_without_an_image_is_named_and_limited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_shards(tmp_path / "shards", info=False)
    expected = open_images(folder, tmp_path / "data")
    for lost in (5, 6):
        members = [(f"{s.key}.{end}", text) for s in samples(6, first=18) for end, text in
                   (("jpg", s.data), ("cls", str(s.label).encode()))]  # fmt: skip
        members += [m for i in range(lost) for m in ((f"g{i}.gif", b"gif"), (f"g{i}.cls", b"1"))]
        write_tar(folder / "small-train-0003.tar", members)
        if lost == 5:
            for _ in range(2):  # the second time from the kept index
                data = open_images(folder, tmp_path / "data")
                assert data.train_samples == expected.train_samples
            assert len([m for m in caplog.messages if "5 classes without an image (small-train-0003.tar:g0" in m]) == 1
        else:
            assert "6 would be: 6 classes without an image" in refusal(folder)


def test_shards_in_subfolders_are_read(tmp_path: Path) -> None:
    write_shards(tmp_path / "train-shards" / "a", (7, 5), ())
    (tmp_path / "both" / "val").mkdir(parents=True)
    flat = write_shards(tmp_path / "flat", info=False)
    for path in flat.glob("*.tar"):
        folder = tmp_path / "both" / ("val" if "validation" in path.name else "train/part")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{path.name.rpartition('-')[2]}").write_bytes(path.read_bytes())
    data = open_images(tmp_path / "both", tmp_path / "data")
    assert (data.train_samples, data.val_samples) == (24, 4)
    assert data.of_split("train").key(0).startswith("train/part/0000.tar:")


def test_what_lies_beside_shards_is_named_and_limited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_shards(tmp_path / "shards")
    info = json.loads((folder / "_info.json").read_text())
    write_shard(folder / "extra.tar", samples(3))
    write_shard(folder / "test.tar", samples(3))
    info["splits"]["test"] = {"filenames": ["test.tar"], "shard_lengths": [3]}
    (folder / "_info.json").write_text(json.dumps(info))
    (folder / "README.md").write_text("about")
    data = open_images(folder, tmp_path / "data")
    assert (data.train_samples, data.val_samples) == (24, 4)
    assert "1 of a kind that is not read (extra.tar)" in caplog.text
    assert "1 of another split (test.tar)" in caplog.text and "1 about the data (README.md)" in caplog.text
    write_classes(folder, {"cat": 10})
    assert "would be: 1 about the data" in refusal(folder)


def test_shard_that_is_named_twice_or_outside_is_refused(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    name = "small-train-0000.tar"
    write_info(folder, {"train": {name: 7}, "validation": {name: 7}}, classes=4)
    assert f"but {name} is there twice" in refusal(folder)
    write_info(folder, {"train": {f"../shards/{name}": 7}}, classes=4)
    assert "names of files below its folder" in refusal(folder)


def test_packed_shard_says_so(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", info=False)
    path = folder / "small-train-0000.tar"
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert "small-train-0000.tar must be a whole tar file, but it is packed with gzip; unpack it" in refusal(folder)


def test_lines_of_the_class_names_are_counted(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", info=False)
    (folder / "classes.txt").write_bytes("a\nb\u2028c\nd\ne\xe9".encode("latin-1", "replace") + b"\n\n")
    assert open_images(folder, tmp_path / "data").facts()["classes"] == 4


def test_class_beyond_belief_must_be_asked_for(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", info=False)
    write_shard(folder / "small-train-0000.tar", [samples(1)[0]._replace(label=10**12)])
    assert "must be below 1000000" in refusal(folder)


# Pixels.


def grey(dtype: Any, top: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((60, 80)) * top).astype(dtype)


@pytest.mark.parametrize(("name", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PPM", "<u2")])
def test_16_bit_pictures_are_their_8_bit_ones(name: str, dtype: str) -> None:
    levels = grey(np.uint16, 65535)
    file = io.BytesIO()
    image = Image.fromarray(levels.astype(dtype))
    image.save(file, name)
    half = io.BytesIO()
    Image.fromarray((levels >> 8).astype(np.uint8)).save(half, "PNG")
    found = centre_pixels(file.getvalue(), resize=60, size=40)
    assert torch.equal(found, centre_pixels(half.getvalue(), resize=60, size=40)) and found.unique().numel() > 100


@pytest.mark.parametrize(("dtype", "top"), [(np.float32, 1.0), (np.float32, 255.0), (np.int32, 1e9)])
def test_pictures_of_an_unknown_range_are_refused(dtype: Any, top: float) -> None:
    file = io.BytesIO()
    Image.fromarray(grey(dtype, top)).save(file, "TIFF")
    with pytest.raises(Undecodable, match="numbers of an unknown range"):
        centre_pixels(file.getvalue(), resize=60, size=40)


def test_pictures_larger_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Undecodable, match="pixels large"):
        centre_pixels(photo(1, 1, 8000), resize=256, size=224)
    monkeypatch.setattr(decode, "MAX_PIXELS", 1000)
    for format in ("JPEG", "PNG"):
        with pytest.raises(Undecodable, match="pixels large"):
            centre_pixels(photo(1, 80, 60, format=format), resize=40, size=32)


def test_how_many_may_be_corrupt_follows_the_number_of_images(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    broken = [s._replace(data=s.data[:200]) for s in samples(7)]
    write_shard(folder / "small-train-0000.tar", broken)
    with pytest.raises(ValueError, match="At most 5 images may be impossible to decode, got 6"):
        open_images(folder, tmp_path / "data", num_workers=1).gather("train", np.arange(24))
    open_images(folder, tmp_path / "data", max_corrupt=7).gather("train", np.arange(24))


# MixUp.


@pytest.mark.parametrize("size", [2, 3, 4, 16])
def test_every_other_image_is_a_partner_as_often_and_the_image_itself_never(size: int) -> None:
    draws = 3000
    counts = np.zeros((size, size))
    for step in range(draws):
        partners, _ = draw_mixup(5, step, slice(0, size), 0.2)
        counts[np.arange(size), partners.numpy()] += 1
        assert sorted(partners.tolist()) == list(range(size))
    assert not counts.diagonal().any()
    others = counts[~np.eye(size, dtype=bool)]
    expected = draws / (size - 1)
    assert abs(others - expected).max() <= 5 * np.sqrt(expected) * (size > 2)


def test_batches_never_mix_an_image_with_itself(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    for micro_batch in (2, 3, 6):
        data = open_images(folder, tmp_path / "data", batch_size=6, micro_batch=micro_batch, mixup=0.2)
        for batch in data.gather_steps(data.plan(), 0, 4):
            assert (batch.partners != torch.arange(micro_batch)).all()


def test_a_micro_batch_of_one_has_no_partner(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    for settings, devices in (({"batch_size": 1}, 1), ({"batch_size": 6, "micro_batch": 1}, 1), ({"batch_size": 6}, 6)):
        data = open_images(folder, tmp_path / "data", mixup=0.2, **settings)
        with pytest.raises(
            ValueError, match=r"MixUp needs two images at least in a micro-batch, got data\.micro_batch 1"
        ):
            data.plan(world_size=devices)
        open_images(folder, tmp_path / "data", mixup=0, **settings).plan(world_size=devices)
    open_images(folder, tmp_path / "data", mixup=0.2, batch_size=6).plan(world_size=3)


def test_runs_with_mixup_are_other_runs_than_before() -> None:
    config = {"seed_everything": 1, "model": {}, "data": {"init_args": {"batch_size": 4}}}
    with_mixup, without = (ImageNet21kData(batch_size=4, mixup=mixup).recipes() for mixup in (0.2, 0.0))
    before = identity_of(config, object, ImageNet21kData, fingerprint="0", recipes=without)
    assert "recipes" not in before["data"]
    now = identity_of(config, object, ImageNet21kData, fingerprint="0", recipes=with_mixup)
    assert now["data"].pop("recipes") == {"mixup": 2} and now == before
