"""The recipes of docs/optimizers.md, run as they stand, and the ways in which people call the factory."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import lightning.pytorch
import pytest
import torch
from torch import nn

from suite.optim import SGD, Adam, ConfigError, build, clip_global_norm, draw_labels, rule_groups
from suite.optim.trial import try_rule

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "optimizers.md").read_text(encoding="utf-8")
RECIPES = PAGE.partition("## Recipes")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^([^\n]*):\n\n```python\n(.*?)```", RECIPES, re.DOTALL | re.MULTILINE)
STARTS = {title.partition(",")[0].partition(";")[0]: code for title, code in BLOCKS}


DECAYED = SGD(lr=0.1, weight_decay=0.1, decay="coupled", undecayed=("bias",))


class Modelled(nn.Module):
    """A model as transformers.Trainer wants it: named inputs, a mapping with the loss."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": nn.functional.mse_loss(self.network(x), labels)}


@pytest.fixture
def names() -> dict[str, Any]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    batches = [(x, x.sum(1, keepdim=True)) for x in torch.randn(30, 16, 3)]
    classifier = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3))
    labelled = [(x, x.argmax(dim=1)) for x, _ in batches]
    return {
        "classifier": classifier, "labelled_batches": labelled, "draw_labels": draw_labels,
        "torch": torch, "lightning": lightning, "build": build, "clip_global_norm": clip_global_norm, "SGD": SGD,
        "network": network, "batches": batches, "device": "cpu",
    }  # fmt: skip


def loss_of(names: dict[str, Any]) -> float:
    with torch.no_grad():
        return float(sum(nn.functional.mse_loss(names["network"](x), y) for x, y in names["batches"]))


def test_there_is_a_recipe_for_every_habit() -> None:
    assert list(STARTS) == [
        "A plain loop with clipping and a schedule", "Mixed precision with loss scaling", "A compiled network",
        "Several processes", "Lightning", "Hugging Face's Trainer", "A rule with a second gradient (`sophia`)",
    ]  # fmt: skip


@pytest.mark.parametrize("title", list(STARTS)[:3])
def test_a_loop_of_a_recipe_trains(title: str, names: dict[str, Any]) -> None:
    before = loss_of(names)
    exec(STARTS[title], names)
    assert loss_of(names) < 0.95 * before


def test_the_recipe_of_a_second_gradient_trains(names: dict[str, Any]) -> None:
    def loss() -> float:
        with torch.no_grad():
            parts = [nn.functional.cross_entropy(names["classifier"](x), y) for x, y in names["labelled_batches"]]
        return float(torch.stack(parts).mean())

    before = loss()
    exec(STARTS["A rule with a second gradient (`sophia`)"], names)
    assert loss() < 0.8 * before


def test_a_rule_of_ones_own_with_a_second_gradient_is_tried_and_trains(names: dict[str, Any]) -> None:
    (code,) = re.findall(r"```python\n(# curved.py\n.*?)```", PAGE, re.DOTALL)
    module = types.ModuleType("curved")
    sys.modules["curved"] = module
    try:
        exec(code, module.__dict__)
        config = module.Curved(lr=0.1)
        assert not try_rule(config)
        exec(STARTS["A rule with a second gradient (`sophia`)"].replace(
            'build("sophia", classifier, lr=1e-2, rho=0.1, every=10)', "build(config, classifier)"
        ), names | {"config": config})  # fmt: skip
    finally:
        del sys.modules["curved"]


def test_the_recipe_of_several_processes_trains(names: dict[str, Any], tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        before = loss_of(names)
        exec(STARTS["Several processes"], names)
        assert loss_of(names) < 0.8 * before
    finally:
        torch.distributed.destroy_process_group()


def test_the_recipe_of_lightning_trains(names: dict[str, Any], tmp_path: Path) -> None:
    before = loss_of(names)
    exec(STARTS["Lightning"], names)
    trainer = lightning.pytorch.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(names["Module"](), torch.utils.data.DataLoader(names["batches"], batch_size=None))
    assert loss_of(names) < 0.95 * before


def test_the_recipe_of_transformers_trains(names: dict[str, Any], tmp_path: Path) -> None:
    import transformers

    before = loss_of(names)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, per_device_train_batch_size=16, report_to=[], use_cpu=True,
        save_strategy="no", logging_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    samples = [{"x": x, "labels": y} for xs, ys in names["batches"] for x, y in zip(xs, ys, strict=True)]
    names |= {
        "transformers": transformers,
        "model": Modelled(names["network"]),
        "arguments": arguments,
        "samples": samples,
    }
    exec(STARTS["Hugging Face's Trainer"], names)
    assert loss_of(names) < 0.8 * before


def test_every_call_of_the_first_lines_makes_an_optimizer(names: dict[str, Any]) -> None:
    (block,) = re.findall(r"```python\n(from suite.optim import SGD, build.*?)```", PAGE, re.DOTALL)
    for line in [line for line in block.splitlines() if "=" in line]:
        exec(line, names)
        made = names["optimizer"] if "optimizer" in names else build(SGD(lr=0.1), names["network"])
        held = [p for group in made.param_groups for p in group["params"]]
        assert isinstance(made, torch.optim.Optimizer) and len(held) == 4, line
    rates = {tuple(p.shape): group["lr"] for group in made.param_groups for p in group["params"]}
    assert rates[8, 3] == 0.03 and rates[1, 8] == 0.3


def test_groups_move_as_torchs_do(names: dict[str, Any]) -> None:
    ours, (x, y) = names["network"], names["batches"][0]
    theirs = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    theirs.load_state_dict(ours.state_dict())
    optimizers = []
    for network, make in ((ours, lambda g: build(Adam(lr=0.1), g)), (theirs, lambda g: torch.optim.Adam(g, lr=0.1))):
        first = {"params": network[0].weight, "lr": 0.01}
        optimizers.append(make([first, {"params": [network[0].bias]}, {"params": network[2].parameters()}]))
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5) for optimizer in optimizers]
    for _ in range(4):
        for network, optimizer, scheduler in zip((ours, theirs), optimizers, schedulers, strict=True):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(x), y).backward()
            optimizer.step()
            scheduler.step()
    for mine, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda n: build("adam", n), "lr"),
        (lambda n: build("adm", n, lr=0.1), "did you mean|adam"),
        (lambda n: build("sgd", n, lr=0.1, momentun=0.9), "momentum"),
        (lambda n: build(SGD(lr=0.1), n, momentum=0.9), "beside a config"),
        (lambda n: build("sgd", [{"params": n.parameters(), "betas": 1}], lr=0.1), "betas"),
        (lambda n: build("sgd", [{"parameters": n.parameters()}], lr=0.1), "mapping with params"),
        (lambda n: build("sgd", [{"params": n.parameters()}, n[0].weight], lr=0.1), "mapping with params"),
        (lambda n: build(SGD(lr=0.1), [{"params": n[0].parameters()}, {"params": n.parameters()}]), "0 and 2 are one"),
        (lambda n: build("muon", [{"params": n.parameters()}], lr=0.1, adam={"lr": 0.1}), "makes its own groups"),
        (lambda n: SGD.optimizer(n.parameters()), "lr"),
        (lambda n: build(DECAYED, [{"params": n.parameters()}]), "need the network"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        call(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)))


def test_an_error_about_names_says_which_weights_are_tied() -> None:
    network = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    network[1].weight = network[0].weight
    hybrid = {"name": "hybrid", "adam": {"on": ["1.*"], "lr": 0.1}, "sgd": {"lr": 0.1}}
    with pytest.raises(ConfigError, match="under their first name: 1.weight is 0.weight"):
        build(hybrid, network)
    assert [group.names for group in rule_groups(SGD(lr=0.1), network)] == [("0.weight",)]
