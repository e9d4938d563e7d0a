"""The rules against torch's own optimizers on a small GPT, against numpy, and against steps computed by hand."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from suite.optim import build, parse


class SmallGPT(nn.Module):
    """A decoder with one block: enough for every kind of parameter.

    Its keys have no bias: softmax does not see one, so that rounding alone would move it, by other amounts every time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(13, 16)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, bias=False, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 13, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], dtype=x.dtype)
        x = x + self.attention(self.norm(x), self.norm(x), self.norm(x), attn_mask=mask, need_weights=False)[0]
        return self.head(x + self.mlp(x))


def gpt() -> SmallGPT:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return SmallGPT().double()


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int, *, start: int = 0) -> Tensor:
    for step in range(start, start + steps):
        tokens = torch.randint(13, (4, 9), generator=torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(network(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (1 - step / 400)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in network.parameters()])


PAIRS: dict[str, tuple[dict[str, Any], Callable[[Any], torch.optim.Optimizer]]] = {
    "sgd": ({"name": "sgd", "lr": 0.3}, lambda p: torch.optim.SGD(p, 0.3)),
    "heavy ball": ({"name": "sgd", "lr": 0.1, "momentum": 0.9}, lambda p: torch.optim.SGD(p, 0.1, 0.9)),
    "damped": (
        {"name": "sgd", "lr": 0.5, "momentum": 0.9, "damped": True},
        lambda p: torch.optim.SGD(p, 0.5, 0.9, dampening=0.9),
    ),
    "nesterov": (
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
        lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True),
    ),
    "sgd coupled": (
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "decay": "coupled"},
        lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.01),
    ),
    "adam tied": (
        {"name": "adam", "lr": 3e-3, "beta": 0.95},
        lambda p: torch.optim.Adam(p, 3e-3, (0.95, 0.95)),
    ),
    "adam": (
        {"name": "adam", "lr": 3e-3, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6},
        lambda p: torch.optim.Adam(p, 3e-3, (0.8, 0.99), 1e-6),
    ),
    "adam coupled": (
        {"name": "adam", "lr": 3e-3, "weight_decay": 0.01, "decay": "coupled"},
        lambda p: torch.optim.Adam(p, 3e-3, weight_decay=0.01),
    ),
    "adamw": (
        {"name": "adamw", "lr": 3e-3, "weight_decay": 0.1},
        lambda p: torch.optim.AdamW(p, 3e-3, weight_decay=0.1),
    ),
    "rmsprop": (
        {"name": "rmsprop", "lr": 3e-3, "beta2": 0.95},
        lambda p: torch.optim.Adam(p, 3e-3, (0.0, 0.95)),
    ),
    "rmsprop uncorrected": (
        {"name": "rmsprop", "lr": 3e-3, "beta2": 0.95, "bias_correction": False},
        lambda p: torch.optim.RMSprop(p, 3e-3, 0.95),
    ),
}


@functools.cache
def torchs_weights(pair: str) -> Tensor:
    network = gpt()
    optimizer = PAIRS[pair][1](network.parameters())
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return train(network, optimizer, 200)


@pytest.mark.parametrize(
    ("pair", "implementation"),
    [*((pair, "rule") for pair in PAIRS), ("sgd coupled", "auto"), ("adamw", "auto"), ("rmsprop uncorrected", "auto")],
)
def test_rule_equals_torch_over_200_steps_with_a_resume(pair: str, implementation: Any) -> None:
    spec, _ = PAIRS[pair]
    expected = torchs_weights(pair)
    network = gpt()
    first = build(spec, network, implementation=implementation)
    train(network, first, 120)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = build(spec, network, implementation=implementation)
    second.load_state_dict(torch.load(file, weights_only=False))
    found = train(network, second, 80, start=120)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
def test_muon_equals_torch(scale: str) -> None:
    results = []
    for implementation in ("rule", "torch"):
        network = gpt()
        spec = {
            "name": "muon",
            "lr": 0.002,
            "scale": scale,
            "adam": {"lr": 1e-3},
            "weight_decay": 0.1,
            "decay": "decoupled",
        }
        optimizer = build(spec, network, implementation=implementation)
        results.append(train(network, optimizer, 200))
    reference = gpt()
    hidden = [p for n, p in reference.named_parameters() if p.ndim == 2 and "embedding" not in n and "head" not in n]
    rest = [p for p in reference.parameters() if not any(p is h for h in hidden)]
    muon = torch.optim.Muon(hidden, lr=0.002, weight_decay=0.1, adjust_lr_fn=scale)
    adam = torch.optim.Adam(rest, lr=1e-3)
    for step in range(200):
        tokens = torch.randint(13, (4, 9), generator=torch.Generator().manual_seed(step))
        reference.zero_grad()
        nn.functional.cross_entropy(reference(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
        for part, lr in ((muon, 0.002), (adam, 1e-3)):
            part.param_groups[0]["lr"] = lr * (1 - step / 400)
            part.step()
    expected = torch.cat([p.detach().flatten() for p in reference.parameters()])
    torch.testing.assert_close(results[1], expected, rtol=1e-10, atol=1e-11)
    # Both round to bfloat16 inside; an ulp there is 0.4% of a step.
    torch.testing.assert_close(results[0], expected, rtol=1e-3, atol=1e-3)


def test_adavar_is_adam_with_tied_betas() -> None:
    beta = 0.9
    adam = {"name": "adam", "lr": 1e-2, "beta": beta, "eps": 0.0, "bias_correction": False}
    adavar = {"name": "adavar", "lr": 1e-2, "beta": beta, "eps": 0.0}
    parameters = [nn.Parameter(torch.linspace(-1, 1, 50, dtype=torch.float64)) for _ in range(2)]
    optimizers = [build(s, [("x", p)]) for s, p in zip((adam, adavar), parameters, strict=True)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        grad = torch.randn(50, generator=generator, dtype=torch.float64)
        for p, optimizer in zip(parameters, optimizers, strict=True):
            p.grad = grad.clone()
            optimizer.step()
    torch.testing.assert_close(parameters[0], parameters[1], rtol=1e-6, atol=1e-6)


# Slow and obvious: one coordinate vector, plain formulas.


def numpy_reference(name: str, grads: list[np.ndarray], start: np.ndarray) -> np.ndarray:
    x = start.copy()
    m, v, s = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(grads, start=1):
        if name == "signsgd":
            x -= 0.1 * np.sign(g)
        elif name == "signum gradient":
            m = g if t == 1 else 0.9 * m + 0.1 * g
            x -= 0.1 * np.sign(m)
        elif name == "signum zero":
            m = 0.9 * m + 0.1 * g
            x -= 0.1 * np.sign(m)
        elif name == "ema_sign":
            m = np.sign(g) if t == 1 else 0.9 * m + 0.1 * np.sign(g)
            x -= 0.1 * m
        elif name == "nsgd":
            m = g if t == 1 else 0.9 * m + 0.1 * g
            x -= 0.1 * m / np.linalg.norm(m)
        elif name == "coordinate clip":
            m = g if t == 1 else 0.9 * m + 0.1 * g
            x -= 0.1 * np.clip(m, -0.3, 0.3)
        elif name == "quantile clip":
            m = 0.9 * m + g
            threshold = np.sort(np.abs(m))[math.ceil(0.8 * len(m)) - 1]
            x -= 0.1 * np.clip(m, -threshold, threshold)
        elif name == "adam gradient":
            m = g if t == 1 else 0.9 * m + 0.1 * g
            v = g**2 if t == 1 else 0.9 * v + 0.1 * g**2
            x -= 0.1 * m / (np.sqrt(v) + 1e-8)
        elif name == "adam gradient coupled":
            g = g + 0.05 * x
            m = g if t == 1 else 0.9 * m + 0.1 * g
            v = g**2 if t == 1 else 0.9 * v + 0.1 * g**2
            x -= 0.1 * m / (np.sqrt(v) + 1e-8)
        elif name == "adam uncorrected":
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
            x -= 0.1 * m / (np.sqrt(v) + 1e-8)
        elif name in ("adam uncorrected independent", "adavar tied"):
            m, v = 0.9 * m + 0.1 * g, 0.9 * v + 0.1 * g**2
            lr = 0.1 if name == "adavar tied" else 0.1 * (1 - t / 60)
            x -= lr * m / (np.sqrt(v) + 1e-8)
            x *= 1 if name == "adavar tied" else 1 - 0.05 * lr / 0.1
        elif name == "adavar":
            s = 0.8 * s + 0.2 * (m - g) ** 2
            m = 0.9 * m + 0.1 * g
            x -= 0.1 * m / (np.sqrt(m**2 + 0.7 * s) + 1e-8)
        elif name == "sgd#adam":
            m = 0.9 * m + 0.1 * g
            v = 0.9 * v + 0.1 * g**2
            s = 0.5 * s + g
            d = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
            x -= 0.1 * np.linalg.norm(s) * d / np.linalg.norm(d)
        elif name.endswith("independent"):
            m = 0.9 * m + 0.1 * g
            v = 0.9 * v + 0.1 * g**2
            lr = 0.1 * (1 - t / 60)
            x -= lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
            x *= 1 - 0.05 * lr / 0.1
        elif name == "sgd decoupled":
            m = 0.9 * m + g
            x = x * (1 - 0.1 * 0.05) - 0.1 * m
        elif name == "signum coupled":
            g = g + 0.05 * x
            m = g if t == 1 else 0.9 * m + 0.1 * g
            x -= 0.1 * np.sign(m)
        else:
            raise AssertionError(name)
    return x


REFERENCES: dict[str, dict[str, Any]] = {
    "signsgd": {"name": "signsgd"},
    "signum gradient": {"name": "signum"},
    "signum zero": {"name": "signum", "initialization": "zero"},
    "ema_sign": {"name": "ema_sign"},
    "nsgd": {"name": "nsgd", "momentum": 0.9},
    "coordinate clip": {"name": "sgd_coordinate_clip", "momentum": 0.9, "max_coordinate": 0.3},
    "quantile clip": {"name": "sgd_quantile_clip", "momentum": 0.9, "share": 0.2},
    "adam gradient": {"name": "adam", "beta": 0.9, "bias_correction": False, "initialization": "gradient"},
    "adam gradient coupled": {
        "name": "adam",
        "beta": 0.9,
        "bias_correction": False,
        "initialization": "gradient",
        "weight_decay": 0.05,
        "decay": "coupled",
    },
    "adam uncorrected": {"name": "adam", "beta1": 0.9, "beta2": 0.99, "bias_correction": False},
    "adam uncorrected independent": {
        "name": "adam",
        "beta": 0.9,
        "bias_correction": False,
        "weight_decay": 0.05,
        "decay": "independent",
    },
    "adavar": {"name": "adavar", "beta": 0.9, "gamma": 0.7, "tau": 0.8},
    "adavar tied": {"name": "adavar", "beta": 0.9},
    "sgd#adam": {
        "name": "grafted",
        "magnitude": {"name": "sgd", "momentum": 0.5},
        "direction": {"name": "adam", "beta": 0.9},
    },
    "adam independent": {"name": "adam", "beta": 0.9, "weight_decay": 0.05, "decay": "independent"},
    "sgd decoupled": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.05, "decay": "decoupled"},
    "signum coupled": {"name": "signum", "weight_decay": 0.05, "decay": "coupled"},
}


@pytest.mark.parametrize("implementation", ["auto", "rule"])
@pytest.mark.parametrize("name", REFERENCES)
def test_rule_equals_a_slow_numpy_reference(name: str, implementation: Any) -> None:
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=41), [rng.normal(size=41) for _ in range(50)]
    # Two parameters, so that statistics run over more than one.
    parts = [nn.Parameter(torch.tensor(start[:14]).view(2, 7)), nn.Parameter(torch.tensor(start[14:]))]
    optimizer = build(
        {**REFERENCES[name], "lr": 0.1}, [("a", parts[0]), ("b", parts[1])], implementation=implementation
    )
    for t, grad in enumerate(grads, start=1):
        parts[0].grad, parts[1].grad = torch.tensor(grad[:14]).view(2, 7), torch.tensor(grad[14:])
        if name.endswith("independent"):
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - t / 60)
        optimizer.step()
    found = np.concatenate([p.detach().numpy().ravel() for p in parts])
    np.testing.assert_allclose(found, numpy_reference(name, grads, start), rtol=1e-10, atol=1e-12)


def first_step(spec: dict[str, Any], grad: list[float]) -> list[float]:
    parameter = nn.Parameter(torch.zeros(len(grad), dtype=torch.float64))
    parameter.grad = torch.tensor(grad, dtype=torch.float64)
    build(spec, [("x", parameter)]).step()
    return parameter.tolist()


def test_first_steps_by_hand() -> None:
    grad = [3.0, -4.0, 0.0, 0.5]
    assert first_step({"name": "sgd", "lr": 0.1, "momentum": 0.9}, grad) == pytest.approx([-0.3, 0.4, 0, -0.05])
    assert first_step({"name": "adam", "lr": 0.1, "beta": 0.9}, grad) == pytest.approx([-0.1, 0.1, 0, -0.1])
    assert first_step({"name": "signum", "lr": 0.1}, grad) == pytest.approx([-0.1, 0.1, 0, -0.1])
    assert first_step({"name": "nsgd", "lr": 0.1}, [3.0, -4.0]) == pytest.approx([-0.06, 0.08])
    clip = {"name": "sgd_coordinate_clip", "lr": 0.1, "max_coordinate": 1.0}
    assert first_step(clip, grad) == pytest.approx([-0.1, 0.1, 0, -0.05])
    quantile = {"name": "sgd_quantile_clip", "lr": 0.1, "share": 0.25}
    assert first_step(quantile, grad) == pytest.approx([-0.3, 0.3, 0, -0.05])
    # Without bias correction m = 0.1 g and v = 0.1 g^2.
    plain = {"name": "adam", "lr": 0.1, "beta": 0.9, "bias_correction": False}
    size = 0.1 * 0.1 / math.sqrt(0.1)
    assert first_step(plain, grad) == pytest.approx([-size, size, 0, -size], rel=1e-6)
    sgd_adam = {"name": "grafted", "lr": 0.1, "magnitude": {"name": "sgd"}, "direction": {"name": "signsgd"}}
    length = math.sqrt(9 + 16 + 0.25) / math.sqrt(3)
    assert first_step(sgd_adam, grad) == pytest.approx([-0.1 * length, 0.1 * length, 0, -0.1 * length])


def test_sampled_quantile_is_close_to_the_exact_one_and_equal_in_pieces_and_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [nn.Parameter(torch.zeros(1500, 1000)), nn.Parameter(torch.zeros(700_000))]
    for p in parts:
        p.grad = torch.randn(p.shape, generator=generator)
    spec = {"name": "sgd_quantile_clip", "lr": 1.0, "share": 0.1, "exact_below": 1000}
    optimizer = build(spec, [("a", parts[0]), ("b", parts[1])])
    optimizer.step()
    found = torch.cat([p.detach().flatten() for p in parts])
    assert found.abs().max().item() == pytest.approx(1.6449, abs=0.01)
    config = parse(spec)
    whole = torch.cat([p.grad.flatten() for p in parts if p.grad is not None])
    zeros = torch.zeros_like(whole)
    delta, _ = config.update(whole, zeros, config.init_state(zeros), config.hyperparameters(), 1)
    assert torch.equal(delta, found)
    shares = optimizer.report()["clipped_share"]  # type: ignore[attr-defined]
    assert set(shares) == {"a", "b"}
    assert shares["a"].item() == pytest.approx(0.1, abs=0.002)


def test_quantile_clip_reports_the_clipped_share_of_every_layer() -> None:
    parts = {"small": nn.Parameter(torch.zeros(80)), "large": nn.Parameter(torch.zeros(20))}
    parts["small"].grad, parts["large"].grad = torch.full((80,), 0.1), torch.arange(1.0, 21.0)
    optimizer = build({"name": "sgd_quantile_clip", "lr": 1.0, "share": 0.05}, parts.items())
    optimizer.step()
    optimizer.zero_grad()
    shares = optimizer.report()["clipped_share"]  # type: ignore[attr-defined]
    assert shares["small"].item() == 0.0
    assert shares["large"].item() == pytest.approx(5 / 20)


def test_a_parameter_in_another_memory_layout_moves_as_any() -> None:
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        p = nn.Parameter(torch.arange(120.0).view(2, 3, 4, 5).to(memory_format=layout))
        optimizer = build({"name": "adam", "lr": 0.1}, [("p", p)], implementation="rule")
        for step in range(3):
            p.grad = torch.sin(torch.arange(120.0) * (step + 1)).view(2, 3, 4, 5)
            optimizer.step()
        results.append(p.detach().contiguous())
    assert torch.equal(*results)
