"""The files of a store, one by one: how they are written and opened, and which values a record may hold."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from suite.records.files import (
    explain,
    make_folder,
    open_regular,
    parse_json,
    read_json,
    sha256_of,
    write_text_atomically,
)
from suite.records.schema import PLAN, RECORD, Fields, Positive, fault


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b"NaN", b"[Infinity]", b"1e999", b'{"a": -1e999}', b"9" * 5000, b"9" * 400, b'"\\ud800"', b"\xff",
     b'{"\\udfff": 1}', b"", json.dumps(json.loads("[" * 45 + "]" * 45)).encode()],
)  # fmt: skip
def test_json_is_plain_and_finite_or_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(content)


def test_json_keeps_what_records_hold() -> None:
    values = {"a": [1, -(2**63), 1e-300, True, None, "\u00e4\N{GRINNING FACE}"], "b": {"c": {}}}
    assert parse_json(json.dumps(values).encode()) == values


def test_json_is_read_up_to_its_limits() -> None:
    assert parse_json(b"[" * 40 + b"]" * 40) and parse_json(str(2**1000 - 1).encode()) == 2**1000 - 1
    for content, words in ((b"[" * 41 + b"]" * 41, "too deeply"), (str(2**1000).encode(), "hundreds of digits")):
        with pytest.raises(ValueError, match=words):
            parse_json(content)
    assert parse_json(b'{"a": ' * 39 + b'{"b": 1}' + b"}" * 39)
    with pytest.raises(ValueError, match="too deeply"):
        parse_json(b'{"a": ' * 40 + b'{"b": 1}' + b"}" * 40)
    with pytest.raises(ValueError, match="holds NaN, which is no number of JSON"):
        parse_json(b"NaN")


def test_a_file_is_read_up_to_its_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1, 2]")
    assert read_json(path, 6) == [1, 2]
    path.write_text(" " * 2**20 + "1")
    with pytest.raises(ValueError, match="it is larger than 1 MiB"):
        read_json(path, 2**20)
    assert read_json(path) == 1


def test_nothing_but_a_regular_file_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OSError, match="it is no regular file") as caught:
            open_regular(path)
        assert caught.value.errno == errno.EINVAL and caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_a_checksum_is_that_of_the_whole_file_and_leaves_it_at_its_start(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    with open_regular(tmp_path / "a") as file:
        file.read(3)
        assert sha256_of(file) == hashlib.sha256(b"content").hexdigest()
        assert file.read() == b"content"


def test_what_is_written_is_flushed_before_it_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, steps, fsync, replace = tmp_path / "new" / "a.txt", [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (steps.append("flushed"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("moved"), replace(*paths)))
    for text in ("before", "\u00e4fter"):
        write_text_atomically(path, text)
        assert path.read_text(encoding="utf-8") == text and list(path.parent.iterdir()) == [path]
    assert steps == ["flushed", "moved"] * 2


def test_a_link_on_the_way_below_the_root_is_refused_at_any_depth(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b", tmp_path)
    make_folder(tmp_path / "a" / "b", tmp_path)
    make_folder(tmp_path, tmp_path)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "b")
    for below in ("a/link", "a/link/c", "a/link/c/d"):
        with pytest.raises(OSError, match=re.escape(str(tmp_path / "a" / "link"))) as caught:
            make_folder(tmp_path / below, tmp_path)
        assert explain(caught.value).startswith("a link is where")
    assert not list((tmp_path / "a" / "b").iterdir())


def test_an_error_of_the_disk_is_explained_or_quoted() -> None:
    assert explain(OSError(errno.ENOSPC, "x")) == "the disk is full"
    assert explain(OSError(errno.ENOMEM, "no memory")) == f"[Errno {errno.ENOMEM}] no memory"
    assert explain(OSError("half")) == "half"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, range(1, 9), None), (8, range(1, 9), None),
        (0, range(1, 9), "'x' should be a whole number from 1 to 8, got 0"),
        (9, range(1, 9), "'x' should be a whole number from 1 to 8, got 9"),
        (True, range(9), "'x' should be a whole number from 0 to 8, got True"),
        (1.0, range(9), "'x' should be a whole number from 0 to 8, got 1.0"),
        ("ab", re.compile("ab"), None),
        ("abc", re.compile("ab"), "'x' should be a run's 16 hexadecimal digits, got 'abc'"),
        (5, re.compile("5"), "'x' should be a run's 16 hexadecimal digits, got 5"),
        ("b", {"b", "a"}, None), ("c", {"b", "a"}, "'x' should be a or b, got 'c'"),
        ([], {"a"}, "'x' should be a, got []"),
        (2, float, None), (-0.5, float, None), (True, float, "'x' should be a number, got True"),
        ("1", float, "'x' should be a number, got '1'"),
        (0.1, Positive, None), (0, Positive, "'x' should be a number above zero, got 0"),
        ("a", Positive, "'x' should be a number above zero, got 'a'"),
        ("a", str, None), (1, str, "'x' should be a str, got 1"), (None, None, None),
        (1, None, "'x' should be None, got 1"),
        ("", "", None), ("a", "", "'x' should be empty, got 'a'"),
        ([1, 2], [float], None), ([1, "a"], [float], "'x.1' should be a number, got 'a'"),
        ({}, [float], "'x' should be a list, got {}"), ([], {str: float}, "'x' should be a dict, got []"),
        ({"a": 1}, {str: float}, None), ({"a": 1, "b": ""}, {str: float}, "'x.b' should be a number, got ''"),
        (None, (str, None), None), ("a", (str, None), None), (1, (str, None), "'x' should be a str, got 1"),
        (1, Fields(), "'x' should be a dict, got 1"), ({"other": 1}, Fields(), None),
        ({}, Fields({"a": str}), "'x.a' should be a str, got None"), ({}, Fields({}, {"a": str}), None),
        ({"a": None}, Fields({}, {"a": str}), "'x.a' should be a str, got None"),
        ({"a": "", "b": {"c": 0}}, Fields({"a": str}, {"b": Fields({"c": str})}), "'x.b.c' should be a str, got 0"),
        ("a" * 99, float, f"'x' should be a number, got '{'a' * 79}"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_value_is_said(value: Any, kind: Any, expected: str | None) -> None:
    assert fault(value, kind, "x") == expected


RUN = {"run_id": "0" * 16, "optimizer": "sgd", "batch_size": 1, "seed": 0, "steps": 0, "axes": {}}
A_RECORD = {
    "run_id": "0" * 16, "status": "finished", "task": "a", "optimizer": {}, "batch_size": 1, "seed": 0, "steps": 0,
    "final": {}, "metrics": {}, "config": {},
}  # fmt: skip
A_PLAN = {"plan_id": "a", "name": "a", "task": "a", "final_loss": "ema", "runs": [RUN]}


@pytest.mark.parametrize(("kind", "content"), [(RECORD, A_RECORD), (PLAN, A_PLAN)])
def test_a_record_and_a_plan_need_each_of_their_fields_and_no_other(kind: Fields, content: dict[str, Any]) -> None:
    assert fault({**content, "of a later version": 1}, kind, "") is None and content.keys() == kind.required.keys()
    for name in content:
        wrong = fault({key: value for key, value in content.items() if key != name}, kind, "")
        assert wrong is not None and wrong.startswith(f"'{name}' should be")


@pytest.mark.parametrize(
    ("kind", "content", "changes", "expected"),
    [
        (RECORD, A_RECORD, {"batch_size": 0}, "'batch_size' should be a whole number from 1 to"),
        (RECORD, A_RECORD, {"seed": -1}, "'seed' should be a whole number from 0 to"),
        (RECORD, A_RECORD, {"seed": 2**63}, f"from 0 to {2**63 - 1}, got"),
        (RECORD, A_RECORD, {"run_id": "g" * 16}, "'run_id' should be a run's"),
        (RECORD, A_RECORD, {"run_id": "0" * 17}, "'run_id' should be a run's"),
        (RECORD, A_RECORD, {"status": "running"}, "diverged or failed or finished or interrupted, got 'running'"),
        (RECORD, A_RECORD, {"thinned": 0}, "'thinned' should be a whole number from 1 to"),
        (RECORD, A_RECORD, {"diverged_at": -1}, "'diverged_at' should be a whole number from 0 to"),
        (RECORD, A_RECORD, {"curves": {"rows": 1}}, "'curves.sha256' should be a str"),
        (PLAN, A_PLAN, {"runs": [RUN, {**RUN, "steps": -1}]}, "'runs.1.steps' should be a whole number from 0"),
        (PLAN, A_PLAN, {"margin": 0}, "'margin' should be a number above zero"),
        (PLAN, A_PLAN, {"final_loss": "mean"}, "'final_loss' should be ema or"),
        (PLAN, A_PLAN, {"extend_edges": -1}, "'extend_edges' should be a whole number from 0"),
        (PLAN, A_PLAN, {"packs": {"a": 0}}, "'packs.a' should be a whole number from 1"),
    ],
)
def test_a_value_of_a_record_or_plan_that_cannot_be_is_named(
    kind: Fields, content: dict[str, Any], changes: dict[str, Any], expected: str
) -> None:
    assert expected in str(fault({**content, **changes}, kind, ""))


def test_what_a_record_and_a_plan_may_leave_empty() -> None:
    assert fault({**A_RECORD, "weights": None, "diagnostics": None, "data": {"name": None}}, RECORD, "") is None
    run = {**RUN, "initial": ["0" * 16, 0], "diagnoses": "", "keeps": [1]}
    assert "'runs.0.initial" in str(fault({**A_PLAN, "runs": [{**run, "initial": [-1]}]}, PLAN, ""))
    assert fault({**A_PLAN, "runs": [{**run, "initial": None}], "search": None, "until": None}, PLAN, "") is None
