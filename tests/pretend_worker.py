"""A worker that trains nothing but behaves like one: leases, checkpoints, records, answers, signals. No torch.

Every start and every end of a run is a line in ``history`` in the store, so that a test can count them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from suite.execution.jobs import Job
from suite.records import LeaseHeld, Store, holder
from suite.sweep import PlannedRun

COMMAND = [sys.executable, str(Path(__file__).resolve())]
STEP_SECONDS = 0.02


def planned(number: int, steps: int = 20) -> PlannedRun:
    """A run by number."""
    return PlannedRun(f"{number:016x}", "sgd", {"name": "sgd", "lr": 0.1}, {"lr": 0.1 * number}, 4, 42, steps)


def request_of(store: Path) -> Any:
    """The request for a job."""
    return lambda job: _request(job, store)


def _request(job: Job, store: Path) -> dict[str, Any]:
    ids = [run.run_id for run in job]
    return {"do": "run", "store": str(store), "run_ids": ids, "steps": job[0].steps, "history": str(store / "history")}


def history(store: Path) -> list[tuple[str, str, int]]:
    """What happened: event, run, step."""
    path = store / "history"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(event, run_id, int(step)) for event, run_id, step in map(str.split, lines)]


def note(request: dict[str, Any], event: str, run_id: str, step: int) -> None:
    """Add a line to the history, in one write."""
    descriptor = os.open(request["history"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{event} {run_id} {step}\n".encode())
    os.close(descriptor)


def record_of(run_id: str, steps: int) -> dict[str, Any]:
    """A finished record."""
    return {
        "run_id": run_id, "status": "finished", "task": "fineweb/gpt", "optimizer": {"name": "sgd", "lr": 0.1},
        "batch_size": 4, "seed": 42, "steps": steps, "final": {"ema": 1.0}, "metrics": {}, "config": {},
        "host": os.environ.get("RAY_NODE", ""),
    }  # fmt: skip


def train(request: dict[str, Any], stop: threading.Event) -> list[str]:
    """Count the steps of every run, going on from its checkpoint."""
    store = Store(request["store"])
    statuses = []
    with contextlib.ExitStack() as leases:
        todo = [run_id for run_id in request["run_ids"] if not store.settled(run_id)]
        held = {run_id: leases.enter_context(store.lease(run_id)) for run_id in todo}
        for run_id in todo:
            if store.settled(run_id):
                continue
            checkpoint = store.run_folder(run_id) / "checkpoint.ckpt"
            step = int(checkpoint.read_text()) if checkpoint.exists() else 0
            note(request, "begins", run_id, step)
            while step < request["steps"] and not stop.is_set():
                time.sleep(STEP_SECONDS)
                step += 1
            if step < request["steps"]:
                checkpoint.write_text(str(step))
                note(request, "stops", run_id, step)
                statuses.append("interrupted")
                continue
            curves = pa.table({"step": list(range(step)), "train_loss": [1.0] * step})
            store.write_record(record_of(run_id, step), curves, held[run_id])
            checkpoint.unlink(missing_ok=True)
            note(request, "ends", run_id, step)
            statuses.append("finished")
    return statuses or ["finished"] * len(request["run_ids"])


def main() -> None:
    if "PRETEND_MACHINE" in os.environ:  # a process of another host, whose life nobody here can see
        name = os.environ["PRETEND_MACHINE"]
        holder.machine = lambda: name  # type: ignore[assignment]
    stop = threading.Event()
    signal.signal(signal.SIGUSR2, lambda *_: stop.set())
    for line in sys.stdin:
        request = json.loads(line)
        begun = time.perf_counter()
        try:
            answer = {"event": "done", "statuses": train(request, stop), "seconds": time.perf_counter() - begun}
        except LeaseHeld as held:
            answer = {"event": "held", "error": str(held)}
        except Exception as error:
            answer = {"event": "done", "statuses": ["failed"] * len(request["run_ids"]), "error": str(error)}
        print(json.dumps(answer), flush=True)
        if stop.is_set():
            return


if __name__ == "__main__":
    main()
