"""Property-based: whatever is typed, every command comes to its end, or is refused in one sentence and leaves nothing.

The cases are those of `fuzz_cases`: valid commands with changes to their words, sweeps, tables and stores. They run in
this process, a sweep's workers included; the quick tests try 200, the slow ones 2,000. The seed is fixed.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz_cases import KINDS, SWEEP, Case
from hypothesis import HealthCheck, Phase, given, settings

from suite.cli.main import main
from suite.execution.jobs import Job
from suite.execution.launchers.launcher import OnEvent, RequestOf
from suite.execution.messages import Event
from suite.execution.worker import Worker

SECONDS = 25
"""Processor time that a case may take at most."""

WAIT_SECONDS = 200
"""Time after which a case that computes nothing hangs, on however busy a machine."""

RAW = re.compile(
    r"has no attribute|object is not|not subscriptable|not iterable|unhashable|unpack|out of range|invalid literal|"
    r"\bNoneType\b|positional argument|math domain|null byte|Traceback"
)
"""Words of Python that tell a user nothing."""


class TooSlow(BaseException):
    """A case that took too long."""


class WorkerHere:
    """The local launcher with its one worker in this process."""

    here = True
    slots = sharing = 1
    worker: Worker | None = None

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def run(self, jobs: Iterable[Job], request: RequestOf, on_event: OnEvent) -> None:
        """Execute jobs until none is left."""
        WorkerHere.worker = WorkerHere.worker or Worker()
        waiting = list(jobs)
        while waiting:
            job = waiting.pop(0)
            on_event(job, Event("started"))
            waiting.extend(on_event(job, WorkerHere.worker.answer(request(job))))

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module", autouse=True)
def in_this_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("suite.execution.launching.LocalLauncher", WorkerHere)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, in_this_process: None) -> Path:
    """A folder with a store in which the sweep was trained."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "s.yaml").write_text(yaml.safe_dump(SWEEP))
    with contextlib.chdir(folder):
        assert outcome(["sweep", "s.yaml", "--pack", "off", "--compile", "off"])[0] == 0
    return folder / "runs"


def outcome(arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, output.getvalue(), errors.getvalue()


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """End what takes longer than `SECONDS`, or hangs."""

    def end(*_: Any) -> None:
        raise TooSlow

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, SECONDS), (signal.ITIMER_REAL, signal.SIGALRM, WAIT_SECONDS))
    before = [signal.signal(number, end) for _, number, _ in timers]
    for timer, _, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (timer, number, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file and folder, but for prepared data, which the corrected command uses."""
    found = sorted(path for path in folder.rglob("*") if "data" not in path.relative_to(folder).parts[:1])
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in found}


def check(case: Case, folder: Path, trained: Path) -> int:
    """Run a case in a folder of its own; returns the exit code."""
    if case.store:
        shutil.copytree(trained, folder / "runs")
    case.lay_out(folder)
    before = tree(folder)
    environment = dict(os.environ)
    begun = time.process_time()
    with contextlib.chdir(folder), in_time():
        code, output, errors = outcome(case.arguments)
    took = time.process_time() - begun
    os.environ.clear()
    os.environ.update(environment)
    said = [line for line in errors.splitlines() if line.startswith("suite: ")]
    told = f"{case.arguments}: code {code} after {took:.1f} s\n{errors[-2000:]}"
    assert "Traceback" not in output + errors, told
    assert code in (0, 1, 2), told
    if code:
        assert len(said) == 1 and len(said[0]) > 20, told
        assert not RAW.search(said[0]), told
    if code == 2:
        after = tree(folder)
        assert after == before, f"{told}\nleft {sorted(set(after.items()) ^ set(before.items()))}"[:3000]
    return code


def fuzz(kind: str, folder: Path, trained: Path, cases: int) -> None:
    """Try so many cases of a kind."""
    codes = {0: 0, 1: 0, 2: 0}
    data = folder / "data"
    data.mkdir()

    @settings(
        max_examples=cases, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate], report_multiple_bugs=False,
    )  # fmt: skip
    @given(KINDS[kind]())
    def attempt(case: Case) -> None:
        place = folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "data").symlink_to(data)
        codes[check(case, place, trained)] += 1

    attempt()
    assert codes[2] > cases / 20, codes


SHARES = {"fit": 0.45, "sweep": 0.15, "csv": 0.1, "store": 0.15, "other": 0.15}


@pytest.mark.parametrize("kind", KINDS)
def test_no_input_makes_a_traceback(kind: str, tmp_path: Path, trained: Path) -> None:
    fuzz(kind, tmp_path, trained, round(200 * SHARES[kind]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_inputs_make_no_traceback(kind: str, tmp_path: Path, trained: Path) -> None:
    fuzz(kind, tmp_path, trained, round(2000 * SHARES[kind]))
