"""Which pages of a store are up to date: what a page was made from and how it was left, signed by who drew it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

from suite.analysis.comparison import Comparison
from suite.records import Store
from suite.records.files import open_regular, sha256_of, write_text_atomically

NAME = "made_from.txt"


def made_from(store: Store, plan: Mapping[str, Any], comparison: Comparison, shown: str) -> str:
    """Digest of all that a page shows: plan, runs as they are in the store, how they are drawn, and the code."""
    digest = hashlib.sha256(json.dumps(plan, sort_keys=True, default=str).encode())
    digest.update(comparison.final_losses.encode())
    digest.update(shown.encode())
    for runs in (comparison.runs, comparison.trunks):
        digest.update(runs.to_csv().encode())
    digest.update(repr(store.problems).encode())
    diagnosed = (run["run_id"] for run in plan["runs"] if run.get("diagnoses"))
    digest.update(repr([(store.run_folder(run) / "record.json").exists() for run in diagnosed]).encode())
    digest.update(_code().encode())
    return digest.hexdigest()


def keep(folder: Path, digest: str) -> None:
    """Sign a page that was just drawn, so that it is not drawn again while it is up to date; see `is_kept`.

    Raises:
        OSError: the signature cannot be written.
    """
    with contextlib.suppress(_NoSignature):
        write_text_atomically(folder / NAME, _signature(folder, digest))


def is_kept(folder: Path, digest: str) -> bool:
    """Whether this user drew the page in a folder from the same, and nobody has changed a file of it since."""
    try:
        with open_regular(folder / NAME) as file:
            return hmac.compare_digest(file.read(100), _signature(folder, digest).encode())
    except (OSError, _NoSignature):
        return False


class _NoSignature(Exception):
    """The page cannot be signed: there is no place for a key, or a link is among its files."""


def _signature(folder: Path, digest: str) -> str:
    """What only this user can make, of what a page was made from and of the content of all its files."""
    try:
        signature = hmac.new(_key(), digest.encode(), "sha256")
        for path in sorted(path for path in folder.rglob("*") if path.name != NAME and not path.is_dir()):
            if path.is_symlink():
                raise _NoSignature
            with open_regular(path) as file:
                signature.update(f"{path.relative_to(folder)} {sha256_of(file)}\n".encode(errors="surrogateescape"))
    except (OSError, RuntimeError) as error:
        raise _NoSignature from error
    return signature.hexdigest()


def _key() -> bytes:
    """A secret of this user, beside the caches of other programs: in a shared store anybody could use it."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adam-sgd-gap"
    path = folder / "page_key"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / secrets.token_hex(8)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):  # another process of this user was faster
            os.link(new, path)
        new.unlink()
    return path.read_bytes()


@functools.cache
def _code() -> str:
    """Digest of the suite and of the library that draws."""
    digest = hashlib.sha256(matplotlib.__version__.encode())
    for path in sorted(Path(__file__).parents[2].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
