"""The script for the first GPU, on a CPU: every part has rows, limits hold, and results are there as they come."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from gpu import LIMITS, as_tables, main, measure_within, results, write


def test_every_part_measures_or_says_why_not(tmp_path: Path) -> None:
    main(["--tiny", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "gpu.json").read_text())
    by_part = {part: [row for row in rows if row["part"] == part] for part in LIMITS}
    assert all(by_part.values())
    assert {row["not measured"] for row in rows if "not measured" in row} == {
        "CUDA graphs need a GPU",
        "they need a GPU",
    }
    assert [row["pair"] for row in by_part["tasks"]] == ["fineweb/gpt", "imagenet21k/resnet20"]
    assert all(row["ms per step"] > 0 and row["samples/s"] > 0 for row in by_part["tasks"])
    assert [row["runs"] for row in by_part["packs"]] == [1, 2]
    assert [row["processes"] for row in by_part["sharing"]] == [1, 2]
    assert by_part["sharing"][0]["x one process"] == 1.0 and 0 < by_part["sharing"][1]["x one process"] < 4
    *gaps, duration = by_part["sweep"]
    assert [row["batch size"] for row in gaps] == [2, 8] and duration["seconds"] > 0
    assert all(row["gap"] == pytest.approx(row["Adam"] - row["SGD"], abs=2e-4) for row in gaps)
    assert (tmp_path / "gpu.md").read_text().strip() == as_tables(rows)


def test_a_part_is_ended_at_its_limit_and_keeps_what_it_has(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"part": "facts", "what": "device", "value": "A|100"}\n')
    begun = time.monotonic()
    for _ in measure_within("tasks", rows, 1.0):
        write(rows)
    assert time.monotonic() - begun < 10
    assert results(rows)[0]["value"] == "A|100"
    assert results(rows)[-1] == {"part": "tasks", "not measured": "the rest: ended after its 1 s"}
    assert "| device | A/100 |" in (tmp_path / "gpu.md").read_text()


def test_a_row_that_is_half_written_is_left_for_later(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    assert results(rows) == []
    rows.write_text('{"part": "facts", "what": "device"}\n{"part": "fac')
    assert results(rows) == [{"part": "facts", "what": "device"}]


def test_an_unknown_part_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fact", "--out", str(tmp_path)])
    assert ended.value.code == 2 and "there is no part fact; the parts are facts, tasks" in capsys.readouterr().err


def test_what_cannot_be_measured_is_a_row_with_the_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpu_parts import Timed, saying_why_not

    for name in ("tasks.imagenet21k.convnext_tiny", "models.convnext_tiny"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "timm", None)
    rows: list[dict[str, object]] = []
    with saying_why_not(rows.append, pair="imagenet21k/convnext_tiny"):
        Timed("imagenet21k/convnext_tiny", tiny=False)
    with saying_why_not(rows.append, pair="fineweb/gpt"):
        raise SystemExit(2)
    assert "timm" in str(rows[0]["not measured"]) and rows[1] == {
        "pair": "fineweb/gpt",
        "not measured": "SystemExit: 2",
    }
