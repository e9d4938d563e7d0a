"""What the papers' recipes and sweeps cost, counted and not measured: the tables of docs/scale.md.

    python benchmarks/cost.py recipes [TASK ...]   peak memory of a step at each recipe's micro-batch, model FLOPs
    python benchmarks/cost.py sweeps               A100-hours of every sweep at the papers' scale
    python benchmarks/cost.py --write              both, into docs/scale.md

Memory is counted on fake tensors (`suite.training.counted_step`), with Adam and gradients that are accumulated over two
micro-batches, on a GPU or where one can be pretended (tests/fake_cuda). Data are not needed.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from page_tables import put
from paper_sizes import paper_facts, paper_samples, random_batch

from suite.execution.matrix import describe_tasks, task_file
from suite.execution.resolver import Resolver
from suite.optim.parsing import resolve
from suite.sweep import Plan, RunSpec, read_spec
from suite.training import Data, Task
from suite.training.counted_step import counted_step
from suite.training.footprint import network_on_meta
from suite.training.throughput import BACKWARD, PEAKS, forward_flops

ROOT = Path(__file__).resolve().parents[1]
UTILISATION = 0.4
"""Share of an A100's arithmetic in bf16 that hours are told at."""
OPTIMIZER = {"name": "adam", "lr": 1e-3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A task at its recipe's size.

    Attributes:
        task: without data.
        data: not open.
        facts: of the papers' data.
        precision: the recipe's.
    """

    task: Task
    data: Data
    facts: dict[str, Any]
    precision: str

    @functools.cached_property
    def flops(self) -> float:
        """Model FLOPs per sample of training."""
        return (1 + BACKWARD) * forward_flops(self.task, self.facts, self.batch(2)) / 2

    def batch(self, samples: int) -> Any:
        """A batch of random content; the toys make their own."""
        if self.task.pair_name.startswith("toy/"):
            return self.data.gather("train", np.arange(samples))
        return random_batch(self.facts, samples, mixup=bool(vars(self.data).get("mixup")))


@functools.cache
def resolver() -> Resolver:
    """The parser, which takes a while to make."""
    return Resolver()


@functools.cache
def recipe_of(name: str, changes: tuple[str, ...] = ()) -> Recipe:
    """A task's recipe with changed settings, such as ``--model.width=64``."""
    words = ["--config", str(task_file(name)), f"--model.init_args.name={name}", *changes]
    config = resolver().resolve(words)
    config["model"]["init_args"]["optimizer"] = resolve(OPTIMIZER)
    task, data = resolver().build_data(config)
    return Recipe(task=task, data=data, facts=paper_facts(name, data), precision=config["trainer"]["precision"])


def device() -> torch.device:
    """A GPU, or one that is pretended.

    Raises:
        SystemExit: neither is possible.
    """
    if not torch.cuda.is_available():
        sys.path.insert(0, str(ROOT / "tests" / "fake_cuda"))
        from pretended_device import pretend, reason_for_none  # type: ignore[import-not-found]

        if reason := reason_for_none():
            raise SystemExit(reason)
        pretend()
    return torch.device("cuda")


def recipe_row(name: str, where: torch.device) -> str:
    """A recipe's line of the table."""
    recipe = recipe_of(name)
    data, network = recipe.data, network_on_meta(recipe.task, recipe.facts)
    assert network is not None and data.micro_batch is not None
    batches = [recipe.batch(data.micro_batch)] * 2
    step = counted_step(recipe.task, recipe.facts, batches, device=where, precision=recipe.precision)
    parameters = sum(p.numel() for p in network.parameters())
    unit, length = ("token", recipe.facts["seq_len"]) if "seq_len" in recipe.facts else ("sample", 1)
    cells = (
        name, f"{parameters / 1e6:.1f}M", str(data.batch_size), str(data.micro_batch), f"{step.peak / 2**30:.1f}",
        f"{step.held / 2**30:.2f}", f"{recipe.flops / length / 1e9:.3g} per {unit}",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def recipes(names: list[str]) -> list[str]:
    """The table of recipes."""
    where = device()
    lines = [
        "| pair | parameters | batch size | micro-batch | GiB at most | GiB between steps | model GFLOP |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names or [name for name in describe_tasks() if name not in ("toy/linear_bigram", "toy/quadratic")]:
        lines.append(recipe_row(name, where))
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def sweep_flops(path: Path) -> tuple[int, float]:
    """Runs and model FLOPs of a sweep, before its grids grow."""
    spec = read_spec(path)
    panels = {panel.label: panel for panel in spec.parts}

    def recipe(run: RunSpec) -> Recipe:
        panel = panels[run.panel]
        # The place of the data and the size of a laptop's file change nothing here.
        return recipe_of(panel.task, tuple(f"--{k}={_as_word(v)}" for k, v in panel.overrides.items()))

    def steps(run: RunSpec) -> int:
        data = recipe(run).data
        data.batch_size, data.start_step = run.batch_size, 0 if run.initial is None else run.initial[1]
        data.train_samples = paper_samples(panels[run.panel].task, data)
        return data.steps

    plan = Plan(spec, lambda run: (_identity(run), steps(run)))
    return len(plan.runs), sum(run.steps * run.batch_size * recipe(run).flops for run in plan.runs)


def _as_word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _identity(run: RunSpec) -> str:
    return repr((run.settings, run.batch_size, run.seed, run.panel, run.initial, run.diagnosed))


def sweeps() -> list[str]:
    """The table of sweeps."""
    lines = ["| sweep | runs | FLOP | A100-hours |", "|---|---|---|---|"]
    for path in sorted((ROOT / "configs" / "sweeps").glob("*/*.yaml")):
        count, flops = sweep_flops(path)
        hours = flops / (UTILISATION * PEAKS["A100"] * 3600)
        name = f"{path.parent.name}/{path.stem}"
        lines.append(f"| {name} | {count:,} | {flops:.2g} | {f'{hours:,.0f}' if hours >= 1 else 'below 1'} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["recipes", "sweeps"])
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--write", action="store_true", help="into docs/scale.md")
    options = parser.parse_args()
    tables: dict[str, list[str]] = {}
    if options.what in (None, "recipes"):
        tables["recipes"] = recipes(options.tasks)
    if options.what in (None, "sweeps"):
        tables["sweeps"] = sweeps()
    if options.write:
        for name, lines in tables.items():
            put("scale.md", name, "\n".join(lines))
    else:
        print("\n\n".join("\n".join(lines) for lines in tables.values()))


if __name__ == "__main__":
    main()
