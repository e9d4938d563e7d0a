"""Rules from outside the suite are tried once: what does not broadcast is refused, and what does is not."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from optimizer_examples import EXAMPLES, small_network
from torch import Tensor

from suite.optim import SGD, Adam, ConfigError, OptimizerConfig, StatisticConfig, build, parse
from suite.optim.broadcast import rounded
from suite.optim.catalogue import CATALOGUE
from suite.optim.trial import _drawn_in_trial, _Trial, try_rule
from suite.packs.runs_optimizer import fixed_part, shared_groups

configured = dataclasses.dataclass(frozen=True, kw_only=True)


def config(rule: Callable[..., Any], *, base: type = OptimizerConfig, **attributes: Any) -> OptimizerConfig:
    """A config with this rule: as somebody's class, whose fields ``momentum`` and ``scale`` are numbers."""

    def method(self: Any, *arguments: Any) -> Any:
        return rule(self, *arguments)

    fields: dict[str, Any] = {"momentum": 0.9, "scale": 1.0, "every": 10}
    kinds = {"momentum": float, "scale": float, "every": int}
    made = type("Somebodys", (base,), {"__annotations__": kinds, **fields, "rule": method, **attributes})
    return configured(made)(lr=0.1)  # type: ignore[no-any-return,call-arg]


def stateless(step: Callable[[Tensor, Any], Tensor], **attributes: Any) -> OptimizerConfig:
    """A config that moves by ``step(grad, hyper)``."""
    return config(lambda self, grad, param, state, hyper, number: (step(grad, hyper), {}), **attributes)


def branch(grad: Tensor) -> Tensor:
    return grad / 2 if grad.abs().max().item() > 10 else grad


def marked(grad: Tensor) -> Tensor:
    return torch.zeros_like(grad).scatter(-1, grad.argmax(-1, keepdim=True), 1.0)


def in_place(param: Tensor, grad: Tensor) -> Tensor:
    param.mul_(0.9)
    return -grad


def of_self(self: Any, grad: Tensor, param: Tensor, state: Any, hyper: Any, step: int) -> Any:
    mean = self.momentum * state["m"] + grad
    return -hyper["lr"] * mean, {"m": mean}


def branch_of_self(self: Any, grad: Tensor, param: Tensor, state: Any, hyper: Any, step: int) -> Any:
    return (grad * hyper["momentum"]).sign() if self.momentum > 0 else grad, {}


def momentum(self: Any, grad: Tensor, param: Tensor, state: Any, hyper: Any, step: int) -> Any:
    mean = hyper["momentum"] * state["m"] + (1 - hyper["momentum"]) * grad
    return -hyper["lr"] * torch.tanh(mean / hyper["scale"]), {"m": mean}


def in_place_momentum(self: Any, grad: Tensor, param: Tensor, state: Any, hyper: Any, step: int) -> Any:
    mean = state["m"].mul_(rounded(hyper["momentum"], grad)).add_(grad)
    return mean * rounded(-hyper["lr"], mean), {"m": mean}


def every_tenth(self: Any, grad: Tensor, param: Tensor, state: Any, hyper: Any, step: int) -> Any:
    return -hyper["lr"] * (2 * grad if step % self.every == 0 else grad), {}


def cancelling(self: Any, grad: Tensor, param: Tensor, state: Any, hyper: Any, step: int) -> Any:
    b = hyper["momentum"]
    m, v = b * state["m"] + (1 - b) * grad, b * state["v"] + (1 - b) * grad**2
    return -hyper["lr"] * m / ((v - m * m).clamp(min=0).sqrt() + 1e-8), {"m": m, "v": v}


def trust(self: Any, grad: Tensor, param: Tensor, state: Any, hyper: Any, step: int) -> Any:
    ratio = param.norm(dim=-1, keepdim=True) / (grad.norm(dim=-1, keepdim=True) + 1e-8)
    return -hyper["lr"] * ratio * grad, {}


def orthogonal(grad: Tensor) -> Tensor:
    u, _, v = torch.linalg.svd(grad, full_matrices=False)
    return u @ v


WRONG: dict[str, tuple[Callable[[], OptimizerConfig], str]] = {
    "norm": (lambda: stateless(lambda g, h: -h["lr"] * g / (g.norm() + 1e-8)), "scope = 'tensor'"),
    "mean": (lambda: stateless(lambda g, h: g - g.mean(-1, keepdim=True)), "scope = 'tensor'"),
    "item": (lambda: stateless(lambda g, h: branch(g)), "scope = 'tensor'"),
    "sort": (lambda: stateless(lambda g, h: g.sort(-1).values), "scope = 'tensor'"),
    "argmax": (lambda: stateless(lambda g, h: marked(g)), "scope = 'tensor'"),
    "flatten": (lambda: stateless(lambda g, h: g.flatten()), r"shape of the gradient, \[2, 24\], got \[48\]"),
    "cumsum": (lambda: stateless(lambda g, h: g.cumsum(0)), "scope = 'tensor'"),
    "softmax": (lambda: stateless(lambda g, h: g.softmax(-1)), "scope = 'tensor'"),
    "softmax over runs": (lambda: stateless(lambda g, h: g.softmax(0), scope="tensor"), "keepdim=True"),
    "norm over runs": (lambda: stateless(lambda g, h: g / g.norm(dim=0), scope="tensor"), "keepdim=True"),
    "norm of matrices": (lambda: stateless(lambda g, h: g / g.norm(), scope="matrix"), r"dim=\(-2, -1\)"),
    "norm of networks": (lambda: stateless(lambda g, h: g / g.norm(), scope="global"), "keepdim=True"),
    "item of a tensor": (lambda: stateless(lambda g, h: branch(g), scope="tensor"), "torch.where instead of if"),
    "late": (
        lambda: config(lambda self, g, p, s, h, n: (g if n < 100 else g / g.norm(dim=-1, keepdim=True), {})),
        "scope = 'tensor'",
    ),
    "every twentieth": (
        lambda: config(
            lambda self, g, p, s, h, n: (
                g / g.norm(dim=-1, keepdim=True) if n % self.every == self.every - 1 else g,
                {},
            ),
            every=20,
        ),
        "scope = 'tensor'",
    ),
    "norm of a small parameter": (
        lambda: config(lambda self, g, p, s, h, n: (g * p.norm(dim=-1, keepdim=True).clamp(max=1), {})),
        "scope = 'tensor'",
    ),
    "norm of the parameter": (
        lambda: config(lambda self, g, p, s, h, n: (g * p.norm(dim=-1, keepdim=True), {})),
        "scope = 'tensor'",
    ),
    "state of one number": (
        lambda: config(
            lambda self, g, p, s, h, n: (g, {"n": s["n"] + 1}), init_state=lambda self, p: {"n": torch.zeros(1)}
        ),
        r"init_state must give tensors shaped like param, \[2, 24\], got n \[1\]",
    ),
    "state that shrinks": (
        lambda: config(lambda self, g, p, s, h, n: (g, {"m": g.mean()}), buffers=("m",)),
        r"must give state 'm' in the shape of the gradient, \[24\], got \[\]",
    ),
    "state that looks around": (
        lambda: config(lambda self, g, p, s, h, n: (g, s), init_state=lambda self, p: {"z": p / p.norm()}),
        "init_state starts two runs at once",
    ),
    "state that looks along": (
        lambda: config(
            lambda self, g, p, s, h, n: (g, s), init_state=lambda self, p: {"z": p / p.norm(dim=-1, keepdim=True)}
        ),
        "otherwise in parts",
    ),
    "state that nothing keeps": (
        lambda: config(lambda self, g, p, s, h, n: (g, {"m": 0.9 * s.get("m", 0) + g})),
        r"write|buffers = \('m',\)",
    ),
    "numbers of self": (lambda: config(of_self, buffers=("m",)), r"does not take momentum .*hyper\['momentum'\]"),
    "branch of self": (lambda: config(branch_of_self), "does not take momentum"),
    "if of a number": (
        lambda: stateless(lambda g, h: g if h["momentum"] > 0 else -g),
        "Boolean value of Tensor .*test_optim_trial.py, line.*torch.where instead of if",
    ),
    "math of a number": (lambda: stateless(lambda g, h: g * math.sqrt(h["lr"])), "torch's functions instead of math's"),
    "one precision": (
        lambda: config(
            lambda self, g, p, s, h, n: (g, {"m": torch.lerp(s["m"], g, 1 - h["momentum"])}), buffers=("m",)
        ),
        "rounded",
    ),
    "parameter in place": (lambda: config(lambda self, g, p, s, h, n: (in_place(p, g), {})), "changes param in place"),
    "gradient in place": (lambda: stateless(lambda g, h: g.mul_(-1)), "changes grad in place"),
    "python's random": (lambda: stateless(lambda g, h: g * random.random()), "another step when it is asked again"),
    "one draw": (lambda: stateless(lambda g, h: g * torch.rand(())), "torch.rand_like"),
    "error": (lambda: stateless(lambda g, h: g * h["beta"]), r"raises KeyError: 'beta' \(test_optim_trial.py, line"),
    "scope": (lambda: stateless(lambda g, h: g, scope="layer"), "scope must be one of element, tensor, matrix, global"),
    "nothing": (lambda: configured(type("Bare", (OptimizerConfig,), {}))(lr=0.1), "defines no update rule"),
}

RIGHT: dict[str, Callable[[], OptimizerConfig]] = {
    "sign": lambda: stateless(lambda g, h: -h["lr"] * g.sign()),
    "momentum": lambda: config(momentum, buffers=("m",)),
    "in place": lambda: config(in_place_momentum, buffers=("m",)),
    "where": lambda: stateless(lambda g, h: torch.where(g.abs() > h["scale"], g.sign(), g)),
    "every tenth": lambda: config(every_tenth),
    "cancelling": lambda: config(cancelling, buffers=("m", "v")),
    "norm": lambda: stateless(lambda g, h: -h["lr"] * g / (g.norm(dim=-1, keepdim=True) + 1e-8), scope="tensor"),
    "norm of the network": lambda: stateless(lambda g, h: g / (g.norm(dim=-1, keepdim=True) + 1e-8), scope="global"),
    "norm of matrices": lambda: stateless(lambda g, h: g / g.norm(dim=(-2, -1), keepdim=True), scope="matrix"),
    "norm of rows": lambda: stateless(lambda g, h: g / g.norm(dim=-1, keepdim=True), scope="matrix"),
    "singular vectors": lambda: stateless(lambda g, h: -h["lr"] * orthogonal(g), scope="matrix"),
    "quantile": lambda: stateless(lambda g, h: g.clamp(max=g.quantile(0.5, dim=-1, keepdim=True)), scope="tensor"),
    "trust": lambda: config(trust, scope="tensor"),
    "bfloat16": lambda: stateless(lambda g, h: -h["lr"] * g.to(torch.bfloat16).to(g.dtype)),
    "noise": lambda: stateless(lambda g, h: -h["lr"] * (g + torch.randn_like(g))),
    "single precision alone": lambda: stateless(lambda g, h: torch.lerp(g, torch.zeros(g.shape), 0.5)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_rule_that_does_not_broadcast_is_refused_with_what_to_write(name: str) -> None:
    make, sentence = WRONG[name]
    with pytest.raises(ConfigError, match=sentence) as refused:
        build(make(), small_network())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", RIGHT)
def test_a_rule_that_broadcasts_is_not_refused(name: str) -> None:
    made = RIGHT[name]()
    assert try_rule(made) == (name == "noise")


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_rule_of_the_suite_passes_the_trial(name: str) -> None:
    """They are not tried when they are used; here they are."""
    assert not _drawn_in_trial(parse({"name": name, **EXAMPLES.get(name, {"lr": 0.01})}))


def test_a_rule_is_tried_once_and_before_anything_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Any] = []
    run = _Trial.run
    monkeypatch.setattr(_Trial, "run", lambda self: (tries.append(self.config), run(self))[1])
    made = RIGHT["momentum"]()
    state = torch.get_rng_state()
    for lr in (0.1, 0.2):
        build(dataclasses.replace(made, lr=lr), small_network())
    assert len(tries) == 2 and torch.equal(torch.get_rng_state(), state)  # in double and in single precision
    build(dataclasses.replace(made, every=3), small_network())  # another choice, another rule
    assert len(tries) == 4
    build(SGD(lr=0.1), small_network())
    assert len(tries) == 4


def test_a_rule_is_tried_on_the_cpu_whatever_the_default() -> None:
    with torch.device("meta"):
        assert not try_rule(stateless(lambda g, h: g + torch.zeros(1)))


@configured
class MeanSize(StatisticConfig):
    """A step over the mean magnitude of the network."""

    per_piece: bool = False
    buffers = ("m",)

    def accumulate(self, grad: Tensor, param: Tensor, state: Any, hyper: Any, step: int) -> Any:
        return {"m": grad.clone()}

    def sketch(self, state: Any, *, offset: int, total: int) -> Tensor:
        sizes = state["m"].abs()
        return sizes.mean(-1, keepdim=True) if self.per_piece else sizes.sum(-1, keepdim=True) / total

    def statistic(self, sketches: Tensor, hyper: Any) -> Tensor:
        return sketches.mean(-1, keepdim=True) if self.per_piece else sketches.sum(-1, keepdim=True)

    def finish(self, state: Any, statistic: Tensor, hyper: Any) -> Tensor:
        return -hyper["lr"] * state["m"] / (statistic + 1e-8)


def test_a_statistic_must_not_depend_on_the_cut() -> None:
    assert not try_rule(MeanSize(lr=0.1))
    with pytest.raises(ConfigError, match="however the parameters are cut"):
        build(MeanSize(lr=0.1, per_piece=True), small_network())


def test_runs_that_draw_random_numbers_are_trained_one_by_one() -> None:
    made = RIGHT["noise"]()
    with pytest.raises(ConfigError, match="draws random numbers and trains one run at a time"):
        shared_groups([made, dataclasses.replace(made, lr=0.2)], small_network())


def test_an_optional_number_of_somebodys_class_is_a_choice() -> None:
    """No hyperparameter stands for it, so runs that differ in it are no pack."""

    @configured
    class Clipped(OptimizerConfig):
        largest: float | None = None

        def rule(self, grad: Tensor, param: Tensor, state: Any, hyper: Any, step: int) -> Any:
            return -hyper["lr"] * (grad if self.largest is None else grad.clamp(-self.largest, self.largest)), {}

    network = small_network()
    with pytest.raises(ConfigError, match="differ in numbers alone"):
        shared_groups([Clipped(lr=0.1, largest=0.1), Clipped(lr=0.1, largest=0.2)], network)
    (same,) = shared_groups([Adam(lr=0.1, beta=0.9), Adam(lr=0.2, beta=0.5)], network)
    assert fixed_part(same[0]) == fixed_part(same[1])


def test_a_rule_that_derives_from_another_does_not_take_its_torch_implementation() -> None:
    @configured
    class Halved(SGD):
        def rule(self, grad: Tensor, param: Tensor, state: Any, hyper: Any, step: int) -> Any:
            delta, new = super().rule(grad, param, state, hyper, step)
            return delta / 2, new

    @configured
    class Renamed(SGD):
        momentum: float = 0.5

    def moved(made: OptimizerConfig) -> Tensor:
        parameter = torch.nn.Parameter(torch.zeros(3))
        optimizer = build(made, [("p", parameter)])
        parameter.grad = torch.ones(3)
        optimizer.step()
        return parameter.detach()

    assert torch.equal(moved(Halved(lr=0.2)), moved(SGD(lr=0.1)))
    assert isinstance(build(Renamed(lr=0.1), small_network()), torch.optim.SGD)
