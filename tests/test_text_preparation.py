"""Preparing token files: the same bytes whatever the workers and the kills; damage is noticed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tasks.text import encoding, preparation
from tasks.text.documents import LocalText
from tasks.text.hub import HubText
from tasks.text.preparation import Corpus, prepare_text
from tasks.text.token_files import read_token_files

ROOT = Path(__file__).resolve().parents[1]

SCRIPT = """
import os, signal, sys
from pathlib import Path
from tasks.text import encoding, journal, preparation
from tasks.text.documents import LocalText
from tasks.text.preparation import Corpus
encoding.CHUNK_CHARACTERS, encoding.SERIAL_CHUNKS = 500, 2
source, data_dir, tokenizer, max_tokens, workers, where, count = sys.argv[1:]
seen = 0
def die_at(place, function):
    def counted(*args, **kwargs):
        global seen
        seen += place == where
        if place == where and seen == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return counted
preparation.append = die_at("append", preparation.append)
journal.write_journal = preparation.write_journal = die_at("journal", journal.write_journal)
preparation.write_durably = die_at("manifest", preparation.write_durably)
os.replace = die_at("replace", os.replace)
os.truncate = die_at("truncate", os.truncate)
os.rename = die_at("rename", os.rename)
corpus = Corpus(dataset="toy", source=LocalText(Path(source)), tokenizer=tokenizer, val_share=0.1,
                max_tokens=int(max_tokens) or None)
print(preparation.prepare_text(corpus, Path(data_dir), workers=int(workers), journal_seconds=0).fingerprint)
"""


@pytest.fixture
def source(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    words = np.array(
        [
            "the",
            "of",
            "optimizer",
            "gap",
            "batch",
            "size",
            "is",
            "é",
            "noise",
            "step",
            "learning",
            "rate",
            "large",
            "momentum",
        ]
    )
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        rows = [" ".join(rng.choice(words, size=rng.integers(0, 60))) for _ in range(60)]
        (folder / name).write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    (folder / "c.txt").write_text(" ".join(rng.choice(words, size=400)))
    return folder


def start(source: Path, data_dir: Path, *, tokenizer="byte", max_tokens=0, workers=1, where="", count=0):
    arguments = [str(source), str(data_dir), tokenizer, str(max_tokens), str(workers), where, str(count)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def contents(data_dir: Path) -> dict[str, bytes]:
    (folder,) = [path for path in data_dir.iterdir() if path.name != ".locks"]
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def corpus(source: Path, tokenizer: str = "byte", **values) -> Corpus:
    values = {"val_share": 0.1, "max_tokens": None} | values
    return Corpus(dataset="toy", source=LocalText(source), tokenizer=tokenizer, **values)


def test_byte_tokens_are_the_text_joined_without_separator(source, tmp_path):
    files = prepare_text(corpus(source), tmp_path / "data")
    text = "".join(piece.text for piece in LocalText(source).pieces()).encode()
    tokens = np.concatenate([files.tokens("train"), files.tokens("val")])
    assert tokens.astype(np.uint8).tobytes() == text
    assert len(files.tokens("val")) == int(len(text) * 0.1)
    assert files.manifest["text"] == {"documents": 121, "bytes": len(text)}
    assert files.manifest["splits"]["train"]["tokens"] == len(files.tokens("train"))
    assert sorted(contents(tmp_path / "data")) == ["manifest.json", "train.bin", "val.bin"]
    files.verify()


def test_max_tokens_takes_the_first_tokens(source, tmp_path):
    everything = prepare_text(corpus(source), tmp_path / "data")
    first = prepare_text(corpus(source, max_tokens=1000), tmp_path / "data")
    assert (len(first.tokens("train")), len(first.tokens("val"))) == (900, 100)
    tokens = np.concatenate([first.tokens("train"), first.tokens("val")])
    assert np.array_equal(tokens, everything.tokens("train")[:1000])
    texts = [piece.text.encode() for piece in LocalText(source).pieces()]
    documents = next(n for n in range(len(texts)) if sum(map(len, texts[:n])) >= 1000)
    assert first.manifest["text"] == {"documents": documents, "bytes": sum(map(len, texts[:documents]))}


def test_cut_inside_a_long_document_counts_it(source, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.text.documents._BLOCK_BYTES", 64)
    files = prepare_text(corpus(source / "c.txt", max_tokens=300), tmp_path / "data")
    assert files.manifest["text"]["documents"] == 1


def test_prepared_once(source, tmp_path, monkeypatch):
    files = prepare_text(corpus(source), tmp_path / "data")
    monkeypatch.setattr(preparation, "_work", None)
    assert prepare_text(corpus(source), tmp_path / "data") == files


def test_equal_text_has_equal_fingerprints_wherever_it_lies(source, tmp_path):
    shutil.copytree(source, tmp_path / "copy")
    here, there = (prepare_text(corpus(path), tmp_path / "data") for path in (source, tmp_path / "copy"))
    assert here.folder != there.folder and here.fingerprint == there.fingerprint
    other = prepare_text(corpus(source, val_share=0.2), tmp_path / "data")
    assert other.fingerprint != here.fingerprint


@pytest.mark.parametrize("tokenizer", ["byte", "bpe:300"])
def test_workers_change_nothing(source, tmp_path, monkeypatch, tokenizer):
    alone = prepare_text(corpus(source, tokenizer), tmp_path / "alone", workers=1)
    monkeypatch.setattr(encoding, "CHUNK_CHARACTERS", 700)
    monkeypatch.setattr(encoding, "SERIAL_CHUNKS", 2)
    together = prepare_text(corpus(source, tokenizer), tmp_path / "together", workers=2)
    assert together.fingerprint == alone.fingerprint
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("journal", 1),
        ("append", 1),
        ("append", 7),
        ("journal", 12),
        ("replace", 9),
        ("replace", 20),
        ("truncate", 1),
        ("manifest", 1),
        ("rename", 1),
    ],
)
def test_killed_anywhere_it_ends_with_the_same_bytes(source, tmp_path, where, count):
    whole = prepare_text(corpus(source), tmp_path / "whole")
    killed = start(source, tmp_path / "data", where=where, count=count)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    (partial,) = (tmp_path / "data").glob("*.partial")
    resumed = start(source, tmp_path / "data")
    output, errors = resumed.communicate(timeout=60)
    assert output.strip() == whole.fingerprint, errors
    assert not partial.exists()
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


def test_killed_again_and_again_with_workers(source, tmp_path):
    whole = start(source, tmp_path / "whole", tokenizer="bpe:300", max_tokens=4000)
    output, _ = whole.communicate(timeout=60)
    for count in (2, 5, 3):
        killed = start(
            source,
            tmp_path / "data",
            tokenizer="bpe:300",
            max_tokens=4000,
            workers=2,
            where="append",
            count=count,
        )
        killed.communicate(timeout=60)
        assert killed.returncode == -signal.SIGKILL
    resumed = start(source, tmp_path / "data", tokenizer="bpe:300", max_tokens=4000, workers=2)
    assert resumed.communicate(timeout=60)[0] == output
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


def test_resumed_work_is_not_done_again(source, tmp_path, monkeypatch):
    start(source, tmp_path / "data", where="append", count=10).communicate(timeout=60)
    (partial,) = (tmp_path / "data").glob("*.partial")
    consumed = json.loads((partial / "journal.json").read_text())["pieces"]
    assert consumed > 10
    skipped = []
    pieces = LocalText.pieces
    monkeypatch.setattr(LocalText, "pieces", lambda self, skip=0: skipped.append(skip) or pieces(self, skip))
    prepare_text(corpus(source), tmp_path / "data", workers=1)
    assert skipped == [consumed]


def test_torn_partial_file_is_started_again(source, tmp_path):
    whole = prepare_text(corpus(source), tmp_path / "whole")
    start(source, tmp_path / "data", where="append", count=10).communicate(timeout=60)
    (partial,) = (tmp_path / "data").glob("*.partial")
    with open(partial / "train.bin", "r+b") as file:
        file.seek(100)
        file.write(b"\0\0\0\0")
    assert prepare_text(corpus(source), tmp_path / "data").fingerprint == whole.fingerprint


def test_several_processes_prepare_once(source, tmp_path):
    together = [start(source, tmp_path / "data", tokenizer="bpe:300") for _ in range(3)]
    outputs = {process.communicate(timeout=90)[0] for process in together}
    assert len(outputs) == 1 and len(outputs.pop().strip()) == 64
    assert not list((tmp_path / "data").glob("*.partial"))


def test_workers_end_with_a_killed_parent(source, tmp_path):
    code = (
        "import multiprocessing, os, signal, sys\n"
        "from tasks.text import encoding\n"
        "from tasks.text.documents import Piece\n"
        "from tasks.text.tokenizer import ByteTokenizer\n"
        "encoding.CHUNK_CHARACTERS, encoding.SERIAL_CHUNKS = 1, 1\n"
        "stream = encoding.encode_stream(ByteTokenizer(), (Piece('ab', 1) for _ in range(10**9)), 2)\n"
        "for _ in range(20): next(stream)\n"
        "print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60
    )
    workers = [int(pid) for pid in parent.stdout.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in workers)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # An ended process that nobody has waited for still has a number.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_damage_is_noticed(source, tmp_path):
    files = prepare_text(corpus(source), tmp_path / "data")
    path = files.folder / "val.bin"
    content = path.read_bytes()
    path.write_bytes(b"\1" + content[1:])
    with pytest.raises(ValueError, match=r"val\.bin must have the checksum .* delete the folder"):
        files.verify()
    path.write_bytes(content[:-2])
    with pytest.raises(ValueError, match=r"val\.bin must have \d+ bytes, but has \d+; delete the folder"):
        prepare_text(corpus(source), tmp_path / "data")
    path.unlink()
    with pytest.raises(ValueError, match=r"val\.bin must have \d+ bytes, but it is missing; delete the folder"):
        prepare_text(corpus(source), tmp_path / "data")
    (files.folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json must describe the prepared text"):
        read_token_files(files.folder)
    (files.folder / "manifest.json").write_text(json.dumps(files.manifest | {"schema": 99}))
    with pytest.raises(ValueError, match="must have schema 1, got 99"):
        read_token_files(files.folder)


def test_disk_is_checked_before_the_start(source, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(ValueError, match=r"needs about 0\.1 GB at .*data, which has 0\.0 GB free"):
        prepare_text(corpus(source), tmp_path / "data")
    assert not list((tmp_path / "data").glob("toy*"))


def test_full_disk_keeps_what_is_done(source, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK_CHARACTERS", 500)
    append, calls = preparation.append, []

    def full(*args):
        calls.append(1)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        return append(*args)

    monkeypatch.setattr(preparation, "append", full)
    with pytest.raises(ValueError, match=r"disk of .* is full; free some space"):
        prepare_text(corpus(source), tmp_path / "data", journal_seconds=0)
    monkeypatch.setattr(preparation, "append", append)
    whole = prepare_text(corpus(source), tmp_path / "whole")
    assert prepare_text(corpus(source), tmp_path / "data").fingerprint == whole.fingerprint


def test_bad_source_leaves_nothing_behind(source, tmp_path):
    (source / "d.jsonl").write_text('{"text": "a"}\n{"no": "text"}\n')
    with pytest.raises(ValueError, match=r"d\.jsonl line 2"):
        prepare_text(corpus(source), tmp_path / "data")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match=r"must hold some text, but .*empty\.txt is empty"):
        prepare_text(corpus(tmp_path / "empty.txt"), tmp_path / "data")
    with pytest.raises(ValueError, match="bpe:60000 needs text"):
        prepare_text(corpus(source / "c.txt", "bpe:60000"), tmp_path / "data")
    assert not list((tmp_path / "data").glob("toy*"))


def test_folder_that_cannot_be_written_is_named(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"data\.data_dir must be a folder that can be written"):
        prepare_text(corpus(source), tmp_path / "file")


def test_dead_worker_is_one_sentence(monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK_CHARACTERS", 1)
    pieces = (encoding.Piece("ab", 1) for _ in range(1000))
    with pytest.raises(ValueError, match=r"worker processes must live .* lower data\.num_workers"):
        list(encoding.encode_stream(DyingTokenizer(), pieces, 2))


class DyingTokenizer:
    vocab_size = 1

    def encode(self, texts):
        os._exit(9)


@pytest.fixture
def hub(source, tmp_path) -> HubText:
    """The hub's reader over local files in the hub's format."""
    pytest.importorskip("datasets")
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [piece.text for piece in LocalText(source).pieces()]
    files = []
    for number in range(3):
        files.append(str(tmp_path / f"{number:03d}.parquet"))
        part = rows[number * 40 : (number + 1) * 40 if number < 2 else None]
        pq.write_table(pa.table({"text": part, "score": [1.0] * len(part)}), files[-1], row_group_size=7)
    return HubText("parquet", data_files=tuple(files))


def test_hub_stream_gives_what_the_files_give(hub, source, tmp_path):
    from_hub = prepare_text(
        Corpus(dataset="toy", source=hub, tokenizer="byte", val_share=0.1, max_tokens=3000), tmp_path / "data"
    )
    from_files = prepare_text(corpus(source, max_tokens=3000), tmp_path / "data")
    assert from_hub.fingerprint == from_files.fingerprint
    assert from_hub.manifest["text"] == from_files.manifest["text"]
    assert from_hub.manifest["source"]["revision"] is None


@pytest.mark.parametrize("skip", [0, 3, 40, 47, 120, 121])
def test_hub_stream_goes_on_from_any_document(hub, skip):
    assert list(hub.pieces(skip)) == list(hub.pieces())[skip:]


def test_hub_stream_that_breaks_is_gone_on_with(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK_CHARACTERS", 500)
    make = Corpus(dataset="toy", source=hub, tokenizer="byte", val_share=0.1, max_tokens=None)
    whole = prepare_text(make, tmp_path / "whole")
    rows = HubText._rows

    def breaks(self, skip):
        for number, row in enumerate(rows(self, skip)):
            if number == 50:
                raise self._unreachable(ConnectionError("reset"))
            yield row

    with monkeypatch.context() as broken:
        broken.setattr(HubText, "_rows", breaks)
        with pytest.raises(
            ValueError, match=r"Hugging Face hub, but that failed \(ConnectionError: reset\).*data.source"
        ):
            prepare_text(make, tmp_path / "data", workers=1, journal_seconds=0)
    (partial,) = (tmp_path / "data").glob("*.partial")
    assert json.loads((partial / "journal.json").read_text())["pieces"] > 20
    assert prepare_text(make, tmp_path / "data").fingerprint == whole.fingerprint


def test_work_goes_on_with_the_revision_it_began_with(hub):
    assert hub.pinned(hub.facts() | {"revision": "abc"}).facts()["revision"] == "abc"
    assert HubText("someone/text", revision="abc").facts()["revision"] == "abc"


def test_unreachable_hub_names_the_way_out(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")

    def offline(*args, **kwargs):
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(hub.HfApi, "dataset_info", offline)
    make = Corpus(dataset="toy", source=HubText("someone/text"), tokenizer="byte", val_share=0.1, max_tokens=100)
    with pytest.raises(ValueError, match=r"parquet files elsewhere and set data\.source to their folder") as error:
        prepare_text(make, tmp_path / "data")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").glob("toy*"))
