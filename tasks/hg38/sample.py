"""A generated genome: random, but with the statistics that make DNA hard and easy to predict.

It is four chromosomes of a million nucleotides, the same on every machine, made in a few seconds:

- composition: 42% of A, C, G, T are G or C, in isochores of 50,000 that range from 36% to 53%; A = T and C = G to 1%;
- CpG depletion: the dinucleotide CG is 0.26 times as frequent as its letters make one expect;
- repeats: 45% of the sequence are diverged copies, on both strands, of ten ancestors (short ones of 300, long ones cut
  short at their front), and another 3% are microsatellites; repeats are in lower case, as UCSC masks them;
- N runs: 5%, 10,000 at either end of a chromosome and a gap of 30,000 inside.

The letters' frequencies alone, N among them, have an entropy of 1.50 nats (1.37 without N); knowing the letter before
lowers it to 1.21, mostly because N follows N; a predictor that remembers the ancestors gets lower still. The sequence
has no genes, and results on it say nothing about genomes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tasks.hg38.fasta import Stretch, parse_fasta

RECIPE = 1
"""Raised whenever the generated sequence would change."""

CHROMOSOMES = 4
CHROMOSOME_LENGTH = 1_000_000
TELOMERE, GAP = 10_000, 30_000

_SEED = 38
_ISOCHORE = 50_000
_ISOCHORE_GC = np.array([0.36, 0.38, 0.40, 0.45, 0.53])
_ISOCHORE_SHARE = np.array([0.30, 0.25, 0.20, 0.15, 0.10])
_CPG = 0.20
_CPG_LOSS = 0.7
_WALK = 250
_LINE = 60
_LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)
_LOWER = 32
_C, _G, _N = 1, 2, 4


@dataclass(frozen=True)
class Family:
    """Copies of one ancestor.

    Attributes:
        length: length of the ancestor, in nucleotides.
        copy_length: mean length of a copy, which keeps the ancestor's end.
        gc: share of G and C in the ancestor.
        divergence: share of nucleotides that a copy has changed.
        share: share of the sequence that is made of its copies.
    """

    length: int
    copy_length: int
    gc: float
    divergence: float
    share: float


FAMILIES = (
    *(Family(300, 300, 0.58, divergence, 0.025) for divergence in (0.05, 0.10, 0.12, 0.16)),
    *(Family(6000, 1000, 0.42, divergence, 0.045) for divergence in (0.04, 0.10, 0.15, 0.20)),
    Family(2500, 300, 0.41, 0.25, 0.11),
    Family(450, 350, 0.43, 0.15, 0.06),
)
MICROSATELLITE_SHARE = 0.03


@dataclass(frozen=True)
class SampleGenome:
    """The generated genome as a source of nucleotides."""

    label = "sample"

    def identity(self) -> dict[str, Any]:
        """What decides the nucleotides: the recipe."""
        return {"kind": "sample", "recipe": RECIPE}

    def expected_nucleotides(self) -> int:
        """The exact number of nucleotides."""
        return CHROMOSOMES * CHROMOSOME_LENGTH

    def stretches(self) -> Iterator[Stretch]:
        """Nucleotides, read from FASTA text as any other genome's."""
        yield from parse_fasta("the sample genome", fasta_text())


def fasta_text() -> Iterator[bytes]:
    """The genome as FASTA, one chunk per chromosome."""
    for number, letters in enumerate(_chromosomes(), start=1):
        lines = np.full((-(-len(letters) // _LINE), _LINE + 1), ord("\n"), dtype=np.uint8)
        lines[:, :-1] = np.pad(letters, (0, -len(letters) % _LINE), constant_values=ord("\n")).reshape(-1, _LINE)
        yield f">sample{number}\n".encode() + lines.tobytes().rstrip(b"\n") + b"\n"


@lru_cache(maxsize=1)
def _chromosomes() -> list[np.ndarray]:
    rng = np.random.default_rng(_SEED)
    ancestors = [_walks(rng, np.full(1, family.gc), family.length)[0] for family in FAMILIES]
    return [_chromosome(rng, ancestors) for _ in range(CHROMOSOMES)]


def _chromosome(rng: np.random.Generator, ancestors: list[np.ndarray]) -> np.ndarray:
    """Letters of one chromosome, uint8."""
    gc = rng.choice(_ISOCHORE_GC, size=CHROMOSOME_LENGTH // _ISOCHORE, p=_ISOCHORE_SHARE)
    codes = _walks(rng, gc.repeat(_ISOCHORE // _WALK), _WALK).reshape(-1)
    is_repeat = np.zeros(CHROMOSOME_LENGTH, dtype=bool)
    end = 0
    for gap, copy in _inserts(rng, ancestors):
        start, end = end + gap, end + gap + len(copy)
        if end > CHROMOSOME_LENGTH:
            break
        codes[start:end] = copy
        is_repeat[start:end] = True
    letters = _LETTERS[codes] + _LOWER * is_repeat.astype(np.uint8)
    inside = int(rng.integers(TELOMERE, CHROMOSOME_LENGTH - TELOMERE - GAP))
    for first, length in ((0, TELOMERE), (inside, GAP), (CHROMOSOME_LENGTH - TELOMERE, TELOMERE)):
        letters[first : first + length] = _LETTERS[_N]
    return letters


def _inserts(rng: np.random.Generator, ancestors: list[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """An endless stream of repeats, each after the number of nucleotides of unique sequence before it."""
    # The frequency of a kind is proportional to its share of the sequence over its mean length.
    microsatellite_length = 40
    lengths = np.array([*(family.copy_length for family in FAMILIES), microsatellite_length])
    shares = np.array([*(family.share for family in FAMILIES), MICROSATELLITE_SHARE])
    rates = shares / lengths
    unique = (1 - shares.sum()) / rates.sum()
    while True:
        kind = int(rng.choice(len(rates), p=rates / rates.sum()))
        gap = int(rng.exponential(unique))
        if kind == len(FAMILIES):
            unit = rng.integers(0, 4, size=int(rng.integers(1, 7)))
            yield gap, np.resize(unit, int(rng.integers(20, 2 * microsatellite_length - 20 + 1))).astype(np.uint8)
        else:
            yield gap, _copy(rng, FAMILIES[kind], ancestors[kind])


def _copy(rng: np.random.Generator, family: Family, ancestor: np.ndarray) -> np.ndarray:
    length = family.copy_length
    if length < family.length:
        length = min(family.length, 1 + int(rng.exponential(length)))
    copy = ancestor[-length:].copy()
    changed = rng.random(length) < family.divergence
    copy[changed] = (copy[changed] + rng.integers(1, 4, size=int(changed.sum()))) % 4
    # Methylated CG decays to TG, or to CA when the other strand is hit: what depletes CpG in the first place.
    at = np.flatnonzero((copy[:-1] == _C) & (copy[1:] == _G))
    at = at[rng.random(len(at)) < _CPG_LOSS]
    first = rng.random(len(at)) < 0.5
    copy[at[first]] = 3
    copy[at[~first] + 1] = 0
    return copy if rng.random() < 0.5 else 3 - copy[::-1]


def _walks(rng: np.random.Generator, gc: np.ndarray, length: int) -> np.ndarray:
    """Markov chains of first order, ``[chains, length]``, uint8; each with its share of G and C."""
    kinds, kind = np.unique(gc, return_inverse=True)
    pairs = np.stack([_pair_frequencies(share) for share in kinds])
    start = pairs.sum(axis=2).cumsum(axis=1)[:, :3][kind]
    following = (pairs / pairs.sum(axis=2, keepdims=True)).cumsum(axis=2)[:, :, :3]
    codes = np.empty((len(gc), length), dtype=np.uint8)
    codes[:, 0] = (rng.random((len(gc), 1)) > start).sum(axis=1)
    for i in range(1, length):
        codes[:, i] = (rng.random((len(gc), 1)) > following[kind, codes[:, i - 1]]).sum(axis=1)
    return codes


def _pair_frequencies(gc: float) -> np.ndarray:
    """How often each dinucleotide occurs, ``[4, 4]``: letters as ``gc`` says, CG rare, both strands alike."""
    letters = np.array([1 - gc, gc, gc, 1 - gc]) / 2
    weight = np.ones((4, 4))
    weight[_C, _G] = _CPG
    weight[0, 0] = weight[3, 3] = 1.12
    weight[_C, 0] = weight[3, _G] = 1.2
    pairs = weight * np.outer(letters, letters)
    for _ in range(100):  # until rows and columns both add up to the letters
        pairs *= (letters / pairs.sum(axis=1))[:, None]
        pairs *= (letters / pairs.sum(axis=0))[None, :]
    return pairs
