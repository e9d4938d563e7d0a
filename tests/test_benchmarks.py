"""Every benchmark runs from a clean folder as its first lines say, at its smallest."""

from __future__ import annotations

import logging
import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"

QUICK = {
    "gated_delta": ["--rounds", "1"],
    "graph_loader": ["--rounds", "1", "--molecules", "100"],
    "images": ["--rounds", "1", "--images", "128"],
    "norms": ["--rounds", "1"],
    "nucleotides": ["--rounds", "1"],
    "optimizers": ["--rounds", "2", "sgd"],
    "preparation": ["--rounds", "1", "--megabytes", "1"],
    "rows": ["--rounds", "2"],
    "starting": ["--rounds", "1"],
    "verdicts": ["--quick"],
}
SLOW = {
    "cross_entropy": ["--batch", "1", "--length", "32", "--rounds", "1"],
    "diagnostics": ["--small", "--taken", "2", "clipping"],
    "fit_step": ["small"],
    "loader": ["--rounds", "1"],
    "matrix": ["--steps-factor", "0.01", "toy/quadratic"],
    "packs": ["--rounds", "1", "--seconds", "0.2", "gat 0.02M, batch 1"],
    "report": ["200"],
    "scale": ["--runs", "300", "--takers", "4", "--leased-runs", "10"],
}
ELSEWHERE = {"cost", "gpu", "gpu_sharing", "results", "search", "search_figure"}
"""They have tests of their own, or work on what is not in the project."""


def run(name: str, arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one as `python benchmarks/NAME.py ARGUMENTS` does, in another folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [str(BENCHMARKS / f"{name}.py"), *arguments])
    threads, level = torch.get_num_threads(), logging.getLogger("lightning.pytorch").level
    try:
        with warnings.catch_warnings():
            runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
        logging.getLogger("lightning.pytorch").setLevel(level)


def test_every_benchmark_is_run() -> None:
    files = {path.stem for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
    assert files == QUICK.keys() | SLOW.keys() | ELSEWHERE


@pytest.mark.parametrize("name", QUICK)
def test_a_benchmark_prints_figures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(name, QUICK[name], tmp_path, monkeypatch)
    assert re.search(r"\d\.\d", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_long_benchmark_prints_figures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(name, SLOW[name], tmp_path, monkeypatch)
    assert re.search(r"\d\.\d", capsys.readouterr().out)
