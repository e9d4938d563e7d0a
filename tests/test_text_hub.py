"""Text from the Hugging Face hub: the same as from files, gone on with after a break, the way out named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_texts import corpus, write_texts

from tasks.kinds.text import encoding
from tasks.kinds.text.documents import LocalText
from tasks.kinds.text.hub import HubText
from tasks.kinds.text.preparation import Corpus, prepare_text


@pytest.fixture
def source(tmp_path) -> Path:
    return write_texts(tmp_path / "source")


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
