"""``worker``: trains runs, one job per line of standard input, for a launcher; ends when its input does."""

from __future__ import annotations

import argparse
import gc
import json
import os
import queue
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from suite.execution.resolver import Resolver
    from suite.packs.packed_task import StepKind
    from suite.training import Data

    Watch = Callable[[Data, Trainer], None]

STOPPED = 75
"""Exit code of a worker that was asked to stop before its runs had results: try again later."""

MOST_STEPS = 512
"""Steps after which measuring ends at the latest."""

_STOP_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)


def main(command: str, arguments: list[str]) -> int:
    """Answer requests ``{"do": "run" | "measure", "configs": [...], ...}`` with one line each."""
    parser = argparse.ArgumentParser(prog="python -m suite worker", description="Do what a launcher asks.")
    parser.add_argument("--request", type=Path, help="a file with one request, instead of standard input")
    options = parser.parse_args(arguments)
    stopping = threading.Event()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: stopping.set())
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever libraries print goes to the log
    requests: queue.Queue[str] = queue.Queue()
    if options.request is not None:
        requests.put(options.request.read_text(encoding="utf-8"))
    else:
        threading.Thread(target=_read, args=(sys.stdin, requests), daemon=True).start()
    from suite.execution.resolver import Resolver
    from suite.training.checkpoint import STOP

    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: STOP.set())
    quiet()
    resolver = Resolver()
    while not (stopping.is_set() or STOP.is_set()):
        try:
            request = json.loads(requests.get(timeout=0.2))
        except queue.Empty:
            continue
        answer = _answer(resolver, request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if options.request is not None:
            return STOPPED if "interrupted" in answer.get("statuses", ()) else int("error" in answer)
        gc.collect()  # trainers and their modules refer to each other
    return STOPPED


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
            figures = _measure(resolver, request)
            return {"event": "done", "statuses": ["measured"] * len(request["configs"]), "figures": figures}
        statuses = _train(resolver, request)
        return {"event": "done", "statuses": statuses, "seconds": time.perf_counter() - begun}
    except LeaseHeld as held:
        return {"event": "held", "error": str(held)}
    except SystemExit:  # Lightning's way of ending at SIGTERM; the checkpoint is saved
        return {"event": "done", "statuses": ["interrupted"] * len(request["configs"])}
    except Exception as error:
        traceback.print_exc()
        failed = ["failed"] * len(request["configs"])
        return {"event": "done", "statuses": failed, "error": f"{type(error).__name__}: {error}"}


def _train(resolver: Resolver, request: dict[str, Any]) -> list[str]:
    """Train one run, or several at once where that is possible; returns their statuses."""
    from suite.packs.pack import PackRefused

    configs, store, fingerprint = request["configs"], request["store"], request.get("fingerprint")
    compiled = bool(request.get("compiled"))
    if len(configs) > 1 or compiled:
        try:
            steps: StepKind | Literal["auto"] = "compiled" if compiled else "auto"
            return [record["status"] for record in _train_pack(resolver, configs, store, fingerprint, steps)]
        except PackRefused as reason:
            print(f"trained one by one: {reason}", file=sys.stderr)
    return [_train_single(resolver, config, store, fingerprint)["status"] for config in configs]


def _train_pack(
    resolver: Resolver,
    configs: list[dict[str, Any]],
    store: str,
    fingerprint: str | None = None,
    steps: StepKind | Literal["auto"] = "auto",
    watch: Watch = lambda data, trainer: None,
) -> list[dict[str, Any]]:
    from suite.diagnostics.pack_recorder import pack_recorder_of
    from suite.packs.pack import run_pack
    from suite.records import Store
    from suite.training import open_run

    _, data, trainer = resolver.build(configs[0])
    _refuse_other_data(data, fingerprint)
    watch(data, trainer)
    runs = [open_run(resolver.build_data(config)[0], data, config) for config in configs]
    outcomes = run_pack(runs, trainer, Store(store), observe=pack_recorder_of, steps=steps)
    return [outcome.record for outcome in outcomes]


def _train_single(
    resolver: Resolver,
    config: dict[str, Any],
    store: str,
    fingerprint: str | None = None,
    watch: Watch = lambda data, trainer: None,
) -> dict[str, Any]:
    from suite.diagnostics.recorder import recorder_of
    from suite.records import Store
    from suite.training import open_run, run

    task, data, trainer = resolver.build(config)
    _refuse_other_data(data, fingerprint)
    watch(data, trainer)
    opened = open_run(task, data, config, world_size=trainer.world_size)
    return run(opened, trainer, Store(store), observe=recorder_of).record


def _refuse_other_data(data: Data, planned: str | None) -> None:
    found = data.ensure_open()
    if planned is not None and found != planned:
        raise ValueError(
            f"The data changed while the sweep ran: it was planned with data {planned}, this worker finds data {found} "
            f"in {data.data_dir}; bring the earlier data back, or start the sweep with another --store."
        )


def _measure(resolver: Resolver, request: dict[str, Any]) -> dict[str, float]:
    """What training costs one run, or all at once.

    It takes about ``seconds``, or ``share`` of what ``run_steps`` steps of single runs will take.

    Returns:
        ``seconds_per_step``: see `StepTimer`; ``setup_seconds``: of making a graph; ``memory``: bytes above what the
        process had; ``available``: bytes that are free.
    """
    from suite.packs.pack import worth_recording
    from suite.training.memory import available, measured_peak
    from suite.training.timing import StepTimer

    configs, compiled = request["configs"], bool(request.get("compiled"))
    _, data, trainer = resolver.build(configs[0])
    device = trainer.strategy.root_device
    data.ensure_open()
    recorded = len(configs) > 1 and worth_recording(data)
    first = 4 if compiled or recorded else 2  # a graph is made when a shape comes again
    timers: list[StepTimer] = []

    def seconds(each: float) -> float:
        return min(request["seconds"], request["share"] * request["run_steps"] * each / len(configs))

    def watch(data: Data, trainer: Trainer) -> None:
        timers.append(StepTimer(data.steps_per_block, first, seconds))
        trainer.callbacks.append(timers[-1])  # type: ignore[attr-defined]

    short = [_shortened(config) for config in configs]
    free = available(device)
    with tempfile.TemporaryDirectory() as folder, measured_peak(device) as peak:
        if len(short) > 1 or compiled:
            steps: StepKind = "compiled" if compiled else "recorded" if recorded else "plain"
            records = _train_pack(resolver, short, folder, steps=steps, watch=watch)
        else:
            records = [_train_single(resolver, short[0], folder, watch=watch)]
    if compiled and not records[0]["pack"]["compiled"]:
        raise ValueError("the step cannot be compiled")
    (timer,) = timers
    return {
        "seconds_per_step": timer.seconds_per_step,
        "setup_seconds": timer.overhead,
        "memory": peak.bytes,
        "available": free,
    }


def _shortened(config: dict[str, Any]) -> dict[str, Any]:
    init_args, model = config["data"]["init_args"], config["model"]
    budgets = {key: None for key in init_args if key.startswith("budget_")}
    changed = {**init_args, **budgets, "budget_steps": MOST_STEPS, "eval_samples": 1, "eval_every_steps": None}
    # From whatever weights, a step costs the same; those of a trunk may not be there yet. Diagnostics are not timed.
    left_out = {k: None for k in ("initial", "keep_weights_at", "diagnostics") if k in model["init_args"]}
    if "start_step" in init_args:
        changed["start_step"] = 0
    model = {**model, "init_args": {**model["init_args"], **left_out}}
    return {**config, "model": model, "data": {**config["data"], "init_args": changed}}
