"""Contracts that every optimizer of the catalogue keeps: a new line in the catalogue is enough to be tested."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import io
import json
import typing

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optimizer_examples import EXAMPLES, broadcasts, give_sampled_gradient, names, sampled, small_network

from suite.optim import (
    ConfigError,
    OptimizerConfig,
    build,
    config_class,
    describe,
    list_optimizers,
    parse,
    rule_groups,
)
from suite.optim.catalogue import CATALOGUE, LIBRARY
from suite.optim.config import SAMPLED_GRADIENT
from suite.optim.parsing import resolve


@pytest.fixture(params=names())
def spec(request: pytest.FixtureRequest) -> dict[str, object]:
    if request.param in LIBRARY and importlib.util.find_spec("pytorch_optimizer") is None:
        pytest.skip("the package pytorch_optimizer is not installed")
    return {"name": request.param, **EXAMPLES.get(request.param, {"lr": 0.01})}


def quadratic_step(network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Distance of all parameters from 1, halved and squared, then one step on it."""

    def distance() -> torch.Tensor:
        return torch.stack([0.5 * (p - 1).square().sum() for p in network.parameters()]).sum()

    optimizer.zero_grad()
    give_sampled_gradient(optimizer, distance)
    loss = distance()
    loss.backward()
    optimizer.step()
    return loss.item()


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().double().flatten() for p in network.parameters()])


def test_every_catalogue_line_has_an_example_or_the_default_one() -> None:
    assert set(EXAMPLES) <= set(list_optimizers())
    assert set(CATALOGUE) | set(LIBRARY) <= set(list_optimizers())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_optimizer_lowers_a_quadratic_and_keeps_dtype(spec: dict[str, object], dtype: torch.dtype) -> None:
    network = small_network().to(dtype)
    optimizer = build(spec, network)
    losses = [quadratic_step(network, optimizer) for _ in range(20)]
    assert losses[-1] < losses[1] < losses[0] * 1.001
    assert all(p.dtype == dtype for p in network.parameters())
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert all(group["initial_lr"] > 0 for group in optimizer.param_groups)


def test_every_optimizer_survives_missing_and_zero_gradients(spec: dict[str, object]) -> None:
    network = small_network()
    optimizer = build(spec, network)
    optimizer.step()
    quadratic_step(network, optimizer)
    for i, parameter in enumerate(network.parameters()):
        parameter.grad = torch.zeros_like(parameter) if i % 2 else None
    for _ in range(2):
        optimizer.step()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert weights(network).isfinite().all()


def test_every_optimizer_resumes_from_its_state_dict(spec: dict[str, object]) -> None:
    straight = small_network()
    optimizer = build(spec, straight)
    for _ in range(3):
        quadratic_step(straight, optimizer)
    resumed = copy.deepcopy(straight)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = build(spec, resumed)
    again.load_state_dict(torch.load(file, weights_only=False))
    for _ in range(3):
        quadratic_step(straight, optimizer)
        quadratic_step(resumed, again)
    assert torch.equal(weights(straight), weights(resumed))


def test_every_config_goes_through_yaml_and_back(spec: dict[str, object]) -> None:
    config = parse(spec)
    assert parse(yaml.safe_load(yaml.safe_dump(describe(config)))) == config
    assert parse(yaml.safe_load(yaml.safe_dump(resolve(config)))) == config
    assert describe(config)["name"] == spec["name"]


def test_every_config_can_be_kept_in_a_record(spec: dict[str, object]) -> None:
    json.dumps(resolve(parse(spec)), allow_nan=False)


def test_every_config_refuses_foreign_settings(spec: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="no setting 'learning_rate_of_another'"):
        parse({**spec, "learning_rate_of_another": 1.0})


def test_every_config_needs_a_learning_rate(spec: dict[str, object]) -> None:
    if spec["name"] == "hybrid":
        pytest.skip("its groups have one each")
    with pytest.raises(ConfigError, match="needs lr"):
        parse({key: value for key, value in spec.items() if key != "lr"})


def test_every_config_reads_numbers_from_text_and_refuses_other_text(spec: dict[str, object]) -> None:
    assert parse({**spec, "lr": "1e-3"}).lr == 1e-3
    with pytest.raises(ConfigError, match="number"):
        parse({**spec, "lr": "fast"})


def test_every_config_is_frozen_keyword_only_and_documents_its_fields(spec: dict[str, object]) -> None:
    cls = config_class(str(spec["name"]))
    if not issubclass(cls, OptimizerConfig):
        pytest.skip("a class of another library")
    documented = "".join(c.__doc__ or "" for c in cls.__mro__)
    for field in dataclasses.fields(cls):
        assert field.kw_only
        assert f" {field.name}: " in documented
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse(spec).lr = 1.0  # type: ignore[misc]


def test_every_rule_and_its_torch_implementation_agree(spec: dict[str, object]) -> None:
    ours, torchs = small_network().double(), small_network().double()
    rule, fast = build(spec, ours, implementation="rule"), build(spec, torchs)
    for _ in range(20):
        quadratic_step(ours, rule)
        quadratic_step(torchs, fast)
    # Muon works in bfloat16, whatever the parameters' precision.
    tolerance = 1e-2 if spec["name"] == "muon" else 1e-10
    torch.testing.assert_close(weights(ours), weights(torchs), rtol=tolerance, atol=tolerance)


def test_every_optimizer_can_be_copied(spec: dict[str, object]) -> None:
    if not broadcasts(parse(spec)):
        pytest.skip("copies are up to its library")
    network = small_network()
    optimizer = build(spec, network)
    quadratic_step(network, optimizer)
    twin_network, twin = copy.deepcopy((network, optimizer))
    quadratic_step(network, optimizer)
    quadratic_step(twin_network, twin)
    assert torch.equal(weights(network), weights(twin_network))


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**16), data=st.data())
def test_every_rule_broadcasts_over_runs(spec: dict[str, object], seed: int, data: st.DataObject) -> None:
    if not broadcasts(parse(spec)):
        pytest.skip("a class of another library takes one run at a time")
    runs = 3
    groups = rule_groups(spec, small_network())
    generator = torch.Generator().manual_seed(seed)
    for group in groups:
        config = group.config
        vary = {
            name: [value * data.draw(st.floats(0.2, 1.0)) if 0 < value < 1 else value for _ in range(runs)]
            for name, value in group.hyper.items()
        }
        shape = (4, 6) if config.scope == "matrix" else (24,)
        param = torch.randn(runs, *shape, generator=generator)
        params = list(param.clone())
        state = {k: v.clone() for k, v in config.init_state(param).items()}
        states = [config.init_state(p) for p in params]
        hyper = {
            name: torch.tensor(values, dtype=torch.float64).view(runs, *[1] * len(shape))
            for name, values in vary.items()
        }
        for step in range(1, 5):
            grad = torch.randn(runs, *shape, generator=generator)
            state = sampled(config, state, step)
            given = {name: value for name, value in state.items() if name == SAMPLED_GRADIENT}
            states = [{**of_run, **{k: v[r] for k, v in given.items()}} for r, of_run in enumerate(states)]
            delta, state = config.update(grad, param, state, hyper, step)
            param = param + delta
            for r in range(runs):
                one = {name: values[r] for name, values in vary.items()}
                delta, states[r] = config.update(grad[r], params[r], states[r], one, step)
                params[r] = params[r] + delta
        tolerance = 2e-2 if spec["name"] == "muon" else 1e-5
        torch.testing.assert_close(param, torch.stack(params), rtol=tolerance, atol=tolerance)


def test_every_rule_is_pure(spec: dict[str, object]) -> None:
    if not broadcasts(parse(spec)):
        pytest.skip("a class of another library works in place")
    for group in rule_groups(spec, small_network()):
        shape = (4, 6) if group.config.scope == "matrix" else (24,)
        grad, param = torch.randn(shape), torch.randn(shape)
        state = {name: value + 0.5 for name, value in group.config.init_state(param).items()}
        kept = set(state)
        for step in (1, 2):
            state = sampled(group.config, {name: state[name] for name in kept}, step)
            before = copy.deepcopy((grad, param, state, group.hyper))
            delta, new = group.config.update(grad, param, state, group.hyper, step)
            for old, now in zip(before[:2], (grad, param), strict=True):
                assert torch.equal(old, now)
            assert all(torch.equal(before[2][name], state[name]) for name in state)
            assert before[3] == group.hyper
            assert set(new) == kept
            assert delta.shape == param.shape and delta.dtype == param.dtype
            assert not any(
                shares_memory(value, known) for value in new.values() for known in (grad, param, *state.values())
            )


def shares_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def test_every_float_field_is_a_hyperparameter(spec: dict[str, object]) -> None:
    config = parse(spec)
    if not broadcasts(config) or spec["name"] == "hybrid":
        pytest.skip("its numbers belong to others")
    hints = typing.get_type_hints(type(config))
    own = {f.name for f in dataclasses.fields(config) if hints[f.name] is float} - {"weight_decay"}
    assert own <= set(config.hyperparameters())


@pytest.mark.parametrize("decay", ["coupled", "decoupled", "independent"])
def test_every_rule_takes_every_decay_policy(spec: dict[str, object], decay: str) -> None:
    if not broadcasts(parse(spec)) or spec["name"] in ("hybrid", "adamw"):
        pytest.skip("it has a decay of its own")
    results = []
    for implementation in ("auto", "rule"):
        network = small_network().double()
        decayed = {**spec, "weight_decay": 0.1, "decay": decay, "undecayed": ["norm", "bias"]}
        optimizer = build(decayed, network, implementation=implementation)
        for _ in range(5):
            quadratic_step(network, optimizer)
        results.append(weights(network))
    tolerance = 1e-2 if spec["name"] == "muon" else 1e-10
    torch.testing.assert_close(*results, rtol=tolerance, atol=tolerance)
