"""Writes webdataset shards, which are then read as any other shards are."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.kinds.images.encoded import Encoded


def write_shard(path: Path, samples: Iterable[Encoded], *, extension: str = "jpg") -> int:
    """Write one tar file; equal samples give equal bytes.

    Args:
        path: path of the tar file.
        samples: images; their keys are the members' names.
        extension: extension of the images' names.

    Returns:
        The number of samples.
    """
    count = 0
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            count += 1
            for suffix, content in ((extension, sample.data), ("cls", str(sample.label).encode())):
                member = tarfile.TarInfo(f"{sample.key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return count


def write_info(folder: Path, splits: Mapping[str, Mapping[str, int]], *, classes: int) -> None:
    """Write ``_info.json`` as timm reads it.

    Args:
        folder: folder that holds the shards.
        splits: number of samples of each shard, by the split's and the shard's name.
        classes: number of classes.
    """
    described: dict[str, Any] = {
        name: {
            "name": name,
            "filenames": list(shards),
            "shard_lengths": list(shards.values()),
            "num_samples": sum(shards.values()),
        }
        for name, shards in splits.items()
    }
    text = json.dumps({"num_classes": classes, "splits": described}, indent=1)
    (folder / "_info.json").write_text(text, encoding="utf-8")
