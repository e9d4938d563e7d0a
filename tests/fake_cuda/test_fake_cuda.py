"""On a pretended GPU no step mixes devices or waits for the device, and outside of steps only what is listed waits.

Lightning, the suite's `run` and `run_pack` and every network are the real ones; tensors are fake (`pretended_device`).
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from optimizer_examples import EXAMPLES, names
from pretended_device import guard_library, reason_for_none

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TASKS = {f"{path.parent.name}/{path.stem}": path for path in sorted((ROOT / "configs" / "tasks").glob("*/*.yaml"))}

QUICK = (
    "fineweb/gpt", "fineweb/gdn", "fineweb/gcnn", "slimpajama/transformer_160m", "imagenet21k/vit",
    "imagenet1k_lt/simple_vit", "imagenet21k/resnet20", "imagenet21k/resnet50", "imagenet21k/convnext_tiny",
    "imagenet21k/transition", "zinc/gat", "zinc/gcn", "zinc/grit", "toy/linear_bigram", "toy/quadratic",
)  # fmt: skip
"""One task per network."""

SMALL = {
    "num_layers": 2, "depths": [1, 1, 1, 1], "blocks_per_stage": 1, "seq_len": 32, "image_size": 32,
    "tokenizer": "byte",
}  # fmt: skip
"""What a recipe has of these is replaced; widths stay, because fake tensors cost the same at every size."""

LIGHTNING = "suite/training/run.py:train > lightning"
ALLOWED = {
    f"to cuda {LIGHTNING}/fabric/utilities/device_dtype_mixin.py:to": "the network goes to the device, once",
    f"to cpu {LIGHTNING}/fabric/utilities/device_dtype_mixin.py:cpu": "the network leaves the device, once",
    f"to cpu {LIGHTNING}/fabric/utilities/apply_func.py:batch_to": "the optimizer's state leaves the device, once",
    f"to cpu {LIGHTNING}_utilities/core/apply_func.py:apply_to_collection": "the metrics leave the device, once",
    f"to cuda {LIGHTNING}/pytorch/utilities/data.py:has_len_all_ranks": "the number of validation batches, once",
    f"value {LIGHTNING}/pytorch/utilities/data.py:has_len_all_ranks": "the number of validation batches, once",
    "to cuda suite/training/run.py:train > torchmetrics/metric.py:_apply": "the metrics go to the device, once",
    "to cpu suite/training/run.py:train > torchmetrics/metric.py:_apply": "the metrics leave the device, once",
    "value suite/training/curves.py:on_train_batch_end": "the curves of a block",
    "value suite/training/curves.py:evaluated": "the metrics of an evaluation",
    "to cuda suite/training/task.py:on_validation_epoch_end": "Lightning's count of what it logs of an evaluation",
    "value suite/packs/curves.py:on_train_batch_end": "the curves of a block, and which runs live",
    "value suite/packs/run_metrics.py:begin": "which runs are evaluated",
    "value suite/packs/packed_task.py:configure_optimizers": "the numbers of each run, once",
    "to cuda suite/packs/runs_optimizer.py:_numbers": "the numbers of each run, once",
}
"""Where a training waits for the device outside of its steps, and for what: once per block, evaluation or training."""


def small(task: str) -> list[str]:
    """Settings that make a task's recipe small."""
    recipe = yaml.safe_load(TASKS[task].read_text())
    settings = []
    for part in ("model", "data"):
        settings += [
            f"--{part}.{key}={json.dumps(value) if isinstance(value, list) else value}"
            for key, value in SMALL.items()
            if key in recipe[part]["init_args"]
        ]
    return settings + (["--data.max_molecules=64"] if task.startswith("zinc/") else [])


def case(task: str, **settings: Any) -> dict[str, Any]:
    return {"task": task, "settings": small(task), **settings}


def kinds(task: str) -> list[dict[str, Any]]:
    """A run by itself, and packs; the first step of a pack is plain, whatever the others are."""
    return [case(task, accumulation=2), case(task, pack="recorded")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reason = reason_for_none()
    if reason is not None:
        pytest.skip(reason)
    guard_library()
    return tmp_path_factory.mktemp("pretended")


def trained(cases: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(HERE / "train_pretended.py"), str(folder)], cwd=ROOT, capture_output=True, text=True,
        input="".join(json.dumps(one) + "\n" for one in cases), timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


DECIDING = ("suite/training/captured_step.py:", "suite/training/step_comparison.py:")
"""Where a step waits for the device to compare a repeated step with plain ones, in the first steps of a training."""


FOREIGN = " > pytorch_optimizer/"
"""Steps of rules that are another library's (Prodigy) may wait in that library's own code."""


def assert_free_of_waits(one: dict[str, Any], result: dict[str, Any]) -> None:
    assert "error" not in result, f"{one}\n{result['error']}"
    assert result["statuses"] == ["finished"] * (2 if one.get("pack") else 1)
    assert result["operations"] > 100, "the training must have taken place on the pretended device"
    waits = [wait for wait in result["waits"] if FOREIGN not in wait[1]]
    waits = [wait for wait in waits if not (one.get("repeated") and wait[1].startswith(DECIDING))]
    in_steps = [(kind, where) for kind, where, in_step in waits if in_step]
    assert not in_steps, one
    assert (result["repetitions"] > 0) == bool(one.get("repeated")), one
    others = {f"{kind} {where}" for kind, where, _ in waits}
    assert not {wait for wait in others if wait not in ALLOWED and wait.partition(" > ")[0] not in ALLOWED}, one


def missing(task: str) -> str:
    """The library that a task needs and that is not installed here; empty: none."""
    recipe = yaml.safe_load(TASKS[task].read_text())
    modules = [recipe[part]["class_path"].rpartition(".")[0] for part in ("model", "data")]
    if task.startswith("zinc/"):
        modules.append("rdkit")  # of which the sample is made
    if task.startswith("imagenet"):
        modules.append("PIL")
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            return str(error.name)
    return ""


def test_one_task_per_network_neither_mixes_devices_nor_waits(folder: Path) -> None:
    left_out = {task: library for task in QUICK if (library := missing(task))}
    cases = [one for task in QUICK if task not in left_out for one in kinds(task)]
    cases += [case("fineweb/gpt", repeated=True), case("fineweb/gpt", pack="recorded", repeated=True)]
    for one, result in zip(cases, trained(cases, folder), strict=True):
        assert_free_of_waits(one, result)
    if left_out:
        pytest.skip(f"The others pass; not installed: {left_out}.")


PLANTED = """
import torch
from pretended_device import pretend
from torch._subclasses.fake_tensor import FakeTensorMode
from watch import Watch, made_on_host

pretend()
torch.tensor = made_on_host(torch.tensor)
with FakeTensorMode() as fake, Watch(fake) as watch:
    there, here = torch.ones(3, device="cuda"), torch.ones(3)
    there.sum().item(), there.nonzero(), torch.tensor(1.0, device="cuda"), here.to("cuda", non_blocking=True)
    print(sorted(wait.kind for wait in watch.waits))
    try:
        there + here
    except RuntimeError as error:
        print(error)
"""


def test_planted_waits_and_a_planted_mixture_are_seen(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PLANTED], cwd=HERE, capture_output=True, text=True, check=True)
    waits, mixture = done.stdout.splitlines()[:2]
    assert waits == "['size', 'to cuda', 'value']"  # numbers, and a copy from memory that is not pinned
    assert "two devices" in mixture or "two different devices" in mixture


def test_every_network_is_among_the_quick_ones() -> None:
    classes = {task: yaml.safe_load(path.read_text())["model"]["class_path"] for task, path in TASKS.items()}
    modules = {task: path.rpartition(".")[0].rpartition(".")[2] for task, path in classes.items()}
    # A small GPT and a quadratic stand for the toy language's network and themselves.
    assert {modules[task] for task in QUICK} == set(modules.values()) - {"zipf_lm"}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_neither_mixes_devices_nor_waits(task: str, folder: Path) -> None:
    if library := missing(task):
        pytest.skip(f"{library} is not installed.")
    cases = [*kinds(task), case(task, precision="32-true"), case(task, pack="plain", accumulation=2)]
    cases += [case(task, repeated=True), case(task, pack="recorded", repeated=True)]
    for one, result in zip(cases, trained(cases, folder), strict=True):
        assert_free_of_waits(one, result)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_optimizer_neither_mixes_devices_nor_waits(name: str, folder: Path) -> None:
    rule = {"name": name, **({"lr": 0.01} if name != "hybrid" else {}), **EXAMPLES.get(name, {})}
    clips = ({"clip_norm": None}, {"clip_norm": 0.5, "clip_coordinate": 0.1})
    cases = [case("toy/zipf_lm", optimizer=rule, pack=pack, model=clip) for pack in ("", "plain") for clip in clips]
    for one, result in zip(cases, trained(cases, folder), strict=True):
        if one["pack"] and "PackRefused" in result.get("error", ""):
            continue
        assert_free_of_waits(one, result)
