"""Where shards lie: in a folder, or behind a URL with a bounded local cache.

A remote shard is fetched whole when it is first read, or earlier when `fetch_soon` asks for it. The least recently used
ones are deleted when the cache outgrows its bound. Several processes may share a cache.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tasks.kinds.local_files import Walked, is_hidden, one_line, readable, walk
from tasks.kinds.prepared_folder import full_disk_explained, only_process

ATTEMPTS = 4
"""How often a download is tried in all."""

FETCH_THREADS = 4

PARTIAL = ".partial"
"""Suffix of a file that is being fetched."""

_log = logging.getLogger(__name__)


class Folder:
    """Shards in a local folder."""

    remote = False

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        """The folder."""
        return str(self.root)

    def walked(self) -> Walked:
        """What the folder and its subfolders hold."""
        return walk(self.root)

    def read(self, name: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it cannot be read.
        """
        path = self.root / name
        if not path.is_file():  # a pipe would never end
            raise FileNotFoundError(path)
        with readable(path):
            return path.read_bytes()

    def read_part(self, name: str, offset: int, size: int, *, alone: bool = False) -> bytes:
        """``size`` bytes of a shard; ``alone`` matters for remote shards only."""
        # Opening the file costs microseconds, little beside decoding, and threads need not share it.
        with open(self.root / name, "rb") as shard:
            return os.pread(shard.fileno(), size, offset)

    def local(self, name: str) -> Path:
        """The path of a shard.

        Raises:
            ValueError: there is none.
        """
        path = self.root / name
        if not path.is_file():
            raise ValueError(
                f"Every shard that _info.json names must be in {self.root}, but {name} is missing; fetch it or set "
                "data.source to a complete folder."
            )
        return path

    def size(self, name: str) -> int:
        """Bytes of a shard."""
        return self.local(name).stat().st_size

    def fetch_soon(self, name: str) -> None:
        """Do nothing: the shard is local."""


class Remote:
    """Shards behind a URL that fsspec understands (``hf://datasets/...``, ``https://``, ``s3://``, ``file://``).

    Args:
        url: URL of the folder that holds the shards.
        cache: local folder for fetched shards.
        cache_gb: bound on the shards kept there, in 1e9 bytes; None: all are kept.
        retry_seconds: wait before the second attempt; doubled before each further one.
    """

    remote = True

    def __init__(self, url: str, cache: Path, cache_gb: float | None = None, retry_seconds: float = 2.0) -> None:
        self.url = url.rstrip("/")
        self.cache = cache
        self.limit = None if cache_gb is None else int(cache_gb * 1e9)
        self.retry_seconds = retry_seconds
        self._coming: set[str] = set()

    def __str__(self) -> str:
        """The URL."""
        return self.url

    @cached_property
    def _files(self) -> Any:
        import fsspec

        return fsspec.core.url_to_fs(self.url)[0]

    def walked(self) -> Walked:
        """What the remote folder and its subfolders hold.

        Raises:
            ValueError: it cannot be listed.
        """
        root = self._inner("")
        # Where there is no such folder, some file systems find nothing, and all of them refuse to list it.
        listed = self._retried("it", lambda: self._files.find(root) or (self._files.ls(root, detail=False) and []))
        names = sorted(str(path).removeprefix(root).lstrip("/") for path in listed)
        hidden = [name for name in names if any(map(is_hidden, name.split("/")))]
        return Walked(sorted(set(names) - set(hidden)), hidden, [])

    def read(self, name: str) -> bytes:
        """A whole remote file, not cached.

        Raises:
            FileNotFoundError: there is none.
            ValueError: the URL cannot be reached.
        """
        return bytes(self._retried(name, lambda: self._files.cat_file(self._inner(name)), optional=True))

    def read_part(self, name: str, offset: int, size: int, *, alone: bool = False) -> bytes:
        """``size`` bytes of a shard, which is fetched whole unless these bytes ``alone`` are wanted.

        Raises:
            ValueError: they cannot be fetched.
        """
        cached = Folder(self.cache)
        while True:
            with contextlib.suppress(FileNotFoundError):  # not here yet, or deleted to make room in between
                if not alone:
                    self.local(name)
                return cached.read_part(name, offset, size)
            if alone:
                return bytes(
                    self._retried(name, lambda: self._files.cat_file(self._inner(name), offset, offset + size))
                )

    def local(self, name: str) -> Path:
        """The path of a shard in the cache; fetched if it is not there.

        Raises:
            ValueError: it cannot be fetched; the message says why.
        """
        path = self.cache / name
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)  # used now, for the choice of what is deleted
            return path
        with only_process(self.cache / name.replace("/", "_")):
            if not path.exists():
                self._fetch(name, path)
        return path

    def size(self, name: str) -> int:
        """Bytes of a shard, as the remote file system reports them."""
        return int(self._retried(name, lambda: self._files.size(self._inner(name))))

    def fetch_soon(self, name: str) -> None:
        """Fetch a shard in the background, if it is not here and not on its way."""
        if name not in self._coming and not (self.cache / name).exists():
            self._coming.add(name)
            _fetching_threads().submit(self._fetch_quietly, name)

    def _fetch_quietly(self, name: str) -> None:
        try:
            self.local(name)
        except Exception as error:  # whoever needs the shard fetches it again and sees the error
            _log.info("Fetching %s ahead of time failed (%s).", name, error)
        finally:
            self._coming.discard(name)

    def _fetch(self, name: str, path: Path) -> None:
        partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
        try:
            with full_disk_explained(self.cache, kept=True):
                partial.parent.mkdir(parents=True, exist_ok=True)
                self._retried(name, lambda: self._files.get_file(self._inner(name), str(partial)))
                # One process at a time: two that looked together would both use the room of one.
                with only_process(self.cache / "room"):
                    self._make_room(partial.stat().st_size)
                    partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        if self.limit is None:
            return
        kept = []
        for name in walk(self.cache).files:
            path = self.cache / name
            if path.suffix != PARTIAL:
                with contextlib.suppress(FileNotFoundError):  # another process made room as well
                    kept.append((path.stat().st_mtime, path.stat().st_size, path))
        total = needed + sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _inner(self, name: str) -> str:
        return self._files._strip_protocol(f"{self.url}/{name}" if name else self.url)

    def _retried(self, name: str, work: Callable[[], Any], *, optional: bool = False) -> Any:
        wait = self.retry_seconds
        for attempt in range(ATTEMPTS):
            try:
                return work()
            except FileNotFoundError as error:
                if optional:
                    raise
                raise ValueError(
                    f"{self.url} must be a folder with every shard that its _info.json names, but {name} is missing; "
                    "set data.source to a complete one."
                ) from error
            except Exception as error:  # whatever the network stack raises
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise
                if attempt == ATTEMPTS - 1:
                    raise ValueError(
                        f"{name} must be readable at {self.url}, but that failed ({type(error).__name__}: "
                        f"{one_line(error)}); start again when it can be reached (what is fetched so far is kept), log "
                        "in with `hf auth login` where the dataset asks for it, or set data.source to a local copy."
                    ) from error
                _log.info("Fetching %s failed (%s); trying again in %g s.", name, error, wait)
                time.sleep(wait)
                wait *= 2
        raise AssertionError("unreachable")


@cache
def _fetching_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch-shard")
