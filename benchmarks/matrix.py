"""Trains every pair, shrunk to a laptop, on its sample and on real data, with SGD and with Adam.

    python benchmarks/matrix.py [--data FOLDER] [--steps-factor 1.0] [TASK ...] > table.md

Prints a Markdown table: the pair's parameters at paper size and here, the loss of the trivial predictor (the training
split's frequencies of tokens or classes, its mean target) on the same validation samples, the validation losses
reached, and optimizer steps per second. FOLDER holds real data in the tasks' raw formats (see
SOURCES); without it the samples alone are trained on. Nothing is tuned: one learning rate per kind of network.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from suite.execution.matrix import describe_tasks, task_file
from suite.execution.resolver import Resolver
from suite.execution.worker import quiet
from suite.records import Store
from suite.training import open_run, run

SOURCES = {
    "fineweb": "text/fineweb_10bt_legalbias.jsonl.gz",
    "slimpajama": "text/fineweb_edu_10bt_head.txt.gz",
    "tinystories": "text/tinystories_train.jsonl.gz",
    "hg38": "genome/hg38_windows45_131kb.fa.gz",
    "imagenet21k": "images/caltech97_lt_wds",
    "imagenet1k_lt": "images/caltech97_lt_wds",
    "zinc": "molecules/zinc250k_val_24445.csv.gz",
}
"""Real data of each dataset, below the folder. Of SlimPajama there is none: web text stands in for it."""

SMALL = {
    "sequence": "data.seq_len=64 data.batch_size=16 data.eval_samples=256 model.width=64 model.num_layers=2",
    "image": "data.image_size=32 data.cached=true data.flip=false data.random_crop=false data.mixup=0.0 "
    "data.batch_size=32 data.eval_samples=485",
    "zinc": "data.batch_size=32 data.max_molecules=4000 data.eval_samples=400 model.num_layers=3 model.width=32 "
    "model.num_heads=4 data.budget_epochs=null",
    "toy": "",
}

OWN = {
    "vit": "model.patch_size=8 model.num_layers=2 model.num_heads=2 model.width=64",
    "vit_large": "model.patch_size=8 model.num_layers=4 model.num_heads=2 model.width=64",
    "simple_vit": "model.patch_size=8 model.num_layers=2 model.num_heads=2 model.width=64",
    "resnet20": "model.blocks_per_stage=1 model.width=8",
    "resnet50": "data.image_size=64 model.depths=[1,1,1,1] model.width=16",
    "convnext_tiny": "data.image_size=64 data.batch_size=16",
    "transition": "data.image_size=64 model.width=8 model.depths=[1,1,1,1]",
    "gcn": "model.num_heads=",
    "gpt": "model.num_heads=2",
    "gpt_large": "model.num_heads=2 model.num_layers=4",
    "gdn": "model.num_heads=2",
    "hg38": "data.kmer=1",
}
"""Beside SMALL, by architecture or dataset; an empty value takes a setting out again."""

STEPS = {"sequence": 400, "image": 300, "zinc": 400, "toy": 0, "convnext_tiny": 40}

LEARNING_RATES = {
    "sequence": (0.3, 3e-3), "image": (0.1, 2e-3), "zinc": (0.03, 3e-3), "quadratic": (1e-5, 1e-2),
    "linear_bigram": (0.3, 1e-3), "zipf_lm": (0.3, 3e-3), "convnext_tiny": (0.1, 1e-3),
}  # fmt: skip
"""Peak learning rates of SGD with momentum 0.9 and of Adam with both betas 0.95."""


def kind_of(task: str) -> str:
    """Which of SMALL a task is."""
    dataset = task.partition("/")[0]
    return {"imagenet21k": "image", "imagenet1k_lt": "image", "zinc": "zinc", "toy": "toy"}.get(dataset, "sequence")


def looked_up(table: dict[str, Any], task: str) -> Any:
    """An entry by architecture, else by kind."""
    return table.get(task.rpartition("/")[2], table.get(kind_of(task)))


def settings(task: str, source: str, data_dir: str, factor: float) -> dict[str, str]:
    """Changed settings of a task, by their full names."""
    dataset, _, architecture = task.partition("/")
    words = f"{SMALL[kind_of(task)]} {OWN.get(architecture, '')} {OWN.get(dataset, '')}".split()
    if architecture.startswith("transformer"):
        words += ["model.num_heads=2"]
    changed = dict(word.split("=", 1) for word in words)
    changed |= {"data.source": source, "data.data_dir": data_dir}
    if kind_of(task) == "sequence" and dataset != "hg38":
        changed["data.tokenizer"] = "byte" if source == "sample" else "bpe:1024"
    if dataset == "slimpajama":
        changed["model.vocab_multiple"] = "1"
    if steps := looked_up(STEPS, task):
        changed |= {"data.budget_steps": str(max(2, int(steps * factor))), "data.budget_tokens": "null"}
        changed |= {"data.budget_samples": "null", "data.budget_epochs": "null"}
    return {key: value for key, value in changed.items() if value}


def resolved(resolver: Resolver, task: str, changed: dict[str, str]) -> dict[str, Any]:
    """The task's configuration with changed settings, of which it takes those that it has."""
    arguments = ["--config", str(task_file(task)), f"--model.init_args.name={task}", "--trainer.accelerator=cpu"]
    arguments += ["--trainer.precision=32-true"]
    known = resolver.resolve([*arguments])
    for key, value in changed.items():
        part, _, name = key.partition(".")
        if name in known[part]["init_args"] or value != "null":
            arguments.append(f"--{part}.init_args.{name}={value}")
    return resolver.resolve(arguments)


def trivial_loss(data: Any) -> float:
    """Validation loss of the predictor that has seen frequencies, or the mean, of the training split alone."""
    known = data.facts().get("trivial_loss")
    if known is not None:
        return known
    count = min(data.val_samples, data.eval_samples or data.val_samples)
    seen = data.gather("train", np.arange(min(data.train_samples, 2000)))
    asked = data.gather("val", np.arange(count))
    if hasattr(seen, "target"):
        return float((asked.target - seen.target.mean()).abs().mean())
    of, classes = (lambda b: b.labels, "classes") if hasattr(seen, "labels") else (lambda b: b[:, 1:], "vocab_size")
    counts = torch.bincount(of(seen).flatten(), minlength=data.facts()[classes]).double() + 1e-3
    return float(-(counts / counts.sum()).log()[of(asked).flatten()].mean())


def row(resolver: Resolver, task: str, source: str, options: argparse.Namespace, folder: str) -> str:
    """One line of the table."""
    changed = settings(task, source, f"{folder}/data", options.steps_factor)
    rates = LEARNING_RATES.get(task.rpartition("/")[2]) or LEARNING_RATES[kind_of(task)]
    optimizers = ({"name": "sgd", "lr": rates[0], "momentum": 0.9}, {"name": "adam", "lr": rates[1], "beta": 0.95})
    losses, speeds, trivial, parameters = [], [], 0.0, 0
    for optimizer in optimizers:
        config = resolved(resolver, task, changed)
        config["model"]["init_args"]["optimizer"] = optimizer
        made, data, trainer = resolver.build(config)
        record = run(open_run(made, data, config), trainer, Store(f"{folder}/runs")).record
        trivial, parameters = trivial_loss(data), record["parameters"]
        losses.append(record["final"].get("val", float("nan")))
        speeds.append(record["steps_done"] / record["seconds"]["train"])
    paper = re.search(r"([\d.]+[MB]) parameters", describe_tasks()[task])
    reached = " | ".join(f"{loss:.3g}{'' if loss < trivial else ' (not below)'}" for loss in losses)
    size, name = paper.group(1) if paper else "-", "sample" if source == "sample" else "real"
    return f"| {task} | {size} | {parameters:,} | {name} | {trivial:.3g} | {reached} | {min(speeds):.2g} |"


def main() -> None:
    """Train and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("tasks", nargs="*")
    arguments.add_argument("--data", type=Path, help="folder with real data")
    arguments.add_argument("--steps-factor", type=float, default=1.0)
    options = arguments.parse_args()
    warnings.filterwarnings("ignore")
    quiet()
    print("| pair | paper size | parameters here | data | trivial loss | SGD | Adam | steps/s |\n" + "|---" * 8 + "|")
    resolver = Resolver()
    with tempfile.TemporaryDirectory() as folder:
        for task in options.tasks or sorted(describe_tasks()):
            real = SOURCES.get(task.partition("/")[0])
            for source in ["sample", *([str(options.data / real)] if options.data and real else [])]:
                try:
                    print(row(resolver, task, source, options, folder), flush=True)
                except (Exception, SystemExit) as error:
                    print(f"{task} on {source}: {str(error)[:200]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
