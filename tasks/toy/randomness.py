"""What is sample number i? Uniform and normal numbers as a function of a seed and a sample number alone.

Philox is a counter-based generator: the random words of a sample are computed from its number, not from those of the
samples before it. So batches are the same in any order, after any restart and on any number of devices.
"""

from __future__ import annotations

import zlib

import numpy as np

_WORDS = 4
"""Random words per count of Philox's counter."""


def uniforms(seed: int, stream: str, indices: np.ndarray, count: int) -> np.ndarray:
    """Uniform numbers in ``(0, 1)``, float64 ``[n, count]``; row ``i`` is a function of ``indices[i]`` and the seed.

    Args:
        seed: any whole number from 0.
        stream: what the numbers are for; different streams are independent.
        indices: sample numbers from 0, int64 ``[n]``; consecutive ones are made at once.
        count: numbers per sample.
    """
    numbers = np.asarray(indices, dtype=np.int64).reshape(-1)
    counts = -(-count // _WORDS)
    out = np.empty((len(numbers), counts * _WORDS))
    starts = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)
    for first, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        generator = np.random.Philox(key=[seed, zlib.crc32(stream.encode())]).advance(int(numbers[first]) * counts)
        words = generator.random_raw((end - first) * counts * _WORDS)
        # 53 bits, in the middle of their cells: never 0 or 1, which have no normal quantile.
        out[first:end] = ((words >> np.uint64(11)).reshape(end - first, -1) + 0.5) * 2.0**-53
    return out[:, :count]


def normals(seed: int, stream: str, indices: np.ndarray, count: int) -> np.ndarray:
    """Standard normal numbers, float64 ``[n, count]``; as `uniforms`, by the Box-Muller transform."""
    pairs = -(-count // 2)
    drawn = uniforms(seed, stream, indices, 2 * pairs)
    radius, angle = np.sqrt(-2 * np.log(drawn[:, :pairs])), 2 * np.pi * drawn[:, pairs:]
    return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)), axis=1)[:, :count]
