"""The list of the papers' figures and tables: its sweeps are as the papers have them, and none is left out."""

from __future__ import annotations

import csv
import dataclasses
import functools
import importlib
import re
from pathlib import Path

import pytest
from paper_sizes import paper_samples

from suite.cli.main import main
from suite.execution.matrix import task_file
from suite.fields import read_yaml
from suite.sweep import Plan, SweepSpec, read_spec
from suite.sweep.papers import (
    Fact,
    Item,
    contradictions,
    papers_settings,
    read_papers,
    runs_of,
    runs_of_search,
    settings_by_optimizer,
    trunks_of,
    twin_of,
)
from suite.training import Data

ROOT = Path(__file__).resolve().parents[1]
SWEEPS = ROOT / "configs" / "sweeps"
PAPERS = read_papers(ROOT / "configs" / "papers.yaml")
FACTS = [fact for paper in PAPERS for item in paper.items for fact in item.facts]
LISTED = {name for paper in PAPERS for item in paper.items for name in item.sweeps}
AT_SCALE = {
    f"{path.parent.name}/{path.stem}"
    for path in SWEEPS.glob("*/*.yaml")
    if path.parent.name.startswith(("paper", "talk"))
}

# The largest numbers of figures and tables that are known, appendices included.
NUMBERED = {
    "paper 1": {"figure": 21, "table": 4},
    "paper 2": {"figure": 20, "table": 1},
    "paper 3": {"figure": 18, "table": 3},
    "paper 4": {"figure": 10, "table": 0},
}


@functools.cache
def spec_of(name: str) -> SweepSpec:
    return read_spec(SWEEPS / f"{name}.yaml")


def header_of(name: str) -> str:
    """The comment at the top of a sweep, in one line."""
    header = (SWEEPS / f"{name}.yaml").read_text(encoding="utf-8").split("question:")[0]
    return " ".join(header.replace("\n#", " ").split())


def numbers(names: list[str], kind: str) -> set[int]:
    """Numbers of figures or tables in names such as ``figures 2, 4 and 13 to 15``."""
    found: set[int] = set()
    for name in names:
        for words in re.findall(rf"\b{kind}s? ([\d, a-z]*\d)", name):
            words = re.split(r" and (?:table|figure)", words)[0]
            for part in re.split(r", | and ", words):
                ends = [int(number) for number in re.findall(r"\d+", part)]
                found |= set(range(ends[0], ends[-1] + 1)) if ends else set()
    return found


@pytest.mark.parametrize("paper", NUMBERED)
def test_every_figure_and_table_has_a_row(paper: str) -> None:
    names = [item.name for one in PAPERS if one.name == paper for item in one.items]
    for kind, last in NUMBERED[paper].items():
        listed = numbers(names, kind)
        assert listed == set(range(1, last + 1)), (kind, sorted(set(range(1, last + 1)) ^ listed))


def test_every_sweep_at_the_papers_scale_has_a_row_and_a_laptop_twin() -> None:
    assert LISTED == AT_SCALE
    assert not [name for name in AT_SCALE if not (SWEEPS / f"{twin_of(name)}.yaml").is_file()]


def test_the_documentation_names_every_sweep() -> None:
    page = (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
    named = set()
    for folder, row in re.findall(r"^\| (\d|talks) \| (.*) \|$", page.partition("| paper | sweeps |")[2], re.MULTILINE):
        for first, last in re.findall(r"`(\w+)`(?: to `(\w+)`)?", row):
            stem, ends = (
                first.rstrip("0123456789"),
                [re.sub(r"\D*(\d*)$", r"\1", end) for end in (first, last or first)],
            )
            span = range(int(ends[0]), int(ends[1]) + 1) if last else ()
            named |= {f"{folder}/{name}" for name in (first, *(f"{stem}{number}" for number in span))}
    assert {name.removeprefix("paper") for name in AT_SCALE} == named


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.sweep}: {fact.panel}" if fact.panel else fact.sweep)
def test_every_sweep_is_as_the_paper_has_it(fact: Fact) -> None:
    assert contradictions(fact, spec_of(fact.sweep)) == []


def test_every_row_says_where_its_answer_comes_from_or_why_there_is_none() -> None:
    for paper in PAPERS:
        for item in paper.items:
            assert item.sweeps or item.commands or "no sweep" in item.ours, item.name
            assert {fact.sweep for fact in item.facts} <= set(item.sweeps), item.name


def test_every_header_of_one_seed_says_that_verdicts_need_more() -> None:
    for name in AT_SCALE:
        spec = spec_of(name)
        one = len(spec.seeds) == 1 and not spec.report_seeds
        assert ("verdicts need more" in header_of(name)) == one, name


@pytest.mark.parametrize("name", sorted(map(twin_of, AT_SCALE)))
def test_every_twin_says_its_final_loss(name: str) -> None:
    said = re.search(r"The final loss is the (validation loss|train loss|mean)", header_of(name))
    words = {"val": "validation loss", "mean_last_1pct": "train loss", "mean_last_100": "mean"}
    assert said is None or said.group(1) == words[spec_of(name).final_loss]


def test_the_twin_of_appendix_b6_compares_the_same_runs_by_the_other_loss() -> None:
    parts = {part.label: part for part in spec_of("paper1/laptop/figure1").parts}
    for part in spec_of("paper1/laptop/appendix_b6").parts:
        other = parts[part.label]
        assert {part.final_loss, other.final_loss} == {"val", "mean_last_1pct"}
        assert dataclasses.replace(part, final_loss=other.final_loss) == other


@pytest.mark.parametrize("name", sorted(AT_SCALE - {"talks/full_batch"}))  # whose every step is to see all the data
def test_every_header_says_how_often_a_budget_passes_over_the_data(name: str) -> None:
    passes = set()
    for panel in spec_of(name).parts:
        data = read_yaml(task_file(panel.task))["data"]
        settings = data["init_args"] | {
            key.removeprefix("data."): value for key, value in panel.overrides.items() if key.startswith("data.")
        }
        module, _, kind = data["class_path"].rpartition(".")
        for batch_size in panel.batch_size:
            opened: Data = getattr(importlib.import_module(module), kind)(**{**settings, "batch_size": batch_size})
            opened.train_samples = paper_samples(panel.task, opened)
            if opened.is_repeated and not panel.task.startswith("toy/"):
                passes.add(f"{opened.passes:.2f}")
    assert set(re.findall(r"passes ([\d.]+) times", header_of(name))) == passes


def test_what_is_not_as_a_fact_says_is_named() -> None:
    spec = spec_of("paper2/figure12")
    fact = Fact(
        sweep="paper2/figure12",
        panel="1.3B tokens",
        runs={"sgd": 5, "adam": 6},
        batch_size=[16],
        lists={"sgd": {"lr": {128: [0.25, 0.5]}, "momentum": 0.98}},
        settings={"model.schedule.warmup_steps": 100, "data.seq_len": 512},
        seeds=3,
    )
    assert contradictions(fact, spec) == [
        "sgd has 6 settings, not 5",
        "batch sizes are [16, 128], not [16]",
        "sgd.lr at batch size 128 is [0.25, 0.5, 1], not [0.25, 0.5]",
        "model.schedule.warmup_steps is 2000, not 100",
        "data.seq_len is the recipe's, not 512",
        "1 seeds report, not 3",
    ]
    assert contradictions(dataclasses.replace(fact, runs={"sgd": 5}, here={"sgd": 6}), spec)[0].startswith(
        "batch sizes"
    )
    branches = Fact(sweep="paper1/figure7", panel="over-parameterised (TinyStories)", branch_steps=[740], of_steps=3700)
    assert contradictions(branches, spec_of("paper1/figure7")) == [
        "branches start after [0.2, 0.4, 0.6] of 3700 steps, not after [740]"
    ]
    with pytest.raises(ValueError, match="has no panel 'another'"):
        contradictions(dataclasses.replace(fact, panel="another"), spec)


def test_counts_by_hand() -> None:
    # Two lengths of four have both batch sizes; three learning rates each.
    assert settings_by_optimizer(spec_of("paper2/figure12")) == {"sgd": 24, "adam": 24}
    assert settings_by_optimizer(spec_of("paper2/figure12"), "5.2B tokens") == {"sgd": 6, "adam": 6}
    # Seven branch points of 20 settings each, without the trunks.
    assert settings_by_optimizer(spec_of("paper1/figure7")) == {"sgd": 140, "adam": 140}
    assert runs_of(spec_of("paper2/figure17")) == 2 * 4 * 3 * 5 * 10
    # Two trunks, of which no others are made by a search.
    assert (trunks_of(spec_of("paper1/figure7")), runs_of(spec_of("paper1/figure7"))) == (2, 282)
    # Small grids may grow past their ends too, single settings may not.
    assert runs_of_search(spec_of("paper4/figure1")) == 7 * 5 * 40
    assert runs_of_search(spec_of("paper3/table2")) == runs_of(spec_of("paper3/table2")) == 6 * 3


@pytest.mark.parametrize("name", ["paper1/figure7", "paper3/beta_map", "paper4/figure6"])
def test_a_plan_and_the_list_count_alike(name: str) -> None:
    searched = dataclasses.replace(spec_of(name), search="surface")
    plan = Plan(searched, lambda run: (repr(run), 100))
    assert sum(plan.grid_runs(group) for group in plan.groups) == runs_of(searched)
    assert sum(plan.most_runs(group) for group in plan.groups) == runs_of_search(searched)


def test_an_answer_is_an_archive_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = ("papers.yaml", "sweeps/paper1/figure6.yaml", "sweeps/paper1/laptop/figure6.yaml")
    for file in copied:
        (tmp_path / "configs" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "configs" / file).write_text((ROOT / "configs" / file).read_text(encoding="utf-8"))
    item = next(item for item in PAPERS[0].items if item.name == "figure 6")
    papers = [dataclasses.replace(PAPERS[0], items=[item])]
    monkeypatch.setattr("suite.sweep.papers.read_papers", lambda file: papers)
    monkeypatch.setattr("suite.cli.commands.papers._root", lambda: tmp_path)
    results = tmp_path / "docs" / "results"

    def said() -> str:
        assert main(["papers", "1"]) == 0
        return " ".join(capsys.readouterr().out.split())

    assert "laptop/figure6.yaml, not answered yet" in said()
    (results / "paper1_figure6").mkdir(parents=True)
    (results / "paper1_figure6" / "runs.parquet").touch()
    assert "laptop/figure6.yaml, docs/results/paper1.md" in said()


def test_a_table_that_cannot_be_written_is_refused_before_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["papers", "talks", "--csv", str(tmp_path / "file" / "papers.csv")]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "could not be written" in printed.err and "give another file" in printed.err


@pytest.mark.parametrize("item", [item for paper in PAPERS for item in paper.items], ids=lambda item: item.name)
def test_every_item_with_counts_says_what_they_add_up_to(item: Item) -> None:
    counted = [sum(fact.runs.values()) + fact.more for fact in item.facts]
    assert item.total == (sum(counted) or None)
    assert sum(papers_settings(item, name)[0] for name in item.sweeps) == sum(counted)


def test_the_totals_are_the_papers() -> None:
    # Settings by item: what its text counts or its lists give.
    paper1 = {item.name: item.total for item in PAPERS[0].items if item.total}
    assert paper1["figure 1"] == 200 + 96 + 192 + 128 + 104 + 96 + 192 + 96
    assert paper1["figures 2 and 10"] == 200 + 192 + 104 + 192
    assert (paper1["figure 4"], paper1["figure 7"], paper1["appendix B.8"]) == (224, 280, 280)
    assert (paper1["table 2"], paper1["table 4"]) == (5 * 24, 4 * 24)
    paper3 = {item.name: item.total for item in PAPERS[2].items if item.total}
    assert paper3["table 1"] == 84 + 24 + 28 + 200 + 165 + 48 + 70 + 70
    assert paper3["figures 2, 4 and 13 to 15"] == 200 + 168 + 500 + 44 + 90


@pytest.mark.parametrize("name", sorted(AT_SCALE))
def test_every_other_text_than_the_papers_is_named(name: str) -> None:
    # Papers 2 and 3, and paper 4 beyond its smallest network, are of FineWeb, of which the suite has FineWeb-Edu.
    on_fineweb = any(panel.task.startswith("fineweb/") for panel in spec_of(name).parts)
    other = on_fineweb and name.startswith(("paper2/", "paper3/", "paper4/figure6"))
    items = [item for paper in PAPERS for item in paper.items if name in item.sweeps and item.facts]
    assert not other or ("FineWeb is FineWeb-Edu here" in header_of(name))
    assert not other or all("FineWeb-Edu for FineWeb" in item.ours for item in items)


def test_the_command_prints_every_item_and_writes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["papers", "paper 1", "--csv", str(tmp_path / "papers.csv")]) == 0
    printed = capsys.readouterr().out
    of_paper = next(paper for paper in PAPERS if paper.name == "paper 1")
    assert all(f"\n{item.name}: " in printed for item in of_paper.items)
    assert "1,568 runs (1,104 in the paper), 1 seed reports: verdicts need more" in " ".join(printed.split())
    assert all(len(line) <= 100 for line in printed.splitlines() if "papers.csv" not in line)
    with open(tmp_path / "papers.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["item"] for row in rows} == {item.name for item in of_paper.items}
    by_item = {row["item"]: row for row in rows}
    assert (by_item["figure 3"]["runs"], by_item["figure 3"]["papers_runs"]) == (
        "168",
        "112 in the paper for 112 of them",
    )
    assert by_item["figure 8"]["sweep"] == "python -m suite theory regimes"
    assert main(["papers", "5"]) == 2
    assert "papers must be one of paper 1, paper 2" in capsys.readouterr().err
