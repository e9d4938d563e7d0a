"""Groups of parameters: hybrid, roles, weight decay by role, and the errors that keep them exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from optimizer_examples import small_network
from torch import nn

from suite.optim import CompositeOptimizer, ConfigError, build, describe, parameter_roles, parse, rule_groups
from suite.optim.config import decay_delta
from suite.optim.parsing import resolve


class Transformer(nn.Module):
    """Embedding, two blocks, norm, head; positions held bare."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.positions = nn.Parameter(torch.zeros(5, 8))
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))
        self.norm = nn.RMSNorm(8)
        self.head = nn.Linear(8, 11, bias=False)
        if tied:
            self.head.weight = self.embedding.weight


def test_roles_of_a_transformer() -> None:
    roles = parameter_roles(Transformer())
    assert roles["embedding.weight"] == roles["positions"] == "embed"
    assert roles["head.weight"] == "head"
    assert roles["norm.weight"] == roles["blocks.0.norm1.weight"] == roles["blocks.1.norm2.bias"] == "norm"
    assert roles["blocks.0.linear1.weight"] == roles["blocks.0.self_attn.in_proj_weight"] == "hidden"
    assert roles["blocks.0.linear1.bias"] == roles["blocks.0.self_attn.in_proj_bias"] == "bias"
    assert set(roles) == {name for name, _ in Transformer().named_parameters()}


def test_a_tied_head_is_the_embedding_and_nothing_else_becomes_the_head() -> None:
    roles = parameter_roles(Transformer(tied=True))
    assert "head" not in roles.values()
    assert roles["embedding.weight"] == "embed"


def test_norms_of_other_libraries_are_norms() -> None:
    class FusedNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.eps = nn.Parameter(torch.ones(4)), 1e-6

    roles = parameter_roles(nn.Sequential(nn.Linear(4, 4), FusedNorm(), nn.BatchNorm1d(4), nn.Linear(4, 2)))
    assert [roles["1.scale"], roles["2.weight"], roles["2.bias"]] == ["norm"] * 3


def test_roles_do_not_depend_on_names_or_wrappers() -> None:
    roles = list(parameter_roles(Transformer()).values())
    assert list(parameter_roles(torch.compile(Transformer())).values()) == roles  # type: ignore[arg-type]


def lrs(spec: dict[str, Any], network: nn.Module) -> dict[str, float]:
    optimizer = build(spec, network)
    found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: found[id(p)] for name, p in network.named_parameters()}


def test_hybrid_by_role_pattern_and_rest() -> None:
    spec = {
        "name": "hybrid",
        "adam": {"on": ["head", "norm"], "lr": 1e-3},
        "attention": {"name": "signum", "on": ["blocks.*.self_attn.*"], "lr": 1e-4},
        "sgd": {"lr": 0.3, "momentum": 0.9},
    }
    found = lrs(spec, Transformer())
    assert found["head.weight"] == found["blocks.0.norm1.weight"] == 1e-3
    assert found["blocks.1.self_attn.in_proj_bias"] == 1e-4
    assert found["embedding.weight"] == found["blocks.0.linear1.bias"] == 0.3
    compiled = torch.compile(Transformer())
    assert lrs(spec, compiled)["_orig_mod.blocks.1.self_attn.in_proj_bias"] == 1e-4  # type: ignore[arg-type]


def test_a_label_that_is_a_role_or_an_optimizer_says_enough() -> None:
    spec = {"name": "hybrid", "head": {"name": "adam", "lr": 1e-3}, "sgd": {"lr": 0.3}}
    groups = describe(parse(spec))
    assert groups["head"]["on"] == ["head"] and groups["sgd"]["name"] == "sgd" and "on" not in groups["sgd"]


@pytest.mark.parametrize("form", ["nested", "dotted", "class_path", "overridden"])
def test_every_setting_of_a_group_is_an_axis(form: str) -> None:
    base = {"name": "hybrid", "adam": {"on": ["head"], "lr": 1.0}, "sgd": {"lr": 0.3, "momentum": 0.5}}
    wanted = {"name": "hybrid", "adam": {"on": ["head"], "lr": 1e-3}, "sgd": {"lr": 0.3, "momentum": 0.95}}
    spec: dict[str, Any] = {
        "nested": wanted,
        "dotted": {**base, "adam.lr": "1e-3", "sgd.momentum": 0.95},
        "class_path": resolve(wanted),
        # What is left when one setting is given over a resolved config.
        "overridden": {
            "name": "suite.optim.Hybrid",
            **resolve(base)["init_args"],
            "adam": {"lr": 1e-3},
            "sgd": {"momentum": 0.95},
        },
    }[form]
    assert parse(spec) == parse(wanted)


def test_lr_of_a_hybrid_multiplies_its_groups() -> None:
    spec = {"name": "hybrid", "lr": 2.0, "adam": {"on": ["head"], "lr": 1e-3}, "sgd": {"lr": 0.3}}
    assert set(lrs(spec, Transformer()).values()) == {2e-3, 0.6}


def test_runs_that_differ_in_numbers_have_the_same_groups() -> None:
    spec = {"name": "hybrid", "adam": {"on": ["head"], "lr": 1e-3}, "sgd": {"lr": 0.3, "momentum": 0.9}}
    one, other = (rule_groups({**spec, "adam.lr": lr}, Transformer()) for lr in (1e-3, 1e-2))
    assert [g.names for g in one] == [g.names for g in other]
    assert (one[0].hyper["lr"], other[0].hyper["lr"]) == (1e-3, 1e-2)


ERRORS: list[tuple[dict[str, Any], str]] = [
    (
        {"adam": {"on": ["heads.*"], "lr": 1}, "sgd": {"lr": 1}},
        "pattern 'heads.\\*' of the group adam must match",
    ),
    ({"adam": {"on": ["head"], "lr": 1}}, "in no group; add a group without on"),
    (
        {"adam": {"on": ["head"], "lr": 1}, "signum": {"on": ["head.*"], "lr": 1}, "sgd": {"lr": 1}},
        "in the groups",
    ),
    ({"adam": {"lr": 1}, "sgd": {"lr": 1}}, "one group for the rest, got adam, sgd"),
    ({"adam": {"on": ["head"], "lr": 1}, "sgd": {"momentum": 0.9}}, "sgd of hybrid: sgd needs lr"),
    (
        {"adam": {"on": ["head"], "lr": 1, "momentum": 0.9}, "sgd": {"lr": 1}},
        "adam has no setting 'momentum'",
    ),
    ({"slow": {"lr": 1}}, "group slow of hybrid needs a rule"),
    ({"momentum": 0.9, "sgd": {"lr": 1}}, "hybrid has no setting 'momentum'"),
    ({"sgd": {"lr": 1}, "weight_decay": 0.1, "decay": "coupled"}, "weight decay in its groups"),
    ({}, "at least one group"),
]


@pytest.mark.parametrize(("groups", "message"), ERRORS)
def test_hybrid_errors_are_one_clear_sentence(groups: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build({"name": "hybrid", **groups}, Transformer())


def test_a_role_that_no_parameter_has_is_an_error() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with pytest.raises(ConfigError, match="role 'norm'"):
        build({"name": "hybrid", "norm": {"name": "adam", "lr": 1}, "sgd": {"lr": 1}}, network)


def test_roles_need_the_network_but_patterns_do_not() -> None:
    named = list(small_network().named_parameters())
    with pytest.raises(ConfigError, match="pass the module or use name patterns"):
        build({"name": "hybrid", "norm": {"name": "adam", "lr": 1}, "sgd": {"lr": 1}}, named)
    build({"name": "hybrid", "adam": {"on": ["4.*"], "lr": 1}, "sgd": {"lr": 1}}, named)


@pytest.mark.parametrize("name", ["sgd", "adam", "signum", "torch.optim.AdamW"])
def test_roles_that_do_not_decay(name: str) -> None:
    network = small_network()
    decay = {} if "." in name else {"decay": "decoupled"}
    spec = {"name": name, "lr": 0.1, "weight_decay": 0.5, "undecayed": ["norm", "bias", "embed"], **decay}
    optimizer = build(spec, network)
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer.step()
    roles = parameter_roles(network)
    for parameter_name, p in network.named_parameters():
        moved = not torch.equal(p, before[parameter_name])
        assert moved == (roles[parameter_name] in ("hidden", "head")), parameter_name


def test_weight_decay_needs_a_policy_and_an_external_class_has_its_own() -> None:
    with pytest.raises(ConfigError, match="set decay to coupled"):
        parse({"name": "sgd", "lr": 0.1, "weight_decay": 0.1})
    with pytest.raises(ConfigError, match="brings its own weight decay"):
        parse({"name": "torch.optim.NAdam", "lr": 0.1, "decay": "coupled"})


@pytest.mark.parametrize("setting", ["lr", "weight_decay", "eps"])
def test_what_must_not_be_negative_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"{setting} must be (at least|above) 0, got -0\.5"):
        parse({"name": "adam", "lr": 0.1, "decay": "decoupled", setting: -0.5})


@pytest.mark.parametrize("key", ["name", "class_path"])
def test_the_name_of_an_optimizer_is_a_text(key: str) -> None:
    with pytest.raises(ConfigError, match="The optimizer's name must be a text, got 5"):
        parse({key: 5, "lr": 0.1})


def test_a_value_that_an_external_class_refuses_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ConfigError, match="torch.optim.NAdam does not take these settings: Invalid beta parameter"):
        parse({"name": "torch.optim.NAdam", "lr": 0.1, "betas": [0.9, 1.0]})


def test_independent_decay_ignores_the_peak() -> None:
    for lr in (1e-6, 0.5):
        parameter = nn.Parameter(torch.ones(3))
        optimizer = build({"name": "adam", "lr": lr, "weight_decay": 0.1, "decay": "independent"}, [("p", parameter)])
        for share in (1.0, 0.5, 0.0):
            parameter.grad = torch.zeros(3)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share
            optimizer.step()
        expected = 0.9 * 0.95 if lr else 1.0
        torch.testing.assert_close(parameter.detach(), torch.full((3,), expected))


def test_muon_groups_and_errors() -> None:
    labels = {g.label: g.names for g in rule_groups({"name": "muon", "lr": 0.02, "adam": {"lr": 1e-3}}, Transformer())}
    assert "blocks.0.self_attn.in_proj_weight" in labels["muon"] and "head.weight" in labels["adam"]
    with pytest.raises(ConfigError, match=r"set adam.lr, or scale match_rms_adamw"):
        build({"name": "muon", "lr": 0.02}, Transformer())
    same = rule_groups({"name": "muon", "lr": 0.02, "scale": "match_rms_adamw"}, Transformer())
    assert {g.hyper["lr"] for g in same} == {0.02}


def test_the_groups_of_a_composite_are_fixed() -> None:
    optimizer = build({"name": "hybrid", "adam": {"on": ["head"], "lr": 1}, "sgd": {"lr": 1}}, Transformer())
    with pytest.raises(ValueError, match="fixed"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})


def test_a_composite_records_gradients_in_the_closure_and_in_no_part() -> None:
    recorded = []

    class Bare(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            recorded.append((len(self.param_groups), closure, torch.is_grad_enabled()))

    parts = [Bare([nn.Parameter(torch.zeros(2))], lr=1.0) for _ in range(2)]
    optimizer = CompositeOptimizer(parts)
    assert optimizer.step() is None and optimizer.step(torch.is_grad_enabled) is True
    assert recorded == [(1, None, False)] * 4


def test_a_composite_goes_on_with_what_its_parts_have_kept() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    part = torch.optim.SGD([parameter], lr=1.0, momentum=0.5)
    parameter.grad = torch.ones(2)
    part.step()
    CompositeOptimizer([part]).step()
    assert torch.equal(parameter.detach(), torch.full((2,), -2.5))


@pytest.mark.parametrize("peak", [0.0, torch.zeros(2, 1)], ids=["number", "tensor"])
def test_independent_decay_rests_where_the_peak_is_zero(peak: Any) -> None:
    hyper = {"lr": peak, "weight_decay": 0.1, "peak_lr": peak}
    assert torch.equal(decay_delta("independent", torch.zeros(2, 3), torch.ones(2, 3), hyper), torch.zeros(2, 3))
