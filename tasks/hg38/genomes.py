"""Where nucleotides come from: FASTA files, or the one that paper 1 used, fetched once."""

from __future__ import annotations

import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tasks.hg38.fasta import Stretch, parse_fasta, read_chunks
from tasks.hg38.sample import SampleGenome
from tasks.kinds.local_files import PACKED, LocalFiles, one_line
from tasks.kinds.prepared_folder import full_disk_explained, only_process

_COPY_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalGenome(LocalFiles):
    """FASTA files, see `tasks.kinds.local_files`; a single file may have any name."""

    suffixes: ClassVar[tuple[str, ...]] = tuple(
        f".{kind}{packed}" for kind in ("fa", "fasta", "fna") for packed in ("", ".bgz", *PACKED)
    )
    kind: ClassVar[str] = "FASTA files"

    def reads(self, file: Path) -> bool:
        """Whether a single file may be read: yes, whatever its name is."""
        return True

    def expected_nucleotides(self) -> int:
        """Rough number of nucleotides: the bytes of plain files, and four times the bytes of packed ones."""
        return sum(path.stat().st_size * (4 if path.suffix in (".bgz", *PACKED) else 1) for path in self.files())

    def stretches(self) -> Iterator[Stretch]:
        """Nucleotides of all files; see `tasks.hg38.fasta.parse_fasta`."""
        for path in self.files():
            yield from parse_fasta(str(path), read_chunks(path))


@dataclass(frozen=True)
class FetchedGenome:
    """A FASTA file on the network, kept in ``<data_dir>/downloads``; a download that broke off is resumed.

    Args:
        url: address of the file.
        data_dir: folder for prepared data.
        nucleotides: expected number of nucleotides.
    """

    url: str
    data_dir: Path
    nucleotides: int

    label = "paper"

    def identity(self) -> dict[str, Any]:
        """The URL, which decides the nucleotides."""
        return {"kind": "url", "url": self.url}

    def expected_nucleotides(self) -> int:
        """The number that is expected, for the disk check."""
        return self.nucleotides

    def stretches(self) -> Iterator[Stretch]:
        """Nucleotides of the file, fetched first if it is not there."""
        path = self.fetch()
        yield from parse_fasta(str(path), read_chunks(path))

    def fetch(self) -> Path:
        """Download the file unless it is there.

        Returns:
            Its path.

        Raises:
            ValueError: it cannot be fetched; what was downloaded so far is kept.
        """
        path = self.data_dir / "downloads" / self.url.rpartition("/")[2]
        with only_process(path):
            if not path.exists():
                part = path.with_name(f"{path.name}.part")
                try:
                    with full_disk_explained(path.parent, kept=True):
                        self._download(part)
                except (OSError, urllib.error.URLError) as error:
                    raise ValueError(
                        f"data.source paper reads {self.url}, but that failed ({one_line(error)}); start again when "
                        "it can be reached (what came so far is kept), or fetch it elsewhere and set data.source to "
                        "its path."
                    ) from error
                os.replace(part, path)
        return path

    def _download(self, part: Path) -> None:
        from tqdm import tqdm

        done = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(self.url, headers={"Range": f"bytes={done}-"} if done else {})
        try:
            answer = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{done}":
                return  # killed after the last byte, before the file got its name
            raise
        with answer:
            if done and answer.status != 206:
                done = 0  # the server sends the whole file again
            left = answer.headers.get("Content-Length")
            total = None if left is None else done + int(left)
            _log.info("Fetching %s to %s from byte %d on.", self.url, part, done)
            with (
                open(part, "ab" if done else "wb") as file,
                tqdm(total=total, initial=done, unit="B", unit_scale=True, desc="Fetching", disable=None) as bar,
            ):
                while block := answer.read(_COPY_BYTES):
                    bar.update(file.write(block))
                file.flush()
                os.fsync(file.fileno())
        size = part.stat().st_size
        if total is not None and size != total:
            raise OSError(f"the connection ended after {size} of {total} bytes")


Genome = FetchedGenome | LocalGenome | SampleGenome
"""A deterministic stream of nucleotides: ``label``, ``identity``, ``expected_nucleotides`` and ``stretches``."""
