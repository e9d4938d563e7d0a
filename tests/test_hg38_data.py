"""The human genome: what `paper` means in numbers, exact tokens, damage named by line."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.hg38.data import HG38, PAPER_NUCLEOTIDES
from tasks.hg38.fasta import Stretch, parse_fasta, read_chunks
from tasks.hg38.genomes import LocalGenome
from tasks.hg38.kmers import KmerTokens
from tasks.hg38.sample import fasta_text
from tasks.kinds.sequences.token_files import TokenFiles

CHROMOSOMES = [
    248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636, 138394717, 133797422,
    135086622, 133275309, 114364328, 107043718, 101991189, 90338345, 83257441, 80373285, 58617616, 64444167, 46709983,
    50818468, 156040895,
]  # fmt: skip
"""Lengths of chromosomes 1 to 22 and X in hg38."""


def obvious_tokens(text: str, k: int) -> list[int]:
    """Tokens as the definition reads."""
    tokens = []
    for record in text.split(">")[1:]:
        sequence = "".join(record.splitlines()[1:]).upper().replace("U", "T")
        for i in range(0, len(sequence) - k + 1, k):
            kmer = sequence[i : i + k]
            known = all(letter in "ACGT" for letter in kmer)
            tokens.append(sum("ACGT".index(c) * 4 ** (k - 1 - j) for j, c in enumerate(kmer)) if known else 4**k)
    return tokens


def tokens_of(path: Path, k: int, chunk_bytes: int) -> list[int]:
    kmers = KmerTokens(k)
    stretches = parse_fasta(str(path), read_chunks(path, chunk_bytes))
    return list(itertools.chain.from_iterable(kmers.tokens(stretch).tolist() for stretch in stretches))


def random_fasta(seed: int, line_end: str = "\n") -> str:
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(6):
        lines.append(f">record {number} ACGT>>N")
        for _ in range(int(rng.integers(0, 9))):
            letters = rng.choice(list("ACGTacgtACGTacgtNnRyU"), size=int(rng.integers(0, 70)))
            lines.append("".join(letters))
    return line_end.join(["", *lines, ">last", "ACGTACGTACGTA"])


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("k", [1, 2, 3, 4, 6, 7])
@pytest.mark.parametrize(("name", "line_end"), [("a.fa", "\n"), ("a.fa.gz", "\n"), ("a.fasta", "\r\n")])
def test_tokens_are_the_definitions_however_the_file_is_cut(k, name, line_end, tmp_path):
    for seed in range(3):
        text = random_fasta(seed, line_end)
        path = write(tmp_path / name, text)
        expected = obvious_tokens(text, k)
        for chunk_bytes in (1, 7, 64, 1 << 20):
            assert tokens_of(path, k, chunk_bytes) == expected


def test_gzip_of_several_members_with_padding_is_read_to_its_end(tmp_path):
    text = random_fasta(5).encode()
    path = tmp_path / "a.fa.gz"
    members = [gzip.compress(text[i : i + 100]) for i in range(0, len(text), 100)]
    path.write_bytes(b"".join(members) + gzip.compress(b"") + bytes(700))
    for chunk_bytes in (3, 1 << 20):
        assert b"".join(read_chunks(path, chunk_bytes)) == text


def test_memory_is_bounded_by_a_chunk(tmp_path):
    path = tmp_path / "n.fa.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b">long\n")
        for _ in range(60):
            file.write((b"N" * 60 + b"\n") * 17_000)  # a megabyte; a thousandth of that compressed
    tracemalloc.start()
    try:
        kmers = KmerTokens(6)
        total = sum(len(kmers.tokens(stretch)) for stretch in LocalGenome(path).stretches())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 60 * 17_000 * 10
    assert peak < 12_000_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.fa must hold a sequence, but it is empty \(0 lines\)"),
        (b"\n\n", r"is empty \(2 lines\)"),
        (b">only\n", r"has headers alone \(1 lines\)"),
        (b">one\nACGT\n>cut", r"a\.fa line 3 has the last header, 'cut', without a sequence"),
        (b">one\nACGT\n>cut\n\n", r"a\.fa line 3 has the last header, 'cut', without a sequence"),
        (b"ACGT\nACGT\n", r"a\.fa line 1 must be a FASTA header .* got 'A'"),
        (b"\n\nhello", r"a\.fa line 3 must be a FASTA header .* got 'h'"),
        (b">a\nACGT\nAC-T\nACGT\n", r"a\.fa line 3 must hold nucleotides \(IUPAC letters\), got '-'"),
        (b">a\nACGT\n>b\nACGT\nACGE\n", r"a\.fa line 5 must .* got 'E'"),
        (b">a\nACGT\nAC>T\n", r"a\.fa line 3 must .* got '>'"),
        (b">a\nAC\x00T\n", r"a\.fa line 2 must .* got '\\x00'"),
        (gzip.compress(b">a\n" + b"ACGTT\n" * 400 + b"ACG!\n", mtime=0), r"a\.fa line 402 must .* got '!'"),
        (gzip.compress(b"", mtime=0), r"is empty \(0 lines\)"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 5, 1 << 20])
def test_damage_names_file_and_line(content, message, chunk_bytes, tmp_path):
    path = tmp_path / "a.fa"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(parse_fasta(str(path), read_chunks(path, chunk_bytes)))


def test_truncated_gzip_names_file_and_line_and_leaves_nothing(tmp_path):
    rng = np.random.default_rng(0)
    text = ">a\n" + "".join("".join(rng.choice(list("ACGT"), size=60)) + "\n" for _ in range(5000))
    whole = gzip.compress(text.encode())
    path = tmp_path / "cut.fa.gz"
    for kept in (len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:kept])
        data = HG38(batch_size=1, source=str(path), data_dir=str(tmp_path / "data"))
        with pytest.raises(ValueError, match=r"cut\.fa\.gz must be a complete gzip file.* cut short in line \d+;"):
            data.ensure_open()
    assert not (tmp_path / "data").exists()
    broken = bytearray(whole)
    broken[-6] ^= 1  # the checksum
    path.write_bytes(broken)
    with pytest.raises(ValueError, match=r"cut\.fa\.gz .* is damaged \(.*incorrect data check\) after line \d+;"):
        list(LocalGenome(path).stretches())


def test_paper_counts_follow_from_the_chromosomes():
    assert sum(CHROMOSOMES) == PAPER_NUCLEOTIDES
    share = 1 - HG38(batch_size=1).val_share
    for k, train in ((1, 2_727_938_175), (4, 681_984_535), (6, 454_656_353)):
        assert int(sum(length // k for length in CHROMOSOMES) * share) == train


@pytest.mark.parametrize(
    ("k", "batch_size", "steps"),
    [(1, 16, 166_500), (1, 64, 41_625), (1, 256, 10_406), (1, 1024, 2_601), (4, 256, 2_601), (6, 256, 1_734)],
)
def test_paper_step_counts(k, batch_size, steps, tmp_path):
    total = sum(length // k for length in CHROMOSOMES)
    train, size = int(total * 0.9), 1 if k == 1 else 2
    for split, tokens in {"train": train, "val": total - train}.items():
        with open(tmp_path / f"{split}.bin", "wb") as file:
            file.truncate(size * tokens)  # a hole: takes no space
    data = HG38(batch_size=batch_size, source="paper", kmer=k)
    splits = {split: {"file": f"{split}.bin", "tokens": 1, "sha256": ""} for split in ("train", "val")}
    manifest = {"splits": splits, "tokenizer": {"vocab_size": 4**k + 1}, "bytes_per_token": size}
    data.token_files = TokenFiles(tmp_path, manifest)
    data.open()
    assert data.steps == steps
    assert data.facts() == {"vocab_size": 4**k + 1, "seq_len": 1024}


def test_stored_order_is_the_default_and_shuffling_a_setting(tmp_path):
    settings = {"source": "sample", "data_dir": str(tmp_path), "seq_len": 64, "max_tokens": 200_000}
    data = HG38(batch_size=4, **settings)
    data.ensure_open()
    assert np.array_equal(data.plan().indices(3).ravel(), [12, 13, 14, 15])
    shuffled = HG38(batch_size=4, shuffle=True, **settings)
    assert shuffled.ensure_open() == data.fingerprint
    assert not np.array_equal(shuffled.plan().indices(3).ravel(), [12, 13, 14, 15])
    assert data.token_files is not None and data.token_files.tokens("train").dtype == np.uint8
    assert len(data.token_files.tokens("train")) == 180_000
    batch = data.gather("train", np.array([0, 1]))
    assert batch.dtype == torch.int64 and batch.shape == (2, 65) and batch[0, 64] == batch[1, 0]
    data.verify()


def test_kmers_share_nothing_with_characters(tmp_path):
    settings = {"source": "sample", "data_dir": str(tmp_path), "seq_len": 64, "max_tokens": 20_000}
    found = {k: HG38(batch_size=4, kmer=k, **settings) for k in (1, 4, 6)}
    assert len({data.ensure_open() for data in found.values()}) == 3
    assert [data.facts()["vocab_size"] for data in found.values()] == [5, 257, 4097]
    with pytest.raises(ValueError, match=r"data\.kmer must be at least 1 and at most 7, got 8"):
        HG38(batch_size=4, kmer=8)
    path = write(tmp_path / "short.fa", ">a\nACGT\n>b\nACGTA\n")
    with pytest.raises(ValueError, match=r"data\.source must have a record of at least data\.kmer = 6 nucleotides"):
        HG38(batch_size=1, kmer=6, source=str(path), data_dir=str(tmp_path)).ensure_open()


def test_unknown_source_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"data\.source must be paper, sample, or an existing file or folder"):
        HG38(batch_size=1, source="papr").ensure_open()
    with pytest.raises(ValueError, match=r"data\.source must name or contain files that end in \.fa"):
        HG38(batch_size=1, source=str(tmp_path)).ensure_open()


def test_folder_is_read_in_sorted_order(tmp_path):
    write(tmp_path / "b.fa.gz", ">b\nCC\n")
    write(tmp_path / "a.fna", ">a\nAA\n")
    write(tmp_path / "notes.txt", "no sequence")
    assert b"".join(s.codes for s in LocalGenome(tmp_path).stretches()) == bytes([0, 0, 1, 1])
    assert [s.starts_record for s in LocalGenome(tmp_path).stretches()] == [True, True]


def test_sample_has_the_stated_statistics():
    text = b"".join(fasta_text())
    sequences = [b"".join(record.split(b"\n")[1:]) for record in text.split(b">")[1:]]
    assert [len(sequence) for sequence in sequences] == [1_000_000] * 4
    letters = b"".join(sequences)
    upper = letters.upper()
    count = {letter: upper.count(letter.encode()) for letter in "ACGTN"}
    known = len(letters) - count["N"]
    assert count["N"] == 4 * 50_000
    assert (count["C"] + count["G"]) / known == pytest.approx(0.424, abs=0.005)
    assert count["A"] / count["T"] == pytest.approx(1, abs=0.01) == count["C"] / count["G"]
    assert upper.count(b"CG") * known / (count["C"] * count["G"]) == pytest.approx(0.26, abs=0.01)
    assert sum(letters.count(letter) for letter in (b"a", b"c", b"g", b"t")) / known == pytest.approx(0.47, abs=0.02)
    frequencies = np.array(list(count.values())) / len(letters)
    assert -(frequencies * np.log(frequencies)).sum() == pytest.approx(1.50, abs=0.01)


@pytest.mark.parametrize(
    ("name", "records", "nucleotides", "unknown"),
    [
        ("hg38_chr1_0_1000000.fa.gz", 1, 1_000_000, 160_000),
        ("hg38_chr2_0_1600000_softmasked.fa.gz", 1, 1_600_000, 10_000),
        ("hg38_windows45_131kb.fa.gz", 45, 5_898_240, 1_000),
    ],
)
def test_real_slices_have_their_published_counts(name, records, nucleotides, unknown, shared_data):
    stretches = list(LocalGenome(shared_data / "genome" / name).stretches())
    codes = np.frombuffer(b"".join(stretch.codes for stretch in stretches), dtype=np.uint8)
    assert sum(stretch.starts_record for stretch in stretches) == records
    assert len(codes) == nucleotides and int((codes == 4).sum()) == unknown


def test_stretches_of_kmers_do_not_cross_records():
    kmers = KmerTokens(3)
    assert kmers.tokens(Stretch(True, bytes([0, 1]))).tolist() == []
    assert kmers.tokens(Stretch(False, bytes([2, 3]))).tolist() == [0 * 16 + 1 * 4 + 2]
    assert kmers.tokens(Stretch(True, bytes([3, 3, 4, 1]))).tolist() == [64]
