"""A sweep's runs written as a CSV and read back give the same tables, whatever kind of sweep it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pretend_branches import Pretend, done, identify
from pretend_branches import write as write_branching
from synthetic_records import Planted, write_store

from suite.analysis.comparison import Comparison, compare_csv, compare_plan
from suite.analysis.csv_export import export_csv
from suite.analysis.csv_import import load_csv
from suite.analysis.terminal import format_gap_table
from suite.records import Store
from suite.sweep import Plan, read_spec

SMALL = Planted(batch_sizes=(4, 64), steps=150, momenta=(0.9, 0.95, 0.99), seeds=(1,))


def plain(path: Path) -> tuple[Store, dict[str, Any]]:
    # One run is missing, another is in the plan twice.
    store, plan = write_store(path, SMALL)
    store.run_folder(plan["runs"][0]["run_id"]).joinpath("record.json").unlink()
    plan["runs"].append(dict(plan["runs"][5]))
    return store, plan


def panels(path: Path) -> tuple[Store, dict[str, Any]]:
    store, plan = write_store(path, SMALL)
    for run in plan["runs"]:
        run["panel"] = "small, 4" if run["batch_size"] == 4 else "large"
    return store, {**plan, "panels": {"small, 4": {"task": "a"}, "large": {"task": "b", "final_loss": "mean_last_100"}}}


def finalists_and_reports(path: Path) -> tuple[Store, dict[str, Any]]:
    store, plan = write_store(path, SMALL)
    best = {"sgd": (0.3, 0.95), "adam": (0.003, 0.99)}
    for seed, reporting in ((2, False), (7, True), (8, True)):
        lrs, momenta = {name: (lr,) for name, (lr, _) in best.items()}, (0.95, 0.99)
        _, again = write_store(path, Planted(**{**vars(SMALL), "lrs": lrs, "momenta": momenta, "seeds": (seed,)}))
        plan["runs"] += [{**run, "reporting": reporting} for run in again["runs"]]
    return store, plan


def branching(path: Path) -> tuple[Store, dict[str, Any]]:
    spec = read_spec(write_branching(path.parent / "s.yaml", seeds=[1, 2], report_seeds=[3]))
    plan, store = Plan(spec, identify), Store(path)
    done(plan, store, Pretend(store))
    return store, plan.as_record(command="", title="A task")


def validated(path: Path) -> tuple[Store, dict[str, Any]]:
    store, plan = write_store(path, SMALL)
    for run in plan["runs"]:
        record, curves = store.record(run["run_id"]), store.curves(run["run_id"])
        assert record is not None
        losses = curves.column("train_loss").to_pylist()
        measured = [loss + 0.1 if step % 20 == 19 or step == 149 else None for step, loss in enumerate(losses)]
        curves = curves.append_column("val/loss", pa.array(measured, pa.float64()))
        if record["status"] == "finished":
            record["final"]["val"] = losses[-1] + 0.1
        store.write_record({name: x for name, x in record.items() if name != "curves"}, curves)
    return store, {**plan, "final_loss": "val"}


@pytest.mark.parametrize("make", [plain, panels, finalists_and_reports, branching, validated])
def test_every_kind_of_sweep_is_the_same_after_an_export(tmp_path: Path, make: Any) -> None:
    store, plan = make(tmp_path / "store")
    ours, file = compare_plan(store, plan), tmp_path / "runs.csv"
    assert export_csv(store, plan, file) == len(ours.runs) + len(ours.trunks)
    theirs = compare_csv(file)
    for name in ("tuned", "gaps", "branch_gaps", "tuning_cost", "lr_widths"):
        one, other = (without_ids(getattr(side, name)) for side in (ours, theirs))
        pd.testing.assert_frame_equal(one, other, check_dtype=False, rtol=1e-12)
    shared = ["task", "optimizer", "batch_size", "seed", "setting", "status", "loss", "steps", "reporting"]
    for one, other in ((ours.runs, theirs.runs), (ours.trunks, theirs.trunks)):
        if len(one):
            pd.testing.assert_frame_equal(one[shared], other[shared], check_dtype=False, rtol=1e-12)
    assert theirs.final_losses == ours.final_losses and theirs.notes == ()
    assert tables(theirs) == tables(ours)


def without_ids(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=[name for name in ("run_ids",) if name in frame])


def tables(comparison: Comparison) -> str:
    """What the terminal shows below the title, without what names the sweep's YAML and how more seeds are had."""
    words = " ".join(format_gap_table(comparison).partition("final loss:")[2].split())
    words = re.sub(r"To get (a second|more)\b.*?(with them|column seed)\.", "", words)
    words = re.sub(r"further seeds: [^.]*\.", "", words)
    return re.sub(r"report_seeds in the sweep's YAML [^.]*\.", "", words).replace("  ", " ").strip()


def test_an_export_twice_in_one_file_is_one_export(tmp_path: Path) -> None:
    store, plan = finalists_and_reports(tmp_path / "store")
    file = tmp_path / "runs.csv"
    rows = export_csv(store, plan, file)
    once = compare_csv(file)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines, *lines[1:]]))
    twice = compare_csv(file)
    assert twice.gaps.equals(once.gaps) and twice.tuned.equals(once.tuned)
    assert twice.notes[0].startswith(f"{rows} of {2 * rows} rows are copies") and "and " in twice.notes[0]


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("setting", '{"lr": 0}', "a rate for lr in column 'setting' of row 1"),
        ("setting", '{"lr": 1, "momentum": 1.0}', "a momentum for momentum in column 'setting' of row 1"),
        ("setting", '{"lr": NaN}', "a JSON object in column 'setting'"),
        ("setting", "0.1", "a JSON object in column 'setting'"),
        ("status", "ok", "one of finished, diverged, .* in column 'status' of row 1 of .*runs.csv, got 'ok'"),
        ("role", "spare", "one of reporting, trunk in column 'role'"),
        ("steps", "0", "positive whole number in column 'steps'"),
        ("share", "1.5", "from 0 to 1 in column 'share'"),
        ("final_loss", "best", "one of ema, .* in column 'final_loss'"),
    ],
)
def test_cells_of_an_export_are_checked(tmp_path: Path, column: str, cell: str, message: str) -> None:
    store, plan = write_store(
        tmp_path / "store", Planted(batch_sizes=(4,), steps=5, momenta=(0.95,), lrs={"sgd": (0.1,)})
    )
    export_csv(store, plan, tmp_path / "runs.csv")
    frame = pd.read_csv(tmp_path / "runs.csv", dtype=str)
    frame[column] = cell
    frame.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(ValueError, match=message):
        compare_csv(tmp_path / "runs.csv")


def test_an_export_needs_the_losses_and_a_place(tmp_path: Path) -> None:
    store, plan = write_store(
        tmp_path / "store", Planted(batch_sizes=(4,), steps=5, momenta=(0.95,), lrs={"sgd": (0.1,)})
    )
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="change --export"):
        export_csv(store, plan, tmp_path / "file" / "runs.csv")
    (store.run_folder(plan["runs"][0]["run_id"]) / "curves.parquet").unlink()
    with pytest.raises(ValueError, match="cannot be exported"):
        export_csv(store, plan, tmp_path / "runs.csv")
    assert not (tmp_path / "runs.csv").exists()


def test_final_losses_of_two_kinds_in_one_task_are_refused(tmp_path: Path) -> None:
    store, plan = write_store(tmp_path / "store", SMALL)
    export_csv(store, plan, tmp_path / "runs.csv")
    rows = pd.read_csv(tmp_path / "runs.csv", dtype=str)
    rows.loc[rows.index[-1], "final_loss"] = "mean_last_100"
    rows.to_csv(tmp_path / "mixed.csv", index=False)
    with pytest.raises(
        ValueError, match=r"Expected one final loss per task in column 'final_loss' of .*ema, mean_last_100"
    ):
        compare_csv(tmp_path / "mixed.csv")
    assert set(load_csv(tmp_path / "mixed.csv", "ema").final_losses.values()) == {"ema"}
