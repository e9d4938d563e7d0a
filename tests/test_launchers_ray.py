"""Ray for real: two nodes of this machine, one killed in mid-sweep; records through Ray where no disk is shared."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pretend_worker import COMMAND, history, planned, request_of
from small_search import chosen_by

from suite.cli.main import Ended
from suite.execution.jobs import Job
from suite.execution.launchers import ray as ray_launcher
from suite.execution.messages import Event
from suite.records import Store

ray = pytest.importorskip("ray")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = made.add_node(num_cpus=1)
    yield made, second
    ray.shutdown()
    made.shutdown()


def launcher(cluster: Any, store: Path, **settings: Any) -> Any:
    from suite.execution.launchers.ray import RayLauncher, RaySettings

    chosen = RaySettings(address=cluster[0].address, **settings)
    return RayLauncher(chosen, command=COMMAND, store=Store(store))


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(ROOT)


def collect(events: list[Event]) -> Any:
    def keep(job: Job, event: Event) -> list[Job]:
        events.append(event)
        return []

    return keep


def test_records_come_back_where_no_disk_is_shared(cluster: Any, tmp_path: Path) -> None:
    events: list[Event] = []
    store = Store(tmp_path / "runs")
    jobs = [(planned(1),), (planned(2), planned(3))]
    request = request_of(store.path, history=tmp_path / "history")
    launcher(cluster, store.path, shared_store=False).run(jobs, request, collect(events))
    assert [s for event in events if event.kind == "done" for s in event.statuses] == ["finished"] * 3
    assert {record["run_id"] for record in store.records()} == {planned(n).run_id for n in (1, 2, 3)}
    assert store.curves(planned(3).run_id).num_rows == 20
    assert not list(store.path.glob("runs/*/*/lease.json"))


def test_what_another_process_trains_is_not_sent(cluster: Any, tmp_path: Path) -> None:
    events: list[Event] = []
    with Store(tmp_path).lease(planned(4).run_id):
        launcher(cluster, tmp_path, shared_store=False).run([(planned(4),)], request_of(tmp_path), collect(events))
        launcher(cluster, tmp_path, shared_store=True).run([(planned(4),)], request_of(tmp_path), collect(events))
    assert [event.kind for event in events] == ["held", "started", "held"] and not history(tmp_path)


@pytest.mark.slow
def test_a_search_trains_the_runs_that_it_trains_here(cluster: Any, tmp_path: Path) -> None:
    here = chosen_by(tmp_path / "here", "--workers", "1")
    assert chosen_by(tmp_path / "ray", "--launcher", "ray", "--launcher.address", cluster[0].address) == here


def test_a_lost_node_loses_no_run(cluster: Any, tmp_path: Path) -> None:
    made, second = cluster
    events: list[Event] = []
    jobs = [(planned(n, steps=150),) for n in range(10, 16)]
    thread = threading.Thread(
        target=launcher(cluster, tmp_path).run, args=(jobs, request_of(tmp_path), collect(events))
    )
    thread.start()

    def running() -> int:
        kinds = [kind for kind, *_ in history(tmp_path)]
        return kinds.count("begins") - kinds.count("ends")

    while running() < 2 and thread.is_alive():  # one on each node
        time.sleep(0.05)
    made.remove_node(second, allow_graceful=False)
    thread.join(90)
    assert not thread.is_alive()
    ends = [run_id for event, run_id, _ in history(tmp_path) if event == "ends"]
    assert sorted(ends) == [planned(n).run_id for n in range(10, 16)]
    begins = [run_id for event, run_id, _ in history(tmp_path) if event == "begins"]
    assert len(begins) == 7  # one of the two that were running was lost with its node, and began again
    assert all(event.statuses == ["finished"] for event in events if event.kind == "done")


def test_a_stopped_sweep_has_its_jobs_save_their_checkpoints(
    cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [(planned(20, steps=20_000),)]

    def on_event(job: Job, event: Event) -> list[Job]:
        if event.kind == "started":
            threading.Thread(target=interrupt_when_begun, daemon=True).start()
        return []

    def interrupt_when_begun() -> None:
        while not history(tmp_path):
            time.sleep(0.05)
        time.sleep(1.0)
        _thread.interrupt_main()

    def end(number: int, frame: object) -> None:
        raise Ended(number)

    before = signal.signal(signal.SIGINT, end)  # as for every command
    try:
        with pytest.raises(Ended):
            launcher(cluster, tmp_path).run(jobs, request_of(tmp_path), on_event)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "sweep: 1 jobs save their checkpoints" in capsys.readouterr().err
    assert Store(tmp_path).record(planned(20).run_id) is None and not list(tmp_path.glob("runs/*/*/lease.json"))
    (kind, _, step) = history(tmp_path)[-1]
    assert kind == "stops" and 0 < step < 20_000, history(tmp_path)


def test_a_cancelled_job_is_told_so_where_a_shell_has_ctrl_c_ignored() -> None:
    asked: list[float] = []
    over = threading.Event()

    class Worker:
        def ask(self, request: object) -> Event:
            over.wait(5)
            return Event("done", ["finished"])

        def ask_to_stop(self, seconds: float) -> None:
            asked.append(seconds)
            over.set()

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as background jobs of a script inherit it
    try:
        threading.Timer(0.5, _thread.interrupt_main).start()  # what Ray's cancel does in its worker
        with pytest.raises(KeyboardInterrupt):
            ray_launcher._answer(Worker(), None)  # type: ignore[arg-type]
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(asked) == 1
