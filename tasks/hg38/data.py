"""The human genome, assembly hg38: a language of few tokens without heavy tails (paper 1)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from suite.training import configurable
from tasks.hg38.genomes import FetchedGenome, Genome, LocalGenome
from tasks.hg38.kmers import LARGEST_K
from tasks.hg38.preparation import TokenizedGenome, prepare_genome
from tasks.hg38.sample import SampleGenome
from tasks.kinds.local_files import local_path
from tasks.kinds.sequences.windows import TokenWindows

PAPER_URL = "https://storage.googleapis.com/basenji_barnyard2/hg38.ml.fa.gz"
PAPER_NUCLEOTIDES = 3_031_042_417
"""Chromosomes 1 to 22 and X; the number gives the paper's 2,727,938,175 training tokens."""


@configurable
class HG38(TokenWindows):
    """Next-nucleotide (or k-mer) prediction on a genome, in windows of 1024 (paper 1, appendix A.6).

    ``source: paper`` fetches the file that the Basenji authors prepared, chromosomes 1 to 22 and X. The first 90% of
    the tokens train: 2,727,938,175 characters (2,664,002 samples), 681,984,535 4-mers or 454,656,353 6-mers. The rest
    validates; the released code leaves the last 217 characters of it out, which is less than one sample.

    ``source: sample`` is the generated sequence of `tasks.hg38.sample`; its statistics are a genome's, its content is
    not. A path names FASTA files, plain or packed.

    Case is ignored, U is read as T, and other IUPAC letters than A, C, G and T as N. As in the paper, samples come in
    stored order unless ``shuffle`` is set.
    """

    dataset: ClassVar[str] = "hg38"
    content: ClassVar[str] = "sequence"

    kmer: int = dataclasses.field(default=1, metadata={"at_least": 1, "at_most": LARGEST_K})
    """Nucleotides per token; 1: characters (vocabulary 5), else k-mers that do not overlap (``4^k + 1``)."""

    seq_len: int = dataclasses.field(default=1024, metadata={"at_least": 1})
    """Tokens per sample."""

    val_share: float = dataclasses.field(default=0.1, metadata={"above": 0, "below": 1})
    """Share of the tokens, at the end, that is the validation split."""

    shuffle: bool = False
    """Whether every epoch has a fresh permutation of the training samples."""

    def genome(self) -> TokenizedGenome:
        """What is prepared: the nucleotides that ``source`` names, and the settings that decide the tokens.

        Raises:
            ValueError: there is no such source.
        """
        source: Genome
        if self.source == "paper":
            source = FetchedGenome(PAPER_URL, self.prepared_root, PAPER_NUCLEOTIDES)
        elif self.source == "sample":
            source = SampleGenome()
        else:
            source = LocalGenome(local_path(self.source))
        return TokenizedGenome(
            dataset=self.dataset, source=source, k=self.kmer, val_share=self.val_share, max_tokens=self.max_tokens
        )

    def prepare(self) -> str:
        """Tokenize the genome once; see `tasks.hg38.preparation.prepare_genome`."""
        self.token_files = prepare_genome(self.genome(), self.prepared_root)
        return self.token_files.fingerprint
