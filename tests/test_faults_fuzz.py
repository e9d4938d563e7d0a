"""Property-based: no content of a sweep's YAML, a CSV, a FASTA file or a JSONL file makes a traceback.

Each reader gets valid files that were damaged, files from a grammar of likely parts, and plain bytes. It either reads
them or refuses them in one sentence. The quick tests try 200 files each, the slow ones 10,000.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from suite.sweep import read_spec

SWEEP: dict[str, Any] = {
    "question": "?",
    "task": "fineweb/gpt",
    "overrides": {"data.budget_steps": 10},
    "batch_size": [1, 4],
    "seeds": [1, 2],
    "optimizers": {
        "sgd": {"lr": {"decades": [-2, 0], "per_decade": 2}, "momentum": [0.9, 0.99]},
        "adam": {"lr": {"by_batch_size": {1: [0.001], 4: [0.01, 0.1]}}, "beta": 0.9},
    },
    "extend_edges": 1,
    "extend_axes": ["lr"],
    "final_loss": "val",
}
WORDS = [
    *SWEEP,
    "sgd",
    "lr",
    "decades",
    "per_decade",
    "by_batch_size",
    "value",
    "panels",
    "published",
    "report_seeds",
    "finalists",
]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["1e-3", ".nan", "fineweb/gpt", "ema", 10**400, "2001-01-01", b"x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def sweeps(draw: st.DrawFn) -> bytes:
    """A sweep with some of its places changed."""
    document = json.loads(json.dumps(SWEEP))
    for _ in range(draw(st.integers(1, 3))):
        place = document
        while True:
            key = draw(st.sampled_from([*place, *WORDS[-5:]]))
            if isinstance(place.get(key), dict) and draw(st.booleans()):
                place = place[key]
                continue
            place[key] = draw(values)
            break
        if not isinstance(document, dict):
            break
    return str(yaml.safe_dump(document)).encode()


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A valid file cut, with bytes put in its place, or repeated."""
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, len(whole)))
    return whole[:start] + draw(st.binary(max_size=12) | st.just(whole[start:end] * 2)) + whole[end:]


def files(*, whole: bytes, parts: list[bytes], others: st.SearchStrategy[bytes] | None = None) -> Any:
    """Damaged files, files of likely parts, other files, and anything."""
    made = [damaged(whole), st.lists(st.sampled_from(parts), max_size=14).map(b"".join), st.binary(max_size=60)]
    return st.one_of(*made, *([others] if others is not None else []))


CSV = (
    b"data,lr,wd,bs,mom,opt,seed,tr_loss_history,vl_loss_history\n"
    b'd,0.1,0,4,0.9,sgd,1,"[3.0, 2.0, 1.0]","[2.0]"\nd,0.2,0,4,0.9,adam,1,"[3.0, \'NaN\']","[]"\n'
)
CSV_PARTS = [
    b"data,lr,wd,bs,mom,opt,tr_loss_history\n", b"lr", b"bs", b"opt", b",", b"\n", b'"',
    b'"[1.0, 2.0]"', b"[1.0", b"'NaN'", b"nan", b"Infinity", b"-1", b"1e999", b"4", b"sgd", b"__import__('os')",
    b"None", b"\x00", b"\xff", b"\r", b"[[1]]", b"d,0.1,0,4,0.9,sgd,",
]  # fmt: skip
FASTA = b">chr1 a title\nACGTNacgtn\nACGTACGTAC\n\n>chr2\nNNNNACGT\n"
FASTA_PARTS = [
    b">", b">chr1\n", b"ACGT", b"acgt", b"NNNN", b"RYKM", b"\n", b"\r\n", b";", b"\x00", b"\xff", b" ", b"-", b"*",
    b"@q\n",
]  # fmt: skip
JSONL = b'{"text": "one"}\n{"text": "tw\\u00f6", "id": 2}\n\n{"id": 3, "text": ""}\n'
JSONL_PARTS = [
    b'{"text": "a"}', b"\n", b"{", b"}", b'"text"', b":", b"null", b"[]", b"1", b'"\\ud800"', b"\xef\xbb\xbf", b"\xff",
    b'{"text": 1}', b"[" * 3000, b'{"text": "\\u0000"}', b"NaN", b'{"text": "a", "text": null}', b"9" * 5000, b"\r",
]  # fmt: skip


def read_sweep(path: Path) -> None:
    read_spec(path)


def read_csv(path: Path) -> None:
    from suite.analysis.csv_import import load_csv

    load_csv(path)


def read_fasta(path: Path) -> None:
    from tasks.hg38.fasta import parse_fasta, read_chunks

    for _ in parse_fasta(str(path), read_chunks(path)):
        pass


def read_jsonl(path: Path) -> None:
    from tasks.kinds.text.documents import read_file

    for piece in read_file(path):
        piece.text.encode()


Reader = Callable[[Path], None]
READERS: dict[str, tuple[Reader, str, Any]] = {
    "sweep": (
        read_sweep,
        "s.yaml",
        files(
            whole=yaml.safe_dump(SWEEP).encode(),
            parts=[f"{word}: ".encode() for word in WORDS]
            + [b"\n", b"  ", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"!!x "],
            others=sweeps(),
        ),
    ),
    "csv": (read_csv, "r.csv", files(whole=CSV, parts=CSV_PARTS)),
    "fasta": (read_fasta, "g.fa", files(whole=FASTA, parts=FASTA_PARTS)),
    "fasta.gz": (read_fasta, "g.fa.gz", files(whole=gzip.compress(FASTA, mtime=0), parts=[gzip.compress(b">c\nA\n")])),
    "jsonl": (read_jsonl, "t.jsonl", files(whole=JSONL, parts=JSONL_PARTS)),
    "jsonl.gz": (read_jsonl, "t.jsonl.gz", files(whole=gzip.compress(JSONL, mtime=0), parts=[gzip.compress(JSONL)])),
}


def fuzz(name: str, folder: Path, cases: int) -> None:
    """Try so many files on one reader."""
    reader, file_name, contents = READERS[name]
    path = folder / file_name
    seen = {"read": 0, "refused": 0}

    @settings(
        max_examples=cases, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(contents)
    def attempt(content: bytes) -> None:
        path.write_bytes(content)
        try:
            reader(path)
            seen["read"] += 1
        except ValueError as error:
            assert str(error) and "\n" not in str(error)
            seen["refused"] += 1

    attempt()
    assert seen["refused"] > cases / 20 and seen["read"] > 0, seen


@pytest.mark.parametrize("name", READERS)
def test_no_file_makes_a_traceback(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    fuzz(name, tmp_path, 200)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_ten_thousand_files_make_no_traceback(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    fuzz(name, tmp_path, 10_000)
