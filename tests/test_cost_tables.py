"""The tables of docs/scale.md: what recipes take fits, and is what the command counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from page_tables import table

from suite.execution.matrix import task_files
from suite.fields import read_yaml

ROOT = Path(__file__).resolve().parents[1]
LARGEST_GIB = 36
"""Of an A100's 40 GB, what the allocator and the CUDA context leave; of one of 80 GB it would be 72."""
COUNTED = ["imagenet21k/resnet50", "fineweb/transformer_160m", "zinc/grit"]


def test_every_recipe_fits() -> None:
    rows, files = table("scale.md", "recipes"), task_files()
    assert set(rows) == set(files) - {"toy/linear_bigram", "toy/quadratic"}  # which take next to nothing
    for name, (_, batch_size, micro_batch, peak, held, _) in rows.items():
        stated = read_yaml(str(files[name]))["data"]["init_args"]
        assert (int(batch_size), int(micro_batch)) == (stated["batch_size"], stated["micro_batch"]), name
        assert 0 < float(held) < float(peak) < LARGEST_GIB, name


@pytest.mark.parametrize(
    "names",
    [COUNTED, pytest.param(sorted(set(task_files()) - {*COUNTED}), marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_the_recipes_are_what_the_command_counts(names: list[str]) -> None:
    names = [name for name in names if name not in ("toy/linear_bigram", "toy/quadratic")]
    sys.path.insert(0, str(ROOT / "tests" / "fake_cuda"))
    from pretended_device import reason_for_none

    if not torch.cuda.is_available() and (reason := reason_for_none()):
        pytest.skip(reason)
    command = [sys.executable, str(ROOT / "benchmarks" / "cost.py"), "recipes", *names]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = table("scale.md", "recipes")
    for line in done.stdout.strip().split("\n")[2:]:
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells == written[name], name


def test_the_sweeps_are_those_at_the_papers_scale() -> None:
    folder = ROOT / "configs" / "sweeps"
    rows = table("scale.md", "sweeps")
    assert set(rows) == {f"{path.parent.name}/{path.stem}" for path in folder.glob("*/*.yaml")}
    # By hand, paper 1's GPT: 29.9M weights that multiply, six blocks that attend to 256 tokens of width 384.
    per_token = 3 * (2 * 29.9e6 + 4 * 256 * 384 * 6)
    from cost import recipe_of

    assert recipe_of("fineweb/gpt").flops / 256 == pytest.approx(per_token, rel=2e-3)
