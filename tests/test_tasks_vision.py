"""Image classification as a task: the loss of mixed images, the metrics, seeds, and packs of every network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_images import RandomImages
from small_runs import make_trainer, run_task, run_tasks
from torch import nn
from torch.nn import functional as F

from suite.records import Store
from suite.training import Task
from tasks.imagenet1k_lt.simple_vit import ImageNet1kLTSimpleViT
from tasks.imagenet1k_lt.vit import ImageNet1kLTViT
from tasks.imagenet21k.resnet20 import ImageNet21kResNet20
from tasks.imagenet21k.transition import ImageNet21kTransition
from tasks.imagenet21k.vit import ImageNet21kViT
from tasks.kinds.images.batch import ImageBatch
from tasks.kinds.images.classification import Classification

PATCHES = {"num_layers": 2, "num_heads": 2, "width": 16, "patch_size": 8}
STAGES = {"depths": (1, 1), "width": 4, "stem": "conv3"}


def timm_task(name: str, **settings: Any) -> Task:
    pytest.importorskip("timm")
    from tasks.imagenet21k.convnext_tiny import ImageNet21kConvNeXtTiny
    from tasks.imagenet21k.resnet50 import ImageNet21kResNet50

    cls = {"resnet50": ImageNet21kResNet50, "convnext_tiny": ImageNet21kConvNeXtTiny}[name]
    return cls(depths=(1, 1, 1, 1), width=8, **settings)


TASKS: dict[str, Callable[..., Task]] = {
    "vit": lambda **recipe: ImageNet21kViT(**PATCHES, **recipe),
    "vit sinusoidal": lambda **recipe: ImageNet1kLTViT(positions="sinusoidal", **PATCHES, **recipe),
    "simple_vit": lambda **recipe: ImageNet1kLTSimpleViT(**PATCHES, **recipe),
    "resnet20": lambda **recipe: ImageNet21kResNet20(blocks_per_stage=1, width=4, **recipe),
    "transition": lambda **recipe: ImageNet21kTransition(**STAGES, **recipe),
    "transition, all changes": lambda **recipe: ImageNet21kTransition(
        layernorm=True, gelu=True, depthwise=True, **STAGES, **recipe
    ),
    "resnet50": lambda **recipe: timm_task("resnet50", **recipe),
    "convnext_tiny": lambda **recipe: timm_task("convnext_tiny", **recipe),
}
SPECS = {
    "sgd": [{"name": "sgd", "lr": lr, "momentum": 0.9} for lr in (0.01, 0.03, 0.1)],
    "adam": [{"name": "adam", "lr": lr, "beta": 0.9} for lr in (3e-4, 1e-3, 3e-3)],
}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_every_network_is_a_function_of_the_seed(make: Callable[..., Task]) -> None:
    facts = {"classes": 7, "image_size": 32, "channels": 3}
    task = make(optimizer=SPECS["sgd"][0])
    first, again, other = (list(task.seeded_network(seed, facts).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


QUICK = {("vit", "adam"), ("resnet20", "sgd"), ("simple_vit", "sgd"), ("resnet20", "adam")}


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow)
        for pair in [*((n, "sgd") for n in TASKS), *((n, "adam") for n in ("vit", "resnet20", "convnext_tiny"))]
    ],
)
def test_every_image_run_of_a_pack_is_its_single_twin(tmp_path: Path, name: str, optimizer: str) -> None:
    make = TASKS[name]
    specs, together, alone = SPECS[optimizer], Store(tmp_path / "pack"), Store(tmp_path / "single")
    # ResNet-50 shrinks an image 32 times: below 64 pixels BatchNorm would divide by the spread of a handful of values
    # and magnify rounding a thousandfold.
    sizes = {"image_size": 64} if name == "resnet50" else {"image_size": 32, "micro_batch": 4}

    def data() -> RandomImages:
        return RandomImages(batch_size=8, budget_steps=10, eval_every_steps=4, **sizes)

    def options(spec: dict[str, Any]) -> dict[str, Any]:
        return {
            "seed_everything": 42,
            "model": {"init_args": {"optimizer": spec}},
            "data": {"init_args": {"batch_size": 8, "budget_steps": 10}},
            "trainer": {"precision": None},
        }

    tasks = [make(optimizer=spec) for spec in specs]
    outcomes = run_tasks(tasks, data(), make_trainer(), configs=[options(spec) for spec in specs], store=together)
    for spec, outcome in zip(specs, outcomes, strict=True):
        task = make(optimizer=spec)
        twin = run_task(task, data(), make_trainer(), config=options(spec), store=alone).record
        got = outcome.record
        assert got["run_id"] == twin["run_id"] and got["status"] == "finished"
        ours, theirs = together.curves(got["run_id"]), alone.curves(twin["run_id"])
        for column in ("train_loss", "grad_norm"):
            np.testing.assert_allclose(ours[column].to_numpy(), theirs[column].to_numpy(), rtol=1e-4)
        assert set(got["metrics"]) == set(twin["metrics"]) >= {"val/loss", "val/top1", "val/top5"}
        # Evaluation reads BatchNorm's running statistics, so each run's are its own.
        assert got["final"]["val"] == pytest.approx(twin["final"]["val"], rel=1e-4)


def test_loss_of_mixed_images_is_cross_entropy_with_the_mixed_label() -> None:
    torch.manual_seed(0)
    task = ImageNet21kResNet20()
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 1, 1])
    partners, share = torch.tensor([1, 2, 3, 4, 5, 0]), torch.tensor(0.7)
    one_hot = F.one_hot(labels, 4).float()
    mixed = share * one_hot + (1 - share) * one_hot[partners]
    expected = -(mixed * torch.log_softmax(logits, 1)).sum()
    total, count = task.loss(logits, ImageBatch(torch.empty(6, 3, 1, 1), labels, partners, share))
    torch.testing.assert_close(total, expected)
    assert count == 6
    total, _ = task.loss(logits, ImageBatch(torch.empty(6, 3, 1, 1), labels))
    torch.testing.assert_close(total, F.cross_entropy(logits, labels, reduction="sum"))


@pytest.mark.parametrize(("classes", "names"), [(12, {"top1", "top5"}), (5, {"top1"}), (3, {"top1"})])
def test_metrics_are_shares_of_images_among_the_most_likely_classes(classes: int, names: set[str]) -> None:
    torch.manual_seed(0)
    task: Classification = ImageNet21kResNet20()
    metrics = task.metrics({"classes": classes})
    assert set(metrics) == names
    logits, labels = torch.randn(50, classes), torch.randint(0, classes, (50,))
    for part in (slice(0, 30), slice(30, 50)):
        batch = ImageBatch(torch.empty(0), labels[part])
        task.measure({"loss": nn.Identity(), **metrics}, logits[part], batch, torch.zeros(()), len(labels[part]))
    ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
    for name, metric in metrics.items():
        assert metric.compute().item() == pytest.approx((ranks < int(name[3:])).float().mean().item())
