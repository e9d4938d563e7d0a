"""A store in which something is damaged: what is damaged is named and not believed, nothing waits, nothing breaks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pretend_worker import record_of
from whole_store import changed, places, rewrite, write_sweep

from suite.cli.main import main
from suite.execution.sweeping import Sweep
from suite.records import Store, StoreError
from suite.records.files import make_folder
from suite.records.final_loss import final_losses
from suite.records.identity import run_id_of
from suite.sweep import read_spec

HERE = types.SimpleNamespace(here=True, slots=1, sharing=1)
"""A launcher that is not asked to launch anything."""

SECONDS = 60
"""A command that takes longer waits for something."""


@pytest.fixture
def store(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A copy of the store beside its sweep, in the working directory; what waits for long is interrupted."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def too_slow(*_: Any) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(10 * SECONDS)
    yield Store("runs")
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def said(arguments: list[str], capsys: pytest.CaptureFixture[str], codes: tuple[int, ...] = (0,)) -> str:
    """What a command printed, both streams; it neither breaks nor sends a terminal anything but text."""
    signal.alarm(SECONDS)
    code = main(arguments)
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert code in codes, text
    assert "Traceback" not in text and all(x == "\n" or x.isprintable() for x in text)
    return text


def the_record(store: Store) -> Path:
    """The record of the run that wins for SGD at batch size 1."""
    return min(store.path.glob("runs/*/*/record.json"), key=lambda path: json.loads(path.read_text())["final"]["ema"])


def the_plan(store: Store) -> Path:
    return next(store.path.glob("sweeps/*/plan.json"))


# A final loss that is not that of the curves.


def flipped(path: Path) -> None:
    """Another digit in the final loss."""
    text = path.read_text()
    value = repr(json.loads(text)["final"]["ema"])
    digit = str((int(value[5]) + 5) % 10)
    path.write_text(text.replace(f'"ema": {value}', f'"ema": {value[:5]}{digit}{value[6:]}'))


def without_kept_losses(path: Path) -> None:
    """Curves as earlier versions wrote them: their final losses are to be computed."""
    curves = path.with_name("curves.parquet")
    pq.write_table(pq.read_table(curves).replace_schema_metadata(None), curves)
    record = json.loads(path.read_text())
    import hashlib

    record["curves"]["sha256"] = hashlib.sha256(curves.read_bytes()).hexdigest()
    rewrite(path, record)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_flipped_digit_is_not_believed(store: Store, earlier: bool, capsys: pytest.CaptureFixture[str]) -> None:
    path = the_record(store)
    run_id = path.parent.name
    if earlier:
        without_kept_losses(path)
    assert store.settled(run_id) and not store.problems
    flipped(path)
    assert not store.settled(run_id)
    ((named, reason),) = store.problems
    assert run_id in named and "for the final loss ema, the curves beside it give" in reason
    for command in (["status", "s.yaml"], ["gap", "s.yaml"], ["report", "s.yaml", "--looks", "page"], ["report"]):
        text = said([*command, "--store", "runs"], capsys)
        page = "".join(path.read_text() for path in store.path.rglob("index.html"))
        assert run_id in (text if command[0] != "report" else page), text
    assert "1 missing" in said(["gap", "s.yaml", "--store", "runs"], capsys)


OTHERWISE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "diverged": (lambda record: record.update(status="diverged", diverged_at=5), "are those of one that finished"),
    "no validation loss": (lambda record: record["final"].pop("val"), "says nothing for the final loss val"),
    "identity": (lambda record: record["identity"].update(seed_everything=9), "what it says was trained is another"),
    "seed": (lambda record: record.update(seed=99), "says 99 for seed, its run had 3"),
    "rate": (lambda record: record["optimizer"].update(lr=0.9), "says 0.9 for optimizer.lr, its run had 0.1"),
    "momentum": (lambda record: record["optimizer"].update(momentum=0.5), "says 0.5 for optimizer.momentum"),
    "batch size": (lambda record: record.update(batch_size=77), "says 77 for batch_size, its run had 4"),
    "configuration": (
        lambda record: record["config"]["model"]["init_args"].update(width=9), "says 9 for config.model.width"
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", OTHERWISE)
def test_a_record_that_contradicts_itself_or_its_curves_is_not_believed(tmp_path: Path, change: str) -> None:
    store, (change_it, reason) = Store(tmp_path), OTHERWISE[change]
    config = {
        "seed_everything": 3, "data": {"init_args": {"batch_size": 4}},
        "model": {"init_args": {"width": 8, "optimizer": {"init_args": {"lr": 0.1, "momentum": 0.9}}}},
    }  # fmt: skip
    run_id, identity = run_id_of({**config, "data": {**config["data"], "fingerprint": "f"}})
    record = {
        **record_of(run_id, 5), "seed": 3, "config": config, "identity": identity, "final": final_losses([1.0] * 5, 2.0)
    }  # fmt: skip
    store.write_record(record, pa.table({"step": range(5), "train_loss": [1.0] * 5}))
    assert store.settled(run_id) and not store.problems
    path = store.run_folder(run_id) / "record.json"
    written = json.loads(path.read_text())
    change_it(written)
    rewrite(path, written)
    assert not store.settled(run_id)
    ((_, said_of_it),) = store.problems
    assert reason in said_of_it


def test_curves_that_are_not_the_records_say_nothing_against_it(store: Store) -> None:
    path = the_record(store)
    for content in (b"", b"x" * 100):
        path.with_name("curves.parquet").write_bytes(content)
        assert store.settled(path.parent.name) and not store.problems
    other = max(store.path.glob("runs/*/*/curves.parquet"))
    shutil.copyfile(other, path.with_name("curves.parquet"))
    assert store.settled(path.parent.name)
    with pytest.raises(StoreError, match="not those of its record"):
        store.curves(path.parent.name)


def test_a_sweep_trains_a_damaged_record_again_and_keeps_the_damaged_file(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path = the_record(store)
    flipped(path)
    damaged = path.read_text()
    text = said(["sweep", "s.yaml", "--store", "runs", "--workers", "1", "--pack", "off"], capsys)
    assert "1 to train" in text and "damaged, so made again" in text
    assert path.with_name("record.set_aside_0.json").read_text() == damaged and Store("runs").settled(path.parent.name)


@pytest.mark.parametrize("asked", [{"report_seeds": [7]}, {"extend_edges": 1}])
def test_a_sweep_that_begins_again_writes_no_smaller_plan(tmp_path: Path, asked: dict[str, Any]) -> None:
    file, store = write_sweep(tmp_path, **asked)
    grown = Sweep(read_spec(file), store, command="", pack=1, compiled="off")
    before = store.plan(grown.plan.spec.plan_id)
    assert before is not None and len(grown.plan.runs) > len(before["runs"])
    store.write_plan(grown.plan.as_record(command="", title=""))
    shutil.rmtree(store.run_folder(grown.plan.groups[0].runs[0].run_id))
    Sweep(read_spec(file), store, command="", pack=1, compiled="off").start(HERE)  # type: ignore[arg-type]
    plan = store.plan(grown.plan.spec.plan_id)
    assert plan is not None
    assert [run["run_id"] for run in plan["runs"]] == [run.run_id for run in grown.plan.runs]


# Files that are none, or no text.


def unlinked(path: Path) -> Path:
    path.unlink()
    return path


FILES: dict[str, Callable[[Path], Any]] = {
    "pipe": lambda path: os.mkfifo(unlinked(path)),
    "folder": lambda path: unlinked(path).mkdir(),
    "device": lambda path: unlinked(path).symlink_to("/dev/zero"),
    "dangling link": lambda path: unlinked(path).symlink_to("nowhere"),
    "circle of links": lambda path: unlinked(path).symlink_to(path.name),
    "empty": lambda path: path.write_text(""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:60]),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe{}"),
    "nested deeply": lambda path: path.write_text("[" * 100_000),
    "nested": lambda path: path.write_text(json.dumps({"a": json.loads("[" * 60 + "]" * 60)})),
    "list": lambda path: path.write_text("[]"),
    "number": lambda path: path.write_text("1"),
    "huge": lambda path: os.truncate(path, 2**32),
}
TARGETS: dict[str, Callable[[Store], Path]] = {
    "record": the_record,
    "curves": lambda store: the_record(store).with_name("curves.parquet"),
    "plan": the_plan,
}
COMMANDS = (["status", "s.yaml"], ["gap", "s.yaml"], ["compare", "runs", "runs"])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("damage", FILES)
def test_no_command_waits_for_a_file_or_breaks_at_it(
    store: Store, target: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = TARGETS[target](store)
    FILES[damage](path)
    for command, *words in COMMANDS:
        place = [] if command == "compare" else ["--store", "runs"]
        text = said([command, *words, *place], capsys, codes=(2,) if target == "plan" else (0,))
        named = path.parent.name[:16] in text or (target == "curves" and command == "status")
        assert named, (command, text)


@pytest.mark.parametrize("damage", ["pipe", "cut", "folder"])
def test_one_damaged_plan_leaves_the_index_of_the_others(
    store: Store, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = json.loads(the_plan(store).read_text())
    store.write_plan({**plan, "plan_id": "other-1", "name": "other", "question": "Another?"})
    FILES[damage](store.path / "sweeps" / "other-1" / "plan.json")
    text = said(["report", "--store", "runs"], capsys)
    assert "left out:" in text and "other-1" in text
    page = (store.path / "report" / "index.html").read_text()
    assert "Which is better?" in page and "other-1" in page


@pytest.mark.parametrize("damage", ["pipe", "cut", "folder", "nested"])
def test_a_damaged_plan_is_named_and_made_again(store: Store, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = the_plan(store)
    before = json.loads(path.read_text())
    FILES[damage](path)
    for command in ("gap", "status", "report"):
        assert "is damaged" in said([command, "s.yaml", "--store", "runs"], capsys, codes=(2,))
    text = said(["sweep", "s.yaml", "--store", "runs", "--workers", "1"], capsys)
    assert "damaged, so made again" in text and "0 to train" in text
    after = json.loads(path.read_text())
    assert after["runs"] == before["runs"] and path.with_name("plan.set_aside_0.json").exists()


@pytest.mark.parametrize("damage", ["pipe", "folder", "dangling link", "cut", "device"])
def test_a_damaged_lease_is_waited_for_by_nobody(store: Store, damage: str) -> None:
    run_id = the_record(store).parent.name
    lease = store.run_folder(run_id) / "lease.json"
    lease.write_text(json.dumps({"token": "x", "pid": 10**30, "host": "h", "machine": "m"}))
    FILES[damage](lease)
    assert not store.is_being_trained(run_id)
    if damage == "folder":
        with pytest.raises(StoreError, match="a folder is where a file should be"), store.lease(run_id):
            pass
    else:
        with store.lease(run_id) as held:
            assert held.held()


# Values.

VALUES: list[Any] = [
    None, True, -1, 0, 1e308, 10**350, 2**64, "", "x", "\x1b[2J\r\n\u202e\x07", "../../../x", [], [[]], {}, {"a": {}},
    float("nan"), float("inf"),
]  # fmt: skip


def damaged_places(path: Path) -> Iterator[Any]:
    """A JSON file with one value changed, for each of its places one value."""
    document = json.loads(path.read_text())
    for number, place in enumerate(places(document)):
        for value in VALUES[number % 3 :: 3]:
            yield changed(document, place, value)


@pytest.mark.parametrize("command", ["status", "gap"])
@pytest.mark.parametrize("target", ["record", "plan"])
def test_no_value_breaks_a_command(store: Store, target: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = TARGETS[target](store)
    for number, document in enumerate(damaged_places(path)):
        if number % 8 == 0:
            rewrite(path, document)
            said([command, "s.yaml", "--store", "runs"], capsys, codes=(0, 2))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "gap", "compare", "why", "report", "index", "sweep"])
@pytest.mark.parametrize("target", ["record", "plan"])
def test_no_value_breaks_any_command(
    store: Store, target: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = TARGETS[target](store)
    words = {
        "compare": ["compare", "runs", "runs"], "index": ["report", "--store", "runs"],
        "sweep": ["sweep", "s.yaml", "--store", "runs", "--workers", "1", "--pack", "off"],
    }  # fmt: skip
    every = {"report": 10, "index": 20, "sweep": 40}.get(command, 1)
    for number, document in enumerate(damaged_places(path)):
        if number % every == 0:
            rewrite(path, document)
            said(words.get(command, [command, "s.yaml", "--store", "runs"]), capsys, codes=(0, 1, 2))


def test_curves_that_would_fill_the_memory_are_refused(store: Store) -> None:
    path = the_record(store)
    rows = 3_000_000
    curves = pa.table({"train_loss": pa.array([1.0]).take(pa.array([0] * rows, pa.int64()))})
    record = json.loads(path.read_text())
    store.write_record({**record, "final": {"ema": 1.0}}, curves)
    assert path.with_name("curves.parquet").stat().st_size < rows / 100
    with pytest.raises(StoreError, match="3000000 rows"):
        store.curves(path.parent.name)


def test_no_file_of_a_store_is_written_through_a_link(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (store.path / "runs" / "ff").symlink_to(elsewhere)
    (store.path / "sweeps" / "linked-1").symlink_to(elsewhere)
    plan = json.loads(the_plan(store).read_text())
    with pytest.raises(StoreError, match="a link is where a folder"), store.lease("f" * 16):
        pass
    with pytest.raises(StoreError, match="a link is where a folder"):
        store.write_plan({**plan, "plan_id": "linked-1"})
    record = json.loads(the_record(store).read_text())
    with pytest.raises(StoreError, match="a link is where a folder"):
        store.write_record({**record, "run_id": "f" * 16}, pa.table({"train_loss": [1.0]}))
    assert not list(elsewhere.iterdir())
    link = tmp_path / "root"
    link.symlink_to(elsewhere)
    make_folder(link / "below", link)  # what the user names may be a link
    assert (elsewhere / "below").is_dir()
