"""What `benchmarks/gpu.py` measures, part by part; each part hands on its rows as they come."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gpu_sharing
import torch
from page_tables import planned
from random_data import RandomData, config_of

from suite.execution.matrix import describe_tasks, task_file
from suite.execution.resolver import Resolver
from suite.fields import one_line, read_yaml
from suite.packs.pack import run_pack
from suite.records import Store
from suite.training import Task, open_run, run, throughput
from suite.training.memory import measured_peak
from suite.training.throughput import device_peak
from suite.training.timing import StepTimer

ROOT = Path(__file__).resolve().parents[1]
Emit = Callable[[dict[str, Any]], None]
ADAM = {"class_path": "suite.optim.Adam", "init_args": {"lr": 1e-4, "beta": 0.95}}
HAS_GPU = torch.cuda.is_available()
ON_GPU = ["--trainer.accelerator=gpu", "--trainer.devices=1"]
ON_CPU = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.precision=32-true"]
TINY_FACTS = {
    "fineweb/gpt": {"vocab_size": 64, "seq_len": 16},
    "imagenet21k/resnet20": {"classes": 10, "image_size": 32, "channels": 3},
}
"""The tasks of a try on a CPU, with sizes of their data."""
TINY = {
    "fineweb/gpt": ("--model.num_layers=1", "--model.num_heads=1", "--model.width=16"),
    "imagenet21k/resnet20": ("--model.blocks_per_stage=1", "--model.width=8"),
}
FIRST_STEPS, FIRST_SHORT_STEPS = 4, 16
"""Steps that are not timed: libraries choose their algorithms; short ones may be recorded and compared as well."""


@functools.cache
def resolver() -> Resolver:
    """The parser, which takes a while to make."""
    return Resolver()


def _import_class_of(pair: str) -> None:
    """Import a task and its data, so that a library that is missing is an error with its name.

    Raises:
        ModuleNotFoundError: a library is not installed.
    """
    recipe = read_yaml(str(task_file(pair)))
    for part in ("model", "data"):
        importlib.import_module(recipe[part]["class_path"].rpartition(".")[0])


class Timed:
    """A task on random data of the papers' sizes, which is trained for some steps.

    Args:
        pair: the task.
        batch_size: samples per step; None: two micro-batches of the recipe's.
        tiny: on the CPU, with sizes to match.
        changes: settings, such as ``--model.attention=math``.
    """

    def __init__(self, pair: str, *, tiny: bool, batch_size: int | None = None, changes: tuple[str, ...] = ()) -> None:
        words = ["--config", str(task_file(pair)), f"--model.init_args.name={pair}"]
        words += [word.replace("--model.", "--model.init_args.") for word in (*(TINY[pair] if tiny else ()), *changes)]
        _import_class_of(pair)
        self.base = resolver().resolve([*words, *(ON_GPU if HAS_GPU and not tiny else ON_CPU)])
        self.base["model"]["init_args"]["optimizer"] = ADAM
        task, recipe = resolver().build_data(self.base)
        if batch_size is None:
            assert recipe.micro_batch is not None
            batch_size = 8 if tiny else 2 * recipe.micro_batch
        self.pair, self.tiny, self.has_graphs = pair, tiny, hasattr(task, "cuda_graphs")
        facts = TINY_FACTS[pair] if tiny else None
        self.data = RandomData(pair, recipe, batch_size=batch_size, steps=100_000, facts=facts)

    def task(self, lr: float = 1e-4) -> tuple[Task, dict[str, Any]]:
        """A task of its own, and the configuration of its run."""
        optimizer = {**ADAM, "init_args": {**ADAM["init_args"], "lr": lr}}
        config = config_of(self.base, self.data, optimizer)
        built = {**self.base, "model": config["model"]}
        return resolver().build_data(built)[0], config

    def flops(self) -> float | None:
        """Model FLOPs per sample; None for what docs/scale.md has not counted in this size."""
        of_recipe = None if self.tiny else planned().get(self.pair)
        return None if of_recipe is None else of_recipe.flops * self.data.facts().get("seq_len", 1)

    def row(self, seconds: float, *, runs: int = 0) -> dict[str, Any]:
        """Train for about so many seconds, and say what a step took.

        Args:
            seconds: after the first steps.
            runs: trained at once; 0: one run, not as a pack.
        """
        trainer = resolver().build(self.base)[2]
        first = FIRST_SHORT_STEPS if self.data.batch_size <= 64 else FIRST_STEPS
        timer = StepTimer(self.data.steps_per_block, first, lambda each: seconds)
        trainer.callbacks.append(timer)  # type: ignore[attr-defined]
        device = trainer.strategy.root_device
        tasks = [self.task(1e-4 * 1.01**i) for i in range(max(1, runs))]
        opened = [open_run(task, self.data, config) for task, config in tasks]
        # A record would have its FLOPs counted, which takes longer than the steps.
        counted = patch.object(throughput, "training_flops", lambda task, data: self.flops())
        with counted, tempfile.TemporaryDirectory() as folder, measured_peak(device) as peak:
            store, never = Store(folder), 3600.0  # between checkpoints
            if runs:
                outcomes = run_pack(opened, trainer, store, steps="recorded", checkpoint_seconds=never)
            else:
                outcomes = [run(opened[0], trainer, store, checkpoint_seconds=never)]
        record = outcomes[0].record
        each, samples = timer.seconds_per_step, self.data.batch_size * max(1, runs)
        flops, length = self.flops(), self.data.facts().get("seq_len")
        most = device_peak(device, str(trainer.precision))
        return {
            "pair": self.pair, "batch size": self.data.batch_size, "ms per step": round(1000 * each, 3),
            "samples/s": round(samples / each, 1), "tokens/s": round(samples * length / each) if length else None,
            "MFU": round(samples * flops / each / most, 4) if flops and most else None,
            "GiB": round(peak.bytes / 2**30, 2), "repeated steps": record["device"].get("repeated_steps"),
        }  # fmt: skip


@contextmanager
def saying_why_not(emit: Emit, **what: Any) -> Iterator[None]:
    """What cannot be measured is a row with the reason; the next is tried."""
    try:
        yield
    except (Exception, SystemExit) as error:  # a parser's refusal ends no part
        emit({**what, "not measured": one_line(f"{type(error).__name__}: {error}")[:200]})
    if HAS_GPU:
        torch.cuda.empty_cache()


def facts(emit: Emit, *, tiny: bool) -> None:
    """The machine, and what its device does at best: a product of matrices, a copy, a launch."""
    device = torch.device("cuda" if HAS_GPU and not tiny else "cpu")
    emit({"what": "python, torch", "value": f"{platform.python_version()}, {torch.__version__}"})
    if device.type == "cuda":
        seen = torch.cuda.get_device_properties(device)
        emit({"what": "device", "value": f"{seen.name}, {seen.total_memory / 2**30:.1f} GiB"})
        emit({"what": "CUDA, capability", "value": f"{torch.version.cuda}, {seen.major}.{seen.minor}"})
    size, dtype = (256, torch.float32) if tiny else (8192, torch.bfloat16)
    left = torch.randn(size, size, device=device, dtype=dtype)
    each = _seconds(lambda: left @ left, device)
    emit({"what": f"product of matrices of {size}, {dtype}, TFLOP/s", "value": round(2 * size**3 / each / 1e12, 3)})
    block = torch.empty(2**22 if tiny else 2**30, dtype=torch.uint8, device=device)
    each = _seconds(lambda: block.clone(), device)
    emit({"what": "copy, GB/s read and written", "value": round(2 * block.numel() / each / 1e9, 1)})
    scalar = torch.zeros((), device=device)
    emit({"what": "a small operation, microseconds", "value": round(1e6 * _seconds(lambda: scalar.add_(1), device), 2)})


def _seconds(call: Callable[[], Any], device: torch.device, *, calls: int = 20, rounds: int = 5) -> float:
    """The median over rounds of the seconds of one of several calls in a row."""

    def once() -> float:
        begun = time.perf_counter()
        for _ in range(calls):
            call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - begun) / calls

    once()
    return statistics.median(once() for _ in range(rounds))


def tasks(emit: Emit, *, tiny: bool) -> None:
    """Every task at the papers' size, with its recipe's micro-batch; the networks first that others only repeat."""
    recipes = planned()
    if tiny:
        names = list(TINY)
    else:
        with saying_why_not(emit, pair="fineweb/gpt"):
            emit(Timed("fineweb/gpt", tiny=tiny, batch_size=64).row(3.0))
        names = [name for name in describe_tasks() if not name.startswith("toy/")]
        names.sort(key=lambda name: (name.startswith(("tinystories", "slimpajama")), "large" in name))
    for name in names:
        with saying_why_not(emit, pair=name):
            row = Timed(name, tiny=tiny).row(0.2 if tiny else 2.0)
            emit(row if tiny else {**row, "GiB planned": recipes[name].peak})


def graphs(emit: Emit, *, tiny: bool) -> None:
    """Steps with CUDA graphs and without, where launching is most of a step and where it is little."""
    if not HAS_GPU or tiny:
        emit({"pair": "fineweb/gpt", "not measured": "CUDA graphs need a GPU"})
        return
    for batch_size in (1, 64):
        for on in ("true", "false"):
            with saying_why_not(emit, pair="fineweb/gpt"):
                if not Timed("fineweb/gpt", tiny=tiny, batch_size=1).has_graphs:
                    emit({"pair": "fineweb/gpt", "not measured": "this version has no setting model.cuda_graphs"})
                    return
                timed = Timed("fineweb/gpt", tiny=tiny, batch_size=batch_size, changes=(f"--model.cuda_graphs={on}",))
                emit({**timed.row(3.0), "graphs": "on" if on == "true" else "off"})


def packs(emit: Emit, *, tiny: bool) -> None:
    """Runs of the 49M GPT at batch size 1 trained at once, and the cases of `benchmarks/packs.py`."""
    single: float | None = None
    for runs in (0, 2) if tiny else (0, 8, 16, 32):
        with saying_why_not(emit, pair="fineweb/gpt", runs=runs):
            row = Timed("fineweb/gpt", tiny=tiny, batch_size=1).row(0.2 if tiny else 3.0, runs=runs)
            per_run = row["ms per step"] / max(1, runs)
            single = per_run if single is None else single
            emit(
                {
                    **row,
                    "runs": max(1, runs),
                    "ms per step and run": round(per_run, 3),
                    "x single": round(single / per_run, 2),
                }
            )
    if tiny:
        return
    from packs import CASES, GPU_CASES, Bench

    for name, case in {**GPU_CASES, **CASES}.items():
        with saying_why_not(emit, pair=name, runs=case.runs), tempfile.TemporaryDirectory() as folder:
            bench = Bench(case, "cuda", folder)
            alone, at_once = bench.single(200, state={}), bench.pack(100, kind="recorded")
            emit({"pair": name, "runs": case.runs, "batch size": case.batch_size, "x single": round(alone / at_once, 2),
                  "ms per step and run": round(1000 * at_once, 3)})  # fmt: skip


def kernels(emit: Emit, *, tiny: bool) -> None:
    """The libraries' kernels against torch's and ours, where they are installed."""
    if not HAS_GPU or tiny:
        emit({"kernel": "flash-attn, fla", "not measured": "they need a GPU"})
        return
    for backend, library in (("sdpa", "torch"), ("flash_attn", "flash_attn")):
        with saying_why_not(emit, kernel=backend):
            if importlib.util.find_spec(library) is None:
                raise ModuleNotFoundError(f"{library} is not installed")
            timed = Timed("fineweb/gpt_large", tiny=tiny, changes=(f"--model.attention={backend}",))
            emit({**timed.row(2.0), "kernel": backend})
    from models import gated_delta

    applies = gated_delta.kernel_applies
    for kernel in ("ours", "fla"):
        with saying_why_not(emit, kernel=kernel):
            if kernel == "fla" and importlib.util.find_spec("fla") is None:
                raise ModuleNotFoundError("fla is not installed")
            gated_delta.kernel_applies = applies if kernel == "fla" else lambda values: False
            emit({**Timed("hg38/gdn", tiny=tiny, batch_size=64).row(2.0), "kernel": kernel})
    gated_delta.kernel_applies = applies


sharing = gpu_sharing.measure


def sweep(emit: Emit, *, tiny: bool) -> None:
    """A small sweep with its gap: a GPT of 10M parameters on the embedded genome."""
    with tempfile.TemporaryDirectory() as folder:
        path, store = Path(folder) / "gpu.yaml", Path(folder) / "runs"
        path.write_text(json.dumps(_small_sweep(folder, tiny=tiny)), encoding="utf-8")
        begun = time.perf_counter()
        command = [sys.executable, "-m", "suite", "sweep", str(path), "--store", str(store)]
        packed = ["--pack", "off" if tiny else "4", *(["--workers", "1"] if tiny else [])]
        done = subprocess.run([*command, *packed], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            emit({"pair": "hg38/gpt", "not measured": one_line(done.stderr[-300:])})
        best: dict[tuple[int, str], float] = {}
        for record in Store(store).records() if store.is_dir() else ():
            loss = record["final"].get("val", float("inf"))
            key = record["batch_size"], record["optimizer"]["name"].rpartition(".")[2].lower()
            best[key] = min(loss, best.get(key, float("inf")))
        for size in sorted({size for size, _ in best}):
            adam, sgd = best.get((size, "adam")), best.get((size, "sgd"))
            if adam is not None and sgd is not None:
                emit({"pair": "hg38/gpt", "batch size": size, "Adam": round(adam, 4), "SGD": round(sgd, 4),
                      "gap": round(adam - sgd, 4)})  # fmt: skip
        emit({"pair": "hg38/gpt", "seconds": round(time.perf_counter() - begun, 1)})


def _small_sweep(folder: str, *, tiny: bool) -> dict[str, Any]:
    """The sweep's YAML, which is JSON too."""
    overrides: dict[str, Any] = {
        "data.source": "sample", "data.data_dir": f"{folder}/data", "data.seq_len": 256, "data.eval_samples": 64,
        "data.budget_samples": 2048,
    }  # fmt: skip
    rates = {"sgd": [0.03, 0.1, 0.3, 1.0], "adam": [1e-4, 3e-4, 1e-3, 3e-3]}
    if tiny:
        overrides |= {
            "data.seq_len": 16, "data.budget_samples": 32, "data.eval_samples": 4, "model.num_layers": 1,
            "model.num_heads": 1, "model.width": 16, "trainer.accelerator": "cpu", "trainer.precision": "32-true",
        }  # fmt: skip
        rates = {"sgd": [0.1], "adam": [1e-3]}
    return {
        "question": "Does a sweep on this GPU end with a gap?", "source": "after paper 1, figure 1",
        "task": "hg38/gpt", "overrides": overrides, "batch_size": [2, 8] if tiny else [1, 16, 256], "seeds": [42],
        "final_loss": "val", "extend_edges": 0,
        "optimizers": {
            "sgd": {"lr": rates["sgd"], "momentum": 0.9}, "adam": {"lr": rates["adam"], "beta": 0.9},
        },
    }  # fmt: skip
