"""Sweeps of several panels, what they share, their plans, and the twins of the papers' sweeps."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import extended, identify, record, write

from suite.analysis.caveats import caveats
from suite.analysis.comparison import compare_plan
from suite.cli.plans import parse_sweep, read_sources, sweep_parser
from suite.records import Store
from suite.sweep import Plan, RunSpec, read_spec


def test_panels_share_what_they_do_not_change(tmp_path: Path) -> None:
    panels = {
        "small": {"overrides": {"model.width": 16}, "optimizers": {"sgd": {"lr": [1.0, 3.0]}, "adam": None}},
        "genome": {"task": "hg38/gpt", "batch_size": 4, "optimizers": {"lion": {"lr": 0.1}}},
    }
    small, genome = read_spec(write(tmp_path / "s.yaml", panels=panels)).parts
    assert small.task == "fineweb/gpt" and small.batch_size == [1, 2]
    assert small.overrides == {"data.source": "sample", "model.width": 16}
    assert small.optimizers == {"sgd": {"lr": [1.0, 3.0], "momentum": 0.9}}
    assert genome.task == "hg38/gpt" and genome.batch_size == [4] and list(genome.optimizers) == ["sgd", "adam", "lion"]


def test_every_dataset_finds_its_source(tmp_path: Path) -> None:
    panels = {"web": {"overrides": {"model.width": 16}}, "genome": {"task": "hg38/gpt"}, "toy": {"task": "toy/zipf_lm"}}
    (file := tmp_path / "sources.yaml").write_text("fineweb: text.txt\nhg38: genome.fa.gz\n")
    web, genome, toy = read_spec(write(tmp_path / "s.yaml", panels=panels)).with_sources(read_sources(file)).parts
    assert web.overrides == {"data.source": "text.txt", "model.width": 16}
    assert genome.overrides["data.source"] == "genome.fa.gz" and toy.overrides["data.source"] == "sample"
    assert read_spec(write(tmp_path / "s.yaml")).with_sources({"fineweb": "x"}).overrides["data.source"] == "x"
    for text in ("[1]", "hg39: x", "hg38: [1]", "{"):
        file.write_text(text)
        with pytest.raises(ValueError, match="--sources"):
            read_sources(file)


def test_one_panel_of_a_sweep_has_the_runs_that_it_has_in_the_whole(tmp_path: Path) -> None:
    panels = {"web, small": {"overrides": {"model.width": 16}}, "genome": {"task": "hg38/gpt"}}
    published = [{"panel": label, "gap": 0.1, "source": "x"} for label in panels]
    file = write(tmp_path / "s.yaml", panels=panels, published=published)
    words = [str(file), "--panel", "web, small", "--data.seq_len", "64"]
    _, one, typed = parse_sweep(sweep_parser("gap", ""), words)
    assert one is not None and typed == " --panel 'web, small' --data.seq_len 64"
    assert [part.label for part in one.parts] == ["web, small"] and len(one.published) == 1
    whole = read_spec(file).changed({"data.seq_len": 64})
    of_panel = {run.run_id for run in Plan(one, identify).runs}
    assert of_panel == {run.run_id for run in Plan(whole, identify).runs if run.panel == "web, small"}
    assert one.plan_id != whole.plan_id and whole.only(list(panels)).plan_id == whole.plan_id
    with pytest.raises(ValueError, match=r"s.yaml has no panel 'Genome' \(did you mean 'genome'"):
        parse_sweep(sweep_parser("gap", ""), [str(file), "--panel", "Genome"])
    with pytest.raises(ValueError, match=r"has no panel 'genome': it has none"):
        read_spec(write(tmp_path / "t.yaml")).only(["genome"])
    with pytest.raises(ValueError, match="--panel changes a sweep; give the sweep's YAML as well"):
        parse_sweep(sweep_parser("report", "", file="?"), ["--panel", "genome"])


def test_one_panel_of_a_sweep_skips_what_the_whole_skips_of_it() -> None:
    spec = read_spec(ROOT / "configs" / "sweeps" / "paper3" / "beta_map.yaml")
    whole = [run.run_id for run in Plan(spec, identify).runs]
    assert len(spec.panels) > 3
    alone = [[run.run_id for run in Plan(spec.only([label]), identify).runs] for label in spec.panels]
    assert sorted(itertools.chain(*alone)) == sorted(whole)


def test_a_plan_of_panels_names_every_run_and_survives_the_command_line(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path / "s.yaml", panels={"a": {}, "b": {"overrides": {"data.source": "x"}}}))
    plan = Plan(spec, identify)
    assert len({run.run_id for run in plan.runs}) == 2 * 2 * 5
    assert plan.groups[0].key.label == "a: sgd" and plan.groups[-1].runs[0].key.label == "b: adam"
    written = plan.as_record(command="", title="")
    assert [run["panel"] for run in written["runs"]] == ["a"] * 10 + ["b"] * 10
    assert written["panels"]["b"]["overrides"] == {"data.source": "x"}
    changed = spec.changed({"data.source": "y"})
    assert [panel.overrides["data.source"] for panel in changed.parts] == ["y", "y"]


def test_what_a_sweep_says_about_itself_does_not_change_its_plan(tmp_path: Path) -> None:
    plain = read_spec(write(tmp_path / "s.yaml")).plan_id
    printed = [{"batch_size": 1, "gap": 0.1, "source": "table 1"}]
    assert read_spec(write(tmp_path / "s.yaml", question="other", published=printed)).plan_id == plain
    assert read_spec(write(tmp_path / "s.yaml", report_seeds=[7])).plan_id != plain
    assert read_spec(write(tmp_path / "s.yaml", panels={"a": {}})).plan_id != plain


def test_a_panel_may_be_tuned_and_compared_by_a_final_loss_of_its_own(tmp_path: Path) -> None:
    panels = {"text": {}, "photos": {"final_loss": "val"}}
    spec = {"panels": panels, "batch_size": 1, "extend_edges": 1, "report_seeds": [7]}
    optimizers = {"sgd": {"lr": [0.1, 0.3, 0.9]}, "adam": {"lr": [0.1, 0.3, 0.9]}}
    plan = Plan(read_spec(write(tmp_path / "s.yaml", **spec, optimizers=optimizers)), identify)
    store = Store(tmp_path / "store")
    for run in plan.runs:  # the averaged loss is lowest at 0.3, the validation loss on the edge
        ema = 1 + abs(math.log(run.axes["lr"] / 0.3)) + (run.optimizer == "adam")
        record(store, run.run_id, ema, val=5 - run.axes["lr"] - (run.optimizer == "adam"))
    grown = extended(plan, store)
    assert {run.panel for run in grown if run.axes["lr"] > 0.9} == {"photos"}
    for run in grown:
        record(store, run.run_id, 1.5 + (run.optimizer == "adam"), val=9.0 - (run.optimizer == "adam"))
    for run in extended(plan, store):
        record(store, run.run_id, 1.5, val=4.0 - (run.optimizer == "adam"))
    store.write_plan(plan.as_record(command="", title=""))
    both = compare_plan(store, store.plan(plan.spec.plan_id))
    assert both.final_losses == "ema (photos: val)" and both.of_task("photos").final_losses == "val"
    tuned = {(point.task, point.optimizer): point for point in both.tuned.itertuples()}
    assert dict(tuned["text", "sgd"].setting) == {"lr": 0.3} and dict(tuned["photos", "sgd"].setting) == {"lr": 0.9}
    assert tuned["photos", "sgd"].loss == 4.0 and tuned["photos", "adam"].loss == 3.0
    assert dict(zip(both.gaps["task"], both.gaps["gap"], strict=True))["photos"] == -1.0
    one = compare_plan(store, store.plan(plan.spec.plan_id), final_loss="ema")
    assert one.final_losses == "ema" and any("extended its grids by" in note for note in caveats(one))


def test_a_grid_ends_where_an_optimizer_takes_no_more(tmp_path: Path) -> None:
    def identify_above_0(run: RunSpec) -> tuple[str, int]:
        if run.settings["momentum"] == 0:
            raise ValueError("momentum must be above 0.")
        return identify(run)

    optimizers = {"scion": {"lr": [0.1, 0.3, 0.9], "momentum": [0.05, 0.1]}}
    grown = {"extend_edges": 2, "extend_axes": ["lr", "momentum"]}
    spec = {"seeds": [42], "report_seeds": [7], "batch_size": 1, "optimizers": optimizers, **grown}
    plan, store = Plan(read_spec(write(tmp_path / "s.yaml", **spec)), identify_above_0), Store(tmp_path / "store")
    group = plan.groups[0]
    for run in group.runs:
        record(store, run.run_id, 1 + abs(math.log(run.axes["lr"] / 0.3)) + run.axes["momentum"])
    (again,) = plan.extend_group(group, store)  # the next smaller momentum would be 0
    assert again.reporting and again.axes == {"lr": 0.3, "momentum": 0.05}
    assert group.axes["momentum"].values == (0.05, 0.1) and not group.extensions


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"diagnose": ["noise"]}, "diagnose"),
        ({"report_seeds": [42]}, "must differ from seeds"),
        ({"finalists": {"settings": 3, "seeds": [42]}}, "must differ from seeds"),
        ({"finalists": {"settings": 3, "seeds": [5]}, "report_seeds": [5]}, "twice; change one"),
        ({"finalists": {"settings": 1, "seeds": [5]}}, "finalists.settings must be at least 2"),
        ({"finalists": {"seeds": [5]}}, "finalists needs settings"),
        ({"finalists": {"settings": 3, "seeds": ["a"]}}, "must be a whole number"),
        ({"finalists": 3}, "finalists must be a mapping with settings, seeds"),
        ({"panels": []}, "panels"),
        ({"panels": {"a": {"seeds": [1]}}}, "panels.a"),
        ({"panels": {"a": {"batch_size": [0]}}}, "panels.a.batch_size must be at least 1"),
        ({"panels": {"a": {"optimizers": {"sgd": None, "adam": None}}}}, "at least one optimizer"),
        ({"panels": {"a": {"optimizers": {"sgd": 3}}}}, "optimizers.sgd"),
        ({"panels": {"a": {"final_loss": "best"}}}, "final_loss must be one of ema"),
        ({"published": [{"gap": 0.1}]}, "published[0] needs source"),
        ({"published": [{"gap": "small", "source": "x"}]}, "published[0].gap must be a number"),
        ({"published": [{"gaps": 1, "source": "x"}]}, "'gaps'"),
        ({"published": [{"losses": {"adam": None}, "source": "x"}]}, "published[0].losses.adam"),
    ],
)
def test_every_wrong_panel_or_value_is_one_sentence(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_spec(write(tmp_path / "s.yaml", **changes))
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_sweeps_of_several_papers_have_plans_of_different_names(tmp_path: Path) -> None:
    for folder in ("sweeps", "sweeps/paper1", "sweeps/paper2/laptop"):
        (tmp_path / folder).mkdir(parents=True)
    names = [
        read_spec(write(tmp_path / place / "figure1.yaml")).name
        for place in ("", "sweeps", "sweeps/paper1", "sweeps/paper2/laptop")
    ]
    assert names == ["figure1", "figure1", "paper1-figure1", "paper2-laptop-figure1"]


ROOT = Path(__file__).resolve().parents[1]
PAPERS = sorted((ROOT / "configs" / "sweeps").glob("*/*.yaml"))


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_sweep_of_a_paper_has_a_twin_for_a_laptop(path: Path) -> None:
    twin = path.parent / "laptop" / path.name
    paper, laptop = read_spec(path), read_spec(twin)
    after = paper.source if paper.source.startswith("beyond the papers") else f"after {paper.source}"
    assert laptop.question == paper.question and laptop.source == after
    # A twin whose panels are others repeats what is published of those that it has, under its own labels.
    values, of_twin = (
        [dataclasses.replace(entry, source="", panel=None) for entry in spec.published] for spec in (paper, laptop)
    )
    assert all(entry in values for entry in of_twin)
    named, labels = {entry.panel for entry in paper.published if entry.panel}, {panel.label for panel in paper.parts}
    assert named <= labels
    assert len(of_twin) == len(values) or not named <= {panel.label for panel in laptop.parts}
    for panel in laptop.parts:
        assert panel.overrides["trainer.accelerator"] == "cpu" and panel.overrides["data.source"] == "sample"
        assert max(panel.batch_size) <= 256
    for file in (path, twin):
        text = file.read_text()
        assert f"python -m suite sweep {file.relative_to(ROOT)}" in text
        assert "ours" in text or (file == path and "paper's" in text)  # whose values the grids are


def test_no_twin_is_without_its_paper() -> None:
    twins = sorted((ROOT / "configs" / "sweeps").glob("*/laptop/*.yaml"))
    assert twins and all((twin.parents[1] / twin.name).is_file() for twin in twins)


def test_settings_that_vary_make_a_panel_for_every_combination(tmp_path: Path) -> None:
    vary = {"data.budget_tokens": [2.5e5, 1.0e6], "model.clip_norm": [None, 1.0]}
    spec = read_spec(write(tmp_path / "s.yaml", vary=vary))
    labels = [panel.label for panel in spec.parts]
    assert labels == [f"{t} tokens, clip_norm {c}" for t in ("250,000", "1,000,000") for c in ("null", "1")]
    assert spec.parts[1].overrides == {"data.source": "sample", "data.budget_tokens": 2.5e5, "model.clip_norm": 1.0}
    panels = {"a": {"vary": vary}, "b": {"task": "hg38/gpt"}}
    inside = read_spec(write(tmp_path / "s.yaml", panels=panels))
    assert [panel.label for panel in inside.parts] == [*(f"a, {label}" for label in labels), "b"]
    assert len(Plan(spec, identify).runs) == 4 * 2 * 5
    both = write(tmp_path / "s.yaml", vary=vary, overrides={"model.clip_norm": 1.0})
    with pytest.raises(ValueError, match=r"vary and overrides must not set the same, got model\.clip_norm in both"):
        _ = read_spec(both).parts
    for wrong in ({"data.budget_tokens": [1.0]}, {"data.budget_tokens": [1, 1.0]}):
        with pytest.raises(ValueError, match=r"vary\.data\.budget_tokens must be two different values or more"):
            read_spec(write(tmp_path / "s.yaml", vary=wrong))


def test_a_target_changes_no_plan(tmp_path: Path) -> None:
    panels = {"a": {"batch_size": 4}, "b": {"task": "hg38/gpt"}}
    plain, panelled = (read_spec(write(tmp_path / "s.yaml", panels=p)).plan_id for p in ({}, panels))
    aimed = read_spec(write(tmp_path / "s.yaml", target=3.5))
    assert aimed.plan_id == plain and aimed.targets == {"": 3.5}
    panels["b"]["target"] = 1.25
    aimed = read_spec(write(tmp_path / "s.yaml", panels=panels, target=3.5))
    assert aimed.plan_id == panelled and aimed.targets == {"a": 3.5, "b": 1.25}
    assert Plan(aimed, identify).as_record(command="", title="")["targets"] == aimed.targets
    with pytest.raises(ValueError, match="target must be a finite number"):
        read_spec(write(tmp_path / "s.yaml", target=float("nan")))
