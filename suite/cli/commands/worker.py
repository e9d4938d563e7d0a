"""``worker``: trains runs, one per line of standard input, for a launcher; ends when its input does."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
import warnings
from typing import Any, TextIO


def main(command: str, arguments: list[str]) -> int:
    """Answer requests ``{"do": "run" | "measure", "config": ..., ...}`` with one line each."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever libraries print goes to the log
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin, requests), daemon=True).start()
    from suite.cli.lightning import Resolver

    quiet()
    resolver = Resolver()
    while True:
        request = json.loads(requests.get())
        answer = _answer(resolver, request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def quiet() -> None:
    """Silence what Lightning says once per trainer: a sweep makes hundreds."""
    import logging

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")


def _read(lines: TextIO, requests: queue.Queue[str]) -> None:
    for line in lines:
        requests.put(line)
    # The launcher is gone: nobody waits for this run any more, and a new launcher must find its lease free.
    os._exit(0)


def _answer(resolver: Any, request: dict[str, Any]) -> dict[str, Any]:
    from suite.records import LeaseHeld

    try:
        return _measure(resolver, request) if request["do"] == "measure" else _run(resolver, request)
    except LeaseHeld as held:
        return {"event": "held", "error": str(held)}
    except Exception as error:
        traceback.print_exc()
        return {"event": "done", "status": "failed", "error": f"{type(error).__name__}: {error}"}


def _run(resolver: Any, request: dict[str, Any]) -> dict[str, Any]:
    from suite.records import Store
    from suite.training import run

    begun = time.perf_counter()
    task, data, trainer = resolver.build(request["config"])
    outcome = run(task, data, trainer, name=task.name, config=request["config"], store=Store(request["store"]))
    return {"event": "done", "status": outcome.record["status"], "seconds": time.perf_counter() - begun}


def _measure(resolver: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Seconds per optimizer step, from runs of few steps: what the longer one took beyond the shorter."""
    import tempfile

    from suite.records import Store
    from suite.training import run

    init_args = request["config"]["data"]["init_args"]
    budgets = {key: None for key in init_args if key.startswith("budget_")}
    seconds: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for steps in (2, 12, 112):
            changed = {**init_args, **budgets, "budget_steps": steps, "eval_samples": 1}
            config = {**request["config"], "data": {**request["config"]["data"], "init_args": changed}}
            task, data, trainer = resolver.build(config)
            record = run(task, data, trainer, name=task.name, config=config, store=Store(folder)).record
            seconds[steps] = record["seconds"]["train"]
            if seconds[steps] * 9 > request["seconds"] and len(seconds) > 1:
                break
    most, least = max(seconds), min(seconds)
    return {"event": "done", "status": "measured", "seconds": (seconds[most] - seconds[least]) / (most - least)}
