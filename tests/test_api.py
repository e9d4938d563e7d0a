"""Results in Python: the frames say what the commands say, figures can be changed, the notebook runs as it stands."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from synthetic_records import Planted, write_store

from suite.analysis.comparison import compare_plan
from suite.api import Look, load, load_csv
from suite.records import Store, StoreError
from suite.records.archive import write_archive

ROOT = Path(__file__).resolve().parents[1]
PLANTED = Planted(batch_sizes=(1, 16, 64), report_seeds=(43, 44, 45), steps=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store ``runs`` and its archive ``a.parquet``."""
    path = tmp_path_factory.mktemp("api")
    store, _ = write_store(path / "runs", PLANTED)
    write_archive(store, path / "a.parquet")
    return path


def test_frames_are_those_of_the_commands(folder: Path) -> None:
    results, store = load(folder / "runs"), Store(folder / "runs")
    sweep, (plan,) = results.sweep("synthetic"), store.plans()
    expected = compare_plan(store, plan)
    assert sweep.gaps.equals(expected.gaps) and sweep.tuned.equals(expected.tuned)
    assert len(results.runs) == len(plan["runs"]) == results.sweeps["with_result"][0]
    assert sweep.crossovers["answer"].tolist() == [expected.crossovers[0].sentence()]
    assert {"lr", "momentum"} == set(sweep.runs.query("optimizer == 'sgd'")["setting"].iloc[0])
    finished = results.runs.query("status == 'finished' and optimizer == 'adam'").iloc[0]
    assert finished["final_ema"] == results.record(finished["run_id"])["final"]["ema"]
    assert len(results.curves(finished["run_id"])) == 200
    assert "Compared by ema: the last value of the exponential moving average" in repr(sweep)


def test_an_archive_gives_the_same_results(folder: Path) -> None:
    whole, archived = load(folder / "runs"), load(folder / "a.parquet")
    losses = [side.sweep("synthetic").gaps["relative_gap"].to_numpy() for side in (whole, archived)]
    assert np.array_equal(*losses) and not archived.problems
    assert whole.runs["final_ema"].equals(archived.runs["final_ema"])


def test_every_figure_can_be_changed_and_saved(folder: Path, tmp_path: Path) -> None:
    sweep = load(folder / "runs").sweep("synthetic")
    names = sweep.figures()
    assert {"gap", "tuned", "curves", "heatmap"} <= set(names) and "momenta" not in names, "nothing varies two betas"
    for name in names:
        figure = sweep.figure(name, look=Look(width=3.5))
        assert isinstance(figure, Figure) and math.isclose(figure.get_figwidth(), 3.5)
        figure.axes[0].set_title("mine")
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_a_csv_is_a_sweep(folder: Path, tmp_path: Path) -> None:
    rows = ["opt,bs,lr,seed,tr_loss_history"]
    rows += [
        f'{o},4,{lr},{s},"[3.0, {2 + lr + 0.01 * s}]"' for o in ("sgd", "adam") for lr in (0.1, 0.2) for s in (1, 2)
    ]
    (tmp_path / "x.csv").write_text("\n".join(rows))
    sweep = load_csv(tmp_path / "x.csv")
    assert len(sweep.runs) == 8 and len(sweep.gaps) == 1 and isinstance(sweep.figure("tuned"), Figure)


def test_what_is_not_there_is_named(folder: Path) -> None:
    results = load(folder / "runs")
    for call, sentence in (
        (lambda: load(folder / "none"), "store or an archive"),
        (lambda: results.sweep("demo"), "there are: synthetic"),
        (lambda: load(folder), r"one folder deeper; take .*runs"),
        (lambda: load(folder / "runs" / "runs"), "should be a store"),
        (lambda: results.sweep("synthetic", target=math.nan), "target must be a finite loss"),
        (lambda: results.sweep("synthetic").figure(look="poster"), "no look 'poster'; there are: page, column, slide"),
        (lambda: Look(width=-1), "look.width must be"),
        (lambda: Look(font_size="9"), "look.font_size must be a number"),  # type: ignore[arg-type]
        (lambda: Look(batch_scale="auto"), "one of linear, log, got 'auto'"),  # type: ignore[arg-type]
        (lambda: Look(loss_scale="lg"), "one of auto, linear, log, got 'lg'"),  # type: ignore[arg-type]
        (lambda: load_csv("nope.csv"), "got nope.csv"),
        (lambda: results.sweep("synthetic").figure("gpa"), "there are: gap"),
        (lambda: results.sweep("synthetic").figure(task="x"), "no task 'x'"),
        (lambda: results.sweep("synthetic", final_loss="val"), "val"),
    ):
        with pytest.raises((ValueError, StoreError), match=sentence):
            call()
    with pytest.raises(ValueError, match="begins with '0000"):
        results.record("0" * 16)


def test_results_stay_whatever_is_done_with_their_frames(folder: Path) -> None:
    results = load(folder / "a.parquet")
    assert str(folder / "a.parquet") in repr(results)
    sweep = results.sweep("synthetic")
    for frames in (lambda: results.runs, lambda: sweep.gaps, lambda: sweep.tuned, lambda: sweep.steps_to_target):
        before = len(frames())
        frames().drop(index=frames().index, inplace=True)
        assert len(frames()) == before > 0
    first = results.runs["run_id"][0]
    assert results.record(first[:10])["run_id"] == first and len(results.curves(first[:10]))


def test_no_run_has_the_columns_of_runs(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    empty, whole = load(tmp_path).runs, load(folder / "runs").runs
    assert not len(empty) and set(empty) <= set(whole) and {"optimizer", "final_ema", "error"} <= set(empty)


def test_the_notebook_runs_as_it_stands(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {}
    cells = json.loads((ROOT / "examples" / "results.ipynb").read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert (folder / "gap.pdf").read_bytes().startswith(b"%PDF")


def test_results_import_no_torch() -> None:
    code = "import sys; import suite.api; print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_figures_of_all_panels_together_are_there_without_a_task() -> None:
    archive = (
        Path(__file__).resolve().parents[1] / "docs" / "results" / "study_crossover_budget_genome" / "runs.parquet"
    )
    results = load(archive)
    sweep = results.sweep(results.sweeps["plan_id"].iloc[0])
    together, one = sweep.figures(), sweep.figures(task="250,000 tokens")
    assert [name for name in together if name not in one] == ["panels", "collapse", "effects", "retrained-1"]
    (axes,) = sweep.figure("panels").axes
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == list(sweep.gaps["task"].unique())
    with pytest.raises(ValueError, match="There is no figure 'panels'"):
        sweep.figure("panels", task="250,000 tokens")
