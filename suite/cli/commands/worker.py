"""``worker``: trains runs, one per line of standard input, for a launcher; ends when its input does."""

from __future__ import annotations

import gc
import json
import os
import queue
import sys
import tempfile
import threading
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from suite.cli.lightning import Resolver


def main(command: str, arguments: list[str]) -> int:
    """Answer requests ``{"do": "run" | "measure", "configs": [...], ...}`` with one line each."""
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
        gc.collect()  # trainers and their modules refer to each other


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


def _answer(resolver: Resolver, request: dict[str, Any]) -> dict[str, Any]:
    from suite.records import LeaseHeld

    begun = time.perf_counter()
    try:
        if request["do"] == "measure":
            seconds = _measure(resolver, request)
            return {"event": "done", "statuses": ["measured"] * len(request["configs"]), "seconds": seconds}
        statuses = _train(resolver, request["configs"], request["store"])
        return {"event": "done", "statuses": statuses, "seconds": time.perf_counter() - begun}
    except LeaseHeld as held:
        return {"event": "held", "error": str(held)}
    except Exception as error:
        traceback.print_exc()
        failed = ["failed"] * len(request["configs"])
        return {"event": "done", "statuses": failed, "error": f"{type(error).__name__}: {error}"}


def _train(resolver: Resolver, configs: list[dict[str, Any]], store: str) -> list[str]:
    """Train one run, or several at once where that is possible; returns their statuses."""
    from suite.training.pack import PackRefused

    if len(configs) > 1:
        try:
            return [record["status"] for record in _train_pack(resolver, configs, store)]
        except PackRefused as reason:
            print(f"trained one by one: {reason}", file=sys.stderr)
    return [_train_single(resolver, config, store)["status"] for config in configs]


def _train_pack(resolver: Resolver, configs: list[dict[str, Any]], store: str) -> list[dict[str, Any]]:
    from suite.records import Store
    from suite.training.pack import run_pack

    _, data, trainer = resolver.build(configs[0])
    tasks = [resolver.build_data(config)[0] for config in configs]
    outcomes = run_pack(tasks, data, trainer, name=tasks[0].name, configs=configs, store=Store(store))
    return [outcome.record for outcome in outcomes]


def _train_single(resolver: Resolver, config: dict[str, Any], store: str) -> dict[str, Any]:
    from suite.records import Store
    from suite.training import run

    task, data, trainer = resolver.build(config)
    return run(task, data, trainer, name=task.name, config=config, store=Store(store)).record


def _measure(resolver: Resolver, request: dict[str, Any]) -> float:
    """Seconds per optimizer step of one run, or of all at once: what a longer run took beyond a shorter."""
    seconds: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for steps in (2, 12, 112):
            configs = [_shortened(config, steps) for config in request["configs"]]
            if len(configs) > 1:
                records = _train_pack(resolver, configs, folder)
            else:
                records = [_train_single(resolver, configs[0], folder)]
            seconds[steps] = sum(record["seconds"]["train"] for record in records)
            if seconds[steps] * 9 > request["seconds"] and len(seconds) > 1:
                break
    most, least = max(seconds), min(seconds)
    return (seconds[most] - seconds[least]) / (most - least)


def _shortened(config: dict[str, Any], steps: int) -> dict[str, Any]:
    init_args = config["data"]["init_args"]
    budgets = {key: None for key in init_args if key.startswith("budget_")}
    changed = {**init_args, **budgets, "budget_steps": steps, "eval_samples": 1}
    return {**config, "data": {**config["data"], "init_args": changed}}
