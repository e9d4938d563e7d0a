"""Branching in a sweep's YAML: what is planned, in which order it is done, what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pretend_branches import TRUNK, Pretend, done, identify, write

from suite.execution.execute import Backlog
from suite.execution.jobs import jobs_of
from suite.execution.trunks import lost_sentences
from suite.records import Store
from suite.sweep import Plan, read_spec


def test_a_plan_has_a_trunk_and_its_branch_points(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path / "s.yaml", seeds=[1, 2]))
    assert [panel.label for panel in spec.parts] == [
        "adam trunk", "adam trunk, 25%", "adam trunk, 50%", "sgd trunk", "sgd trunk, 25%", "sgd trunk, 50%",
    ]  # fmt: skip
    trunk, branch = spec.parts[:2]
    constant, linear = trunk.overrides["model.schedule"], branch.overrides["model.schedule"]
    assert constant["class_path"].endswith("Constant") and linear["class_path"].endswith("Linear")
    assert linear["init_args"] == {"warmup_share": 0.0, "final_share": 0.0}  # straight to zero, no warm-up
    plan = Plan(spec, identify)
    trunks = [run for run in plan.runs if run.keeps]
    branches = [run for run in plan.runs if run.initial]
    assert len(trunks) == 4 and all(run.keeps == (10, 20) and run.steps == 40 for run in trunks)
    assert len(branches) == 2 * 2 * 2 * 5 and len({run.run_id for run in plan.runs}) == 44
    by_id = {run.run_id: run for run in trunks}
    for run in branches:
        assert run.initial is not None
        assert by_id[run.initial[0]].seed == run.seed and run.panel.startswith(by_id[run.initial[0]].panel)
        assert run.initial[1] == (10 if "25%" in run.panel else 20) and run.steps == 40 - run.initial[1]
    kept = plan.as_record(command="", title="")["panels"]
    assert kept["sgd trunk, 50%"]["branch"] == {"of": "", "trunk": "sgd trunk", "optimizer": "sgd", "share": 0.5}


def test_panels_and_command_line_change_trunks_and_branches(tmp_path: Path) -> None:
    panels = {
        "a": {"trunk": {"checkpoints": [0.5], "optimizers": {"adam": {"lr": 0.02}}}},
        "b": {"trunk": {"overrides": {"data.budget_steps": 48}}, "branches": {"schedule": {"name": "warmup_cosine"}}},
    }
    trunk = {**TRUNK, "optimizers": {"adam": {"lr": 0.01, "beta": 0.9}}}
    spec = read_spec(write(tmp_path / "s.yaml", panels=panels, trunk=trunk))
    assert [panel.label for panel in spec.parts] == [
        "a, adam trunk", "a, adam trunk, 50%", "b, adam trunk", "b, adam trunk, 25%", "b, adam trunk, 50%",
    ]  # fmt: skip
    assert spec.parts[0].optimizers == {"adam": {"lr": 0.02, "beta": 0.9}}
    assert [p.overrides["data.budget_steps"] for p in spec.parts] == [24, 24, 48, 24, 24]
    assert spec.parts[3].overrides["model.schedule"]["class_path"].endswith("WarmupCosine")
    changed = spec.changed({"data.budget_steps": 8})
    assert {p.overrides["data.budget_steps"] for p in changed.parts} == {8} and changed.plan_id != spec.plan_id


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"trunk": {}}, "branches without a trunk"),
        ({"trunk": {**TRUNK, "checkpoint": [0.5]}}, "trunk has no setting 'checkpoint' (did you mean 'checkpoints'?)"),
        ({"trunk": {**TRUNK, "checkpoints": [0.5, 0.25]}}, "ascending shares"),
        ({"trunk": {**TRUNK, "checkpoints": [1.0]}}, "above 0 and below 1"),
        ({"trunk": {**TRUNK, "checkpoints": []}}, "ascending shares"),
        ({"trunk": {**TRUNK, "optimizers": {}}}, "trunk.optimizers must name at least one optimizer"),
        ({"trunk": {**TRUNK, "optimizers": {"adam": {"lr": [0.1, 1.0]}}}}, "a trunk is not tuned"),
        ({"trunk": {**TRUNK, "schedule": "cosin"}}, "trunk.schedule"),
        ({"trunk": {**TRUNK, "schedule": 3}}, "trunk.schedule must be a mapping"),
        ({"trunk": [1]}, "must be a mapping"),
        ({"branches": {"checkpoints": [0.1]}}, "'checkpoints'"),
        ({"panels": {"a": {"trunk": {"checkpoints": [2]}}}}, "panels.a.trunk.checkpoints must be above 0"),
        ({"panels": {"a": {}, "a, adam trunk": {}}, "trunk": {**TRUNK, "checkpoints": [0.5]}}, ""),
    ],
)
def test_every_wrong_branching_is_one_sentence(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    if not part:
        read_spec(write(tmp_path / "s.yaml", **changes))
        return
    with pytest.raises(ValueError) as caught:
        read_spec(write(tmp_path / "s.yaml", **changes))
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_shares_that_fall_on_one_step_are_refused(tmp_path: Path) -> None:
    for shares in ([0.5, 0.51], [0.001, 0.5]):
        spec = read_spec(write(tmp_path / "s.yaml", trunk={**TRUNK, "checkpoints": shares}))
        with pytest.raises(ValueError, match="different steps from 1 up"):
            Plan(spec, identify)


def test_branches_follow_their_trunk_and_grids_grow_per_branch_point(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path / "s.yaml", extend_edges=1, seeds=[1], report_seeds=[7]))
    store, plan = Store(tmp_path / "runs"), Plan(spec, identify)
    backlog = Backlog(plan, store, pack=lambda key: 8)
    first = backlog.jobs(backlog.due())
    assert [len(job) for job in first] == [1] * 4 and all(job[0].keeps for job in first)
    launcher = Pretend(store)
    assert done(plan, store, launcher) == []
    assert len(launcher.trained) == len({run.run_id for run in launcher.trained}) == len(plan.runs)
    grown = [run for run in plan.runs if run.round]
    assert {run.panel for run in grown} == {p.label for p in spec.parts if p.branch} and grown[0].optimizer == "adam"
    reporting = [run for run in plan.runs if run.reporting]
    assert len(reporting) == 8 and all(run.seed == 7 and run.initial for run in reporting)
    assert not Plan(spec, identify).missing(store)


def test_a_diverged_trunk_makes_its_branches_impossible(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path / "s.yaml"))
    store, plan = Store(tmp_path / "runs"), Plan(spec, identify)
    launcher = Pretend(store, wild=("adam",))
    assert done(plan, store, launcher) == []
    assert {run.panel for run in launcher.trained} == {p.label for p in spec.parts if "sgd" in p.label} | {"adam trunk"}
    (sentence,) = lost_sentences(plan.as_record(command="", title="")["runs"], store)
    assert sentence.startswith("10 branches of adam trunk at batch size 4, seed 42, cannot be trained")
    assert "diverged at step 3" in sentence
    second = Pretend(store)
    done(Plan(spec, identify), store, second)
    assert second.trained == []


def test_a_trunk_is_trained_again_only_while_a_branch_needs_its_weights(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path / "s.yaml", trunk={**TRUNK, "optimizers": {"adam": {"lr": 0.01}}}))
    store, plan = Store(tmp_path / "runs"), Plan(spec, identify)
    done(plan, store, Pretend(store))
    trunk = plan.groups[0].runs[0]
    store.weights(trunk.run_id, 10).unlink()
    assert not plan.missing(store)
    branch = next(run for run in plan.runs if run.initial == (trunk.run_id, 10))
    (store.run_folder(branch.run_id) / "record.json").unlink()
    assert {run.run_id for run in plan.missing(store)} == {trunk.run_id, branch.run_id}
    again = Pretend(store)
    done(plan, store, again)
    assert [run.run_id for run in again.trained] == [trunk.run_id, branch.run_id]


def test_branches_of_a_point_share_packs_and_points_do_not(tmp_path: Path) -> None:
    plan = Plan(read_spec(write(tmp_path / "s.yaml")), identify)
    jobs = jobs_of(plan, plan.runs, lambda key: 8)
    assert all(len({run.panel for run in job}) == len({run.initial for run in job}) == 1 for job in jobs)
    assert sorted(len(job) for job in jobs) == [1] * 2 + [2] * 4 + [3] * 4


# The real thing.


@pytest.mark.slow
def test_a_branching_sweep_is_trained_packed_and_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from suite.cli.main import main

    file = write(tmp_path / "s.yaml")
    options = [str(file), "--store", str(tmp_path / "runs"), "--data.data_dir", str(tmp_path / "data")]
    commands = tmp_path / "commands"
    assert main(["sweep", *options, "--pack", "4", "--export-commands", str(commands)]) == 0
    assert "2 commands" in (said := capfd.readouterr().out) and "their branches" in said
    assert main(["sweep", *options, "--pack", "4", "--workers", "1"]) == 0
    store = Store(tmp_path / "runs")
    records = {record["run_id"]: record for record in store.records()}
    assert len(records) == 22 and {record["status"] for record in records.values()} == {"finished"}
    packed = [record for record in records.values() if "pack" in record]
    assert sorted({record["pack"]["runs"] for record in packed}) == [2, 3] and len(packed) == 20
    for record in packed:
        initial = record["identity"]["model"]["init_args"]["initial"]
        assert record["identity"]["data"]["init_args"]["start_step"] == initial["step"]
        assert record["steps"] == 24 - initial["step"] and records[initial["run"]]["weights"]
    assert main(["sweep", *options, "--pack", "4"]) == 0
    assert "22 in the store, 0 to train" in capfd.readouterr().out
    assert main(["status", *options]) == 0
    assert "22 of 22 runs have a result" in capfd.readouterr().out
    assert main(["gap", *options]) == 0
    said = capfd.readouterr().out
    assert "From the Adam trunk:" in said and "25%" in said
    assert main(["report", *options, "--looks", "page"]) == 0
    page = Path(capfd.readouterr().out.strip().removeprefix("Report: "))
    assert {"branches", "trunks"} <= {path.stem for path in page.parent.rglob("*.*")}
