"""What each diagnostic costs a run at its default schedule.

    python benchmarks/diagnostics.py [--small] [--device cuda] [--seq-len N] [--taken N] [NAME ...]

One run per diagnostic, in which every few steps are measured and the others are not: the time of a measurement and that
of a plain step come from the same run, in turn. From these follows the share of the training time that the default
schedule takes over the paper's number of steps. Target: at most 5% on the 49M GPT (paper 1: 60,424 steps of 64
sequences), and no more memory than a run without. ``--small`` takes a GPT of 0.1M weights and 4,000 steps. Shorter
sequences make steps and measurements cheaper alike, where a step at full length would take minutes;
memory is then that of the shorter sequences.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from fit_step import SIZES, WideVocabulary

from suite.diagnostics import recorder
from suite.diagnostics.catalogue import CATALOGUE, diagnostic_class
from suite.records import Store
from suite.training import open_run, run
from suite.training.memory import measured_peak
from tasks.fineweb.data import FineWeb
from tasks.fineweb.gpt import FineWebGPT

SETUPS = {
    "small": {"size": "small", "batch": 8, "steps": 4_000, "taken": 40, "every": 8},
    "large": {"size": "large", "batch": 64, "steps": 60_424, "taken": 24, "every": 6},
}
"""Batch size, steps of the whole run, steps that are taken here, and how many of them there are per measurement."""


def make_data(setup: dict[str, Any], folder: str) -> FineWeb:
    size = SIZES[setup["size"]]
    data = (FineWeb if size["vocab"] else WideVocabulary)(
        batch_size=setup["batch"], source="sample", tokenizer="byte", seq_len=setup["seq"], data_dir=folder,
        eval_samples=1, budget_steps=setup["taken"],
    )  # fmt: skip
    data.ensure_open()
    return data


def trained(setup: dict[str, Any], folder: str, device: str, diagnostics: dict[str, Any]) -> tuple[dict, float]:
    """The record of a run, and its peak of memory in bytes above what the process had."""
    task = FineWebGPT(
        optimizer={"name": "adam", "lr": 1e-3, "beta": 0.95}, diagnostics=diagnostics, **SIZES[setup["size"]]["net"]
    )
    trainer = Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, accelerator="gpu" if device == "cuda" else "cpu", devices=1,
        precision="bf16-mixed" if device == "cuda" else "32-true",
    )  # fmt: skip
    config = {"seed_everything": 0, "model": {"init_args": {"diagnostics": diagnostics}}}
    with tempfile.TemporaryDirectory() as store, measured_peak(torch.device(device)) as peak:
        data = make_data(setup, folder)
        record = run(open_run(task, data, config), trainer, Store(store), observe=recorder.recorder_of).record
    return record, float(peak.bytes)


def synchronised() -> None:
    """Have the time of diagnostics include the work that they ask a GPU for."""
    plain = recorder.Findings.show

    def show(self: Any, *args: Any, **parts: Any) -> None:
        torch.cuda.synchronize()
        plain(self, *args, **parts)
        with self.timed():
            torch.cuda.synchronize()

    recorder.Findings.show = show  # type: ignore[method-assign]


def main() -> None:
    """Measure the diagnostics that are named, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seq-len", type=int, help="tokens per sequence")
    parser.add_argument("--taken", type=int, help="steps per run; half as many lie between measurements")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    if options.device == "cuda":
        synchronised()
    setup = SETUPS["small" if options.small else "large"]
    setup["seq"] = options.seq_len or SIZES[setup["size"]]["seq"]
    if options.taken:
        setup |= {"taken": options.taken, "every": options.taken // 2}
    steps, every = setup["steps"], setup["every"]
    with tempfile.TemporaryDirectory() as folder:
        trained(setup, folder, options.device, {})  # the first run of a process pays for what it loads
        _, without = trained(setup, folder, options.device, {})
        for name in options.names or CATALOGUE:
            settings = {"every": every, "first": False, "last": False}
            settings |= {"window": 2} if name == "agreement" else {}
            record, memory = trained(setup, folder, options.device, {name: settings})
            kind = diagnostic_class(name)
            measured, default = kind(**settings), kind()
            shown = sum(measured.attends(step, setup["taken"]) for step in range(setup["taken"]))
            each = record["diagnostics"]["seconds"] / shown
            step = (record["seconds"]["train"] - record["diagnostics"]["seconds"]) / setup["taken"]
            times = sum(default.attends(s, steps) for s in range(steps + 1))
            share = times * each / (steps * step)
            print(
                f"{name}: {each / step:.2f} steps per measurement, {times} of {steps:,} steps are shown: "
                f"{100 * share:.2f}% of the time; memory {memory / 2**20:.0f} MB, without {without / 2**20:.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
