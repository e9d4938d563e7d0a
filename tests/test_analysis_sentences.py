"""What the suite says of stores and files that were made to break its sentences."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pretend_branches import Pretend, done, identify
from pretend_branches import write as write_branching
from synthetic_records import Planted, write_store
from test_analysis_report import check
from whole_store import write_sweep

from suite.analysis.caveats import caveats
from suite.analysis.comparison import Comparison, compare_csv, compare_plan
from suite.analysis.report import write_report
from suite.analysis.selection import Selection
from suite.analysis.sides_text import format_two_sides
from suite.analysis.terminal import WIDTH, format_answers, format_gap_table
from suite.analysis.two_sides import two_sides
from suite.analysis.words import batch_sizes_text, named, optimizer_title, plain_number, setting_title
from suite.cli.main import main
from suite.records import Store
from suite.sweep import Plan, read_spec

SMALL = Planted(batch_sizes=(4, 64), steps=60)


def compared(path: Path, planted: Planted, **changes: Any) -> Comparison:
    store, plan = write_store(path / "store", planted)
    return compare_plan(store, {**plan, **changes})


def said(comparison: Comparison) -> str:
    """All that `gap` prints, on one line."""
    printed = format_gap_table(comparison)
    assert max(map(len, printed.splitlines())) <= WIDTH
    return " ".join(printed.split())


def lone_csv(path: Path, header: str = "opt,bs,lr,tr_loss_history", seed: str = "") -> Path:
    rows = [
        f'{optimizer},4,{lr},"[3.0, {2 + (lr - 0.2) ** 2 + extra}]"{seed}'
        for optimizer, extra in (("sgd", 0.1), ("adam", 0.0))
        for lr in (0.1, 0.2, 0.3)
    ]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_file_without_seeds_has_none_and_no_yaml_to_change(tmp_path: Path) -> None:
    without = said(compare_csv(lone_csv(tmp_path / "x.csv")))
    assert "final loss: ema gap" in without, "no seed is named where the file has none"
    assert "report_seeds" not in without and "YAML" not in without and "42" not in without
    assert "other values in a column seed, which the file lacks" in without
    seeded = compare_csv(lone_csv(tmp_path / "y.csv", "opt,bs,lr,tr_loss_history,seed", ",42"))
    assert "final loss: ema; seed 42" in said(seeded) and "in the column seed" in said(seeded)


@pytest.mark.parametrize("seed", [42, 2**32 - 1])
def test_the_seeds_that_are_proposed_are_free_and_possible(tmp_path: Path, seed: int) -> None:
    comparison = compared(tmp_path, dataclasses.replace(SMALL, seeds=(seed,)))
    (proposed,) = re.findall(r"report_seeds: \[([^]]*)\]", " ".join(caveats(comparison)))
    seeds = [int(number) for number in proposed.split(",")]
    assert len(set(seeds)) == 3 and seed not in seeds and max(seeds) < 2**32


def test_relative_gaps_have_the_sign_of_the_gap_or_are_not_given(tmp_path: Path) -> None:
    negative = dataclasses.replace(SMALL, level=-3.0, start=1.0, report_seeds=(7, 8), steps=400)
    comparison = compared(tmp_path / "negative", negative)
    gaps = comparison.gaps
    assert (gaps["reference_loss"] < 0).all() and (np.sign(gaps["gap"]) == np.sign(gaps["relative_gap"])).all()
    assert (gaps["relative_uncertainty"] > 0).all()
    around_zero = dataclasses.replace(SMALL, level=-0.1, start=0.0, report_seeds=(7, 8), slope=-0.2, noise=1e-3)
    comparison = compared(tmp_path / "zero", dataclasses.replace(around_zero, batch_sizes=(2, 4, 8), crossing=1.0))
    opposite = comparison.gaps["reference_loss"] * comparison.gaps["challenger_loss"] < 0
    assert opposite.any() and comparison.gaps.loc[opposite, "relative_gap"].isna().all()
    assert "No relative gap at batch size" in said(comparison)
    assert "inf" not in said(comparison) and "nan" not in said(comparison)


def test_tiny_and_huge_losses_are_written_with_digits(tmp_path: Path) -> None:
    scale = 1e-6
    tiny = dataclasses.replace(
        SMALL, level=2 * scale, slope=-0.1 * scale, start=10 * scale, curvature=scale, momentum_cost=0.1 * scale,
        noise=1e-3 * scale, report_seeds=(7, 8, 9),
    )  # fmt: skip
    assert "6.56e-06" in said(compared(tmp_path, tiny)) and "0.0000 " not in said(compared(tmp_path, tiny))
    assert [plain_number(value, "+.4f") for value in (0.0, 1.5, -2e-5, 3e7)] == [
        "+0.0000",
        "+1.5000",
        "-2e-05",
        "+3e+07",
    ]
    assert plain_number(-0.001, "+.2f") == "-0.00"


def test_diverged_grids_are_said_to_have_diverged(tmp_path: Path) -> None:
    nothing = said(compared(tmp_path / "both", dataclasses.replace(SMALL, diverges_above=1e-9, seeds=(1, 2))))
    assert "Nothing to compare: every setting of Adam and SGD diverged at batch sizes 4, 64." in nothing
    assert "lie on the edge" not in nothing and "smallest" not in nothing and "* on the edge" not in nothing
    one = dataclasses.replace(SMALL, best_lr={"sgd": 1e-5, "adam": 0.003}, seeds=(1, 2))
    half = said(compared(tmp_path / "one", one))
    assert "every setting of SGD diverged at batch sizes 4, 64" in half
    assert "Every setting diverged, so that lower learning rates have to be tried: SGD at 4" in half
    assert "not decided where a tuned point" not in half


def test_points_on_the_edge_get_a_wider_grid_and_no_seeds(tmp_path: Path) -> None:
    edged = dataclasses.replace(SMALL, best_lr={"sgd": 3.0, "adam": 0.03}, report_seeds=(7, 8, 9))
    words = said(compared(tmp_path, edged))
    assert "4 of 4 tuned points lie on the edge of their grid, so are not tuned" in words
    assert "extend_edges in the sweep's YAML lets it grow" in words and "report_seeds" not in words


def test_optimizers_of_one_title_have_their_labels_behind_it(tmp_path: Path) -> None:
    comparison = compared(tmp_path, SMALL, titles={"sgd": "Adam"})
    assert "gap = Adam (adam) - Adam (sgd)" in said(comparison) and "wider for Adam (sgd)" in said(comparison)
    assert optimizer_title("sgd") == "SGD", "names last as long as the comparison is shown"
    with named(["adam", "sgd", "adam_on_norm"], {"adam_on_norm": "Hybrid"}):
        assert [optimizer_title(name) for name in ("adam", "sgd", "adam_on_norm")] == ["Adam", "SGD", "Hybrid"]
    assert optimizer_title("adam_on_norm") == "Adam on norm"
    assert [setting_title(name) for name in ("lr", "weight_decay", "sgd.lr")] == [
        "learning rate", "weight decay", "SGD's learning rate",
    ]  # fmt: skip


def test_many_optimizers_have_one_table_and_equal_answers_stand_once(tmp_path: Path) -> None:
    names = ["adam", "sgd", *(f"variant_{number}" for number in range(28))]
    planted = Planted(
        batch_sizes=(4,), steps=40, momenta=(0.9,), lrs=dict.fromkeys(names, (0.1, 0.2)),
        best_lr=dict.fromkeys(names, 0.1), best_momentum=dict.fromkeys(names, 0.9),
        momentum_name=dict.fromkeys(names, "beta"),
    )  # fmt: skip
    comparison = compared(tmp_path, planted)
    printed = format_gap_table(comparison)
    assert printed.count("positive:") == 1 and printed.count("variant 27  ") == 2
    assert said(comparison).count("the gap is open on one seed") == 1
    assert len(printed.splitlines()) < 130 and "and 24 more were not tuned over beta" in said(comparison)
    assert " ".join(format_answers(comparison).split()).count("the gap is open") == 1
    assert len(" ".join(caveats(comparison))) < 4000


def test_forty_batch_sizes_are_counted_where_their_list_would_be_long(tmp_path: Path) -> None:
    assert batch_sizes_text(range(1, 41)) == "batch sizes 1, 2, 3 and 37 more"
    assert batch_sizes_text([4, 1, 4]) == "batch sizes 1, 4" and batch_sizes_text([8]) == "batch size 8"


def test_settings_that_are_no_numbers_are_written(tmp_path: Path) -> None:
    store, plan = write_store(tmp_path, SMALL)
    for number, run in enumerate(plan["runs"]):
        run["axes"] = {"lr": run["axes"]["lr"], "kind": ["a", "b"], "on": number % 2 == 0, "note": "x, y", "off": None}
    comparison = compare_plan(store, plan)
    assert "kind a, b" in said(comparison) and "off None" in said(comparison)
    page = write_report(store, plan, tmp_path / "out").page
    assert "kind a, b" in " ".join(check(page).text)


def test_branches_and_panels_in_one_sweep_are_both_answered(tmp_path: Path) -> None:
    branching = Plan(read_spec(write_branching(tmp_path / "s.yaml", seeds=[1, 2])), identify)
    store = Store(tmp_path / "runs")
    done(branching, store, Pretend(store))
    plan = branching.as_record(command="python -m suite sweep s.yaml", title="A task")
    _, other = write_store(tmp_path / "runs", dataclasses.replace(SMALL, report_seeds=(7, 8, 9)))
    plan["runs"] += [{**run, "panel": "plain"} for run in other["runs"]]
    plan["panels"] = {**plan["panels"], "plain": {"task": "a/b", "overrides": {}}}
    store.write_plan(plan)
    comparison = compare_plan(store, plan)
    for words in (said(comparison), " ".join(format_answers(comparison).split())):
        assert "From the Adam trunk: " in words and "The gap passes zero between batch sizes 4 and 64" in words
    report = write_report(store, plan, tmp_path / "out")
    text = " ".join(check(report.page).text)
    assert "From the Adam trunk: " in text and "plain" in text and "Adam trunk, 25%" in text
    assert "adam trunk" not in text
    assert {"branches.svg"} <= {path.name for path in (tmp_path / "out" / "figures").iterdir()}


def test_two_sides_without_intervals_are_not_said_to_agree(tmp_path: Path) -> None:
    first, second = (compared(tmp_path / name, SMALL) for name in "ab")
    words = " ".join(format_two_sides(two_sides(first, second), ("a", "b")).split())
    assert "nothing tells a difference from noise; none has a winner on both sides" in words
    again = dataclasses.replace(SMALL, report_seeds=(7, 8, 9), noise=0.004)
    first, second = (compared(tmp_path / name, again) for name in "cd")
    words = " ".join(format_two_sides(two_sides(first, second), ("c", "d")).split())
    assert "0 of 2 with 95% intervals on both sides differ by more than these allow" in words
    assert "0 of 2 with a winner on both sides name different ones" in words


def test_what_is_shown_changes_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted = Planted(batch_sizes=(1, 4, 64), steps=60, report_seeds=(7, 8, 9))
    store, plan = write_store(tmp_path / "store", planted)
    whole = compare_plan(store, plan)
    part = compare_plan(store, plan, selection=Selection(batch_sizes=(64, 4)))
    columns = ["batch_size", "gap", "uncertainty", "verdict", "together", "corrected"]
    assert part.gaps[columns].equals(whole.gaps[whole.gaps["batch_size"] > 1][columns].reset_index(drop=True))
    assert "corrected for 3 batch sizes" in said(part) and "Not shown: batch size 1;" in said(part)
    alone = compare_plan(store, plan, selection=Selection(optimizers=("SGD",)))
    assert set(alone.runs["optimizer"]) == {"sgd"} and alone.gaps.empty
    for wrong, sentence in (({"optimizers": ("lion",)}, "got lion"), ({"batch_sizes": (5,)}, r"\(1, 4, 64\), got 5")):
        with pytest.raises(ValueError, match=sentence):
            compare_plan(store, plan, selection=Selection(**wrong))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--batch-sizes", "4,x"], "--batch-sizes must be whole numbers"),
        (["--looks", "poster"], "There is no look 'poster'"),
        (["--width", "0"], "width must be"),
        (["--font-size", "1000"], "font_size must be"),
        (["--optimizers", "sgd"], "give its YAML"),
    ],
)
def test_every_wrong_choice_of_figures_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["report", "--store", str(tmp_path), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_report_draws_what_was_asked_for_as_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, store = write_sweep(tmp_path)
    words = ["--looks", "column", "--width", "6", "--font-size", "11", "--batch-sizes", "2", "--loss-scale", "log"]
    out = tmp_path / "out"
    assert main(["report", str(file), "--store", str(store.path), "--out", str(out), *words]) == 0
    names = {path.name for path in (out / "figures").iterdir()}
    assert "tuned-column.pdf" in names and "tuned.pdf" in names and not any("slide" in name for name in names)
    assert "Not shown: batch size 1" in " ".join(check(out / "index.html").text)
    assert main(["gap", str(file), "--store", str(store.path), "--batch-sizes", "1", "--optimizers", "adam,SGD"]) == 0
    assert "Not shown: batch size 2" in " ".join(capsys.readouterr().out.split())
