"""Reads the file of an offline run of Weights & Biases, without that library's own reader, of which it has none."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEAD, HEADER = 32768, 7, 7
"""Bytes of a block, of the file's head, and of a part's header (checksum, length, kind), as in LevelDB's logs."""

WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[bytes]:
    content, at, parts = path.read_bytes(), HEAD, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        if kind == 0:
            break
        part = content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        parts = part if kind in (WHOLE, FIRST) else parts + part
        if kind in (WHOLE, LAST):
            yield parts


def read_run(path: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Settings and logged rows of a run."""
    from wandb.proto import wandb_internal_pb2

    settings: dict[str, Any] = {}
    rows = []
    for content in records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            settings |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            settings |= {"id": record.run.run_id, "name": record.run.display_name}
        elif kind == "history":
            rows.append(
                {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            )
    return settings, rows
