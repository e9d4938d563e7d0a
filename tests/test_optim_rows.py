"""Torch's kernels on the rows of packs, against the pure rules and against single runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.optim import build, parse
from suite.optim.schedule import Rate
from suite.packs.runs_optimizer import Layout, RunsOptimizer, shared_groups
from suite.packs.runs_step import RunsStep
from suite.packs.torch_rows import SHORTEST, TorchRows

RULES: dict[str, list[dict[str, Any]]] = {
    "sgd": [{"name": "sgd", "lr": lr, "momentum": m} for lr, m in [(0.1, 0.0), (0.3, 0.9), (0.05, 0.5)]],
    "damped": [{"name": "sgd", "lr": lr, "momentum": 0.9, "damped": True} for lr in (0.1, 0.2, 0.3)],
    "coupled": [
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": w, "decay": "coupled"} for w in (0.1, 0.2, 0.3)
    ],
    "adam": [{"name": "adam", "lr": lr, "beta": b} for lr, b in [(0.01, 0.5), (0.02, 0.9), (0.03, 0.99)]],
    "adamw": [{"name": "adamw", "lr": lr, "beta2": 0.95, "weight_decay": lr} for lr in (0.01, 0.02, 0.03)],
    "independent": [
        {"name": "adam", "lr": lr, "weight_decay": 0.01, "decay": "independent"} for lr in (0.01, 0.02, 0.03)
    ],
    "uncorrected": [{"name": "adam", "lr": lr, "beta": 0.9, "bias_correction": False} for lr in (0.01, 0.02, 0.03)],
    "gradient": [
        {"name": "adam", "lr": lr, "beta": 0.9, "bias_correction": False, "initialization": "gradient"}
        for lr in (0.01, 0.02, 0.03)
    ],
}


def gradients(steps: int, runs: int, size: int) -> Tensor:
    """One gradient per step, ``[steps, R, P]``."""
    return torch.randn(steps, runs, size, generator=torch.Generator().manual_seed(1))


def network(width: int) -> nn.Module:
    """Weights that decay and a bias that may not."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(width, width)


def pack(configs: list[dict[str, Any]], module: nn.Module) -> tuple[nn.Parameter, RunsOptimizer]:
    """Runs that start at one network."""
    groups = shared_groups([parse(config) for config in configs], module)
    layout = Layout.of(module, [name for same in groups for name in same[0].names])
    parameters = dict(module.named_parameters())
    row = torch.cat([parameters[name].detach().flatten() for name in layout.shapes])
    flat = nn.Parameter(row.repeat(len(configs), 1))
    return flat, RunsOptimizer(flat, layout, groups)


def take(optimizer: RunsOptimizer, flat: nn.Parameter, grad: Tensor, **options: Any) -> None:
    """One step."""
    count, (buffers, numbers) = optimizer.steps_done + 1, (optimizer.buffers, optimizer.numbers)
    optimizer.move(RunsStep(flat.detach(), grad.clone(), buffers, numbers, count, **options))
    optimizer.step()


@pytest.mark.parametrize("name", RULES)
def test_every_row_moves_as_its_run_alone(name: str) -> None:
    """Long rows take torch's kernels, and end where `build`'s optimizer takes each run, up to rounding."""
    module = network(160)
    flat, optimizer = pack(RULES[name], module)
    assert flat.shape[1] > SHORTEST and all(rows is not None for rows in optimizer._torch)
    grads = gradients(6, *flat.shape)
    for step, grad in enumerate(grads):
        take(optimizer, flat, grad, rate=Rate(1 - step / 8, 1e-4 * step))
    for number, config in enumerate(RULES[name]):
        single = network(160)
        alone = build(config, single)
        for step, grad in enumerate(grads):
            for view_name, view in optimizer.layout.views(grad).items():
                single.get_parameter(view_name).grad = view[number].clone()
            for group in alone.param_groups:
                group["lr"] = Rate(1 - step / 8, 1e-4 * step).of(group["initial_lr"])
            alone.step()
        for view_name, view in optimizer.layout.views(flat.detach()).items():
            torch.testing.assert_close(view[number], single.get_parameter(view_name).detach(), rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("name", ["sgd", "adam", "independent", "gradient"])
def test_dead_rows_rest_and_the_rest_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch's kernels do with dead and with forgotten runs is what the rule does."""
    ends = []
    for shortest in (0, 1 << 30):
        monkeypatch.setattr("suite.packs.runs_optimizer.SHORTEST", shortest)
        flat, optimizer = pack(RULES[name], network(12))
        alive = torch.ones(3, 1, dtype=torch.bool)
        for step, grad in enumerate(gradients(7, *flat.shape)):
            if step == 3:
                alive[0] = False
            if step == 5:
                rows = torch.tensor([1, 2])
                flat.data, alive = flat.data[rows], alive[rows]
                optimizer.keep(rows)
            take(optimizer, flat, grad[-len(flat) :], alive=alive)
        ends.append(flat.detach())
    torch.testing.assert_close(*ends, rtol=2e-6, atol=2e-7)
    assert len(ends[0]) == 2


@pytest.mark.parametrize(("width", "taken"), [(12, 0), (160, 3)])
def test_long_rows_alone_take_the_kernel(width: int, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second step on, and never for a rule that torch has no kernel for."""
    calls = []
    monkeypatch.setattr(TorchRows, "move", lambda self, *args: calls.append(args))
    for config in ({"name": "adam", "lr": 0.1, "beta": 0.9}, {"name": "signum", "lr": 0.1, "momentum": 0.9}):
        flat, optimizer = pack([config] * 2, network(width))
        for grad in gradients(4, *flat.shape):
            take(optimizer, flat, grad)
    assert len(calls) == taken
