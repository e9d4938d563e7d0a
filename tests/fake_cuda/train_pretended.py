"""Trains tasks for a few steps on the pretended device, through the suite's own entry points and Lightning.

python tests/fake_cuda/train_pretended.py FOLDER < cases.jsonl > waits.jsonl
"""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

if __name__ == "__main__":
    FOLDER = Path(__file__).resolve().parent
    sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER.parent), str(FOLDER)]

import torch
from pretended_capture import PretendedCapture
from pretended_device import pretend
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from watch import Watch, iterating_outside_modes, listed, made_on_host, outside_modes

from suite.execution.matrix import task_file
from suite.execution.resolver import Resolver
from suite.optim.parsing import resolve
from suite.packs.pack import run_pack
from suite.packs.packed_task import PackedTask
from suite.records import Store
from suite.training import Task, open_run, run
from suite.training.captured_step import TIMED, TRIALS, WARM_UP

STEPS = 4
REPEATED = 4
"""Steps that are repeated from a recording, where steps are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A training on the pretended device.

    Attributes:
        task: ``<dataset>/<architecture>``.
        settings: command-line settings that make it small.
        optimizer: plain values of an optimizer config.
        pack: how the steps of two runs are executed at once; empty: one run, by itself.
        precision: the trainer's.
        accumulation: micro-batches per step.
        model: settings of the task, such as ``clip_norm``.
        repeated: whether steps are repeated from a recording, after those that decide it.
    """

    task: str
    settings: tuple[str, ...] = ()
    optimizer: dict[str, Any] = dataclasses.field(default_factory=lambda: {"name": "adam", "lr": 1e-3, "beta": 0.9})
    pack: str = ""
    precision: str = "bf16-mixed"
    accumulation: int = 1
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    repeated: bool = False


def configuration(resolver: Resolver, case: Case, folder: Path) -> dict[str, Any]:
    config = resolver.resolve([
        "--config", str(task_file(case.task)), f"--model.init_args.name={case.task}",
        "--model.init_args.optimizer", json.dumps(resolve(case.optimizer)), f"--data.init_args.data_dir={folder}",
        *([] if case.task.startswith("toy/") else ["--data.init_args.source=sample"]),
        "--data.init_args.num_workers=1", "--trainer.accelerator=gpu", "--trainer.devices=1",
        f"--trainer.precision={case.precision}", *case.settings,
    ])  # fmt: skip
    init = config["data"]["init_args"]
    init |= {key: None for key in init if key.startswith("budget_")}
    steps = 1 + WARM_UP + TIMED + TRIALS + REPEATED if case.repeated else STEPS
    init |= {"budget_steps": steps, "batch_size": 4, "micro_batch": 4 // case.accumulation}
    init |= {"eval_every_steps": 2, "eval_samples": 8}
    config["model"]["init_args"] |= case.model | {"cuda_graphs": case.repeated}
    return config


def opened(resolver: Resolver, configs: list[dict[str, Any]]) -> Iterator[Any]:
    """The trainer, then the runs, on the same real data."""
    _, data, trainer = resolver.build(configs[0])
    data.ensure_open()
    data.blocks = iterating_outside_modes(data.blocks)
    data.gather = outside_modes(data.gather)
    yield trainer
    for config in configs:
        yield open_run(resolver.build_data(config)[0], data, config)


def train(resolver: Resolver, case: Case, folder: Path, store: Store) -> dict[str, Any]:
    """Train a case; returns the statuses of its records, the number of operations, and the waits."""
    configs = [configuration(resolver, case, folder)]
    if case.pack:
        configs.append(copy.deepcopy(configs[0]))
        configs[1]["model"]["init_args"]["optimizer"]["init_args"]["lr"] *= 2
    trainer, *runs = opened(resolver, configs)
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    watch = Watch(fake)
    with ExitStack() as around:
        for mode in (fake, watch, watch.steps_of(Task), watch.steps_of(PackedTask)):
            around.enter_context(mode)
        capture = PretendedCapture()
        for module in ("suite.training.task", "suite.packs.packed_task"):
            around.enter_context(mock.patch(f"{module}.capture_of", lambda trainer: capture))
        kind: Any = case.pack
        outcomes = run_pack(runs, trainer, store, steps=kind) if kind else [run(runs[0], trainer, store)]
    return {
        "statuses": [outcome.record["status"] for outcome in outcomes],
        "operations": watch.operations,
        "repetitions": capture.repetitions,
        "waits": sorted(watch.waits),
    }


def main(folder: Path) -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    pretend()
    torch.tensor, torch.as_tensor = made_on_host(torch.tensor), made_on_host(torch.as_tensor)
    FakeTensor.tolist = listed
    resolver = Resolver()
    for number, line in enumerate(sys.stdin):
        try:
            result = train(resolver, Case(**json.loads(line)), folder / "data", Store(folder / f"runs-{number}"))
        except Exception:
            result = {"error": traceback.format_exc()}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
