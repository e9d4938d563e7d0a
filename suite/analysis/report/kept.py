"""Which pages of a store are up to date: a digest of all that a page was made from is kept beside it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

from suite.analysis.comparison import Comparison
from suite.records import Store

NAME = "made_from.txt"


def made_from(store: Store, plan: Mapping[str, Any], comparison: Comparison) -> str:
    """Digest of all that a page shows: the plan, its runs as they are in the store, and the code that draws them."""
    digest = hashlib.sha256(json.dumps(plan, sort_keys=True, default=str).encode())
    digest.update(comparison.final_losses.encode())
    for runs in (comparison.runs, comparison.trunks):
        digest.update(runs.to_csv().encode())
    digest.update(repr(store.problems).encode())
    diagnosed = (run["run_id"] for run in plan["runs"] if run.get("diagnoses"))
    digest.update(repr([(store.run_folder(run) / "record.json").exists() for run in diagnosed]).encode())
    digest.update(_code().encode())
    return digest.hexdigest()


def is_kept(folder: Path, digest: str) -> bool:
    """Whether a folder holds the page with this digest."""
    try:
        return (folder / "index.html").exists() and (folder / NAME).read_text(encoding="utf-8") == digest
    except (OSError, UnicodeDecodeError):
        return False


@functools.cache
def _code() -> str:
    """Digest of the suite and of the library that draws."""
    digest = hashlib.sha256(matplotlib.__version__.encode())
    for path in sorted(Path(__file__).parents[2].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
