"""Jobs of a day, as a user types them: every script of `tests/journeys` runs as it stands, outside the checkout.

A script quotes the pages that document it; what it quotes must stand there, and its commands must be the script's.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "tests" / "journeys").glob("*.sh"))
QUICK = {"plain_loop", "pandas_results", "repeated_run"}
"""Those that `make test` runs."""

MOST_SECONDS = 90
"""Processor time that a journey may take: a minute, and half as much again where others share the core."""


def marked(script: Path) -> object:
    return pytest.param(script, id=script.stem, marks=[] if script.stem in QUICK else [pytest.mark.slow])


def quotes(script: Path) -> dict[str, list[str]]:
    """Page -> the lines that a script quotes of it, from the comment at its beginning."""
    pages: dict[str, list[str]] = {}
    for line in script.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if page := re.fullmatch(r"# (\S+\.md):", line):
            pages[page[1]] = []
        elif line.startswith("#   "):
            list(pages.values())[-1].append(line[4:])
    return pages


def test_there_are_ten() -> None:
    assert len(SCRIPTS) >= 10 and {script.stem for script in SCRIPTS} >= QUICK and len(QUICK) == 3


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_journey_is_documented_where_it_says(script: Path) -> None:
    pages, body = quotes(script), script.read_text(encoding="utf-8")
    assert pages and all(pages.values())
    for page, lines in pages.items():
        text = (ROOT / page).read_text(encoding="utf-8").splitlines()
        for line in lines:
            assert any(line.strip() == there.strip() for there in text), f"{page} does not say: {line}"
            for command in re.findall(r"python -m suite +(\w+)", line):
                assert len(re.findall(rf"python -m suite +{command}\b", body)) > 1, f"{command} is not run"


@pytest.mark.parametrize("script", [marked(script) for script in SCRIPTS])
def test_every_journey_comes_to_its_end(script: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (programs / "python").chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "CHECKOUT": str(ROOT),
        "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg",
    }  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", str(script)], cwd=work, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout[-4000:]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < MOST_SECONDS, f"{seconds:.0f} s"


@pytest.mark.parametrize("file", ["table/data.py", "table/mlp.py", "configs/tasks/table/mlp.yaml", "sweep.yaml"])
def test_the_page_of_own_tasks_holds_the_example(file: str) -> None:
    page = (ROOT / "docs" / "own_task.md").read_text(encoding="utf-8")
    assert f"`{file}`" in page and (ROOT / "examples" / "table_mlp" / file).read_text(encoding="utf-8") in page
