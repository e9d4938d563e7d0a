"""Archives: what comes back is the store to the last bit of its numbers, with thinned curves; bad ones are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_records import Planted, write_store

from suite.analysis.caveats import caveats
from suite.analysis.comparison import compare_plan
from suite.cli.main import main
from suite.records import Diagnosed, Store, StoreError
from suite.records.archive import POINTS, write_archive
from suite.records.restore import restore

PLANTED = Planted(batch_sizes=(1, 16), seeds=(1, 2), report_seeds=(3, 4, 5), steps=530)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a plan, and its archive ``a.parquet`` beside it."""
    folder = tmp_path_factory.mktemp("archived")
    store, _ = write_store(folder / "runs", PLANTED)
    write_archive(store, folder / "a.parquet")
    return folder


def records(store: Store) -> list[dict[str, object]]:
    """What the records say, without their curves' checksums and lengths."""
    return [{key: record[key] for key in record if key not in ("curves", "thinned")} for record in store.records()]


def test_records_and_gaps_of_an_archive_are_those_of_its_store(planted: Path, tmp_path: Path) -> None:
    store, again = Store(planted / "runs"), Store(tmp_path / "again")
    restored = restore(planted / "a.parquet", again)
    assert not (restored.problems or restored.other or restored.there)
    assert records(again) == records(store)
    (plan,) = again.plans()
    assert list(store.plans()) == [plan] and restored.plans == [plan["plan_id"]]
    before, after = compare_plan(store, plan).gaps, compare_plan(again, plan).gaps
    exact = before.columns.difference(["slowdown"])
    assert after[exact].equals(before[exact]) and len(before) == 2
    assert np.allclose(after["slowdown"], before["slowdown"], atol=0.02, equal_nan=True)
    assert any("come from an archive that keeps 100 means" in note for note in caveats(compare_plan(again, plan)))


def test_a_thinned_curve_holds_the_means_of_its_parts(planted: Path, tmp_path: Path) -> None:
    store, again = Store(planted / "runs"), Store(tmp_path / "again")
    restore(planted / "a.parquet", again)
    run_id = next(record["run_id"] for record in store.records() if record["status"] == "finished")
    whole, thin = (side.curves(run_id)["train_loss"].to_numpy() for side in (store, again))
    assert len(thin) == len(whole) == 530 and len(np.unique(thin)) <= POINTS
    assert again.record(run_id)["thinned"] == POINTS  # type: ignore[index]
    ends = np.arange(1, POINTS + 1) * 530 // POINTS
    for part, flat in zip(np.split(whole, ends[:-1]), np.split(thin, ends[:-1]), strict=True):
        assert np.allclose(flat, part.mean(), rtol=8e-6) and len(set(flat)) == 1
    assert not (thin.astype(np.float32).view(np.uint32) & 0x7F).any()  # seven bits that the file need not hold


def test_an_archive_of_every_step_is_exact(tmp_path: Path) -> None:
    losses = np.array([3.0, 2.7, 2.4], dtype=np.float32).astype(float)
    curves = pa.table(
        {
            "step": [0, 1, 2], "train_loss": losses, "lr": [0.0, 0.5, 0.25], "grad_norm": [1.0, 2.0, 0.5],
            "clipped": [False, True, False], "val/loss": pa.array([None, None, 2.3456789012345]),
        }
    )  # fmt: skip
    measured = pa.table(
        {
            "step": [0, 2],
            "diagnostic": ["noise"] * 2,
            "quantity": ["trace"] * 2,
            "group": ["", "head"],
            "value": [0.1, 0.2],
        }
    )
    record = {
        "run_id": "ab" * 8, "status": "finished", "task": "toy/x", "optimizer": {"name": "sgd", "lr": 0.1},
        "batch_size": 4, "seed": 1, "steps": 3, "final": {"ema": 2.9, "val": 2.3456789012345}, "metrics": {},
        "config": {"a": 1}, "seconds": {"total": 1.5},
    }  # fmt: skip
    store, again = Store(tmp_path / "a"), Store(tmp_path / "b")
    store.write_record(record, curves, None, Diagnosed(measured, ["noise"], 0.5))
    write_archive(store, tmp_path / "a.parquet", points=None)
    restore(tmp_path / "a.parquet", again)
    assert again.curves("ab" * 8).equals(store.curves("ab" * 8)) and again.record("ab" * 8) == store.record("ab" * 8)
    assert again.diagnostics("ab" * 8).equals(measured)  # type: ignore[union-attr]
    (row,) = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert (row["status"], row["final_val"], json.loads(row["settings"])) == ("finished", 2.3456789012345, {"lr": 0.1})
    assert (row["seconds"], row["optimizer"], row["batch_size"], row["rows"]) == (1.5, "sgd", 4, 3)


def test_what_a_store_has_stays(planted: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    shutil.copytree(planted / "runs", store.path)
    changed, missing, *_ = [record for record in store.records() if record["status"] == "finished"]
    other = {**changed, "final": {"ema": 1.0}}
    other.pop("curves")
    store.write_record(other, store.curves(changed["run_id"]))
    shutil.rmtree(store.run_folder(missing["run_id"]))
    (plan,) = store.plans()
    store.write_plan({**plan, "runs": plan["runs"][1:]})
    restored = restore(planted / "a.parquet", store)
    assert (restored.written, restored.other) == ([missing["run_id"]], [changed["run_id"]])
    assert store.record(changed["run_id"])["final"] == {"ema": 1.0}  # type: ignore[index]
    assert len(restored.there) == len(plan["runs"]) - 2
    (grown,) = store.plans()
    assert {run["run_id"] for run in grown["runs"]} == {run["run_id"] for run in plan["runs"]}


def test_two_stores_become_one(planted: Path, tmp_path: Path) -> None:
    """By the command, and by copying one into the other."""
    store, _ = write_store(tmp_path / "more", Planted(batch_sizes=(4,), seeds=(1,), steps=50))
    together = sorted(r["run_id"] for side in (store, Store(planted / "runs")) for r in side.records())
    merged = Store(tmp_path / "merged")
    for side in (planted / "runs", store.path):
        restored = restore(side, merged)
        assert not restored.problems
    (plan,) = merged.plans()
    assert [r["run_id"] for r in merged.records()] == together == sorted(run["run_id"] for run in plan["runs"])
    assert all(merged.curves(run_id).num_rows for run_id in together)
    shutil.copytree(planted / "runs" / "runs", store.path / "runs", dirs_exist_ok=True)
    assert [r["run_id"] for r in store.records()] == together and not store.problems


def test_an_archive_that_cannot_be_written_is_one_sentence(planted: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"a.parquet could not be written \(a file is where a folder should be\)"):
        write_archive(Store(planted / "runs"), tmp_path / "file" / "a.parquet")


@pytest.mark.parametrize("content", [b"", b"no parquet", "other", "later", "cut"])
def test_what_is_no_archive_is_refused(content: bytes | str, planted: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "cut":
        path.write_bytes((planted / "a.parquet").read_bytes()[:-300])
    else:
        metadata = {b"suite.archive": b"2"} if content == "later" else None
        pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(metadata), path)
    with pytest.raises(StoreError, match="should be an archive"):
        restore(path, Store(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_an_archive_that_is_damaged_within_is_named(planted: Path, tmp_path: Path) -> None:
    content = bytearray((planted / "a.parquet").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 999] = bytes(999)
    (tmp_path / "b.parquet").write_bytes(content)
    with pytest.raises(StoreError, match="b.parquet is damaged"):
        restore(tmp_path / "b.parquet", Store(tmp_path / "runs"))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("record", "{"), ("record", None), ("record", json.dumps({"run_id": "x"})), ("rows", -1), ("rows", 2**40),
        ("rows", None), ("ends", [5, 3]), ("ends", [1]), ("train_loss", [1.0]),
        ("evaluations", [("val/loss", [{"step": -1, "value": 1.0}])]),
        ("evaluations", [("val/loss", [{"step": 10**9, "value": 1.0}])]),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_and_the_others_are_read(
    column: str, value: object, planted: Path, tmp_path: Path
) -> None:
    table = pq.read_table(planted / "a.parquet")
    rows = table.to_pylist()
    rows[3][column] = value
    pq.write_table(pa.Table.from_pylist(rows, table.schema), tmp_path / "b.parquet")
    restored = restore(tmp_path / "b.parquet", Store(tmp_path / "runs"))
    assert len(restored.written) == len(rows) - 1
    ((name, _),) = restored.problems
    assert name.startswith("row 3 of")


def test_the_commands_say_what_they_did(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = ["--store", str(tmp_path / "again")]
    assert main(["archive", "--store", str(planted / "runs"), "--to", str(tmp_path / "c.parquet")]) == 0
    assert main(["restore", str(tmp_path / "c.parquet"), *to]) == 0
    count = sum(1 for _ in Store(planted / "runs").records())
    said = capsys.readouterr().out
    assert f"{count} runs of" in said and f"{count} runs and 1 plan of" in said
    assert main(["restore", str(planted / "runs"), *to]) == 0
    assert f"{count} runs already had" in capsys.readouterr().out
    assert main(["archive", "--store", str(tmp_path / "none"), "--to", str(tmp_path / "d.parquet")]) == 2
    assert main(["archive", "--store", str(tmp_path / "none"), "--to", "e", "--points", "0"]) == 2
    assert main(["restore", str(tmp_path / "none.parquet"), *to]) == 2
    assert not (tmp_path / "d.parquet").exists()
