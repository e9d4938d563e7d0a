"""From nucleotides to token files: one pass, a chunk in memory, finished in one step.

The whole genome takes about a minute, so an interrupted preparation starts again; the download, which takes long, is
resumed (`tasks.hg38.genomes.FetchedGenome`).
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.hg38.genomes import Genome
from tasks.hg38.kmers import KmerTokens
from tasks.kinds.array_files import write_manifest
from tasks.kinds.local_files import DamagedSource
from tasks.kinds.prepared_folder import prepare_folder, require_space
from tasks.kinds.sequences.token_files import (
    TokenFiles,
    TokenizedSource,
    describe_splits,
    read_token_files,
    split_tokens,
)


@dataclass(frozen=True, kw_only=True)
class TokenizedGenome(TokenizedSource):
    """Which nucleotides become which token files.

    Attributes:
        source: the nucleotides.
        k: nucleotides per token.
    """

    source: Genome
    k: int

    def tokenizer_identity(self) -> dict[str, Any]:
        """The length of a k-mer."""
        return {"kind": "kmer", "k": self.k}

    @property
    def unit(self) -> str:
        """A character, or a k-mer."""
        return "char" if self.k == 1 else f"{self.k}mer"


def prepare_genome(genome: TokenizedGenome, data_dir: Path) -> TokenFiles:
    """Make the token files of a genome if they are not there yet.

    Safe to call again, from several processes at once (one works, the others wait), and after a kill.

    Args:
        genome: what to prepare.
        data_dir: folder for prepared data.

    Returns:
        The finished files.

    Raises:
        ValueError: the source cannot be used, the disk is too small, or an earlier result is damaged; the message says
            what to change.
    """
    folder = genome.folder(data_dir)
    prepare_folder(folder, lambda working: _work(genome, working), goes_on=False)
    return read_token_files(folder)


def _work(genome: TokenizedGenome, working: Path) -> None:
    kmers = KmerTokens(genome.k)
    size = kmers.dtype.itemsize
    expected = genome.source.expected_nucleotides() // genome.k
    if genome.max_tokens is not None:
        expected = min(expected, genome.max_tokens)
    # The validation split exists twice for a moment.
    needed = int(expected * size * (1 + genome.val_share))
    require_space(working, needed, what=genome.dataset, less="data.max_tokens")
    tokens = _write_tokens(genome, kmers, working / "train.bin")
    # Paper 1 rounds the training split, not the validation split, down.
    split_tokens(working, int(tokens * (1 - genome.val_share)), size)
    manifest = {
        **genome.identity(),
        "dataset": genome.dataset,
        "tokenizer": genome.tokenizer_identity() | {"vocab_size": kmers.vocab_size},
        "bytes_per_token": size,
        "splits": describe_splits(working, size),
        "tools": {"python": platform.python_version(), "numpy": np.__version__},
    }
    write_manifest(working, manifest)


def _write_tokens(genome: TokenizedGenome, kmers: KmerTokens, path: Path) -> int:
    """Write all tokens to one file and return their number."""
    from tqdm import tqdm

    written = 0
    bar = tqdm(unit=" tokens", unit_scale=True, desc=f"Preparing {path.parent.stem}", disable=None)
    with bar, open(path, "wb") as file:
        for stretch in genome.source.stretches():
            tokens = kmers.tokens(stretch)
            if genome.max_tokens is not None:
                tokens = tokens[: genome.max_tokens - written]
            file.write(tokens.data)
            written += len(tokens)
            bar.update(len(tokens))
            if written == genome.max_tokens:
                break
        file.flush()
        os.fsync(file.fileno())
    if not written:
        raise DamagedSource(
            f"data.source must have a record of at least data.kmer = {genome.k} nucleotides, but there is none in "
            f"{genome.named_source()}; give longer sequences or lower data.kmer."
        )
    return written
