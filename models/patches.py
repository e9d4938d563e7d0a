"""Checks that networks on image patches share: of the grid that an image is cut into, and of the width.

Shape letters: C width, H heads.
"""

from __future__ import annotations


def patches_per_side(image_size: int, patch_size: int) -> int:
    """Side of the square grid that an image is cut into.

    Args:
        image_size: pixels per side.
        patch_size: pixels per side of a patch.

    Returns:
        Patches per side.

    Raises:
        ValueError: the patches do not tile the image.
    """
    if image_size % patch_size:
        raise ValueError(
            f"image_size must be a multiple of patch_size, got {image_size} and {patch_size}; change "
            "data.image_size or model.patch_size."
        )
    return image_size // patch_size


def check_heads(width: int, num_heads: int) -> None:
    """Refuse a width that is not divisible into heads with positions of two axes (sines and cosines).

    Args:
        width: C.
        num_heads: H.

    Raises:
        ValueError: the width is not divisible by ``4 * num_heads``.
    """
    if width % (4 * num_heads):
        raise ValueError(
            f"width must be divisible by 4 x num_heads (sines and cosines of two axes), got width {width} and "
            f"num_heads {num_heads}; change model.width or model.num_heads."
        )
