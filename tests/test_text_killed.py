"""Preparing token files, killed at any moment: the same bytes in the end, and nothing done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_texts import contents, corpus, write_texts

from tasks.kinds.text.documents import LocalText
from tasks.kinds.text.preparation import prepare_text

ROOT = Path(__file__).resolve().parents[1]

SCRIPT = """
import os, signal, sys
from pathlib import Path
from tasks.kinds.text import encoding, journal, preparation
from tasks.kinds.text.documents import LocalText
from tasks.kinds.text.preparation import Corpus
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
preparation.write_manifest = die_at("manifest", preparation.write_manifest)
os.replace = die_at("replace", os.replace)
os.truncate = die_at("truncate", os.truncate)
os.rename = die_at("rename", os.rename)
corpus = Corpus(dataset="toy", source=LocalText(Path(source)), tokenizer=tokenizer, val_share=0.1,
                max_tokens=int(max_tokens) or None)
print(preparation.prepare_text(corpus, Path(data_dir), workers=int(workers), journal_seconds=0).fingerprint)
"""


@pytest.fixture
def source(tmp_path) -> Path:
    return write_texts(tmp_path / "source")


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
        "from tasks.kinds.text import encoding\n"
        "from tasks.kinds.text.documents import Piece\n"
        "from tasks.kinds.text.tokenizer import ByteTokenizer\n"
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
