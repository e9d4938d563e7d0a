"""Optimizers from elsewhere, and the habits of those who come from torch: they work, or are refused in a sentence."""

from __future__ import annotations

import abc
import copy
import dataclasses
import importlib
import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from suite.optim import (
    SGD,
    Adam,
    Clipping,
    ConfigError,
    OptimizerConfig,
    RuleOptimizer,
    build,
    clip_global_norm,
    clip_runs,
    evaluation_weights,
    parameter_roles,
    parse,
    rule_groups,
)

HERE = __name__


class Closureless(torch.optim.Optimizer):
    """Its ``step`` takes no closure."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["count"] = self.state[p].get("count", 0) + 1
                    p.add_(p.grad, alpha=-group["lr"])


class FlaggedStep(Closureless):
    """Its ``step`` takes something else."""

    def step(self, zero: bool = False) -> None:  # type: ignore[override]
        super().step()


class AbstractStep(torch.optim.Optimizer, abc.ABC):
    """A method is left to derived classes."""

    @abc.abstractmethod
    def step(self, closure: Any = None) -> Any:
        """One step."""


class Refusing(torch.optim.SGD):
    def __init__(self, params: Any, lr: float = 0.1) -> None:
        raise RuntimeError("no such luck")


class Failing(Closureless):
    def step(self) -> None:  # type: ignore[override]
        raise ZeroDivisionError("by zero")


class Demanding(Closureless):
    def step(self, loss: Tensor) -> None:  # type: ignore[override]
        """Needs the loss."""


class Wanting(Closureless):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        closure()


class Draws(Closureless):
    def step(self) -> None:  # type: ignore[override]
        torch.rand(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dividing(OptimizerConfig):
    def __post_init__(self) -> None:
        1 / 0  # noqa: B018


class Orphan(torch.optim.Optimizer):
    """Forgets its base class."""

    def __init__(self, params: Any, lr: float) -> None:
        self.lr = lr

    def step(self) -> None:  # type: ignore[override]
        """Nothing."""


class Reshaping(torch.optim.Optimizer):
    """Puts other tensors in place of the parameters' values."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def step(self) -> None:  # type: ignore[override]
        """One step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data = torch.zeros(3)


@pytest.mark.parametrize("name", ["Closureless", "FlaggedStep"])
def test_a_step_without_closure_works_with_schedulers_state_dicts_and_lightning(name: str) -> None:
    network = nn.Linear(2, 2)
    optimizer = build({"name": f"{HERE}.{name}", "lr": 0.1}, network)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.automatic_optimization = False

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.optimizers().zero_grad()  # type: ignore[union-attr]
            self.manual_backward(self.network(batch).sum())
            self.optimizers().step()  # type: ignore[union-attr,call-arg]

    before = network.weight.detach().clone()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    loader = torch.utils.data.DataLoader(torch.ones(3, 2))  # type: ignore[arg-type]
    Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet).fit(Module(), loader)  # type: ignore[arg-type]
    torch.testing.assert_close(network.weight, before - 0.3)
    assert optimizer.step(lambda: 7.0) == 7.0
    file = io.BytesIO()
    torch.save(copy.deepcopy(optimizer).state_dict(), file)
    file.seek(0)
    optimizer.load_state_dict(torch.load(file, weights_only=True))
    assert optimizer.state[network.weight]["count"] == 4


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("torch.optim.LBFGS", "step needs closure"),
        ("torch.optim.SparseAdam", "does not support dense gradients"),
        ("torch.optim.Optimizer", "abstract class"),
        (f"{HERE}.AbstractStep", "abstract class"),
        ("suite.optim.OptimizerConfig", "defines no update rule"),
        ("suite.optim.StatisticConfig", "raises NotImplementedError"),
        ("torch.optim.lr_scheduler.StepLR", "must name a torch optimizer"),
        (f"{HERE}.Refusing", r"raises RuntimeError: no such luck \(test_optim_outside.py, line \d+\)"),
        (f"{HERE}.Failing", r"raises ZeroDivisionError: by zero \(test_optim_outside.py, line \d+\)"),
        (f"{HERE}.Demanding", "step needs loss"),
        (f"{HERE}.Wanting", r"raises TypeError: .*test_optim_outside.py, line"),
        (f"{HERE}.Orphan", r"Orphan.__init__ must call super\(\).__init__\(params, defaults\), and it does not"),
        (f"{HERE}.Reshaping", r"Reshaping must change a parameter in place, got the shape \[3\] from \[2, 2\]"),
        (f"{HERE}.Dividing", r"raises ZeroDivisionError: division by zero \(test_optim_outside.py, line \d+\)"),
    ],
)
def test_a_class_that_takes_no_step_is_refused_in_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        parse({"name": name, "lr": 0.1})
    assert "\n" not in str(refused.value)


def test_every_other_optimizer_of_torch_is_accepted_and_takes_a_step() -> None:
    classes = [cls for cls in vars(torch.optim).values() if isinstance(cls, type)]
    refused = {torch.optim.Optimizer, torch.optim.LBFGS, torch.optim.SparseAdam}
    for cls in (cls for cls in classes if issubclass(cls, torch.optim.Optimizer) and cls not in refused):
        network = nn.Linear(3, 2, bias=False)
        before = network.weight.detach().clone()
        optimizer = build({"name": f"torch.optim.{cls.__name__}", "lr": 0.1}, network)
        network(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        assert not torch.equal(network.weight, before), cls


def test_a_try_leaves_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    parse({"name": f"{HERE}.Draws", "lr": 0.1})
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("text", ["def f(:\n", "1 / 0\n", "raise SystemExit(3)\n"])
def test_a_file_that_cannot_be_imported_is_a_sentence(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_optimizer.py").write_text("\n" + text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match="'broken_optimizer.Mine' cannot be imported") as refused:
        parse({"name": "broken_optimizer.Mine", "lr": 0.1})
    assert "SyntaxError" in str(refused.value) or "broken_optimizer.py, line 2" in str(refused.value)


@pytest.mark.parametrize("lr", [0, 0.0, "0", -0.1, math.nan, math.inf, -math.inf, "nan", "1e-400", "1e400"])
@pytest.mark.parametrize("name", ["sgd", "adam", "torch.optim.NAdam", "muon", "hybrid"])
def test_a_learning_rate_that_moves_nothing_is_refused(name: str, lr: Any) -> None:
    more = {"muon": {"adam": {"lr": 0.1}}, "hybrid": {"sgd": {"lr": 0.1}}}.get(name, {})
    with pytest.raises(ConfigError, match="lr must be"):
        parse({"name": name, "lr": lr, **more})


def test_a_learning_rate_of_zero_is_refused_where_a_config_is_built_too() -> None:
    with pytest.raises(ConfigError, match="lr must be above 0"):
        build(SGD(lr=0.0), nn.Linear(2, 2))


def test_a_group_of_a_hybrid_may_stand_still_but_not_all() -> None:
    network = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 3))
    optimizer = build({"name": "hybrid", "embed": {"name": "sgd", "lr": 0.0}, "sgd": {"lr": 0.1}}, network)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    network(torch.tensor([1])).sum().backward()
    optimizer.step()
    still = {name for name, p in network.named_parameters() if torch.equal(p, before[name])}
    assert still == {"0.weight"}
    with pytest.raises(ConfigError, match="must be above 0"):
        parse({"name": "hybrid", "embed": {"name": "sgd", "lr": 0.0}, "sgd": {"lr": 0.0}})


# What people who come from torch write.


def network_with_gradients() -> nn.Module:
    network = nn.Linear(3, 4)
    network(torch.ones(2, 3)).sum().mul(100).backward()
    return network


def as_torch_clips(max_norm: float, **kwargs: Any) -> tuple[Tensor, list[Tensor]]:
    network = network_with_gradients()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm, **kwargs)
    return norm, [p.grad for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize("max_norm", [0.0, 1.0, 1e9, math.inf])
@pytest.mark.parametrize("form", ["generator", "list", "gradients", "leaves"])
def test_clipping_does_what_torch_does(form: str, max_norm: float) -> None:
    expected_norm, expected = as_torch_clips(max_norm)
    network = network_with_gradients()
    before = [p.detach().clone() for p in network.parameters()]
    parameters: Any = network.parameters()
    if form == "list":
        parameters = [*parameters, nn.Parameter(torch.ones(2))]  # without a gradient
    elif form == "gradients":
        parameters = [p.grad for p in parameters]
    elif form == "leaves":  # tensors that are no nn.Parameter
        leaves = [p.detach().clone().requires_grad_() for p in parameters]
        for leaf, p in zip(leaves, network.parameters(), strict=True):
            leaf.grad = p.grad
        parameters = leaves
    torch.testing.assert_close(clip_global_norm(parameters, max_norm), expected_norm)
    for p, grad, weights in zip(network.parameters(), expected, before, strict=True):
        torch.testing.assert_close(p.grad, grad)
        assert torch.equal(p, weights)


@pytest.mark.parametrize("clip", [clip_global_norm, lambda p, n: Clipping(max_norm=n)(p)])
def test_clipping_takes_one_tensor_as_torch_does(clip: Any) -> None:
    p = nn.Parameter(torch.ones(3, 2))
    p.grad = torch.full((3, 2), 10.0)
    expected = torch.nn.utils.clip_grad_norm_(p.detach().clone(), 1.0)
    assert expected == 0 and clip(p, 1.0) == pytest.approx(math.sqrt(600))
    assert torch.equal(p, torch.ones(3, 2)) and float(p.grad.norm()) == pytest.approx(1.0)


def test_norms_that_are_no_numbers_go_where_torch_takes_them() -> None:
    for bad in (math.inf, math.nan):
        theirs, ours = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
        for p in (theirs, ours):
            p.grad = torch.tensor([1.0, bad, 2.0])
        norms = torch.nn.utils.clip_grad_norm_([theirs], 1.0), clip_global_norm([ours], 1.0)
        torch.testing.assert_close(*norms, equal_nan=True)
        torch.testing.assert_close(theirs.grad, ours.grad, equal_nan=True)


def sparse_parameter() -> nn.Parameter:
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    return embedding.weight


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (lambda: nn.Linear(2, 2), "give model.parameters()"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), "give model.parameters()"),
        (lambda: nn.Linear(2, 2).named_parameters(), "got a tuple"),
        (lambda: build(SGD(lr=0.1), nn.Linear(2, 2)).param_groups, "got a dict"),
        (lambda: nn.Linear(2, 2).state_dict(), "got a OrderedDict"),
        (lambda: None, "got a NoneType"),
        (lambda: [sparse_parameter()], "sparse"),
    ],
)
def test_clipping_refuses_what_holds_no_gradients(tensors: Any, sentence: str) -> None:
    for clip in (lambda given: clip_global_norm(given, 1.0), Clipping(max_norm=1.0), Clipping(max_coordinate=1.0)):
        with pytest.raises(ConfigError, match=sentence):
            clip(tensors())


@pytest.mark.parametrize("max_norm", [-1.0, math.nan])
def test_clipping_refuses_limits_that_are_none(max_norm: float) -> None:
    with pytest.raises(ConfigError, match="max_norm must be at least 0"):
        clip_global_norm([torch.ones(2)], max_norm)


@pytest.mark.parametrize(
    ("grads", "limits"),
    [
        (torch.ones(3), (1.0,)),
        (torch.ones(2, 3, 1), (1.0,)),
        (torch.ones(2, 3), (torch.ones(2),)),
        (torch.ones(2, 3), (None, torch.ones(3))),
        (torch.ones(2, 3), (torch.ones(3, 1),)),
    ],
)
def test_clipping_runs_refuses_shapes_that_would_broadcast_over_runs(grads: Tensor, limits: Any) -> None:
    with pytest.raises(ConfigError, match=r"\[R, P\]"):
        clip_runs(grads, *limits)
    assert clip_runs(torch.ones(2, 3), torch.tensor(1.0))[1].shape == (2,)


def test_build_takes_parameters_alone_as_torch_does() -> None:
    one, two = nn.Linear(3, 2), nn.Linear(3, 2)  # a tensor of two rows looks like a pair
    two.load_state_dict(one.state_dict())
    ours, theirs = build(SGD(lr=0.1), two.parameters()), torch.optim.SGD(one.parameters(), lr=0.1)
    for network, optimizer in ((one, theirs), (two, ours)):
        network(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    assert torch.equal(one.weight, two.weight) and torch.equal(one.bias, two.bias)
    assert rule_groups(SGD(lr=0.1), two.parameters())[0].names == ("0", "1")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (lambda n: n.weight, "got a Parameter"),
        (lambda n: n.state_dict(), "got a OrderedDict"),
        (lambda n: [n], "got a Linear"),
        (lambda n: [("a", n.weight), ("a", n.bias)], "different names, got 'a' twice"),
        (lambda n: [n.weight.detach()], "at least one parameter"),
    ],
)
def test_build_refuses_what_is_no_list_of_parameters(parameters: Any, sentence: str) -> None:
    for make in (build, rule_groups):
        with pytest.raises(ConfigError, match=sentence):
            make(SGD(lr=0.1), parameters(nn.Linear(3, 2)))


def test_evaluation_weights_and_roles_refuse_the_other_object() -> None:
    network = nn.Linear(2, 2)
    network.eval()
    with pytest.raises(ConfigError, match="needs an optimizer, got a Linear"), evaluation_weights(network):  # type: ignore[arg-type]
        pass
    assert not network.training
    with pytest.raises(ConfigError, match="give the module"):
        parameter_roles(network.parameters())  # type: ignore[arg-type]


def test_sparse_gradients_are_refused_by_rules() -> None:
    weight = sparse_parameter()
    optimizer = build(Adam(lr=0.1), [("w", weight)], implementation="rule")
    with pytest.raises(ConfigError, match="dense gradients"):
        optimizer.step()


def test_a_rule_optimizer_takes_groups_as_torch_does() -> None:
    network = network_with_gradients()
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = RuleOptimizer(network.parameters(), SGD(lr=0.5))  # type: ignore[arg-type]
    extra = nn.Parameter(torch.zeros(2))
    optimizer.add_param_group({"params": [extra], "lr": 0.25})
    extra.grad = torch.ones(2)
    optimizer.step()
    for p, old in zip(network.parameters(), before, strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.detach(), old - 0.5 * p.grad)
    torch.testing.assert_close(extra.detach(), torch.full((2,), -0.25))


def test_calls_in_another_order_or_by_position_are_answered() -> None:
    network = nn.Linear(2, 1)
    for given in (network.parameters(), SGD, torch.optim.Adam, network):
        with pytest.raises(ConfigError, match="build takes an optimizer first"):
            build(given, "adam", lr=0.1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"SGD\.optimizer\(parameters, lr=\.\.\.\)"):
        SGD(network.parameters(), lr=0.1)  # type: ignore[misc]
    by_position = SGD.optimizer(network.parameters(), 0.3, momentum=0.5)
    assert by_position.param_groups[0]["lr"] == 0.3 and by_position.param_groups[0]["momentum"] == 0.5
