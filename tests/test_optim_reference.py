"""The rules against their formulas in numpy, and against steps computed by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from suite.optim import build, parse
from suite.optim.broadcast import LaterStep, elapsed, rounded

# Slow and obvious: one coordinate vector, plain formulas. x weights, g gradient, t step from 1, s averages so far.

State = defaultdict[str, Any]
Formula = Callable[[np.ndarray, np.ndarray, int, State], np.ndarray]


def average(s: State, name: str, value: np.ndarray, t: int, *, zero: bool = False) -> np.ndarray:
    """Exponential average with decay 0.9, from the first value or from zero."""
    s[name] = value if t == 1 and not zero else 0.9 * s[name] + 0.1 * value
    return s[name]


def signsgd(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    return x - 0.1 * np.sign(g)


def signum(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    return x - 0.1 * np.sign(average(s, "m", g, t))


def signum_from_zero(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    return x - 0.1 * np.sign(average(s, "m", g, t, zero=True))


def signum_coupled(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    return signum(x, g + 0.05 * x, t, s)


def ema_sign(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    return x - 0.1 * average(s, "m", np.sign(g), t)


def nsgd(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    m = average(s, "m", g, t)
    return x - 0.1 * m / np.linalg.norm(m)


def sgd_decoupled(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    s["m"] = 0.9 * s["m"] + g
    return x * (1 - 0.1 * 0.05) - 0.1 * s["m"]


def coordinate_clip(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    return x - 0.1 * np.clip(average(s, "m", g, t), -0.3, 0.3)


def quantile_clip(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    m = s["m"] = 0.9 * s["m"] + g
    threshold = np.sort(np.abs(m))[math.ceil(0.8 * len(m)) - 1]
    return x - 0.1 * np.clip(m, -threshold, threshold)


def adam_from_gradient(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    return x - 0.1 * average(s, "m", g, t) / (np.sqrt(average(s, "v", g**2, t)) + 1e-8)


def adam_from_gradient_coupled(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    return adam_from_gradient(x, g + 0.05 * x, t, s)


def adam_uncorrected(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    m = average(s, "m", g, t, zero=True)
    s["v"] = 0.99 * s["v"] + 0.01 * g**2
    return x - 0.1 * m / (np.sqrt(s["v"]) + 1e-8)


def adam_uncorrected_independent(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    lr = 0.1 * (1 - t / 60)
    m, v = average(s, "m", g, t, zero=True), average(s, "v", g**2, t, zero=True)
    return (x - lr * m / (np.sqrt(v) + 1e-8)) * (1 - 0.05 * lr / 0.1)


def adam_direction(g: np.ndarray, t: int, s: State) -> np.ndarray:
    m, v = average(s, "m", g, t, zero=True), average(s, "v", g**2, t, zero=True)
    return (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)


def adam_independent(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    lr = 0.1 * (1 - t / 60)
    return (x - lr * adam_direction(g, t, s)) * (1 - 0.05 * lr / 0.1)


def adavar(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    s["s"] = 0.8 * s["s"] + 0.2 * (s["m"] - g) ** 2
    m = average(s, "m", g, t, zero=True)
    return x - 0.1 * m / (np.sqrt(m**2 + 0.7 * s["s"]) + 1e-8)


def adavar_tied(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    m, v = average(s, "m", g, t, zero=True), average(s, "v", g**2, t, zero=True)
    return x - 0.1 * m / (np.sqrt(v) + 1e-8)


def sgd_grafted_on_adam(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    s["s"] = 0.5 * s["s"] + g
    d = adam_direction(g, t, s)
    return x - 0.1 * np.linalg.norm(s["s"]) * d / np.linalg.norm(d)


def half_life(beta: float) -> float:
    return math.log(0.5) / math.log(beta + 1e-8)


def ademamix(x: np.ndarray, g: np.ndarray, t: int, s: State, *, warmup: int = 0) -> np.ndarray:
    alpha, slow = 5.0, 0.99
    if t < warmup:
        alpha *= t / warmup
        slow = 0.5 ** (1 / ((1 - t / warmup) * half_life(0.9) + t / warmup * half_life(0.99)))
    m = average(s, "m", g, t, zero=True)
    s["s"] = slow * s["s"] + (1 - slow) * g
    s["v"] = 0.98 * s["v"] + 0.02 * g**2
    return x - 0.1 * (m / (1 - 0.9**t) + alpha * s["s"]) / (np.sqrt(s["v"] / (1 - 0.98**t)) + 1e-8)


def ademamix_warmed(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    return ademamix(x, g, t, s, warmup=30)


def ademamix_decoupled(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    return ademamix(x, g, t, s) - 0.1 * 0.05 * x


def adopt(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    if t == 1:
        s["v"] = g**2
        return x
    normed = np.clip(g / np.maximum(np.sqrt(s["v"]), 1e-6), -((t - 1) ** 0.25), (t - 1) ** 0.25)
    s["m"] = 0.9 * s["m"] + 0.1 * normed
    s["v"] = 0.99 * s["v"] + 0.01 * g**2
    return x - 0.1 * s["m"]


def mars_adam(x: np.ndarray, c: np.ndarray, t: int, s: State, name: str, betas: tuple[float, float]) -> np.ndarray:
    s["m" + name] = betas[0] * s["m" + name] + (1 - betas[0]) * c
    s["v" + name] = betas[1] * s["v" + name] + (1 - betas[1]) * c**2
    root = np.sqrt(s["v" + name] / (1 - betas[1] ** t)) + 1e-8
    return x - 0.1 * s["m" + name] / (1 - betas[0] ** t) / root


def mars(x: np.ndarray, g: np.ndarray, t: int, s: State, *, vectors: bool = False) -> np.ndarray:
    c = g + 0.025 * (0.95 / (1 - 0.95)) * (g - s["g"])
    s["g"] = g
    parts = [part / max(1.0, np.linalg.norm(part)) for part in (c[:14], c[14:])]
    first = mars_adam(x[:14], parts[0], t, s, "1", (0.95, 0.99))
    # The second parameter has one dimension.
    second = mars_adam(x[14:], parts[1] if vectors else g[14:], t, s, "2", (0.95, 0.99) if vectors else (0.9, 0.95))
    return np.concatenate([first, second])


def mars_throughout(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    return mars(x, g, t, s, vectors=True)


def sophia_ef(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    m = s["m"] = 0.965 * s["m"] + 0.035 * g
    moved = x - 0.1 * np.sign(m) * np.minimum(np.abs(m) / (0.5 * s["h"] + 1e-15), 1)
    if t % 3 == 1:
        s["h"] = 0.9 * s["h"] + 0.1 * g**2
    return moved


def prodigy(x: np.ndarray, g: np.ndarray, t: int, s: State) -> np.ndarray:
    """The released definition with its advice for warm-ups: the rate is in no denominator."""
    d, lr, beta3 = (s["d"] or 0.01), 1.0, math.sqrt(0.999)
    s["x0"] = x if t == 1 else s["x0"]
    s["num"] = beta3 * s["num"] + d / 0.01 * d * lr * (g @ (s["x0"] - x))
    s["s"] = beta3 * s["s"] + d / 0.01 * d * g
    s["m"] = 0.9 * s["m"] + d * 0.1 * g
    s["v"] = 0.999 * s["v"] + d**2 * 0.001 * g**2
    s["d"] = d_new = max(d, s["num"] / np.abs(s["s"]).sum())
    return x - d * lr * s["m"] / (np.sqrt(s["v"]) + d_new * 1e-8)


ADAM = {"name": "adam", "beta": 0.9}
UNCORRECTED = {**ADAM, "bias_correction": False}
DECAY = {"weight_decay": 0.05}

REFERENCES: dict[str, tuple[dict[str, Any], Formula]] = {
    "signsgd": ({"name": "signsgd"}, signsgd),
    "signum gradient": ({"name": "signum"}, signum),
    "signum zero": ({"name": "signum", "initialization": "zero"}, signum_from_zero),
    "signum coupled": ({"name": "signum", **DECAY, "decay": "coupled"}, signum_coupled),
    "ema_sign": ({"name": "ema_sign"}, ema_sign),
    "nsgd": ({"name": "nsgd", "momentum": 0.9}, nsgd),
    "sgd decoupled": ({"name": "sgd", "momentum": 0.9, **DECAY, "decay": "decoupled"}, sgd_decoupled),
    "coordinate clip": ({"name": "sgd_coordinate_clip", "momentum": 0.9, "max_coordinate": 0.3}, coordinate_clip),
    "quantile clip": ({"name": "sgd_quantile_clip", "momentum": 0.9, "share": 0.2}, quantile_clip),
    "adam gradient": ({**UNCORRECTED, "initialization": "gradient"}, adam_from_gradient),
    "adam gradient coupled": (
        {**UNCORRECTED, "initialization": "gradient", **DECAY, "decay": "coupled"},
        adam_from_gradient_coupled,
    ),
    "adam uncorrected": (
        {"name": "adam", "beta1": 0.9, "beta2": 0.99, "bias_correction": False},
        adam_uncorrected,
    ),
    "adam uncorrected independent": (
        {**UNCORRECTED, **DECAY, "decay": "independent"},
        adam_uncorrected_independent,
    ),
    "adam independent": ({**ADAM, **DECAY, "decay": "independent"}, adam_independent),
    "ademamix": ({"name": "ademamix", "beta2": 0.98, "beta3": 0.99, "alpha": 5.0}, ademamix),
    "ademamix warmed": (
        {"name": "ademamix", "beta2": 0.98, "beta3": 0.99, "alpha": 5.0, "warmup_steps": 30},
        ademamix_warmed,
    ),
    "ademamix decoupled": (
        {"name": "ademamix", "beta2": 0.98, "beta3": 0.99, "alpha": 5.0, **DECAY, "decay": "decoupled"},
        ademamix_decoupled,
    ),
    "adopt": ({"name": "adopt", "beta2": 0.99}, adopt),
    "mars": ({"name": "mars"}, mars),
    "mars throughout": ({"name": "mars", "vectors": "mars"}, mars_throughout),
    "sophia_ef": ({"name": "sophia_ef", "beta2": 0.9, "rho": 0.5, "every": 3}, sophia_ef),
    "adavar": ({"name": "adavar", "beta": 0.9, "gamma": 0.7, "tau": 0.8}, adavar),
    "adavar tied": ({"name": "adavar", "beta": 0.9}, adavar_tied),
    "sgd#adam": (
        {"name": "grafted", "magnitude": {"name": "sgd", "momentum": 0.5}, "direction": ADAM},
        sgd_grafted_on_adam,
    ),
}


@pytest.mark.parametrize("implementation", ["auto", "rule"])
@pytest.mark.parametrize("name", REFERENCES)
def test_rule_equals_its_formula(name: str, implementation: Any) -> None:
    spec, formula = REFERENCES[name]
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=41), [rng.normal(size=41) for _ in range(50)]
    # Two parameters, so that statistics run over more than one.
    parts = [nn.Parameter(torch.tensor(start[:14]).view(2, 7)), nn.Parameter(torch.tensor(start[14:]))]
    optimizer = build({**spec, "lr": 0.1}, [("a", parts[0]), ("b", parts[1])], implementation=implementation)
    expected, state = start, State(float)
    for t, grad in enumerate(grads, start=1):
        expected = formula(expected, grad, t, state)
        parts[0].grad, parts[1].grad = torch.tensor(grad[:14]).view(2, 7), torch.tensor(grad[14:])
        if name.endswith("independent"):
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - t / 60)
        optimizer.step()
    found = np.concatenate([p.detach().numpy().ravel() for p in parts])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


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


def test_adafactor_with_a_decay_of_its_own_keeps_averages_of_rows_and_columns() -> None:
    rng = np.random.default_rng(0)
    start = {"matrix": rng.normal(size=(3, 5)), "vector": 1e-4 * rng.normal(size=4), "narrow": rng.normal(size=(7, 2))}
    parameters = {name: nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    spec = {"name": "adafactor_beta2", "lr": 0.1, "beta2": 0.9, "smallest_factored": 3}
    optimizer = build(spec, parameters.items())
    rows, columns, whole = np.zeros((3, 1)), np.zeros((1, 5)), {"vector": np.zeros(4), "narrow": np.zeros((7, 2))}
    for t in range(20):
        scale = 1 + 5 * (t == 10)  # a jump that is clipped
        grads = {name: scale * rng.normal(size=value.shape) for name, value in start.items()}
        for name, grad in grads.items():
            parameters[name].grad = torch.tensor(grad)
            if name == "matrix":
                rows = 0.9 * rows + 0.1 * (grad**2).mean(axis=1, keepdims=True)
                columns = 0.9 * columns + 0.1 * (grad**2).mean(axis=0, keepdims=True)
                moment = rows * columns / rows.mean()
            else:
                moment = whole[name] = 0.9 * whole[name] + 0.1 * grad**2
            step = grad / np.sqrt(moment)
            step /= max(1.0, np.sqrt((step**2).mean()))
            start[name] = start[name] - 0.1 * max(1e-3, np.sqrt((start[name] ** 2).mean())) * step
        optimizer.step()
    for name, value in start.items():
        np.testing.assert_allclose(parameters[name].detach().numpy(), value, rtol=1e-10)


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


def test_prodigy_is_the_released_definition() -> None:
    pytest.importorskip("pytorch_optimizer")
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=12), rng.normal(size=12)
    parameter, state = nn.Parameter(torch.tensor(x)), State(float)
    optimizer = build({"name": "prodigy", "lr": 1.0, "d0": 0.01}, [("x", parameter)])
    for t in range(1, 40):
        noise = rng.normal(size=12)
        x = prodigy(x, 0.3 * (x - target) + 0.1 * noise, t, state)
        grad = 0.3 * (parameter.detach().numpy() - target) + 0.1 * noise
        parameter.grad = torch.tensor(grad)
        optimizer.step()
    assert state["d"] > 0.05  # it has found that the steps may be longer
    # The library keeps its sums over coordinates in single precision.
    np.testing.assert_allclose(parameter.detach().numpy(), x, rtol=1e-4, atol=2e-6)


def test_a_traced_step_is_the_step() -> None:
    generator = torch.Generator().manual_seed(0)
    grad, param = (torch.randn(7, generator=generator, dtype=torch.float64) for _ in range(2))
    settings = ({"name": "adopt"}, {"name": "ademamix", "warmup_steps": 6}, {"name": "sophia_ef", "every": 3})
    for spec in settings:
        config = parse({**spec, "lr": 0.1})
        state = {name: torch.rand(7, generator=generator, dtype=torch.float64) for name in config.buffers}
        hyper = {name: torch.tensor(value, dtype=torch.float64) for name, value in config.hyperparameters().items()}
        for number in range(2, 10):
            traced = LaterStep(torch.tensor(float(number), dtype=torch.float64))
            plain = config.update(grad, param, state, config.hyperparameters(), number)
            traced_step = config.update(grad, param, state, hyper, traced)  # type: ignore[arg-type]
            torch.testing.assert_close(plain, traced_step, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("view", [lambda t: t.view(20, 12).t(), lambda t: t.view(2, 3, 4, 10)[..., ::2]])
def test_a_parameter_that_is_a_view_moves_as_any_and_nothing_beside_it(name: str, view: Any) -> None:
    memory, gradient = torch.arange(240.0), torch.sin(torch.arange(240.0))
    results = []
    for start in (view(memory), view(memory).contiguous()):
        p = nn.Parameter(start)
        p.grad = view(gradient) if start.data_ptr() == memory.data_ptr() else view(gradient).contiguous()
        build({"name": name, "lr": 0.1}, [("p", p)], implementation="rule").step()
        results.append(p.detach().contiguous())
        view(memory).copy_(view(torch.arange(240.0)))
    assert torch.equal(*results) and torch.equal(memory, torch.arange(240.0))


def test_a_factor_is_settled_in_a_trace_alone() -> None:
    number, like = torch.tensor(0.5), torch.ones(3)
    assert rounded(number, like) is number and rounded(0.5, like) == 0.5
    assert rounded(number.double(), like).dtype == torch.float32  # type: ignore[union-attr]
    traced = make_fx(lambda number, like: rounded(number, like) * like)(number, like)
    assert [node.name for node in traced.graph.nodes if "settled" in str(node.target)]


def test_a_later_step_compares_with_the_first_alone() -> None:
    later = LaterStep(torch.tensor(3.0, dtype=torch.float64))
    assert [later == 1, later != 1, later > 1] == [False, True, True] and 2.0**later == 8
    assert elapsed(later) is later.number and elapsed(3) == 3
    with pytest.raises(TypeError, match="compared with 1 alone, got 2"):
        bool(later == 2)
