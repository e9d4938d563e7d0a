"""A process that was suspended and lost its lease changes nothing, wherever it was when it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pretend_worker import history, record_of
from small_runs import make_data, make_task, make_trainer, train

from suite.execution.execute import Backlog, execute
from suite.execution.messages import Event
from suite.records import Lease, LeaseHeld, Store, lease
from suite.training import open_run, run

ROOT = Path(__file__).resolve().parents[1]
RUN = "0" * 15 + "1"
MINE = pa.table({"step": [0, 1, 2], "train_loss": [3.0, 2.0, 1.0]})
THEIRS = pa.table({"step": [0, 1, 2], "train_loss": [3.0, 2.5, 2.0]})


def age(folder: Path) -> None:
    """Make a folder's leases and claims look untouched for two minutes."""
    then = time.time() - 120
    for path in [*folder.glob("*.json"), *folder.glob(".lease.*.heir"), *folder.glob(".lease.*/claim")]:
        os.utime(path, (then, then))


def taken_over_and_finished(store: Store, run_id: str = RUN) -> None:
    """What another process does while this one is suspended."""
    age(store.run_folder(run_id))
    with Store(store.path).lease(run_id) as other:
        store.write_record({**record_of(run_id, 3), "host": "other"}, THEIRS, other)


def test_a_holder_suspended_in_the_middle_of_a_write_writes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.run_folder(RUN) / "record.json"

    def suspended(temporary: Path) -> None:
        temporary.write_text("late")
        taken_over_and_finished(store)

    with pytest.raises(LeaseHeld, match="taken over by another process"), store.lease(RUN) as mine:
        mine.write(path, suspended)
    assert (store.record(RUN) or {})["host"] == "other" and store.curves(RUN).equals(THEIRS)
    assert sorted(file.name for file in path.parent.iterdir()) == ["curves.parquet", "record.json"]


@pytest.mark.parametrize("files_before", [0, 1])
def test_a_record_is_whole_wherever_its_writer_was_suspended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_before: int
) -> None:
    store, calls, replace = Store(tmp_path), [], os.replace

    def suspending(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == files_before + 1:
            taken_over_and_finished(store)
        replace(source, target)

    with store.lease(RUN) as mine:
        monkeypatch.setattr(lease.os, "replace", suspending)
        with pytest.raises(LeaseHeld):
            store.write_record(record_of(RUN, 3), MINE, mine)
    assert (store.record(RUN) or {})["host"] == "other" and store.curves(RUN).equals(THEIRS) and not store.problems


def test_weights_are_written_by_the_holder_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lease(RUN):
        store.write_weights(RUN, 1, lambda path: path.write_text("mine"))
        age(store.run_folder(RUN))
        with Store(tmp_path).lease(RUN), pytest.raises(LeaseHeld):
            store.write_weights(RUN, 1, lambda path: path.write_text("late"))
    assert (store.run_folder(RUN) / "weights_1.pt").read_text() == "mine"


def test_an_heir_suspended_before_it_takes_over_takes_over_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replace = tmp_path / "lease.json", os.replace
    with Lease(path):
        age(tmp_path)
        third = Lease(path)

        def suspending(source: Any, target: Any) -> None:
            monkeypatch.setattr(lease.os, "replace", replace)
            age(tmp_path)
            third.__enter__()
            replace(source, target)

        monkeypatch.setattr(lease.os, "replace", suspending)
        with pytest.raises(LeaseHeld), Lease(path):
            pass
        assert third.held()
    assert third.held()  # the first holder's end has not ended it
    third.__exit__()
    assert not list(tmp_path.iterdir())


def test_a_holder_suspended_before_it_releases_ends_no_other_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename, other = tmp_path / "lease.json", os.rename, Lease(tmp_path / "lease.json")

    def suspending(source: Any, target: Any) -> None:
        monkeypatch.setattr(lease.os, "rename", rename)
        age(tmp_path)
        other.__enter__()
        rename(source, target)

    with Lease(path):
        monkeypatch.setattr(lease.os, "rename", suspending)
    assert other.held()
    other.__exit__()


HOLDER = """
import sys, time
from pathlib import Path
from suite.records import LeaseHeld, Store
store, path = Store({store!r}), Path({store!r}) / "runs" / "00" / {run!r} / "record.json"
def slow(temporary):
    temporary.write_text("late")
    print("writing", flush=True)
    time.sleep(0.3)
try:
    with store.lease({run!r}) as lease:
        lease.write(path, slow)
except LeaseHeld as held:
    print(held)
"""


def test_a_stopped_process_writes_nothing_when_it_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(store=str(tmp_path), run=RUN)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == "writing\n"
    holder.send_signal(signal.SIGSTOP)
    taken_over_and_finished(store)
    holder.send_signal(signal.SIGCONT)
    output, _ = holder.communicate(timeout=30)
    assert "taken over" in output and holder.returncode == 0
    assert (store.record(RUN) or {})["host"] == "other" and not list(tmp_path.rglob(".lease.*"))


def test_a_run_that_was_taken_over_and_finished_is_a_success(tmp_path: Path) -> None:
    there, here, data = Store(tmp_path / "there"), Store(tmp_path / "here"), make_data(tmp_path / "data")
    run_id = train(there, data).record["run_id"]

    def suspended(*_: Any) -> None:
        age(here.run_folder(run_id))
        with Store(here.path).lease(run_id) as other:
            here.import_record(run_id, there.export_record(run_id), other)

    config = json.loads(json.dumps((there.record(run_id) or {})["config"]))
    opened = open_run(make_task(), make_data(tmp_path / "data"), config)
    outcome = run(opened, make_trainer(), here, observe=suspended)
    assert not outcome.trained and outcome.record == there.record(run_id)
    assert sorted(file.name for file in here.run_folder(run_id).iterdir()) == ["curves.parquet", "record.json"]


def test_a_run_that_another_sweep_finished_has_not_failed(tmp_path: Path) -> None:
    from drills.pretend_sweep import plan_of

    store, plan = Store(tmp_path), plan_of(2)

    class Launcher:
        slots = sharing = 1

        def run(self, jobs: Any, request: Any, on_event: Any) -> None:
            waiting = list(jobs)
            while waiting:
                job = waiting.pop(0)
                store.write_record(record_of(job[0].run_id, 3), MINE)
                waiting.extend(on_event(job, Event("crashed", error="its worker ended")))

    assert execute(Backlog(plan, store), Launcher(), lambda job: None) == []  # type: ignore[arg-type, return-value]
    assert plan.runs and all(store.settled(run.run_id) for run in plan.runs)


def test_a_sweep_whose_worker_was_stopped_ends_in_success(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tests" / "drills" / "pretend_sweep.py"), str(tmp_path), "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PRETEND_STALE": "1.0"}
    first = subprocess.Popen(command, cwd=ROOT, env=environment)
    while not history(tmp_path):
        assert first.poll() is None
        time.sleep(0.02)
    workers = [int(pid) for pid in Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(1.1)
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=100).returncode == 0
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    assert first.wait(100) == 0
    store = Store(tmp_path)
    assert list(store.records()) and not store.problems and not list(tmp_path.rglob(".lease.*"))
