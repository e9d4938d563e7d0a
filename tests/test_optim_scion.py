"""Scion's norms, against numpy and against another implementation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from optimizer_examples import small_network
from torch import nn

from suite.optim import ConfigError, Muon, Scion, build, rule_groups


def stepped(scion: Scion, weight: torch.Tensor, *grads: torch.Tensor) -> torch.Tensor:
    """The weight after steps along gradients."""
    parameter = nn.Parameter(weight.clone())
    optimizer = build(scion, [("weight", parameter)])
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
    return parameter.detach()


def matrix(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_every_layer_has_its_norm() -> None:
    groups = {g.label: (g.config.norm, list(g.names)) for g in rule_groups(Scion(lr=1e-3), small_network())}  # type: ignore
    assert groups == {
        "spectral": ("spectral", ["2.weight", "3.weight"]),
        "max": ("max", ["0.weight"]),
        "max_of_head": ("max_of_head", ["4.weight"]),
        "rms": ("rms", ["1.weight", "1.bias", "2.bias", "3.bias"]),
    }


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5)])
def test_a_spectral_step_has_the_averages_singular_vectors_and_level_singular_values(shape: tuple[int, int]) -> None:
    first, second = matrix(*shape, seed=1), matrix(*shape, seed=2)
    scion = Scion(lr=0.01, momentum=0.8, norm="spectral", radius=3.0, full_precision=True, iterations=8)
    weight = stepped(scion, matrix(*shape), first)
    step = (stepped(scion, matrix(*shape), first, second) - weight).numpy()
    mean = 0.8 * 0.2 * first + 0.2 * second
    u, _, vt = np.linalg.svd(mean.numpy(), full_matrices=False)
    along = -u.T @ step @ vt.T / (0.01 * 3.0 * np.sqrt(shape[0] / shape[1]))
    assert np.allclose(along, np.diag(np.diag(along)), atol=2e-4)
    assert np.diag(along).min() > 0.65 and np.diag(along).max() < 1.25


def test_signs_and_vectors() -> None:
    weight, grad = matrix(3, 4), matrix(3, 4, seed=1)
    by_max = stepped(Scion(lr=0.01, norm="max", radius=2.0), weight, grad)
    torch.testing.assert_close(by_max, weight - 0.02 * grad.sign())
    by_head = stepped(Scion(lr=0.01, norm="max_of_head", head_radius=8.0), weight, grad)
    torch.testing.assert_close(by_head, weight - 0.02 * grad.sign())
    by_rms = stepped(Scion(lr=0.01, norm="rms", radius=2.0), weight[0], grad[0])
    torch.testing.assert_close(by_rms, weight[0] - 0.02 * grad[0] / grad[0].square().mean().sqrt())
    assert torch.equal(stepped(Scion(lr=0.01, norm="rms"), weight[0], 0 * grad[0]), weight[0])


def test_the_constrained_variant_brings_weights_into_the_ball() -> None:
    scion = Scion(lr=0.1, momentum=0.0, norm="max", radius=2.0, constrained=True)
    far = stepped(scion, 100 * matrix(3, 4), *[matrix(3, 4, seed=s) for s in range(100)])
    assert far.abs().max() <= 2.0 + 100 * 4 * 0.9**100
    near = stepped(scion, far, *[matrix(3, 4, seed=1)] * 200)
    torch.testing.assert_close(near, -2.0 * matrix(3, 4, seed=1).sign())


def test_a_norm_of_matrices_refuses_vectors() -> None:
    with pytest.raises(ConfigError, match="scion with norm spectral moves matrices, got the vector 'weight'; set norm"):
        build(Scion(lr=0.1, norm="spectral"), [("weight", nn.Parameter(torch.zeros(3)))])


def test_scion_equals_the_librarys_whose_momentum_is_the_weight_of_the_newest_gradient() -> None:
    library = pytest.importorskip("pytorch_optimizer")
    norms = pytest.importorskip("pytorch_optimizer.optimizer.scion").LMONorm
    ours, theirs = small_network(), small_network()
    config = Scion(lr=1e-4, momentum=0.9)
    of_norm = {"spectral": norms.SPECTRAL, "max": norms.SIGN, "max_of_head": norms.SIGN, "rms": norms.BIAS}
    parameters = dict(theirs.named_parameters())
    # The library's spectral norm takes matrices with two dimensions alone.
    groups = [
        {
            "params": [parameters[name] for name in group.names if parameters[name].ndim < 3],
            "norm_type": of_norm[group.label],
            "norm_kwargs": {"normalize": group.label == "max_of_head"} if "max" in group.label else {},
            "scale": config.head_radius if group.label == "max_of_head" else config.radius,
        }
        for group in rule_groups(config, theirs)
    ]
    first, second = build(config, ours), library.SCION(groups, lr=config.lr, momentum=0.1)
    for step in range(10):
        for number, (mine, yours) in enumerate(zip(ours.parameters(), theirs.parameters(), strict=True)):
            mine.grad = matrix(*mine.shape, seed=20 * step + number).float()
            yours.grad = mine.grad.clone()
        first.step()
        second.step()
    for name, mine in ours.named_parameters():
        if mine.ndim < 3:
            # Newton-Schulz iterations round to bfloat16, in another order.
            torch.testing.assert_close(mine, parameters[name], rtol=2e-2, atol=1e-3)


def test_muon_in_full_precision_is_muon() -> None:
    muon = Muon(lr=0.02, adam={"lr": 1e-3})
    exact = dataclasses.replace(muon, full_precision=True)
    ends = []
    for config in (muon, exact):
        network = small_network()
        optimizer = build(config, network)
        for step in range(10):
            for number, parameter in enumerate(network.parameters()):
                parameter.grad = matrix(*parameter.shape, seed=20 * step + number).float()
            optimizer.step()
        ends.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-2, atol=1e-2)
    assert not torch.equal(*ends)
    assert exact.torch_optimizer([{"params": [nn.Parameter(torch.zeros(2, 2))]}]) is None
