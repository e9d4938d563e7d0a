"""Plans without a launcher: every run that is added, in its order, for losses that are written down here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from suite.fields import ConfigError
from suite.sweep import GroupKey, Plan, PlannedRun, RunSpec, SweepSpec
from suite.sweep.group import ranked_settings
from suite.sweep.panel import PanelSettings
from suite.sweep.spec import Finalists

GRID = {"sgd": {"lr": [0.1, 0.2, 0.4], "momentum": 0.9}}


class Results:
    """A store in memory: run id -> final loss; infinite if the run diverged."""

    def __init__(self) -> None:
        self.losses: dict[str, float] = {}
        self.kept: dict[str, tuple[int, ...]] = {}

    def settled(self, run_id: str, weights: Sequence[int] = ()) -> bool:
        return run_id in self.losses and set(weights) <= set(self.kept.get(run_id, ()))

    def record(self, run_id: str) -> dict[str, Any] | None:
        if run_id not in self.losses:
            return None
        loss = self.losses[run_id]
        status = "finished" if math.isfinite(loss) else "diverged"
        return {"status": status, "final": {"ema": loss, "val": -loss}, "run_id": run_id}

    def train(self, runs: Sequence[PlannedRun], loss: Callable[[PlannedRun], float]) -> None:
        self.losses |= {run.run_id: loss(run) for run in runs}


def identify(run: RunSpec) -> tuple[str, int]:
    """An id that tells everything that the run is; settings that no optimizer would take are refused."""
    if run.settings["lr"] > 10:
        raise ConfigError("lr must be at most 10")
    diagnosed = " diagnosed" if run.diagnosed else ""
    return f"{run.panel}|{run.settings}|{run.batch_size}|{run.seed}|{run.initial}{diagnosed}", 100


def spec_of(**changes: Any) -> SweepSpec:
    chosen = {"task": "toy/linear", "batch_size": [4], "seeds": [1], "optimizers": GRID, **changes}
    return SweepSpec(name="s", file="s.yaml", **chosen)


def rounds(plan: Plan, results: Results, loss: Callable[[PlannedRun], float]) -> list[list[tuple[Any, ...]]]:
    """What one group's plan adds round by round: values on the axes, seed, round, whether reporting, diagnosing."""
    added = plan.groups[0].runs
    story = []
    while added:
        story.append([(*run.axes.values(), run.seed, run.round, run.reporting, bool(run.diagnoses)) for run in added])
        results.train(added, loss)
        added = plan.extend_group(plan.groups[0], results)  # type: ignore[arg-type]
    return story


def falling(run: PlannedRun) -> float:
    return -float(run.axes["lr"])


def test_grids_are_crossed_in_order() -> None:
    optimizers = {
        "sgd": {"lr": [0.2, 0.1], "momentum": [0.0, 0.5]},
        "adam": {"lr": {"by_batch_size": {4: [1], 8: [2]}}},
    }
    plan = Plan(spec_of(optimizers=optimizers, batch_size=[8, 4], seeds=[2, 1]), identify)
    assert [group.key for group in plan.groups] == [("", "sgd", 8), ("", "sgd", 4), ("", "adam", 8), ("", "adam", 4)]
    assert [(run.axes["lr"], run.axes["momentum"], run.seed) for run in plan.groups[0].runs] == [
        (0.1, 0.0, 2), (0.1, 0.0, 1), (0.1, 0.5, 2), (0.1, 0.5, 1),
        (0.2, 0.0, 2), (0.2, 0.0, 1), (0.2, 0.5, 2), (0.2, 0.5, 1),
    ]  # fmt: skip
    assert [run.axes["lr"] for group in plan.groups[2:] for run in group.runs] == [2, 2, 1, 1]
    run = plan.runs[0]
    assert (
        run.settings == {"name": "sgd", "lr": 0.1, "momentum": 0.0}
        and run.steps == 100
        and run.run_id == identify(run)[0]
    )
    assert not (run.round or run.reporting or run.diagnosed or run.diagnoses or run.initial or run.keeps)
    assert plan.runs == [run for group in plan.groups for run in group.runs]


def test_fixed_values_and_dotted_axes_are_one_tree() -> None:
    optimizers = {"mine": {"name": "sgd", "lr": 0.1, "momentum": {"value": [1, 2]}, "head.lr": [0.5, 1.0]}}
    (first, _) = Plan(spec_of(optimizers=optimizers), identify).runs
    assert first.settings == {"name": "sgd", "lr": 0.1, "momentum": [1, 2], "head": {"lr": 0.5}}
    assert first.optimizer == "mine" and first.axes == {"head.lr": 0.5}


def test_everything_that_is_added_in_its_order() -> None:
    plan = Plan(
        spec_of(
            seeds=[1, 2], extend_edges=2, finalists=Finalists(settings=2, seeds=[3]), report_seeds=[4, 5],
            diagnose={"clipping": None},
        ),
        identify,
    )  # fmt: skip
    story = rounds(plan, Results(), lambda run: abs(run.axes["lr"] - 0.8))
    assert story == [
        [(lr, seed, 0, False, False) for lr in (0.1, 0.2, 0.4) for seed in (1, 2)],
        [(0.8, 1, 1, False, False), (0.8, 2, 1, False, False)],
        [(1.6, 1, 2, False, False), (1.6, 2, 2, False, False)],
        [(0.8, 3, 0, False, False), (0.4, 3, 0, False, False)],
        [(0.8, 4, 0, True, False), (0.8, 5, 0, True, False)],
        [(0.8, 4, 0, False, True)],
    ]
    tuned = next(run for run in plan.runs if run.reporting)
    last = plan.runs[-1]
    assert last.diagnosed and last.diagnoses == tuned.run_id and last.run_id == tuned.run_id + " diagnosed"
    assert plan.groups[0].extensions == {("lr", "high"): 2}


def test_a_tuned_setting_is_diagnosed_with_the_first_seed_where_none_reports() -> None:
    story = rounds(Plan(spec_of(seeds=[6, 7], diagnose={"clipping": None}), identify), Results(), falling)
    assert story[1:] == [[(0.4, 6, 0, False, True)]]


def test_edges_grow_as_often_as_allowed_on_each_side() -> None:
    plan = Plan(spec_of(extend_edges=2), identify)
    assert [[run[0] for run in added] for added in rounds(plan, Results(), falling)] == [[0.1, 0.2, 0.4], [0.8], [1.6]]
    assert plan.groups[0].axes["lr"].values == (0.1, 0.2, 0.4, 0.8, 1.6)
    assert len(rounds(Plan(spec_of(), identify), Results(), falling)) == 1  # none unless asked
    lower = rounds(Plan(spec_of(extend_edges=1), identify), Results(), lambda run: float(run.axes["lr"]))
    assert [[run[0] for run in added] for added in lower] == [[0.1, 0.2, 0.4], [0.05]]


def test_all_axes_that_may_grow_do_at_once() -> None:
    optimizers = {"sgd": {"lr": [0.1, 0.2], "momentum": [0.8, 0.9], "decay": [1, 2]}}
    plan = Plan(spec_of(optimizers=optimizers, extend_edges=1, extend_axes=["momentum", "lr", "damped"]), identify)
    story = rounds(plan, Results(), lambda run: -sum(run.axes.values()))
    assert [(*run[:3], run[4]) for run in story[1]] == [
        (0.1, 0.95, 1, 1), (0.1, 0.95, 2, 1), (0.2, 0.95, 1, 1), (0.2, 0.95, 2, 1),
        (0.4, 0.8, 1, 2), (0.4, 0.8, 2, 2), (0.4, 0.9, 1, 2), (0.4, 0.9, 2, 2), (0.4, 0.95, 1, 2), (0.4, 0.95, 2, 2),
    ]  # fmt: skip
    assert len(story) == 2


def test_an_edge_past_which_nothing_can_be_built_stays() -> None:
    plan = Plan(spec_of(optimizers={"sgd": {"lr": [2.0, 8.0]}}, extend_edges=3), identify)
    assert len(rounds(plan, Results(), falling)) == 1 and not plan.groups[0].extensions
    assert plan.groups[0].axes["lr"].values == (2.0, 8.0)
    momentum = {"sgd": {"lr": 0.1, "momentum": [0.9, 1.0]}}
    plan = Plan(spec_of(optimizers=momentum, extend_edges=3, extend_axes=["momentum", "lr"]), identify)
    assert len(rounds(plan, Results(), lambda run: -float(run.axes["momentum"]))) == 1


def test_the_best_finalist_on_an_edge_gets_its_neighbour_with_all_seeds() -> None:
    losses = {0.1: 2.0, 0.2: 1.0, 0.4: 1.1}
    plan = Plan(spec_of(extend_edges=1, finalists=Finalists(settings=2, seeds=[3, 5]), report_seeds=[9]), identify)
    story = rounds(
        plan, Results(), lambda run: losses.get(run.axes["lr"], 3.0) - (run.axes["lr"] == 0.4 and run.seed > 1)
    )
    assert story[1] == [(lr, seed, 0, False, False) for lr in (0.2, 0.4) for seed in (3, 5)]
    assert story[2] == [(0.8, seed, 1, False, False) for seed in (1, 3, 5)]
    assert story[3] == [(0.4, 9, 0, True, False)] and len(story) == 4


def test_one_setting_has_no_finalists() -> None:
    plan = Plan(spec_of(optimizers={"sgd": {"lr": 0.1}}, finalists=Finalists(settings=2, seeds=[3])), identify)
    assert rounds(plan, Results(), lambda run: 1.0) == [[(1, 0, False, False)]]


def test_a_group_waits_for_every_result_that_counts() -> None:
    plan, results = Plan(spec_of(extend_edges=1), identify), Results()
    results.train(plan.runs[1:], falling)
    assert plan.extend_group(plan.groups[0], results) == []  # type: ignore[arg-type]
    assert plan.missing(results) == plan.runs[:1]  # type: ignore[arg-type]
    results.train(plan.runs, falling)
    (added,) = plan.extend_group(plan.groups[0], results)  # type: ignore[arg-type]
    assert plan.missing(results) == [added]  # type: ignore[arg-type]
    later = PlannedRun(**{**vars(added), "run_id": "later", "reporting": True})
    assert ranked_settings([*plan.runs[:3], later], results, "ema") != []  # type: ignore[arg-type]
    assert ranked_settings([*plan.runs[:3], added], results, "ema") == []  # type: ignore[arg-type]


def test_the_asked_final_loss_ranks() -> None:
    plan, results = Plan(spec_of(), identify), Results()
    results.train(plan.runs, falling)
    assert ranked_settings(plan.runs, results, "ema")[0] == {"lr": 0.4}  # type: ignore[arg-type]
    assert ranked_settings(plan.runs, results, "val")[0] == {"lr": 0.1}  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mean_last_100"):
        ranked_settings(plan.runs, results, "mean_last_100")  # type: ignore[arg-type]


def grown() -> tuple[SweepSpec, Plan]:
    spec = spec_of(
        seeds=[1, 2], extend_edges=2, finalists=Finalists(settings=2, seeds=[3]), report_seeds=[4],
        diagnose={"clipping": None}, batch_size=[4, 8],
    )  # fmt: skip
    plan = Plan(spec, identify)
    rounds(plan, Results(), lambda run: abs(run.axes["lr"] - 0.8))
    return spec, plan


def test_a_plan_takes_back_what_it_had_grown_to() -> None:
    spec, plan = grown()
    again = Plan(spec, identify)
    written = [run.as_record() for run in plan.runs]
    again.remember(written)
    assert again.runs == plan.runs and again.groups[0].axes == plan.groups[0].axes
    assert again.groups[0].extensions == plan.groups[0].extensions and not again.groups[1].extensions
    again.remember(written)  # nothing twice
    assert again.runs == plan.runs


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "adam"}, {"batch_size": 2}, {"panel": "other"}, {"run_id": "another"}, {"seed": 77},
        {"axes": {"lr": 11.0}}, {"axes": {"lr": 0.7}},
    ],
)  # fmt: skip
def test_a_plan_takes_back_only_what_it_would_make_again(change: dict[str, Any]) -> None:
    spec, plan = grown()
    record = {**next(run for run in plan.runs if run.round).as_record(), **change}
    again = Plan(spec, identify)
    again.remember([record])
    assert len(again.runs) == 12 and again.groups[0].axes["lr"].values == (0.1, 0.2, 0.4)


def test_records_of_a_plan_before_it_could_grow_are_read() -> None:
    spec, plan = grown()
    record = {**plan.runs[6].as_record()}
    for key in ("panel", "round", "reporting", "diagnoses"):
        del record[key]
    again = Plan(spec, identify)
    again.remember([record])
    assert (again.groups[0].runs[-1].run_id, again.groups[0].runs[-1].round) == (plan.runs[6].run_id, 0)


def test_a_plan_as_plain_values() -> None:
    spec = spec_of(
        panels={
            "b": PanelSettings(task="toy/other", batch_size=[8, 2], overrides={"data.x": 1}),
            "a": PanelSettings(final_loss="val"),
        },
        question="Why?", source="figure 1", extend_edges=3, extend_axes=["momentum"], report_seeds=[5],
        overrides={"data.y": 2}, diagnose={"clipping": None}, finalists=Finalists(settings=3, seeds=[4]),
    )  # fmt: skip
    plan = Plan(spec, identify)
    record = plan.as_record(command="sweep s.yaml", title="A task")
    assert {name: value for name, value in record.items() if name not in ("runs", "plan_id")} == {
        "name": "s", "file": "s.yaml", "command": "sweep s.yaml", "question": "Why?", "source": "figure 1",
        "task": "toy/other, toy/linear", "task_title": "A task", "overrides": {"data.y": 2},
        "panels": {
            "b": {"task": "toy/other", "overrides": {"data.y": 2, "data.x": 1}},
            "a": {"task": "toy/linear", "overrides": {"data.y": 2}, "final_loss": "val"},
        },
        "published": [], "final_loss": "ema", "margin": 0.5, "titles": {}, "seeds": [1],
        "finalists": {"settings": 3, "seeds": [4]}, "report_seeds": [5], "batch_sizes": [2, 4, 8],
        "extend_edges": 3, "extend_axes": ["momentum"],
        "diagnose": {"clipping": None},
    }  # fmt: skip
    assert record["plan_id"] == spec.plan_id
    assert [(run["panel"], run["batch_size"]) for run in record["runs"]] == [("b", 2)] * 3 + [("b", 8)] * 3 + [
        ("a", 4)
    ] * 3
    assert Plan(spec_of(), identify).as_record(command="", title="")["finalists"] == {}
    assert Plan(spec_of(), identify).as_record(command="", title="")["panels"] == {}
    assert plan.groups[0].key == GroupKey("b", "sgd", 8)


def branching(**changes: Any) -> Plan:
    from suite.sweep.panel import Branches, Trunk

    trunk = Trunk(optimizers={"adam": {"lr": 0.5}}, checkpoints=[0.25, 0.5])
    return Plan(spec_of(trunk=trunk, branches=Branches(), optimizers={"sgd": {"lr": [0.1, 0.2]}}, **changes), identify)


def test_branches_start_from_the_trunk_of_their_seed() -> None:
    plan = branching(seeds=[1, 2], report_seeds=[3], finalists=Finalists(settings=2, seeds=[4]))
    trunk, quarter, half = plan.groups
    assert [run.seed for run in trunk.runs] == [1, 2, 4, 3] and {run.keeps for run in trunk.runs} == {(25, 50)}
    by_seed = {run.seed: run.run_id for run in trunk.runs}
    assert all(run.initial == (by_seed[run.seed], 25) and not run.keeps for run in quarter.runs)
    assert all(run.initial == (by_seed[run.seed], 50) for run in half.runs) and len(half.runs) == 4
    results = Results()
    results.train(plan.runs, lambda run: 1.0)
    assert plan.extend_group(trunk, results) == []  # type: ignore[arg-type]
    assert plan.groups[1].panel.branch is not None and plan.as_record(command="", title="")["panels"][
        "adam trunk, 25%"
    ]["branch"] == {"of": "", "trunk": "adam trunk", "optimizer": "adam", "share": 0.25}
    assert plan.as_record(command="", title="")["panels"]["adam trunk"]["checkpoints"] == (0.25, 0.5)


def test_a_trunk_is_missing_while_a_branch_needs_weights_that_are_gone() -> None:
    plan, results = branching(), Results()
    trunk, quarter, half = (group.runs for group in plan.groups)
    results.train(trunk, lambda run: 1.0)
    results.kept[trunk[0].run_id] = (25, 50)
    assert plan.missing(results) == [*quarter, *half]  # type: ignore[arg-type]
    results.kept[trunk[0].run_id] = (25,)
    assert plan.missing(results) == plan.runs  # type: ignore[arg-type]
    results.train(half, falling)  # none that needs step 50 is left
    assert plan.missing(results) == quarter  # type: ignore[arg-type]
    results.kept = {}
    results.train(quarter, falling)
    assert plan.missing(results) == []  # type: ignore[arg-type]
