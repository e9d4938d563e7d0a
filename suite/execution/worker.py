"""The command ``worker``: trains runs for a launcher, one job per line of standard input, until the input ends."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import gc
import hashlib
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
from typing import TYPE_CHECKING, Any, TextIO

from suite.execution.faults import WRONG_REQUEST, fault_of
from suite.execution.messages import Event, StepCost, WorkRequest
from suite.records.files import open_regular

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from suite.training import Data, Task

    Watch = Callable[[Data, Trainer], None]

STOPPED = 75
"""Exit code of a worker that was stopped before its runs had results; the same command goes on later."""

MOST_STEPS = 512
"""Largest number of steps of a measurement."""

_STOP_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(command: str, arguments: list[str]) -> int:
    """Read one request per line and answer each with a line that holds an event; see `suite.execution.messages`."""
    parser = argparse.ArgumentParser(prog="python -m suite worker", description="Do what a launcher asks.")
    parser.add_argument("--request", type=Path, help="a file with one request, instead of standard input")
    parser.add_argument("--sha256", help="checksum of the file; with another one it is refused")
    options = parser.parse_args(arguments)
    stopping = threading.Event()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: stopping.set())
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever libraries print goes to the log
    requests: queue.Queue[str] = queue.Queue()
    if options.request is not None:
        requests.put(_exported(options.request, options.sha256))
    else:
        threading.Thread(target=_read, args=(sys.stdin, requests), daemon=True).start()
    from suite.training.stopping import STOP

    for number in _STOP_SIGNALS:
        signal.signal(number, STOP.ask)
    quiet()
    worker = Worker()
    while not (stopping.is_set() or STOP.is_set or worker.interrupted):
        try:
            request = WorkRequest.from_json(requests.get(timeout=0.2))
        except queue.Empty:
            continue
        event = worker.answer(request)
        answers.write(event.to_json() + "\n")
        answers.flush()
        if options.request is not None:
            return STOPPED if "interrupted" in event.statuses else int(event.error != "")
        gc.collect()  # trainers and their modules refer to each other
        worker.give_back_memory()
    return STOPPED


def quiet() -> None:
    """Silence the messages that Lightning prints once per trainer, of which a sweep makes hundreds."""
    import logging

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")


def _exported(path: Path, checksum: str | None) -> str:
    """The request in a file of a store, where others might have changed it.

    Raises:
        ValueError: it is not the one with this checksum.
    """
    with open_regular(path) as file:
        content = file.read()
    if checksum is not None and hashlib.sha256(content).hexdigest() != checksum:
        raise ValueError(f"The request {path} is not the one that was exported; export the sweep's commands again.")
    return content.decode("utf-8")


def _read(lines: TextIO, requests: queue.Queue[str]) -> None:
    for line in lines:
        requests.put(line)
    # The launcher has ended: this process ends at once, so that a new launcher can acquire the lease of its run.
    os._exit(0)


class Worker:
    """Trains and measures runs; imports and parsed settings are reused from one request to the next.

    Attributes:
        interrupted: whether a signal has ended a training.
    """

    def __init__(self) -> None:
        from suite.execution.resolver import Resolver

        self.resolver = Resolver()
        self.interrupted = False

    def give_back_memory(self) -> None:
        """Return the memory of a GPU that no tensor uses: this process keeps it, and its neighbours cannot."""
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def answer(self, request: WorkRequest) -> Event:
        """Carry a request out; an error becomes an event."""
        from suite.packs.pack import PackRefused
        from suite.records import LeaseHeld
        from suite.training.memory import OutOfMemory
        from suite.training.stopping import Interrupted

        begun = time.perf_counter()
        try:
            if request.do == "measure":
                return Event("done", cost=self.measure(request))
            return Event("done", self.train(request), seconds=time.perf_counter() - begun)
        except LeaseHeld as held:
            return Event("held", error=str(held))
        except PackRefused as reason:
            return Event("done", ["failed"] * len(request.configs), error=str(reason), code=WRONG_REQUEST)
        except Interrupted as sentence:
            print(sentence, file=sys.stderr)
            self.interrupted = True
            return Event("done", ["interrupted"] * len(request.configs))
        except Exception as error:
            traceback.print_exc()
            fault = fault_of(error, ["worker", request.do])
            return Event(
                "done", ["failed"] * len(request.configs), error=fault.sentence, code=fault.code,
                short_of_memory=isinstance(error, OutOfMemory),
            )  # fmt: skip

    def train(self, request: WorkRequest) -> list[str]:
        """Train one run, or several at once if that is possible; returns their statuses."""
        from suite.packs.pack import PackRefused
        from suite.training.memory import OutOfMemory

        if request.at_once:
            try:
                return [record["status"] for record in self.train_at_once(request)]
            except PackRefused as reason:
                print(f"trained one by one: {reason}", file=sys.stderr)
            except OutOfMemory:
                if len(request.configs) == 1:
                    raise
                print("trained in two parts: the memory does not hold so many runs at once", file=sys.stderr)
                self.give_back_memory()
                return [status for part in _halves(request) for status in self.train(part)]
        return [record["status"] for record in self.train_one_by_one(request)]

    def train_at_once(self, request: WorkRequest, watch: Watch | None = None) -> list[dict[str, Any]]:
        """Train runs as a pack and return their records.

        Raises:
            PackRefused: the runs cannot be trained at once.
            OutOfMemory: not even with one sample of each at a time.
        """
        from suite.training.retrying import with_memory

        return with_memory(lambda micro_batch: self._train_pack(request, micro_batch, watch))

    def _train_pack(self, request: WorkRequest, micro_batch: int | None, watch: Watch | None) -> list[dict[str, Any]]:
        from suite.diagnostics.pack_recorder import pack_recorder_of
        from suite.packs.pack import run_pack
        from suite.records import Store
        from suite.training import open_run
        from suite.training.run_logs import add_logs

        configs = [_cut(config, micro_batch) for config in request.configs]
        _, data, trainer = self._built(configs[0], request, watch)
        runs = [open_run(self.resolver.build_data(config)[0], data, config) for config in configs]
        _refuse_other_code(request, [run.run_id for run in runs])
        store = Store(request.store)
        add_logs(trainer, runs, request.loggers, store)
        outcomes = run_pack(runs, trainer, store, observe=pack_recorder_of, steps=request.steps)
        return [outcome.record for outcome in outcomes]

    def train_one_by_one(self, request: WorkRequest, watch: Watch | None = None) -> list[dict[str, Any]]:
        """Train runs one after the other and return their records."""
        from suite.diagnostics.recorder import recorder_of
        from suite.records import Store
        from suite.training import open_run, run
        from suite.training.retrying import with_memory
        from suite.training.run_logs import add_logs

        records: list[dict[str, Any]] = []

        def train(config: dict[str, Any], micro_batch: int | None) -> dict[str, Any]:
            config = _cut(config, micro_batch)
            task, data, trainer = self._built(config, request, watch)
            opened = open_run(task, data, config, world_size=trainer.world_size)
            _refuse_other_code(request, [*(record["run_id"] for record in records), opened.run_id])
            store = Store(request.store)
            add_logs(trainer, [opened], request.loggers, store)
            return run(opened, trainer, store, observe=recorder_of).record

        for config in request.configs:
            records.append(with_memory(functools.partial(train, config)))
        return records

    def measure(self, request: WorkRequest) -> StepCost:
        """Measure the cost of a step of one run or of a pack, by a training that stops when enough steps are timed.

        Raises:
            ValueError: the step cannot be compiled.
        """
        from suite.packs.pack import worth_recording
        from suite.training.captured_step import TIMED, TRIALS, WARM_UP
        from suite.training.memory import available, measured_peak
        from suite.training.timing import StepTimer

        _, data, trainer = self._built(request.configs[0], request, None)
        device, free = trainer.strategy.root_device, available(trainer.strategy.root_device)
        runs, steps = len(request.configs), request.steps
        if steps == "auto":
            steps = "recorded" if runs > 1 and worth_recording(data) else "plain"
        first = 2 if steps == "plain" else 4  # a graph is made when a shape comes again
        if device.type == "cuda":
            first += WARM_UP + TIMED + TRIALS  # how a GPU takes steps is decided in these
        timers: list[StepTimer] = []

        def seconds(each: float) -> float:
            return min(request.seconds, request.share * request.run_steps * each / runs)

        def watch(data: Data, trainer: Trainer) -> None:
            timers.append(StepTimer(data.steps_per_block, first, seconds))
            trainer.callbacks.append(timers[-1])  # type: ignore[attr-defined]

        configs = [_shortened(config) for config in request.configs]
        train = self.train_at_once if request.at_once else self.train_one_by_one
        with tempfile.TemporaryDirectory() as folder, measured_peak(device) as peak:
            records = train(dataclasses.replace(request, configs=configs, store=folder, steps=steps), watch)
        if steps == "compiled" and not records[0]["pack"]["compiled"]:
            raise ValueError("the step cannot be compiled")
        return StepCost(
            seconds_per_step=timers[-1].seconds_per_step,  # of the micro-batch that fitted
            spread=timers[-1].spread,
            setup_seconds=timers[-1].overhead,
            memory=peak.bytes,
            available=free,
            micro_batch=records[0]["config"]["data"]["init_args"].get("micro_batch"),
            device=device.type,
        )

    def _built(self, config: dict[str, Any], request: WorkRequest, watch: Watch | None) -> tuple[Task, Data, Trainer]:
        """Build a run's task, data and trainer, and check that the data are those of the sweep's plan."""
        task, data, trainer = self.resolver.build(config)
        fingerprint = data.ensure_open()
        if request.fingerprint is not None and fingerprint != request.fingerprint:
            raise ValueError(
                f"The data changed while the sweep ran: it was planned with data {request.fingerprint}, this worker "
                f"finds data {fingerprint} in {data.data_dir}; bring the earlier data back, or start the sweep with "
                "another --store."
            )
        if watch is not None:
            watch(data, trainer)
        return task, data, trainer


def _refuse_other_code(request: WorkRequest, opened: list[str]) -> None:
    """Hold runs against those that were planned; settings and data are the same, so what differs is code."""
    if request.run_ids and request.run_ids[: len(opened)] != opened:
        raise ValueError(
            "The code of a task, data or optimizer changed while the sweep ran: it was planned with other files than "
            "this worker finds; start the sweep again, which trains what the changed code is part of anew."
        )


def _halves(request: WorkRequest) -> list[WorkRequest]:
    """The first half of a request's runs, and the second."""
    middle = len(request.configs) // 2
    return [
        dataclasses.replace(request, configs=request.configs[part], run_ids=request.run_ids[part])
        for part in (slice(middle), slice(middle, None))
    ]


def _cut(config: dict[str, Any], micro_batch: int | None) -> dict[str, Any]:
    """A configuration whose batches are cut into at most so many samples; None: as it says."""
    if micro_batch is None:
        return config
    data = config["data"]
    return {**config, "data": {**data, "init_args": {**data["init_args"], "micro_batch": micro_batch}}}


def _shortened(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration for measuring a run: at most ``MOST_STEPS`` steps from the seed, without diagnostics."""
    init_args, model = config["data"]["init_args"], config["model"]
    budgets = {key: None for key in init_args if key.startswith("budget_")}
    settings = {"budget_steps": MOST_STEPS, "start_step": 0, "eval_samples": 1, "eval_every_steps": None}
    changed = {**init_args, **budgets, **settings}
    # The cost does not depend on the weights, and a trunk's weights may not exist yet. Diagnostics are not timed.
    left_out = dict.fromkeys(("initial", "keep_weights_at", "diagnostics"))
    model = {**model, "init_args": {**model["init_args"], **left_out}}
    return {**config, "model": model, "data": {**config["data"], "init_args": changed}}
