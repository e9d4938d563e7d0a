"""``python -m suite theory``: tables, figures and errors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from synthetic_records import Planted, write_store

from suite.analysis.comparison import compare_plan
from suite.analysis.figures.signals import batch_sizes_figure
from suite.cli.commands.theory import print_fits
from suite.cli.main import main
from suite.theory.bounds import FIGURE_8, Problem
from suite.theory.gap_fit import fit_gap_model

PROBLEM = Problem(**{**FIGURE_8, "noise": 3.0}, smoothness_2=1.0, smoothness_inf=1.0)


def cells(output: str, first: str) -> list[list[str]]:
    """Rows of the printed table whose first cell is ``first``."""
    return [line.split() for line in output.splitlines() if line.split()[:1] == [first]]


def assert_figure(folder: Path, name: str) -> None:
    png, svg = (folder / f"{name}.{kind}" for kind in ("png", "svg"))
    assert png.read_bytes()[:4] == b"\x89PNG" and png.stat().st_size > 10_000
    assert b"</svg>" in svg.read_bytes()[-20:]


def test_regimes_print_figure_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "regimes", "--out", str(tmp_path)]) == 0
    rows = cells(capsys.readouterr().out, "1")
    assert [(row[1], row[2]) for row in rows] == [
        *((str(r), "I") for r in (1, 2, 4, 6, 8)), *((str(r), "II") for r in (10, 20, 50, 100, 1000))
    ]  # fmt: skip
    assert float(rows[0][3]) == pytest.approx(17.79) and rows[5][3] == "-"
    assert_figure(tmp_path, "regimes")


def test_regimes_tell_where_spectra_change_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "regimes", "--dimension", "100", "--out", str(tmp_path)]) == 0
    assert (
        "in Regime II below p = 1.056 and in Regime I above; the\nthreshold falls to 0.667" in capsys.readouterr().out
    )


def test_regimes_of_another_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "regimes", "--budget", "1e8", "--noise", "0.02", "--out", str(tmp_path)]) == 0
    # Noise times root of the budget is 20 times Figure 8's, and so, nearly, is the crossover.
    assert float(cells(capsys.readouterr().out, "1")[0][3]) == pytest.approx(20 * 17.78, rel=0.01)
    assert main(["theory", "regimes", "--noise", "0", "--out", str(tmp_path)]) == 2
    assert "theory.noise must be above 0 and at most" in capsys.readouterr().err


def test_batch_sizes_and_filters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "batch_size", "--noise", "3", "--out", str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "normalised" in line]
    # 2^(-2/3) sigma^(5/3) T^(1/6) / (L Delta_0)^(5/6)
    expected = 2 ** (-2 / 3) * 3 ** (5 / 3) * 1e6 ** (1 / 6) / 10 ** (5 / 6)
    assert [float(line[-3]) for line in lines] == pytest.approx([expected] * 3, rel=1e-3)
    assert main(["theory", "filters", "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert [row[-2:] for row in cells(output, "0.95")] == [["yes", "yes"], ["yes", "no"]]
    assert all(row[-1] == "no" for row in cells(output, "0.9"))
    for name in ("batch_size", "filters"):
        assert_figure(tmp_path, name)


def test_quadratic_and_bigram(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "quadratic", "--steps", "20", "--samples", "64", "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert output.count("heterogeneous") == output.count("homogeneous") == 5 + 4
    assert main(["theory", "bigram", "--target", "0.5", "--out", str(tmp_path)]) == 0
    rows = cells(capsys.readouterr().out, "1.5")
    assert [row[-1] for row in rows] == ["d^0", "d^0.5"]
    for name in ("quadratic", "bigram"):
        assert_figure(tmp_path, name)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["quadratic", "--samples", "0"], "theory.samples must be at least 1 and at most 100000, got 0."),
        (["bigram", "--target", "1.5"], "theory.target must be above 0 and below 1, got 1.5."),
        (["fit", "nowhere.yaml"], "There is no sweep file nowhere.yaml"),
        (["fit", "nowhere.yaml", "--out", "here"], "theory fit prints a table and draws no figure"),
        (["fit", "--out=here"], "theory fit prints a table and draws no figure"),
        (["--out", "here", "fit"], "it takes a sweep's YAML first"),
        (["filters", "--noise", "5"], "theory filters does not read --noise, an option of regimes and batch_size;"),
        (["filters", "--target", "0.5"], "theory filters does not read --target, an option of bigram; leave it out."),
        (["filters", "--dimension", "5"], "theory filters does not read --dimension"),
        (["batch_size", "--sigma", "5"], "theory batch_size does not read --sigma, an option of quadratic;"),
        (["quadratic", "--budget", "5"], "theory quadratic does not read --budget"),
    ],
)
def test_wrong_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["theory", *arguments]) == 2
    assert part in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_batch_is_larger_than_the_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "batch_size", "--budget", "1", "--out", str(tmp_path)]) == 0
    sizes = [line.split()[-3] for line in capsys.readouterr().out.splitlines() if "descent" in line or "SGD" in line]
    assert sizes[-6:] == ["1"] * 6
    figure = batch_sizes_figure({"L∞ / L₂ = 1": PROBLEM}, np.geomspace(1e-2, 1e2, 5))
    last = figure.axes[-1]
    assert (last.get_title(), last.get_ylabel()) == ("L∞ / L₂ = 1", "batch size at the least bound")
    for line in last.lines:
        assert np.all(np.asarray(line.get_ydata()) <= np.maximum(1, np.asarray(line.get_xdata())))


def test_fit_of_measured_gaps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted = Planted(batch_sizes=(1, 4, 16, 64, 256), noise=0.0)
    store, plan = write_store(tmp_path, planted)
    comparison = compare_plan(store, plan)
    print_fits(comparison)
    output = capsys.readouterr().out
    fit = fit_gap_model(planted.batch_sizes, comparison.gaps["gap"].tolist())
    assert fit.sentence() in output and "gap = Adam - SGD" in output
    assert [float(row[1]) for row in (cells(output, str(size))[0] for size in planted.batch_sizes)] == [
        pytest.approx(gap, abs=1e-4) for gap in comparison.gaps["gap"]
    ]
    assert fit.crossover is not None and not math.isnan(fit.r_squared)
