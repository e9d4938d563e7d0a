"""Reading text files: what is read, in which order, and what is said about input that cannot be read."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.kinds.local_files import DamagedSource
from tasks.kinds.text import documents
from tasks.kinds.text.documents import LocalText, read_file, split_before_space
from tasks.kinds.text.sample import SampleText

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def texts(path: Path) -> list[str]:
    return [piece.text for piece in LocalText(path).pieces()]


def write_parquet(path: Path, values: list, column: str = "text") -> None:
    pq.write_table(pa.table({column: pa.array(values, pa.string()), "id": range(len(values))}), path)


def test_folder_is_read_in_sorted_order_of_relative_paths(tmp_path):
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "a.jsonl").write_text('{"text": "one", "id": 7}\n\n{"text": "one and a half"}')
    with gzip.open(tmp_path / "c.txt.gz", "wt") as file:
        file.write("three")
    (tmp_path / "d").mkdir()
    with gzip.open(tmp_path / "d" / "a.jsonl.gz", "wt") as file:
        file.write('{"text": "four"}\n')
    write_parquet(tmp_path / "e.parquet", ["five", ""])
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / ".hidden.txt").write_text("not data")
    assert texts(tmp_path) == ["one", "one and a half", "two", "three", "four", "five", ""]
    assert sum(piece.documents for piece in LocalText(tmp_path).pieces()) == 7


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet"])
def test_every_format_can_be_read_again_from_any_piece(tmp_path, name, monkeypatch):
    monkeypatch.setattr(documents, "_BLOCK_BYTES", 32)
    rows = [f"document number {i} " * (i % 4) for i in range(1100 if name.endswith("parquet") else 50)]
    path = tmp_path / name
    if name.endswith("txt"):
        path.write_text(" ".join(rows))
    elif name.endswith("jsonl"):
        path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    else:
        write_parquet(path, rows)
    everything = list(LocalText(path).pieces())
    assert len(everything) > 10
    for skip in (0, 1, 9, len(everything) - 1, len(everything)):
        assert list(LocalText(path).pieces(skip)) == everything[skip:]


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY_TEXT, max_size=4), st.integers(1, 9))
def test_txt_pieces_join_to_the_file(tmp_path_factory, parts, block_bytes):
    path = tmp_path_factory.mktemp("txt") / "a.txt"
    text = " ".join(parts)
    path.write_bytes(text.encode())
    before = documents._BLOCK_BYTES
    documents._BLOCK_BYTES = block_bytes
    try:
        pieces = list(read_file(path))
    finally:
        documents._BLOCK_BYTES = before
    assert "".join(piece.text for piece in pieces) == text.removeprefix("\ufeff")
    assert sum(piece.documents for piece in pieces) == bool(text)


@given(st.text(st.sampled_from("ab \n\t\r\x1c\xa0\u3000.1é")))
def test_text_is_cut_only_between_visible_and_space(text):
    first, second = split_before_space(text)
    assert first + second == text
    if first:
        assert not first[-1].isspace() and second[0] in " \n\t"
        assert not any(a.strip() and b in " \n\t" for a, b in itertools.pairwise(second))


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=40).filter(lambda line: b"\n" not in line),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=4),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "t"]), inner),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_hostile_jsonl_line_gives_text_or_one_sentence(tmp_path_factory, line):
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line + b"\n")
    try:
        found = list(read_file(path))
    except DamagedSource as error:
        assert f"{path} line 2 must" in str(error) and "\n" not in str(error)
    else:
        assert all(piece.text.encode() is not None for piece in found)
        if len(found) == 2:
            assert isinstance(json.loads(line)["text"], str)


def test_half_a_surrogate_pair_is_replaced(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b \\ud83d\\ude00"}\n')
    assert texts(tmp_path) == ["a\ufffdb \U0001f600"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 must be a JSON object in UTF-8"),
        ("[" * 100_000, "line 2 must be a JSON object in UTF-8"),
        ("[1]", "line 2 must be a JSON object with a text, got list"),
        ('{"txt": "a"}', "line 2 must have a string under \"text\", got the keys 'txt'"),
        ('{"text": null}', 'line 2 must have a string under "text", got NoneType'),
    ],
)
def test_bad_jsonl_line_is_named(tmp_path, line, message):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n' + line + "\n")
    with pytest.raises(ValueError, match=message) as error:
        texts(tmp_path)
    assert "a.jsonl" in str(error.value)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz"])
def test_cut_gzip_is_named(tmp_path, name):
    content = gzip.compress("".join(json.dumps({"text": str(i)}) + "\n" for i in range(5000)).encode())
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{name} must be a complete gzip file"):
        texts(tmp_path)
    (tmp_path / name).write_bytes(b"no gzip at all")
    with pytest.raises(ValueError, match=rf"{name} must be a complete gzip file"):
        texts(tmp_path)


def test_other_bad_input_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"data.source must be paper, sample, or an existing file or folder"):
        LocalText(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"files that end in \.txt, \.jsonl, \.parquet"):
        LocalText(tmp_path)
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(ValueError, match=r"files that end in \.txt, \.jsonl, \.parquet"):
        LocalText(tmp_path / "a.csv")
    (tmp_path / "latin.txt").write_bytes("caf\xe9 noir".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt must be UTF-8 text, but the bytes near offset 3"):
        texts(tmp_path / "latin.txt")
    write_parquet(tmp_path / "other.parquet", ["a"], column="content")
    with pytest.raises(ValueError, match=r"other\.parquet must have a column named text, got content, id"):
        texts(tmp_path / "other.parquet")
    write_parquet(tmp_path / "null.parquet", ["a", None])
    with pytest.raises(ValueError, match=r"null\.parquet row 1 must have a string in the column text"):
        texts(tmp_path / "null.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "null.parquet").read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"cut\.parquet must be a complete parquet file"):
        texts(tmp_path / "cut.parquet")


def test_identity_of_files_follows_their_content_on_disk(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    before = LocalText(tmp_path).identity()
    assert LocalText(tmp_path).identity() == before
    (tmp_path / "a.txt").write_text("other")
    assert LocalText(tmp_path).identity() != before


def test_sample_is_english_and_the_same_every_time():
    pieces = list(SampleText().pieces())
    text = "".join(piece.text for piece in pieces)
    words = text.split()
    assert len(text.encode()) > 500_000
    assert len(set(pieces)) == len(pieces)
    assert sum(word in ("the", "of", "a", "to", "is") for word in words) > 0.12 * len(words)
    assert ">>>" not in text and "::=" not in text
    assert list(SampleText().pieces(skip=len(pieces) - 3)) == pieces[-3:]
