"""Faults of disks, clocks and people: nothing lost, nothing wrong, one sentence each."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from full_disks import fill, one_sentence
from pretend_worker import record_of

from suite.records import Lease, LeaseHeld, Store, StoreError
from suite.records.holder import describe_self, machine, may_live
from suite.records.lease import HEARTBEAT_SECONDS, STALE_SECONDS, is_live

ROOT = Path(__file__).resolve().parents[1]
RUN = "0" * 15 + "1"
CURVES = pa.table({"step": [0, 1, 2], "train_loss": [3.0, 2.0, 1.0]})


# Disks.


def test_full_disk_keeps_what_was_there(small_disk: Path) -> None:
    store = Store(small_disk)
    store.write_record(record_of(RUN, 3), CURVES)
    filler = fill(small_disk)
    other = "0" * 15 + "2"
    with pytest.raises(StoreError, match="the disk is full") as caught:
        store.write_record(record_of(other, 3), pa.table({"step": list(range(100_000))}))
    assert other in one_sentence(caught.value)
    with pytest.raises(StoreError, match="the disk is full"), store.lease(other):
        pass
    with pytest.raises(StoreError, match="the disk is full") as caught:
        store.write_plan({"plan_id": "p-1", "runs": ["x" * 100_000]})
    assert "p-1" in one_sentence(caught.value)
    assert store.curves(RUN).equals(CURVES) and not list(small_disk.rglob("*.part"))
    filler.unlink()
    store.write_record(record_of(other, 3), CURVES)
    assert [record["run_id"] for record in store.records()] == [RUN, other] and not store.problems


def test_read_only_disk(small_disk: Path) -> None:
    store = Store(small_disk)
    store.write_record(record_of(RUN, 3), CURVES)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for write in (
        lambda: store.write_record(record_of("2" * 16, 3), CURVES),
        lambda: store.lease("2" * 16).__enter__(),
        lambda: store.write_plan({"plan_id": "p-1", "runs": []}),
    ):
        with pytest.raises(StoreError, match="read-only") as caught:
            write()
        one_sentence(caught.value)
    assert store.settled(RUN) and store.curves(RUN).equals(CURVES)


def _write_over_the_limit(folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    try:
        Store(folder).write_record(record_of("2" * 16, 3), pa.table({"step": list(range(100_000))}))
    except StoreError as error:
        os._exit(0 if "limit on the size of files" in str(error) else 2)
    os._exit(1)


def test_limit_on_file_size(tmp_path: Path) -> None:
    Store(tmp_path).write_record(record_of(RUN, 3), CURVES)
    process = multiprocessing.get_context("fork").Process(target=_write_over_the_limit, args=(tmp_path,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert [record["run_id"] for record in Store(tmp_path).records()] == [RUN]


def test_store_deleted_under_way(tmp_path: Path) -> None:
    import shutil

    store = Store(tmp_path / "store")
    with store.lease(RUN) as lease:
        shutil.rmtree(store.path)
        with pytest.raises(StoreError, match="was the store deleted under way") as caught:
            store.write_record(record_of(RUN, 3), CURVES, lease)
        one_sentence(caught.value)
    with store.lease(RUN) as lease:
        store.write_record(record_of(RUN, 3), CURVES, lease)
    assert store.settled(RUN)


# Records.


def test_foreign_and_broken_files_are_named_and_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_record(record_of(RUN, 3), CURVES)
    folder = store.run_folder(RUN)
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "runs" / "README").write_text("mine")
    (tmp_path / "runs" / "00" / "elsewhere").mkdir()
    old = json.dumps({**json.loads((folder / "record.json").read_text()), "schema": 0})
    (folder / "record.json").write_text(old)
    assert list(store.records()) == [] and not store.settled(RUN)
    store.write_record(record_of(RUN, 3), CURVES)
    assert store.settled(RUN) and (folder / "record.set_aside_0.json").read_text() == old
    (folder / "record.json").write_text("{")
    store.write_record(record_of(RUN, 3), CURVES)
    assert (folder / "record.set_aside_1.json").read_text() == "{"
    named = {Path(path).name for path, _ in store.foreign_files()}
    assert named == {"notes.txt", "README", "elsewhere", "record.set_aside_0.json", "record.set_aside_1.json"}
    assert (folder / "notes.txt").read_text() == "mine" and len(list(store.records())) == 1


def test_truncated_curves_do_not_stop_a_report(tmp_path: Path) -> None:
    from synthetic_records import Planted, write_store

    pytest.importorskip("matplotlib")
    from suite.analysis.report import write_report

    planted = Planted(batch_sizes=(1, 64), momenta=(0.9,), best_momentum={"sgd": 0.9, "adam": 0.9}, steps=50)
    store, plan = write_store(tmp_path / "runs", planted)
    ids = [run["run_id"] for run in plan["runs"]]
    for run_id in ids[:3]:
        path = store.run_folder(run_id) / "curves.parquet"
        path.write_bytes(path.read_bytes()[:40])
    (store.run_folder(ids[3]) / "record.json").write_text("{]")
    old = store.run_folder(ids[4]) / "record.json"
    old.write_text(json.dumps({**json.loads(old.read_text()), "schema": 0}))
    write_report(store, plan, tmp_path / "report")
    page = "".join(path.read_text() for path in (tmp_path / "report").rglob("*.html"))
    assert "schema 0" in page and "cannot be read" in page


def test_a_record_from_another_machine_is_checked(tmp_path: Path) -> None:
    there, here = Store(tmp_path / "there"), Store(tmp_path / "here")
    there.write_record(record_of(RUN, 3), CURVES)
    files = there.export_record(RUN)
    here.import_record(RUN, files)
    assert here.record(RUN) == there.record(RUN) and here.curves(RUN).equals(CURVES)
    assert there.export_record("2" * 16) == {}
    for broken in ({**files, "curves.parquet": b""}, {"record.json": files["record.json"]}, {}):
        with pytest.raises(StoreError, match="arrived broken"):
            here.import_record(RUN, broken)
    with pytest.raises(StoreError, match="arrived broken"):
        here.import_record("2" * 16, files)
    assert here.curves(RUN).equals(CURVES)


# Leases.


def stand_in(path: Path, **changes: Any) -> None:
    """A lease of some other process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**describe_self("0ther"), **changes}))


def test_a_record_is_written_by_the_holder_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lease(RUN) as stalled:
        stand_in(store.run_folder(RUN) / "lease.json", host="node7", machine="node7", pid=5)
        with pytest.raises(LeaseHeld, match="taken over by process 5 on node7") as caught:
            store.write_record(record_of(RUN, 3), CURVES, stalled)
        one_sentence(caught.value)
        files = {name: b"" for name in ("record.json", "curves.parquet")}
        with pytest.raises(StoreError):
            store.import_record(RUN, files, stalled)
    assert not store.settled(RUN) and (store.run_folder(RUN) / "lease.json").exists()


def test_a_number_given_out_again_is_not_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    assert not is_live(path)
    stand_in(path)
    assert is_live(path)
    stand_in(path, started=1)  # this process has the number, but began at another time
    assert not is_live(path)
    with Lease(path) as lease:
        assert lease.held()


def test_a_zombie_is_not_the_holder(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    state = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    holder = {**describe_self("x"), "pid": child.pid, "started": int(state[19])}
    assert may_live(holder)
    child.kill()
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert not may_live(holder)
    child.wait()
    assert not may_live(holder) and may_live({**holder, "machine": "another"}) and machine() == holder["machine"]


@pytest.mark.parametrize("pid", [0, -1, 2**31, None, "1"])
def test_a_number_that_no_process_has_is_not_the_holder(pid: object) -> None:
    assert not may_live({**describe_self("x"), "pid": pid})


def test_off_linux_processes_are_told_apart_by_the_host_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", unknown)
    assert machine.__wrapped__() == socket.gethostname()


def test_off_linux_a_process_that_answers_may_be_the_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.records.holder._process", lambda pid: (None, None))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        holder = {**describe_self("x"), "pid": child.pid}
        assert may_live(holder)
        child.kill()
    assert not may_live(holder)


def test_ages_are_told_by_the_file_systems_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lease.json"
    stand_in(path, machine="node7")
    monkeypatch.setattr(time, "time", lambda: 10.0**10)  # this host's clock is wrong by centuries
    with pytest.raises(LeaseHeld), Lease(path):
        pass


def test_a_holder_touches_its_own_lease_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.records.lease.HEARTBEAT_SECONDS", 0.01)
    path, until = tmp_path / "lease.json", time.monotonic() + 60
    with Lease(path):
        os.utime(path, (1, 1))
        while path.stat().st_mtime == 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1
        stand_in(path)
        time.sleep(0.2)
        os.utime(path, (1, 1))
        time.sleep(0.2)
        assert path.stat().st_mtime == 1


def test_the_times_of_a_lease_are_those_of_the_documentation() -> None:
    text = " ".join((ROOT / "docs" / "reliability.md").read_text(encoding="utf-8").split())
    assert f"Its holder touches it every {HEARTBEAT_SECONDS:g} s; after {STALE_SECONDS:g} s without" in text


def test_an_unreadable_lease_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    path.write_text("")  # a power cut
    with Lease(path) as lease:
        assert lease.held()


def test_the_right_to_take_over_passes_on(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    stand_in(path, token="dead1", started=1)
    stand_in(tmp_path / ".lease.dead1.heir", token="dead2", started=1)  # died before it had taken over
    stand_in(tmp_path / ".lease.dead2.heir", token="dead3", started=1)
    with Lease(path) as lease:
        assert lease.held() and [p.name for p in tmp_path.iterdir() if p.is_file()] == ["lease.json"]
    assert not list(tmp_path.iterdir())
    stand_in(path, token="dead1", started=1)
    stand_in(tmp_path / ".lease.dead1.heir", token="alive")  # is taking over right now
    with pytest.raises(LeaseHeld), Lease(path):
        pass


def _contend(folder: Path, runs: int) -> None:
    store = Store(folder)
    for number in range(runs):
        run_id = f"{number:016x}"
        try:
            with store.lease(run_id) as lease:
                if store.settled(run_id):
                    continue
                with open(folder / "trained", "a") as file:
                    file.write(run_id + "\n")
                store.write_record(record_of(run_id, 3), CURVES, lease)
        except LeaseHeld:
            continue


def test_dead_leases_are_taken_over_by_one(tmp_path: Path) -> None:
    runs = 40
    for number in range(runs):
        stand_in(Store(tmp_path).run_folder(f"{number:016x}") / "lease.json", token=f"dead{number}", started=1)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_contend, args=(tmp_path, runs)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 6
    trained = (tmp_path / "trained").read_text().split()
    assert sorted(trained) == [f"{number:016x}" for number in range(runs)]
    assert not list(tmp_path.rglob("lease.json")) and not list(tmp_path.rglob(".lease.*"))
