"""Identity, store and lease."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from suite.records import Diagnosed, Lease, LeaseHeld, Store, StoreError, final_losses, loss_of, run_id_of
from suite.records.files import write_atomically
from suite.training import Data, Task
from suite.training.opening import identity_of

ROOT = Path(__file__).resolve().parents[1]
CONFIG = {
    "seed_everything": 42,
    "trainer": {"precision": "32-true", "devices": 1},
    "model": {
        "class_path": "a.B",
        "init_args": {"optimizer": {"class_path": "suite.optim.SGD", "init_args": {"lr": 0.1}}},
    },
    "data": {"class_path": "c.D", "init_args": {"batch_size": 4, "source": "sample", "micro_batch": None}},
}


def make_record(run_id: str = "0" * 16, **changes: object) -> dict:
    return {
        "run_id": run_id, "status": "finished", "task": "fineweb/gpt", "optimizer": {"name": "sgd", "lr": 0.1},
        "batch_size": 4, "seed": 42, "steps": 3, "metrics": {}, "config": CONFIG,
        "final": {"ema": 1.0} if changes.get("status", "finished") == "finished" else {}, **changes,
    }  # fmt: skip


def make_plan(plan_id: str, name: str = "a", **changes: object) -> dict:
    return {"plan_id": plan_id, "name": name, "task": "fineweb/gpt", "final_loss": "ema", "runs": [], **changes}


def make_curves() -> pa.Table:
    return pa.table({"step": [0, 1, 2], "train_loss": [3.0, 2.0, 1.0]})


def changed(path: str, value: object) -> dict:
    config = json.loads(json.dumps(CONFIG))
    *parents, last = path.split("/")
    place = config
    for parent in parents:
        place = place[parent]
    place[last] = value
    return config


def run_id(config: dict, **facts: Any) -> str:
    return run_id_of(identity_of(config, Task, Data, **{"fingerprint": "f", **facts}))[0]


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        ("trainer/devices", 4, True),
        ("data/init_args/source", "elsewhere", True),
        ("data/init_args/micro_batch", 2, True),
        ("trainer/precision", "bf16-mixed", False),
        ("seed_everything", 43, False),
        ("data/init_args/batch_size", 8, False),
        ("model/init_args/optimizer/init_args/lr", 0.2, False),
    ],
)
def test_identity_changes_with_what_changes_the_numbers(path: str, value: object, same: bool) -> None:
    assert (run_id(CONFIG) == run_id(changed(path, value))) is same


def test_identity_holds_the_data_and_does_not_depend_on_key_order() -> None:
    base = run_id(CONFIG)
    assert run_id(dict(reversed(CONFIG.items()))) == base and len(base) == 16
    assert run_id_of({"a": 1, "b": {"c": 2, "d": 3}})[0] == run_id_of({"b": {"d": 3, "c": 2}, "a": 1})[0]
    assert run_id(CONFIG, fingerprint="g") != base
    assert run_id(CONFIG, micro_batch=2) != base
    assert identity_of(CONFIG, Task, Data, fingerprint="f")["data"]["fingerprint"] == "f"
    with pytest.raises(ValueError, match="plain finite values"):
        run_id(changed("seed_everything", math.nan))


def test_a_store_has_a_name() -> None:
    with pytest.raises(ValueError, match="must be a folder, got ''"):
        Store("")


def test_final_losses_by_hand() -> None:
    losses = [2.0, 1.0, 4.0]
    average = 2.0 + 0.01 * (1.0 - 2.0)
    average += 0.01 * (4.0 - average)
    final = final_losses(losses)
    assert final == pytest.approx({"ema": average, "min_last_1pct": 4, "mean_last_1pct": 4, "mean_last_100": 7 / 3})
    assert final_losses([float(i) for i in range(400)])["min_last_1pct"] == 396
    assert final_losses([0.0] * 197 + [5.0, 7.0])["mean_last_1pct"] == 7  # 1% of 199 steps is one
    assert final_losses(losses, 1.5)["val"] == 1.5
    assert final_losses([100.0] + [0.0] * 99)["mean_last_100"] == 1
    assert final_losses([100.0] + [0.0] * 100)["mean_last_100"] == 0


@pytest.mark.parametrize(("final", "words"), [({"ema": 1.0, "a": 2.0}, "holds a, ema;"), ({}, "holds none;")])
def test_a_final_loss_that_a_record_lacks_is_named_beside_those_it_has(final: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=f"final loss 'val', it {words}"):
        loss_of(make_record(final=final), "val")


def test_ema_is_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    losses = [math.sin(i) + 3 for i in range(500)]
    assert final_losses(losses)["ema"] == pytest.approx(
        pandas.Series(losses).ewm(alpha=0.01, adjust=False).mean().iloc[-1]
    )


def test_store_round_trip(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert list(store.records()) == [] and store.record("0" * 16) is None
    store.write_record(make_record(), make_curves())
    record = store.record("0" * 16)
    assert record is not None and record["curves"]["rows"] == 3 and store.settled("0" * 16)
    assert store.curves("0" * 16).equals(make_curves())
    store.write_plan(make_plan("a-1"))
    assert [plan["plan_id"] for plan in store.plans()] == ["a-1"] and store.plan("b") is None
    for plan_id, name, written in (("c-1", "c", 30), ("b-2", "b", 20), ("b-1", "b", 40)):
        store.write_plan(make_plan(plan_id, name))
        os.utime(store.path / "sweeps" / plan_id / "plan.json", (written, written))
    assert [plan["plan_id"] for plan in store.latest_plans()] == ["a-1", "b-1", "c-1"]
    assert not [path for path in store.path.rglob(".*")]


def test_broken_records_are_named_and_set_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i in range(6):
        store.write_record(make_record(f"{i:016x}"), make_curves())
    paths = sorted(tmp_path.glob("runs/*/*/record.json"))
    paths[0].write_text(paths[0].read_text()[:50])
    paths[1].write_text("[]")
    paths[2].write_text(json.dumps({**json.loads(paths[2].read_text()), "schema": 0}))
    paths[3].write_text(json.dumps({**json.loads(paths[3].read_text()), "final": None}))
    paths[4].write_text(json.dumps({**json.loads(paths[4].read_text()), "run_id": "f" * 16}))
    assert [record["run_id"] for record in store.records()] == [f"{5:016x}"]
    reasons = [reason for _, reason in store.problems]
    assert len(reasons) == 5
    for reason, part in zip(
        reasons, ["cannot be read", "JSON object", "schema 0", "'final'", "another run's"], strict=True
    ):
        assert part in reason


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="with a folder runs or sweeps, but there is none"):
        Store.existing(tmp_path)
    Store(tmp_path / "runs").write_plan(make_plan("a-1"))
    with pytest.raises(ValueError, match=f"one folder deeper; take {tmp_path / 'runs'}"):
        Store.existing(tmp_path)
    assert Store.existing(tmp_path / "runs").plan("a-1")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="must be a folder, but it is none"):
        Store(tmp_path / "file")


def test_weights_are_those_of_the_record(tmp_path: Path) -> None:
    store, run_id = Store(tmp_path / "a"), "0" * 16
    with pytest.raises(StoreError, match="has no record in"):
        store.weights(run_id, 2)
    store.write_weights(run_id, 2, lambda path: path.write_bytes(b"w"))
    sums = store.sums_of_weights(run_id, [2, 4])
    assert sums == {"2": hashlib.sha256(b"w").hexdigest()}
    store.write_record(make_record(status="interrupted", weights=sums), make_curves())
    assert not store.settled(run_id)
    with pytest.raises(StoreError, match="has status interrupted in"):
        store.weights(run_id, 2)
    store.write_record(make_record(weights=sums), make_curves())
    assert store.weights(run_id, 2).read_bytes() == b"w"
    assert store.settled(run_id, [2]) and not store.settled(run_id, [2, 4])
    with pytest.raises(StoreError, match="its weights after step 4"):
        store.weights(run_id, 4)
    files = store.export_record(run_id)
    assert [*files] == ["weights_2.pt", "curves.parquet", "record.json"] and "weights_2.pt" in store.export_record(
        run_id, [2]
    )
    assert [*store.export_record(run_id, [4])] == ["curves.parquet", "record.json"]
    copy = Store(tmp_path / "b")
    copy.import_record(run_id, {**files, "weights_x.pt": b"", "other": b""})
    assert copy.weights(run_id, 2).read_bytes() == b"w" and len([*copy.run_folder(run_id).iterdir()]) == 3
    store.weights(run_id, 2).write_bytes(b"x")
    with pytest.raises(StoreError, match="as they were written"):
        store.weights(run_id, 2)
    store.write_record(make_record("1" * 16, status="diverged"), make_curves())
    assert store.settled("1" * 16, [2])


def test_only_a_result_replaces_a_result(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for status, kept in (
        ("failed", "failed"),
        ("diverged", "diverged"),
        ("interrupted", "diverged"),
        ("finished",) * 2,
    ):
        store.write_record(make_record(status=status), make_curves())
        assert (store.record("0" * 16) or {})["status"] == kept


def test_what_is_broken_is_kept_under_a_number(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_plan(make_plan("a-1"))
    for path, write in (
        (store.run_folder("0" * 16) / "record.json", lambda: store.write_record(make_record(), make_curves())),
        (tmp_path / "sweeps" / "a-1" / "plan.json", lambda: store.write_plan(make_plan("a-1"))),
    ):
        write()
        for text in ("first", "second"):
            path.write_text(text)
            write()
        kept = sorted(path.parent.glob("*.set_aside_*"))
        assert [file.name for file in kept] == [f"{path.stem}.set_aside_{number}.json" for number in (0, 1)]
        assert [file.read_text() for file in kept] == ["first", "second"]


def test_problems_are_those_since_records_were_last_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_record(make_record(), make_curves())
    path = store.run_folder("0" * 16) / "record.json"
    text = path.read_text()
    path.write_text("")
    assert store.record("0" * 16) is None and list(store.records()) == [] and len(store.problems) == 1
    path.write_text(text)
    assert len(list(store.records())) == 1 and store.problems == []


def test_diagnostics_are_there_where_the_record_names_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.diagnostics("0" * 16) is None
    store.write_record(make_record(), make_curves())
    assert store.diagnostics("0" * 16) is None
    table = pa.table({"step": [0], "diagnostic": ["noise"], "quantity": ["a"], "group": [""], "value": [1.0]})
    store.write_record(make_record(), make_curves(), diagnosed=Diagnosed(table, ["noise"], 0.5))
    written = (store.record("0" * 16) or {})["diagnostics"]
    assert (written["names"], written["seconds"], written["rows"]) == (["noise"], 0.5, 1)
    assert table.equals(store.diagnostics("0" * 16))
    (store.run_folder("0" * 16) / "diagnostics.parquet").unlink()
    with pytest.raises(StoreError, match="has no diagnostics in"):
        store.diagnostics("0" * 16)
    assert store.curves("0" * 16).equals(make_curves())


def test_changed_curves_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_record(make_record(), make_curves())
    path = store.run_folder("0" * 16) / "curves.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StoreError, match="not those of its record"):
        store.curves("0" * 16)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="could not be written"):
        Store(tmp_path).write_record(make_record(), make_curves())


def test_lease_excludes_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lease.json"
    with Lease(path) as lease:
        assert lease.held()
        with pytest.raises(LeaseHeld, match=f"process {os.getpid()}"), Lease(path):
            pass
    assert not path.exists()
    with Lease(path):
        pass


def test_lease_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    code = (
        "import time; from pathlib import Path; from suite.records import Lease; "
        f"Lease(Path({str(path)!r})).__enter__(); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        for _ in range(500):
            if path.exists():
                break
            time.sleep(0.02)
        with pytest.raises(LeaseHeld), Lease(path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with Lease(path) as lease:
            assert lease.held()
    finally:
        holder.kill()


def test_a_holder_that_ends_without_a_release_ends(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    code = f"from pathlib import Path; from suite.records import Lease; Lease(Path({str(path)!r})).__enter__()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
    assert path.exists()
    with Lease(path) as lease:
        assert lease.held()


def test_lease_of_a_silent_host_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    path.write_text(json.dumps({"token": "x", "host": "another-host", "pid": 1}))
    with pytest.raises(LeaseHeld, match="process 1 on another-host"), Lease(path):
        pass
    os.utime(path, (time.time() - 120, time.time() - 120))
    with Lease(path) as lease:
        assert lease.held()


def _count_alone(path: Path, inside: Path, rounds: int) -> None:
    done = 0
    while done < rounds:
        try:
            with Lease(path):
                with open(inside, "x"):
                    pass
                time.sleep(0.001)
                inside.unlink()
                done += 1
        except LeaseHeld:
            time.sleep(0.001)


def test_lease_admits_one_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_count_alone, args=(tmp_path / "lease.json", tmp_path / "inside", 20)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
