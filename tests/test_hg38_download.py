"""The genome that the paper used, fetched: a broken download goes on, a place that cannot be reached is named."""

from __future__ import annotations

import gzip
import http.server
import threading

import pytest

from tasks.hg38 import genomes
from tasks.hg38.data import HG38
from tasks.hg38.genomes import FetchedGenome


class PartServer(http.server.BaseHTTPRequestHandler):
    """Sends ranges of a file, and at most ``limit`` bytes at a time while claiming to send all."""

    content = gzip.compress(b">a\n" + b"ACGTTGCA" * 5000)
    limit = 10**9
    asked: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        PartServer.asked.append(wanted)
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if first >= len(self.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(self.content)}")
            self.end_headers()
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(self.content) - first))
        self.end_headers()
        self.wfile.write(self.content[first : first + self.limit])

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def url():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PartServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    PartServer.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}/genome.fa.gz"
    server.shutdown()
    server.server_close()


def test_broken_download_goes_on_where_it_was(url, tmp_path, monkeypatch):
    genome = FetchedGenome(url, tmp_path, 40_000)
    monkeypatch.setattr(PartServer, "limit", 50)
    with pytest.raises(ValueError, match=r"data\.source paper reads http.*what came so far is kept"):
        genome.fetch()
    monkeypatch.setattr(PartServer, "limit", 10**9)
    assert sum(len(stretch.codes) for stretch in genome.stretches()) == 40_000
    assert PartServer.asked == [None, "bytes=50-"]
    genome.fetch()
    assert len(PartServer.asked) == 2
    part = tmp_path / "downloads" / "genome.fa.gz"
    part.rename(part.with_name("genome.fa.gz.part"))  # killed before the file got its name
    assert genome.fetch().read_bytes() == PartServer.content


def test_paper_that_cannot_be_reached_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.hg38.data.PAPER_URL", "http://127.0.0.1:9/hg38.ml.fa.gz")
    monkeypatch.setattr(genomes, "_TIMEOUT_SECONDS", 5)
    data = HG38(batch_size=1, source="paper", data_dir=str(tmp_path))
    monkeypatch.setattr("tasks.hg38.preparation.require_space", lambda *args, **kwargs: None)
    with pytest.raises(ValueError, match=r"or fetch it elsewhere and set data\.source to its path"):
        data.ensure_open()
