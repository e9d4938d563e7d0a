"""A run in one process, then the same run in two that share each batch; prints what both left behind, as JSON.

    python tests/two_processes.py ddp gpt FOLDER

Processes are forked after the imports, which take longer than the runs, and talk over gloo as `torchrun` has them do.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
import warnings
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    ROOT = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from suite.diagnostics.recorder import recorder_of
from suite.execution.matrix import task_file
from suite.execution.resolver import Resolver
from suite.optim.parsing import resolve
from suite.records import Store
from suite.training import open_run, run

SECONDS = 240.0
"""What two processes may take before they are taken to wait for each other for ever."""

SMALL_TEXT = ["--data.seq_len=32", "--model.num_layers=2", "--model.width=48", "--model.num_heads=2"]
SMALL_GRAPH = ["--model.num_layers=2", "--model.width=16", "--model.num_heads=2"]
CASES: dict[str, tuple[str, list[str]]] = {
    "gpt": ("fineweb/gpt", [*SMALL_TEXT, "--data.tokenizer=byte"]),
    "gpt_sophia": ("fineweb/gpt", [*SMALL_TEXT, "--data.tokenizer=byte"]),
    "gdn": ("hg38/gdn", SMALL_TEXT),
    "grit": ("zinc/grit", SMALL_GRAPH),
    "gat": ("zinc/gat", SMALL_GRAPH),
    "resnet20": ("imagenet21k/resnet20", ["--data.image_size=8", "--model.blocks_per_stage=1", "--model.width=4"]),
}
"""Name -> task, and settings that make it small: of a million pre-activations some lie so close to zero that rounding
decides ReLU's slope, of some thousand none does."""

ADAM, SGD = {"name": "adam", "lr": 1e-3, "beta": 0.9}, {"name": "sgd", "lr": 2e-3, "momentum": 0.9}
SOPHIA = {"name": "sophia", "lr": 1e-3, "rho": 10.0, "every": 3}
RULES = {"gpt": ADAM, "gpt_sophia": SOPHIA, "gdn": ADAM, "grit": SGD, "gat": SGD, "resnet20": SGD}
"""Name -> optimizer. Adam gives a coordinate whose gradient is rounding alone (the bias of a channel that BatchNorm
cancels) a step as large as any other, so that rounding would decide the curves of networks with BatchNorm."""

STRATEGIES = {"ddp": "ddp", "fsdp": json.dumps({"class_path": "suite.training.fsdp.FullyShardedStrategy"})}


def configuration(resolver: Resolver, name: str, data_dir: Path, extra: list[str]) -> dict[str, Any]:
    """A run of ten steps with an evaluation in the middle, whose validation split is not a multiple of anything."""
    task, small = CASES[name]
    config = resolver.resolve([
        "--config", str(task_file(task)), f"--model.init_args.name={task}", f"--data.init_args.data_dir={data_dir}",
        "--model.init_args.optimizer", json.dumps(resolve(RULES[name])),
        "--data.init_args.source=sample", "--data.init_args.num_workers=1", "--trainer.accelerator=cpu",
        "--trainer.precision=32-true", *small, *extra,
    ])  # fmt: skip
    init = config["data"]["init_args"]
    init |= {key: None for key in init if key.startswith("budget_")}
    init |= {"budget_steps": 10, "batch_size": 8, "micro_batch": 4, "eval_every_steps": 5, "eval_samples": 33}
    return config


def train(resolver: Resolver, config: dict[str, Any], folder: Path) -> None:
    task, data, trainer = resolver.build(config)
    opened = open_run(task, data, config, world_size=trainer.world_size)
    run(opened, trainer, Store(folder), observe=recorder_of)


def train_as_rank(resolver: Resolver, config: dict[str, Any], folder: Path, rank: int, port: int) -> None:
    """What one of two processes does; it ends the process."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "two",
    }  # fmt: skip
    code = 1
    try:
        train(resolver, config, folder)
        code = 0
    except BaseException as error:
        print(f"rank {rank}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(code)


def wait_for(children: list[int]) -> list[int]:
    """Exit codes of the processes; those that do not end are killed."""
    until, codes = time.monotonic() + SECONDS, {}
    while len(codes) < len(children) and time.monotonic() < until:
        for child in set(children) - set(codes):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                codes[child] = os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    for child in set(children) - set(codes):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print(f"process {child} did not end in {SECONDS:.0f} s", file=sys.stderr)
        codes[child] = -signal.SIGKILL
    return [codes[child] for child in children]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def left_behind(folder: Path) -> dict[str, Any]:
    (record,) = Store(folder).records()
    curves = Store(folder).curves(record["run_id"])
    columns = {name: curves[name].to_pylist() for name in curves.column_names}
    return {"curves": columns, **{key: record[key] for key in ("run_id", "status", "metrics", "device")}}


def main(strategy: str, name: str, folder: Path, extra: list[str]) -> int:
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    resolver = Resolver()
    data_dir = folder / "data"
    train(resolver, configuration(resolver, name, data_dir, ["--trainer.devices=1", *extra]), folder / "one")
    shared = configuration(
        resolver, name, data_dir, ["--trainer.devices=2", f"--trainer.strategy={STRATEGIES[strategy]}", *extra]
    )
    port, children = free_port(), []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            train_as_rank(resolver, shared, folder / "two", rank, port)
        children.append(child)
    codes = wait_for(children)
    if any(codes):
        return 1
    print(json.dumps({"one": left_behind(folder / "one"), "two": left_behind(folder / "two")}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:]))
