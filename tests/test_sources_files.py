"""Odd files as a source of text, nucleotides or molecules: read as what they are, or refused in one sentence."""

from __future__ import annotations

import bz2
import gzip
import json
import logging
import lzma
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from full_disks import one_sentence

from suite.cli.main import main
from tasks.hg38.fasta import parse_fasta, read_chunks
from tasks.hg38.genomes import LocalGenome
from tasks.kinds import left_out, local_files
from tasks.kinds.local_files import local_path, walk
from tasks.kinds.prepared_folder import only_process, prepare_folder
from tasks.kinds.text import documents, tokenizer
from tasks.kinds.text.documents import LocalText, read_file, split_before_space
from tasks.kinds.text.sample import SampleText
from tasks.kinds.text.tokenizer import json_tokenizer, train_bpe

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
}
ROWS = [f"row {i} of some text" for i in range(3000)]
JSONL = "".join(json.dumps({"text": row}) + "\n" for row in ROWS).encode()


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    return one_sentence(caught.value)


def texts(path: Path) -> list[str]:
    return [piece.text for piece in LocalText(path).pieces()]


# How a file is packed.


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_first_bytes_tell_how_a_file_is_packed(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACK[kind](JSONL))
    assert texts(path) == ROWS
    path.write_bytes(gzip.compress(PACK[kind](JSONL)))  # twice, as some servers do
    assert texts(path) == ROWS


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.98])
def test_packed_file_that_ends_early_is_named(tmp_path: Path, kind: str, kept: float) -> None:
    packed = PACK[kind](JSONL)
    path = tmp_path / "a.jsonl"
    path.write_bytes(packed[: max(8, int(kept * len(packed)))])
    assert f"{path} must be a complete {kind} file" in refusal(lambda: texts(path))


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_name_that_promises_a_packed_file_is_held_to_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_text("<html>404</html>")
    assert "but it is not packed" in refusal(lambda: texts(path))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (("words " * 20).encode("utf-16"), "in UTF-16"),
        (("words " * 20).encode("utf-16-le"), "in UTF-16"),
        (("words " * 20).encode("utf-16-be"), "in UTF-16"),
        (("words " * 20).encode("utf-32"), "in UTF-16 or UTF-32"),
        (b"PK\x03\x04words", "a zip archive"),
        (b"PAR1words", "a parquet file"),
        (b"%PDF-1.7 words", "a PDF"),
        (bytes(600), "no text"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.fa"])
def test_what_is_no_utf_8_text_is_said(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    path = tmp_path / name
    for written in (content, gzip.compress(content)) if name != "a.fa" else (content,):
        path.write_bytes(written)
        if name == "a.csv":
            pytest.importorskip("rdkit")
            from tasks.zinc.smiles_files import SmilesFiles

            assert kind in refusal(SmilesFiles(path).rows)
        elif name == "a.fa":
            assert kind in refusal(lambda: list(LocalGenome(path).stretches()))
        else:
            assert kind in refusal(lambda: texts(path))


# What of a folder is read.


def test_what_is_left_out_is_counted_and_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b.txt").write_text("two")
    for name in ("README.txt", "LICENSE", "sha256sums.txt", "more.json", "._a.txt"):
        (tmp_path / name).write_text("not data")
    for folder in (".cache", "__MACOSX"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "c.txt").write_text("not data")
    os.symlink(tmp_path / "nowhere", tmp_path / "gone.txt")
    with caplog.at_level(logging.WARNING):
        assert texts(tmp_path) == ["one", "two"]
        assert texts(tmp_path) == ["one", "two"]
    (said,) = caplog.messages
    assert said == (
        f"Of {tmp_path} 2 files are used; left out are 3 hidden (._a.txt, .cache, __MACOSX); 3 about the data "
        "(LICENSE, README.txt, sha256sums.txt); 1 of a kind that is not read (more.json); 1 neither file nor folder "
        "(gone.txt)."
    )
    assert LocalText(tmp_path).left_out.facts()["about the data"]["count"] == 3
    assert "".join(texts(tmp_path / "README.txt")) == "not data"  # asked for by its name


@pytest.mark.parametrize(("read", "lost", "refused"), [(1, 5, False), (1, 6, True), (994, 6, False), (900, 10, True)])
def test_more_than_a_handful_or_a_hundredth_is_an_error(tmp_path: Path, read: int, lost: int, refused: bool) -> None:
    for number in range(read):
        (tmp_path / f"{number}.txt").write_text("data")
    for number in range(lost):
        (tmp_path / f"{number}.json").write_text("{}")
    if refused:
        assert f"but {lost} would be: {lost} of a kind" in refusal(lambda: LocalText(tmp_path))
    else:
        assert len(LocalText(tmp_path).files()) == read
    assert left_out.allowed(100) == 5 and left_out.allowed(1000) == 10


def test_one_file_packed_and_unpacked_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one"))
    assert "must be there once, got a.txt and a.txt.gz" in refusal(lambda: LocalText(tmp_path))
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    assert texts(tmp_path) == ["one", "one"]


def test_prepared_data_below_the_source_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.fineweb.data import FineWeb

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("some words of text " * 200)
    settings = {"batch_size": 2, "source": ".", "tokenizer": "byte", "seq_len": 8}
    first = [FineWeb(**settings, val_share=share).ensure_open() for share in (0.1, 0.2, 0.3)]
    assert [FineWeb(**settings, val_share=share).ensure_open() for share in (0.1, 0.2, 0.3)] == first
    assert LocalText(Path()).left_out.names == {"hidden": ["data"]}


def test_linked_folders_are_read_and_loops_end(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("one")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "b.txt").write_text("two")
    os.symlink(tmp_path / "elsewhere", tmp_path / "source" / "linked")
    os.symlink(tmp_path / "source", tmp_path / "source" / "again")
    assert walk(tmp_path / "source").files == ["b.txt", "linked/a.txt"]
    assert texts(tmp_path / "source") == ["two", "one"]


def test_folder_or_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.txt").write_text("one")
    source = LocalText(tmp_path)

    def denied(path: object, *args: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(local_files.os, "scandir", denied)
    assert f"{tmp_path} must be readable, but it is not (Permission denied)" in refusal(lambda: LocalText(tmp_path))
    monkeypatch.setattr(local_files, "open", denied, raising=False)
    assert "a.txt must be readable, but it is not" in refusal(lambda: list(source.pieces()))


@pytest.mark.parametrize(
    "source", ["", " ", "*", "[a]b", "{", "nowhere/*.txt", "a\0b", "a" * 5000, "/dev/null", "pipe"]
)
def test_source_that_names_no_file_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("not asked for")
    os.mkfifo(tmp_path / "pipe")
    assert "must be paper, sample, or an existing file or folder, got" in refusal(lambda: local_path(source))
    (tmp_path / "[a]b").mkdir()
    (tmp_path / "[a]b" / "c.txt").write_text("wanted")
    assert texts(local_path("[a]b")) == ["wanted"]


@pytest.mark.parametrize("task", ["fineweb/gpt", "hg38/gpt", "zinc/gcn", "imagenet21k/vit"])
@pytest.mark.parametrize("source", ["", "*", "[a]b", "pipe", "null"])
def test_every_dataset_refuses_a_source_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], task: str, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    code = main(["prepare", "--task", task, "--data.source", source, "--data.batch_size", "4"])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("suite: ")]
    assert code == 2 and len(said) == 1 and "data.source" in said[0]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["pipe"]


# Preparation that fails.


@pytest.mark.parametrize("goes_on", [True, False])
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "must fit into memory, but it ran out"),
        (PermissionError(13, "Permission denied", "x.bin"), r"x.bin failed (Permission denied)"),
        (OSError(5, "Input/output error"), r"one of them failed (Input/output error)"),
        (local_files.DamagedSource("Damaged."), "Damaged."),
    ],
)
def test_failed_preparation_is_one_sentence_and_no_folder(
    tmp_path: Path, goes_on: bool, error: Exception, sentence: str
) -> None:
    def work(working: Path) -> None:
        (working / "train.bin").write_bytes(b"half")
        raise error

    folder = tmp_path / "prepared"
    assert sentence in refusal(lambda: prepare_folder(folder, work, goes_on=goes_on))
    assert not folder.exists()
    kept = goes_on and not isinstance(error, local_files.DamagedSource)
    assert (tmp_path / "prepared.partial").exists() == kept
    prepare_folder(folder, lambda working: None, goes_on=False)
    assert not list(folder.iterdir())


# Text.


def test_zero_bytes_anywhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"words of text " * 40_000 + bytes(4096))  # as after a crash
    assert "there are zero bytes after offset 524288" in refusal(lambda: texts(tmp_path / "a.txt"))


def test_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "lost", "text": "kept"}\n')
    assert "line 2 must be a JSON object" in refusal(lambda: texts(tmp_path / "a.jsonl"))


def test_long_text_without_a_space_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_BLOCK_BYTES", 64)
    monkeypatch.setattr(documents, "LONGEST_PIECE", 1000)
    (tmp_path / "a.txt").write_text("some words " + "x" * 5000 + " and more words" * 20)
    pieces = list(read_file(tmp_path / "a.txt"))
    assert "".join(piece.text for piece in pieces) == (tmp_path / "a.txt").read_text()
    assert max(len(piece.text) for piece in pieces) < 1100 and [p.documents for p in pieces][-2:] == [0, 1]


def test_pieces_are_those_of_a_search_over_all_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_BLOCK_BYTES", 7)
    text = "".join(random.Random(0).choices(["word", " ", "\n", "\x1c", "-", "\t"], [6, 3, 1, 1, 1, 1], k=4000))
    (tmp_path / "a.txt").write_text(text, newline="")
    expected, waits = [], ""
    for start in range(0, len(text), 7):
        piece, waits = split_before_space(waits + text[start : start + 7])
        expected += [piece] if piece else []
    assert [piece.text for piece in read_file(tmp_path / "a.txt")] == [*expected, waits]


def test_merges_are_learnt_from_words_of_bounded_length() -> None:
    long = train_bpe(290, ["some words of text, some more of it", "a" * 20_000, " " * 20_000])
    assert max(map(len, json.loads(long.definition)["model"]["vocab"])) <= tokenizer.LONGEST_WORD
    (ids,) = long.encode(["a" * 20_000])
    assert len(ids) < 100  # encoded as one word


def test_tokenizer_of_ordinary_text_is_that_of_whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = [piece.text for piece in list(SampleText().pieces())[:200]] + ["word " * 3000, "漢字" * 300, "1" * 999]
    bounded = train_bpe(500, ordinary)
    monkeypatch.setattr(tokenizer, "LONGEST_WORD", 90_000)
    assert train_bpe(500, ordinary) == bounded


def test_tokenizer_that_loses_characters_is_refused(tmp_path: Path) -> None:
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, trainers

    lossy = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]"))
    lossy.pre_tokenizer = pre_tokenizers.Whitespace()
    lossy.train_from_iterator(["some words"], trainers.BpeTrainer(special_tokens=["[UNK]"], show_progress=False))
    lower = tokenizers.Tokenizer.from_str(train_bpe(270, ["some words of a text"] * 3).definition)
    lower.normalizer = normalizers.Lowercase()
    for definition in (lossy.to_str(), lower.to_str()):
        assert "must keep every text" in refusal(lambda text=definition: json_tokenizer("gpt-neox:x.json", text))
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", Path("/dev/zero")):
        assert "cannot be read (no regular file)" in refusal(lambda p=path: tokenizer.load_tokenizer(f"gpt-neox:{p}"))


# FASTA.


FASTA = b">one ACGT >x\nACGTN\nacgtn\n\nGG\n>two\n>three\nTTTT\nA"


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 5, 1 << 20])
@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + FASTA,
        b"\n\n  \n" + FASTA,
        FASTA.replace(b"\n", b"\r\n"),
        FASTA.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf\r\n " + FASTA.replace(b"\n", b"\r\n"),
        FASTA.replace(b"\n>", b"\n \t>"),
        b"  " + FASTA.replace(b"\n", b" \n  "),
        *(pack(FASTA) for pack in PACK.values()),
    ],
)
def test_fasta_of_every_system_is_read(tmp_path: Path, content: bytes, chunk_bytes: int) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(content)
    stretches = list(parse_fasta("a.fa", read_chunks(path, chunk_bytes)))
    assert b"".join(stretch.codes for stretch in stretches) == bytes([0, 1, 2, 3, 4] * 2 + [2, 2] + [3] * 4 + [0])
    records, at = [], 0
    for stretch in stretches:
        records += [at] if stretch.starts_record and stretch.codes else []
        at += len(stretch.codes)
    assert records == [0, 12]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbfACGT\n", "line 1 must be a FASTA header"),
        (b">a\rAC-T\r", "line 2 must hold nucleotides (IUPAC letters), got '-'"),
        (b">a\r\nACGT\r\nAC >T\r\n", "line 3 must hold nucleotides (IUPAC letters), got '>'"),
        (b"@read\nACGT\n+\nIIII\n", "line 1 must be a FASTA header"),
        (b">chr1 \nAC\n>\nGT\n>\nA\n>chr1\nAC\n", "line 7 has the header 'chr1' again, after line 1"),
        (b"\xef\xbb\xbf", "is empty"),
        (b" \t\n  ", "is empty"),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 4, 1 << 20])
def test_odd_fasta_is_named(tmp_path: Path, content: bytes, message: str, chunk_bytes: int) -> None:
    (tmp_path / "a.fa").write_bytes(content)
    assert message in refusal(lambda: list(parse_fasta("a.fa", read_chunks(tmp_path / "a.fa", chunk_bytes))))


# Molecules.


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (['C,"open', *["CC,x"] * 48], "line 3"),
        (['C,"open', *["CC,x"] * 20, 'CCC,closed"', "C,x"], "line 3"),
        (["C,x", 'C,"open', "CC,x", 'CCC,"closed"'], "line 4"),
        (['"C,x', "CC,y"], "line 3"),
        (['C,"a"b'], "line 3"),
    ],
)
def test_quote_that_is_not_closed_is_named(tmp_path: Path, lines: list[str], line: str) -> None:
    pytest.importorskip("rdkit")
    from tasks.zinc.smiles_files import read_smiles

    path = tmp_path / "a.csv"
    for end in ("\n", "\r\n", "\r"):
        path.write_text("smiles,name" + end + end.join(["O,good", *lines]) + end, newline="")
        assert f"a.csv {line} must hold one row, every quote closed" in refusal(lambda: read_smiles(path))


def test_rows_that_do_not_fit_the_header_are_not_guessed(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    from tasks.zinc.smiles_files import read_smiles

    path = tmp_path / "a.csv"
    path.write_text('name,smiles\na,CC\nb,C,CO\nc\n"d,e",O,,\n')
    assert [row.smiles for row in read_smiles(path)] == ["CC", "", "", "O"]
    path.write_text("smiles,SMILES\nC,O\n")
    assert "one column named smiles" in refusal(lambda: read_smiles(path))


def test_too_many_unusable_molecules_are_an_error(tmp_path: Path) -> None:
    pytest.importorskip("torch_geometric")
    from tasks.zinc.data import Zinc

    path = tmp_path / "a.csv"
    for broken in (5, 6):
        path.write_text("smiles\n" + "CCO\n" * 40 + "c1ccc\n" * broken)
        data = Zinc(batch_size=4, num_workers=1, source=str(path), data_dir=str(tmp_path / "data"))
        if broken == 5:
            data.ensure_open()
            assert data.train_samples + data.val_samples == 40
        else:
            assert "At most 5 molecules may be left out, but 6 of 46" in refusal(data.ensure_open)
    assert not list((tmp_path / "data").glob("*.partial"))


def test_what_is_refused_leaves_neither_a_lock_nor_the_folders_for_it(tmp_path: Path) -> None:
    def refuse(working: Path) -> None:
        raise ValueError("no")

    for data_dir in (tmp_path / "new" / "data", tmp_path):
        with pytest.raises(ValueError, match="no"):
            prepare_folder(data_dir / "a", refuse, goes_on=False)
        assert not list(tmp_path.iterdir())
    prepare_folder(tmp_path / "b", lambda working: None, goes_on=False)
    with pytest.raises(ValueError, match="no"):
        prepare_folder(tmp_path / "a", refuse, goes_on=False)
    assert [path.name for path in tmp_path.glob(".locks/*")] == ["b.lock"]


def test_a_lock_that_its_holder_removes_is_not_held_twice(tmp_path: Path) -> None:
    held, most, rounds = 0, 0, []

    def hold() -> None:
        nonlocal held, most
        for _ in range(50):
            with pytest.raises(ValueError, match="^no$"), only_process(tmp_path / "data" / "a"):
                held += 1
                most = max(most, held)
                time.sleep(0.0005)
                held -= 1
                rounds.append(1)
                raise ValueError("no")

    threads = [threading.Thread(target=hold) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 1 and len(rounds) == 300 and not list(tmp_path.rglob("*.lock"))


def test_a_folder_of_locks_that_goes_while_it_is_made_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, refused = Path.mkdir, [FileExistsError(17, "File exists"), FileNotFoundError(2, "No such file or directory")]

    def mkdir(path: Path, *args: object, **options: object) -> None:
        if refused:
            raise refused.pop()  # what `mkdir` says when another process removes the folder under it
        make(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with only_process(tmp_path / "data" / "a"):
        assert (tmp_path / "data" / ".locks" / "a.lock").exists() and not refused


def test_a_file_where_the_folder_of_locks_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / ".locks").write_text("")
    said = refusal(lambda: prepare_folder(tmp_path / "a", lambda working: None, goes_on=False))
    assert f"but {tmp_path} cannot (File exists)" in said
