"""From an encoded image to pixels of the network's size, uint8 ``[3, S, S]``.

Two ways to cut, as torchvision names them: ``Resize`` and ``CenterCrop``, or ``RandomResizedCrop``. Both resize
bilinearly with antialiasing. A JPEG is decoded by libjpeg-turbo, as a draft of 1/2, 1/4 or 1/8 of its size where that
is still twice what is needed: the inverse cosine transform then computes fewer pixels, and what results differs from
the whole image's pixels by a few levels. Other formats, and JPEGs that are not grey, YCbCr or RGB, go through Pillow.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from tasks.kinds.images.augment import Crop
from tasks.kinds.local_files import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 2 * (1024 * 1024 * 1024 // 4 // 3)
"""Larger images are not decoded, nor resized to (Pillow's own limit)."""

MAX_SHRINK = 3
"""libjpeg-turbo has fast code for 1/2, 1/4, 1/8: powers of two up to this one."""

DRAFT_MARGIN = 2
"""A draft has sides of at least so many times the size that is needed: closer ones alias visibly."""

_JPEG = b"\xff\xd8"
_DIRECT = frozenset(["Gray", "YCbCr", "RGB"])


class Undecodable(Exception):
    """The bytes of an image that cannot be decoded to its end, or whose pixels have no known range."""


def centre_pixels(data: bytes, *, resize: int, size: int, draft: bool = True) -> Tensor:
    """Resize the short side, then cut the centre.

    Args:
        data: an encoded image.
        resize: short side before the cut.
        size: S, side of the result.
        draft: whether a JPEG may be decoded at a fraction of its size.

    Returns:
        uint8 ``[3, S, S]``.

    Raises:
        Undecodable: the bytes are damaged.
    """
    image = _decode(data, keep=None, need=resize if draft else None)
    short = min(image.height, image.width)
    tall, wide = resize * image.height // short, resize * image.width // short
    _require_size(tall, wide)
    top, left = round((tall - size) / 2), round((wide - size) / 2)
    return _resized_whole(image, tall, wide)[:, top : top + size, left : left + size]


def cropped_pixels(data: bytes, crop: Crop, *, size: int, draft: bool = True) -> Tensor:
    """Cut the part that ``crop`` draws and resize it; other arguments, result and errors are as in `centre_pixels`."""
    image = _decode(data, keep=crop, need=size if draft else None)
    top, left, height, width = crop.box(image.height, image.width)
    ends = ((top + height - 1) >> image.shrink) + 1, ((left + width - 1) >> image.shrink) + 1
    part = image.pixels[:, top >> image.shrink : ends[0], left >> image.shrink : ends[1]]
    return interpolate(part[None], (size, size), mode="bilinear", antialias=True)[0]


class _Image(NamedTuple):
    """Pixels uint8 ``[3, h, w]`` of an image of ``height x width``, decoded at ``1 / 2**shrink`` of its size."""

    pixels: Tensor
    height: int
    width: int
    shrink: int


def _resized_whole(image: _Image, tall: int, wide: int) -> Tensor:
    fraction = 1 << image.shrink
    if not (image.height % fraction or image.width % fraction):
        return interpolate(image.pixels[None], (tall, wide), mode="bilinear", antialias=True)[0]
    # The last row and column of a draft reach beyond the image, so the scale is the image's, not the draft's. It is
    # slightly enlarged, so that rounding does not lose a row.
    scale = tuple(new * fraction / old * (1 + 1e-9) for new, old in ((tall, image.height), (wide, image.width)))
    resized = interpolate(
        image.pixels[None], scale_factor=scale, mode="bilinear", antialias=True, recompute_scale_factor=False
    )
    return resized[0, :, :tall, :wide]


def _decode(data: bytes, *, keep: Crop | None, need: int | None) -> _Image:
    """Decode an image, as a draft where the part ``keep`` (None: all) then has sides of twice ``need`` at least."""
    # Where nothing is decoded (a count of a recipe's cost, random pixels) the decoders need not be installed.
    import simplejpeg
    from PIL.Image import DecompressionBombError, UnidentifiedImageError
    from PIL.Image import open as open_image

    if data[:2] == _JPEG:
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if colours in _DIRECT:
                _require_size(height, width)
                part = (height, width) if keep is None else keep.box(height, width)[2:]
                shrink = 0
                while need is not None and shrink < MAX_SHRINK and min(part) >> (shrink + 1) >= DRAFT_MARGIN * need:
                    shrink += 1
                # The decoder takes the smallest fraction that gives these sides.
                sides = {"min_height": -(-height >> shrink), "min_width": -(-width >> shrink)}
                factor = {"min_factor": 2, **sides} if shrink else {}
                return _Image(_planes(simplejpeg.decode_jpeg(data, "RGB", **factor)), height, width, shrink)
        except ValueError:
            pass  # Pillow is less strict: it reads past stray bytes, and refuses what ends early.
    try:
        with open_image(io.BytesIO(data)) as image:
            return _Image(_planes(np.array(_in_8_bits(image).convert("RGB"))), image.height, image.width, 0)
    except UnidentifiedImageError as error:
        raise Undecodable("it is no image of a known format") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, DecompressionBombError) as error:
        raise Undecodable(one_line(error)) from error


def _in_8_bits(image: Image) -> Image:
    """The image, of 16-bit grey levels the upper half; Pillow would clip them to white.

    Raises:
        Undecodable: the range of its pixels is not known (floating-point and 32-bit numbers).
    """
    from PIL.Image import fromarray

    # Pillow reads 16-bit files of some formats, and those alone of these, as 32-bit numbers.
    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if is_16_bit:
        return fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise Undecodable(f"its pixels are numbers of an unknown range (mode {image.mode}); save them in 8 or 16 bits")
    return image


def _require_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise Undecodable(f"it is {height} x {width} pixels large, more than {MAX_PIXELS}")


def _planes(pixels: np.ndarray) -> Tensor:
    # A view: torch resizes interleaved colours faster than planes.
    return torch.from_numpy(pixels).permute(2, 0, 1)
