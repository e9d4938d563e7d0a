"""A worker that trains nothing but behaves like one: leases, checkpoints, records, answers, signals. No torch.

Every start and every end of a run is a line in ``history`` in the store, so that a test can count them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from suite.execution.jobs import Job
from suite.execution.messages import Event, WorkRequest
from suite.records import LeaseHeld, Store, holder, lease
from suite.sweep import PlannedRun

COMMAND = [sys.executable, str(Path(__file__).resolve())]
STEP_SECONDS = 0.02


def planned(number: int, steps: int = 20) -> PlannedRun:
    """A run by number."""
    return PlannedRun(
        run_id=f"{number:016x}", optimizer="sgd", settings={"name": "sgd", "lr": 0.1}, axes={"lr": 0.1 * number},
        batch_size=4, seed=42, steps=steps,
    )  # fmt: skip


def request_of(store: Path, *, history: Path | None = None) -> Any:
    """The request for a job; its configurations tell the worker how many steps it takes and where it notes them."""
    noted = str(history or store / "history")

    def request(job: Job) -> WorkRequest:
        return WorkRequest(
            do="run", configs=[{"steps": run.steps, "history": noted, "axes": run.axes} for run in job],
            run_ids=[run.run_id for run in job], store=str(store),
        )  # fmt: skip

    return request


def history(store: Path) -> list[tuple[str, str, int]]:
    """What happened: event, run, step."""
    path = store / "history"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(event, run_id, int(step)) for event, run_id, step in map(str.split, lines)]


def note(request: WorkRequest, event: str, run_id: str, step: int) -> None:
    """Add a line to the history, in one write."""
    descriptor = os.open(request.configs[0]["history"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{event} {run_id} {step}\n".encode())
    os.close(descriptor)


def record_of(run_id: str, steps: int, loss: float = 1.0) -> dict[str, Any]:
    """A finished record."""
    return {
        "run_id": run_id, "status": "finished", "task": "fineweb/gpt", "optimizer": {"name": "sgd", "lr": 0.1},
        "batch_size": 4, "seed": 42, "steps": steps, "final": {"ema": loss}, "metrics": {}, "config": {},
        "host": os.environ.get("RAY_NODE", ""),
    }  # fmt: skip


def train(request: WorkRequest, stop: threading.Event) -> list[str]:
    """Count the steps of every run, going on from its checkpoint."""
    store, steps = Store(request.store), request.configs[0]["steps"]
    statuses = []
    with contextlib.ExitStack() as leases:
        todo = [run_id for run_id in request.run_ids if not store.settled(run_id)]
        held = {run_id: leases.enter_context(store.lease(run_id)) for run_id in todo}
        for run_id in todo:
            if store.settled(run_id):
                continue
            checkpoint = store.run_folder(run_id) / "checkpoint.ckpt"
            step = int(checkpoint.read_text()) if checkpoint.exists() else 0
            note(request, "begins", run_id, step)
            while step < steps and not stop.is_set():
                time.sleep(STEP_SECONDS)
                step += 1
            if step < steps:
                checkpoint.write_text(str(step))
                note(request, "stops", run_id, step)
                statuses.append("interrupted")
                continue
            loss = 1.0 - request.configs[request.run_ids.index(run_id)]["axes"]["lr"]
            curves = pa.table({"step": list(range(step)), "train_loss": [loss] * step})
            store.write_record(record_of(run_id, step, loss), curves, held[run_id])
            checkpoint.unlink(missing_ok=True)
            note(request, "ends", run_id, step)
            statuses.append("finished")
    return statuses or ["finished"] * len(request.run_ids)


def shorten_leases() -> None:
    """Have leases go stale after so many seconds, where a test asks for it."""
    if "PRETEND_STALE" in os.environ:
        lease.STALE_SECONDS = float(os.environ["PRETEND_STALE"])
        lease.HEARTBEAT_SECONDS = lease.STALE_SECONDS / 5


def main() -> None:
    shorten_leases()
    if "PRETEND_MACHINE" in os.environ:  # a process of another host, whose life nobody here can see
        name = os.environ["PRETEND_MACHINE"]
        holder.machine = lambda: name  # type: ignore[assignment]
    stop = threading.Event()
    signal.signal(signal.SIGUSR2, lambda *_: stop.set())
    for line in sys.stdin:
        request, begun = WorkRequest.from_json(line), time.perf_counter()
        try:
            answer = Event("done", train(request, stop), seconds=time.perf_counter() - begun)
        except LeaseHeld as held:
            answer = Event("held", error=str(held))
        except Exception as error:
            answer = Event("done", ["failed"] * len(request.run_ids), error=str(error))
        print(answer.to_json(), flush=True)
        if stop.is_set():
            return


if __name__ == "__main__":
    main()
