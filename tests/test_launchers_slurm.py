"""SLURM for real: a cluster of this machine, job arrays, a requeue at the signal, and the queue in ``status``.

Where no cluster answers, one is installed and started, and stopped at the end; that needs root, Debian and a mirror.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pretend_worker import COMMAND, history, planned, request_of
from small_search import chosen_by

from suite.execution.jobs import Job
from suite.execution.messages import Event
from suite.records import Store

pytest.importorskip("submitit")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    script = ROOT / "tests" / "cluster" / "install_slurm.sh"
    done = subprocess.run([str(script)], capture_output=True, text=True, timeout=300)
    if done.returncode == 3:  # the script's own code for a machine where it cannot
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    yield
    if "started" in done.stdout:
        subprocess.run([str(script), "stop"], check=True)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(ROOT)


def launcher(store: Path, **settings: Any) -> Any:
    from suite.execution.launchers.slurm import SlurmLauncher, SlurmSettings

    chosen = {"time_minutes": 5, "signal_seconds": 20, "poll_seconds": 0.2, "cpus_per_task": 1, **settings}
    return SlurmLauncher(SlurmSettings(**chosen), command=COMMAND, folder=store / "slurm")


def collect(events: list[tuple[Job, Event]]) -> Any:
    def keep(job: Job, event: Event) -> list[Job]:
        events.append((job, event))
        return []

    return keep


def test_an_array_trains_every_run_once(cluster: None, tmp_path: Path) -> None:
    events: list[tuple[Job, Event]] = []
    jobs = [(planned(1),), (planned(2),), (planned(3), planned(4))]
    launcher(tmp_path).run(jobs, request_of(tmp_path), collect(events))
    done = [(job, event) for job, event in events if event.kind == "done"]
    assert sorted(job[0].run_id for job, _ in done) == [job[0].run_id for job in jobs]
    assert {status for _, event in done for status in event.statuses} == {"finished"}
    assert sorted(run_id for event, run_id, _ in history(tmp_path) if event == "ends") == [
        planned(n).run_id for n in range(1, 5)
    ]


def test_the_signal_saves_and_queues_again(cluster: None, tmp_path: Path) -> None:
    from suite.execution.launchers.slurm import states_of_runs, submitted

    events: list[tuple[Job, Event]] = []
    run = planned(7, steps=250)
    thread = threading.Thread(target=launcher(tmp_path).run, args=([(run,)], request_of(tmp_path), collect(events)))
    thread.start()
    while not history(tmp_path):
        time.sleep(0.1)
    assert states_of_runs(tmp_path / "slurm") == {run.run_id: "RUNNING"}
    time.sleep(1)
    (job_id,) = submitted(tmp_path / "slurm")
    subprocess.run(["scancel", "--signal", "USR2", job_id], check=True)
    thread.join(90)
    assert not thread.is_alive()
    story = [(event, step) for event, _, step in history(tmp_path)]
    assert [event for event, _ in story] == ["begins", "stops", "begins", "ends"]
    assert 0 < story[1][1] == story[2][1] < story[3][1] == 250
    assert events[-1][1].statuses == ["finished"] and Store(tmp_path).settled(run.run_id)


@pytest.mark.slow
def test_the_time_limit_forces_a_requeue(cluster: None, tmp_path: Path) -> None:
    events: list[tuple[Job, Event]] = []
    run = planned(8, steps=6000)  # two minutes of work, one minute of time
    launcher(tmp_path, time_minutes=1, signal_seconds=15).run([(run,)], request_of(tmp_path), collect(events))
    story = [(event, step) for event, _, step in history(tmp_path)]
    assert [event for event, _ in story].count("stops") >= 1 and story[-1] == ("ends", 6000)
    assert all(before[1] == after[1] for before, after in zip(story[1::2], story[2::2], strict=False))


@pytest.mark.slow
def test_a_search_trains_the_runs_that_it_trains_here(cluster: None, tmp_path: Path) -> None:
    here = chosen_by(tmp_path / "here", "--workers", "1")
    options = ("--launcher.time_minutes=5", "--launcher.poll_seconds=0.2", "--launcher.cpus_per_task=1")
    assert chosen_by(tmp_path / "slurm", "--launcher", "slurm", *options) == here


def test_a_job_that_vanishes_is_started_again(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from suite.execution.launchers import slurm

    monkeypatch.setattr(slurm, "_GONE_SECONDS", 1.0)
    events: list[tuple[Job, Event]] = []
    run = planned(9, steps=150)
    thread = threading.Thread(target=launcher(tmp_path).run, args=([(run,)], request_of(tmp_path), collect(events)))
    thread.start()
    while not history(tmp_path):
        time.sleep(0.1)
    (job_id,) = slurm.submitted(tmp_path / "slurm")
    subprocess.run(["scancel", "--signal", "KILL", job_id], check=True)
    thread.join(90)
    assert not thread.is_alive() and [event for event, _, _ in history(tmp_path)] == ["begins", "begins", "ends"]


def test_a_restarted_sweep_waits_for_what_it_submitted(cluster: None, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path\n"
        "from test_launchers_slurm import launcher\n"
        "from pretend_worker import planned, request_of\n"
        f"store = Path({str(tmp_path)!r})\n"
        "launcher(store).run([(planned(5, steps=200),)], request_of(store), lambda job, event: [])\n"
    )
    first = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while not history(tmp_path):
        time.sleep(0.1)
    first.kill()
    first.wait()
    events: list[tuple[Job, Event]] = []
    launcher(tmp_path).run([(planned(5, steps=200),)], request_of(tmp_path), collect(events))
    assert [event for event, _, _ in history(tmp_path)] == ["begins", "ends"] and events[-1][1].statuses == ["finished"]


def test_memory_is_asked_for_in_its_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    text = launcher(tmp_path, mem_gb=1.5)._executor._make_submission_file_text("command", "id")
    assert "#SBATCH --mem=1536M\n" in text


def test_no_cluster_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="needs sbatch, srun and squeue") as caught:
        launcher(tmp_path)
    assert "\n" not in str(caught.value)
