"""Pixels: against torchvision's transforms, for every kind of file, and for files that are none."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("simplejpeg")
pytest.importorskip("torchvision")

from image_shards import photo
from torchvision import transforms

from tasks.kinds.images import decode
from tasks.kinds.images.augment import CROP_ATTEMPTS, Crop, draw_augmentation, draw_mixup, flipped, mixed, normalised
from tasks.kinds.images.decode import Undecodable, centre_pixels, cropped_pixels

SHAPES = [(500, 375), (375, 500), (256, 256), (301, 217), (301, 257), (64, 200), (1200, 900), (1021, 1203)]


def torchvision_pixels(data: bytes, resize: int, size: int) -> torch.Tensor:
    """As in the usual pipeline, by Pillow throughout."""
    cut = transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(size), transforms.PILToTensor()])
    return cut(Image.open(io.BytesIO(data)).convert("RGB"))


def difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.int() - b.int()).abs().float()


@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_centres_are_torchvisions(width: int, height: int) -> None:
    data = photo(1, width, height)
    expected = torchvision_pixels(data, 64, 56)
    whole = centre_pixels(data, resize=64, size=56, draft=False)
    assert whole.shape == (3, 56, 56) and whole.dtype == torch.uint8
    # Two decoders and two resizers: each rounds for itself.
    assert difference(whole, expected).max() <= 1 and difference(whole, expected).mean() < 0.05
    drafted = centre_pixels(data, resize=64, size=56)
    assert difference(drafted, expected).mean() < 0.5 and difference(drafted, expected).max() <= 4


def test_a_draft_is_no_smaller_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    original = decode._resized_whole

    def noted(image, *to):
        decoded.append(tuple(image.pixels.shape[1:]))
        return original(image, *to)

    monkeypatch.setattr(decode, "_resized_whole", noted)
    for width, height, expected in ((512, 256, (128, 256)), (511, 255, (255, 511)), (2001, 515, (129, 501))):
        centre_pixels(photo(1, width, height), resize=64, size=56)
        assert decoded[-1] == expected
    centre_pixels(photo(1, 512, 400), resize=64, size=56, draft=False)
    assert decoded[-1] == (400, 512)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_kind_of_jpeg_is_read(mode: str) -> None:
    data = photo(3, 80, 60, mode=mode)
    assert difference(centre_pixels(data, resize=60, size=40), torchvision_pixels(data, 60, 40)).max() <= 3


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP"])
def test_other_formats_are_read(format: str) -> None:
    data = photo(3, 80, 60, format=format)
    assert difference(centre_pixels(data, resize=60, size=40), torchvision_pixels(data, 60, 40)).max() <= 1


def test_stray_bytes_are_passed_over_and_cut_files_are_not() -> None:
    data = photo(3, 200, 150)
    expected = centre_pixels(data, resize=60, size=40)
    assert torch.equal(centre_pixels(data + b"stray", resize=60, size=40), expected)
    for damaged in (data[: len(data) // 2], data[:100], data[:2], b"", b"GIF89a", photo(3, format="PNG")[:-30]):
        with pytest.raises(Undecodable):
            centre_pixels(damaged, resize=60, size=40)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 999))
def test_every_crop_lies_in_the_image(height: int, width: int, seed: int) -> None:
    crop = Crop(np.random.default_rng(seed).random((CROP_ATTEMPTS, 4)))
    top, left, tall, wide = crop.box(height, width)
    assert tall > 0 and wide > 0 and top >= 0 and left >= 0
    assert top + tall <= height and left + wide <= width


def test_crops_are_distributed_as_torchvisions() -> None:
    height, width, draws = 90, 160, 3000
    torch.manual_seed(0)
    rrc = transforms.RandomResizedCrop
    image = torch.empty(3, height, width)
    theirs = np.array([rrc.get_params(image, [0.05, 1.0], [3 / 4, 4 / 3]) for _ in range(draws)], dtype=float)
    crops = draw_augmentation(0, 0, slice(0, draws), draws, crop=True, flip=False).crops
    assert crops is not None
    ours = np.array([crop.box(height, width) for crop in crops], dtype=float)
    for column in range(4):
        spread = math.sqrt((theirs[:, column].var() + ours[:, column].var()) / draws)
        assert abs(theirs[:, column].mean() - ours[:, column].mean()) < 4 * spread
        assert np.allclose(*(np.quantile(x[:, column], [0.1, 0.5, 0.9]) for x in (theirs, ours)), atol=5)


def test_a_crop_is_cut_and_resized() -> None:
    data = photo(5, 320, 240)
    crop = Crop(np.full((CROP_ATTEMPTS, 4), 0.4))
    top, left, tall, wide = crop.box(240, 320)
    image = Image.open(io.BytesIO(data)).crop((left, top, left + wide, top + tall))
    expected = torch.from_numpy(np.array(image.resize((32, 32), Image.Resampling.BILINEAR))).permute(2, 0, 1)
    assert difference(cropped_pixels(data, crop, size=32, draft=False), expected).max() <= 3
    assert difference(cropped_pixels(data, crop, size=32), expected).mean() < 2


def test_draws_follow_positions_not_cuts() -> None:
    whole = draw_augmentation(7, 3, slice(0, 12), 12, crop=True, flip=True)
    part = draw_augmentation(7, 3, slice(4, 8), 12, crop=True, flip=True)
    assert whole.crops is not None and part.crops is not None and whole.flips is not None
    assert all(np.array_equal(a.draws, b.draws) for a, b in zip(whole.crops[4:8], part.crops, strict=True))
    assert np.array_equal(whole.flips[4:8], part.flips)
    other = draw_augmentation(7, 4, slice(0, 12), 12, crop=True, flip=True)
    assert other.crops is not None and not np.array_equal(other.crops[0].draws, whole.crops[0].draws)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 10**6), st.integers(1, 40))
def test_mixup_weighs_the_own_image_more(seed: int, step: int, size: int) -> None:
    partners, share = draw_mixup(seed, step, slice(size, 2 * size), 0.2)
    assert sorted(partners.tolist()) == list(range(size)) and partners.dtype == torch.int64
    assert 0.5 <= share <= 1 and share.dtype == torch.float32 and share.ndim == 0
    again = draw_mixup(seed, step, slice(size, 2 * size), 0.2)
    assert torch.equal(again[0], partners) and again[1] == share


def test_mixup_shares_are_beta_distributed() -> None:
    shares = np.array([float(draw_mixup(0, step, slice(0, 2), 0.2)[1]) for step in range(2000)])
    expected = np.random.default_rng(1).beta(0.2, 0.2, 20_000)
    expected = np.maximum(expected, 1 - expected)
    assert np.allclose(np.quantile(shares, [0.1, 0.25, 0.5]), np.quantile(expected, [0.1, 0.25, 0.5]), atol=0.04)


def test_pixels_are_mixed_mirrored_and_normalised() -> None:
    pixels = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    images = normalised(pixels)
    to_images = transforms.Compose([transforms.ConvertImageDtype(torch.float32), transforms.Normalize([0.5], [0.5])])
    assert torch.allclose(images, to_images(pixels), atol=1e-6) and images.is_contiguous()
    flips = np.array([True, False, False, True])
    mirrored = flipped(images, flips)
    assert torch.equal(mirrored[0], images[0].flip(-1)) and torch.equal(mirrored[1], images[1])
    partners = torch.tensor([2, 0, 3, 1])
    together = mixed(images, partners, torch.tensor(0.7))
    for i, partner in enumerate(partners):
        assert torch.allclose(together[i], 0.7 * images[i] + 0.3 * images[partner], atol=1e-6)
