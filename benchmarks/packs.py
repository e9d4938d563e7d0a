"""Runs times steps per second of packs, against the best that a user could do with single runs on the same machine.

    python benchmarks/packs.py [--rounds 3] [--seconds 4] [--device cpu|cuda] [--json FILE] [CASE ...]

Single runs are bare loops: network, torch's fused optimizer, `clip_grad_norm_`, no logging; eagerly, and with the
network compiled by torch.compile. Packs are what `sweep` executes: Lightning, records, curves; eagerly, with forward
and backward as recorded once (as runs of 200 steps and more are), and with the whole step as one compiled graph. Every
arm has one thread, as many processes as cores would run side by side, so ratios hold for the machine. All arms take
turns in every round; a ratio is the median over rounds. On a GPU single runs are also timed with several processes at
once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from suite.execution.resolver import Resolver
from suite.execution.worker import quiet
from suite.optim import build
from suite.packs.pack import run_pack
from suite.packs.packed_task import StepKind
from suite.records import Store
from suite.training import open_run
from suite.training.memory import measured_peak

GPT = ["--task", "fineweb/gpt", "--data.tokenizer", "byte", "--data.seq_len", "64"]
SMALL = ["--model.width", "64", "--model.num_layers", "2", "--model.num_heads", "4"]
ZINC = ["--data.budget_epochs", "null"]
GAT = ("--task", "zinc/gat", *ZINC)


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained: a task's arguments, the batch size, the runs of a pack and the optimizer."""

    arguments: tuple[str, ...]
    batch_size: int
    runs: int = 16
    optimizer: str = "adam"
    seeds: int = 1
    """Runs of several seeds see batches of their own."""


CASES = {
    "gpt 0.1M, batch 1": Case((*GPT, *SMALL), 1),
    "gpt 0.1M, batch 1, 2 seeds": Case((*GPT, *SMALL), 1, seeds=2),
    "gpt 0.1M, batch 256": Case((*GPT, *SMALL), 256, runs=4),
    "gat 0.02M, batch 1": Case((*GAT, "--model.width", "64", "--model.num_heads", "4"), 1),
    "gat 0.02M, batch 4": Case((*GAT, "--model.width", "64", "--model.num_heads", "4"), 4),
    "gat 0.27M, batch 1": Case(GAT, 1),
    "resnet20, batch 1": Case(("--task", "imagenet21k/resnet20", "--data.image_size", "32"), 1),
}
GPU_CASES = {
    "gpt 10.6M (hg38), batch 1": Case(("--task", "hg38/gpt"), 1),
    "gpt 10.6M (hg38), batch 4": Case(("--task", "hg38/gpt"), 4),
    "grit, batch 16": Case(("--task", "zinc/grit", *ZINC), 16),
}


class Bench:
    """One case on one device: its arms, each of which says how many seconds an optimizer step of one run takes."""

    def __init__(self, case: Case, device: str, data_dir: str) -> None:
        self.case = case
        self.device = torch.device(device)
        precision = "32-true" if device == "cpu" else "bf16-mixed"
        self.resolver = Resolver()
        self.base = self.resolver.resolve([
            *_as_config(case.arguments), "--data.source", "sample", "--data.data_dir", data_dir, "--data.eval_samples",
            "1", "--data.batch_size", str(case.batch_size), "--data.budget_steps", "1", "--trainer.accelerator",
            "cpu" if device == "cpu" else "gpu", "--trainer.devices", "1", "--trainer.precision", precision,
        ])  # fmt: skip

    def config(self, lr: float, steps: int) -> dict[str, Any]:
        """The resolved configuration of a run."""
        config = json.loads(json.dumps(self.base))
        config["model"]["init_args"]["optimizer"] = {"name": self.case.optimizer, "lr": lr}
        config["data"]["init_args"]["budget_steps"] = steps
        return config

    def single(self, steps: int, *, compiled: bool = False, state: dict[bool, Any]) -> float:
        """Seconds per step of one run in a bare loop."""
        if compiled not in state:
            task, data, _ = self.resolver.build(self.config(1e-4, 10**6))
            data.ensure_open()
            task.build_network(data.facts())
            assert task.network is not None
            network = task.network.to(self.device).train()
            optimizer = build({"name": self.case.optimizer, "lr": 1e-4}, network)
            state[compiled] = task, network, optimizer, data.blocks(data.plan(), 0)
            if compiled:
                network.compile(dynamic=None)
        task, network, optimizer, blocks = state[compiled]
        batches = [b for block in (next(blocks) for _ in range(99)) for step in block for b in step][:steps]
        batches = [task.transfer_batch_to_device(batch, self.device, 0) for batch in batches]
        autocast = torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda")
        self._wait()
        start = time.perf_counter()
        for batch in batches:
            with autocast:
                total, count = task.loss(network(*task.inputs(batch)), batch)
            (total / count).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        self._wait()
        return (time.perf_counter() - start) / len(batches)

    def pack(self, steps: int, *, kind: StepKind) -> float:
        """Seconds per step and run of a pack, beyond its first steps."""
        return (self._pack(2 + steps, kind) - self._pack(2, kind)) / steps / self.case.runs

    def memory(self, runs: int) -> int:
        """Bytes that a pack takes at its peak."""
        with measured_peak(self.device) as peak:
            self._pack(4, "plain", runs=runs)
        return peak.bytes

    def _pack(self, steps: int, kind: StepKind, runs: int | None = None) -> float:
        configs = [self.config(1e-4 * 1.01**i, steps) for i in range(runs or self.case.runs)]
        for number, config in enumerate(configs):
            config["seed_everything"] = 42 + number % self.case.seeds
        _, data, trainer = self.resolver.build(configs[0])
        tasks = [self.resolver.build_data(config)[0] for config in configs]
        with tempfile.TemporaryDirectory() as folder:
            runs = [open_run(task, data, config) for task, config in zip(tasks, configs, strict=True)]
            outcomes = run_pack(runs, trainer, Store(folder), steps=kind)
        if kind == "compiled" and not outcomes[0].record["pack"]["compiled"]:
            raise RuntimeError("the step was not compiled")
        return sum(outcome.record["seconds"]["train"] for outcome in outcomes)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _as_config(arguments: tuple[str, ...]) -> list[str]:
    from suite.execution.matrix import task_file

    task = arguments[arguments.index("--task") + 1]
    rest = [word for word in arguments if word not in ("--task", task)]
    rest = [f"--model.init_args.{w[8:]}" if w.startswith("--model.") else w for w in rest]
    return ["--config", str(task_file(task)), f"--model.init_args.name={task}", *rest]


def concurrent_rate(name: str, options: argparse.Namespace) -> float:
    """Most steps per second that 1 to 8 processes with a single run each reach together on a GPU."""
    best = 0.0
    for count in (1, 2, 4, 8):
        command = [sys.executable, __file__, "--device", options.device, "--seconds", str(options.seconds),
                   "--data", options.data, "--child", name]  # fmt: skip
        children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        best = max(best, sum(float(child.communicate()[0].split()[-1]) for child in children))
    return best


def measure(name: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """All arms of a case."""
    bench = Bench(case, options.device, options.data)
    state: dict[bool, Any] = {}
    arms = {
        "single": lambda n: bench.single(n, state=state),
        "single, network compiled": lambda n: bench.single(n, compiled=True, state=state),
        "pack": lambda n: bench.pack(n, kind="plain"),
        "pack, step recorded": lambda n: bench.pack(n, kind="recorded"),
        "pack, step compiled": lambda n: bench.pack(n, kind="compiled"),
    }
    seconds: dict[str, list[float]] = {}
    steps = {}
    for arm, run in arms.items():
        try:
            run(6)
            per_step = run(6) * (case.runs if arm.startswith("pack") else 1)
        except Exception as error:
            print(f"{name:22} {arm:26} not measured: {str(error).splitlines()[0][:100]}", flush=True)
            continue
        steps[arm] = max(4, min(2000, int(options.seconds / per_step)))
    for _ in range(options.rounds):
        for arm in steps:
            seconds.setdefault(arm, []).append(arms[arm](steps[arm]))
    base = seconds["single"]
    rows: dict[str, Any] = {}
    for arm, values in seconds.items():
        ratio = statistics.median(single / arm for single, arm in zip(base, values, strict=True))
        rows[arm] = {"rate": 1 / statistics.median(values), "ratio": ratio}
        print(f"{name:22} {arm:26} {rows[arm]['rate']:9.1f} runs*steps/s {ratio:6.2f} x single", flush=True)
    if options.device != "cpu":
        rate = concurrent_rate(name, options)
        rows["singles at once"] = {"rate": rate, "ratio": rate * statistics.median(base)}
        ratio = rows["singles at once"]["ratio"]
        print(f"{name:22} {'singles at once':26} {rate:9.1f} runs*steps/s {ratio:6.2f} x single")
    for runs in sorted({1, 4, case.runs}):
        rows[f"memory of {runs}"] = bench.memory(runs)
        print(f"{name:22} memory of a pack of {runs:<8} {rows[f'memory of {runs}'] / 2**20:7.0f} MB", flush=True)
    return rows


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", metavar="CASE", help="of the cases; default: all of the device")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=4.0, help="wall time of one arm in one round, about")
    arguments.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments.add_argument("--data", default="data", help="folder of prepared data")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--child", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    warnings.filterwarnings("ignore")
    quiet()
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cases = CASES if options.device == "cpu" else {**GPU_CASES, **CASES}
    if options.child:
        bench = Bench(cases[options.child], options.device, options.data)
        state: dict[bool, Any] = {}
        bench.single(20, state=state)
        steps = max(10, int(options.seconds / bench.single(20, state=state)))
        print(1 / bench.single(steps, state=state))
        return
    if wrong := [name for name in options.names if name not in cases]:
        arguments.error(f"there is no case {wrong[0]!r}; there are: {', '.join(cases)}")
    rows = {name: measure(name, cases[name], options) for name in options.names or cases}
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
