"""Gated DeltaNet: the chunked rule against the recurrence that defines it, and the mixer against its definition."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from models import gated_delta
from models.gated_delta import (
    GDN,
    GatedDelta,
    GDNSettings,
    chunked_gated_delta_rule,
    gated_delta_rule,
    recurrent_gated_delta_rule,
)


def arguments(length: int, *, fading: float = 0.5, heads: int = 3, keys: int = 8, values: int = 16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    q, k = (F.normalize(torch.randn(2, length, heads, keys, generator=generator), dim=-1) for _ in "qk")
    v = torch.randn(2, length, heads, values, generator=generator)
    log_decay = -fading * torch.rand(2, length, heads, generator=generator)
    beta = torch.rand(2, length, heads, generator=generator)
    return [q, k, v, log_decay, beta]


def test_recurrence_by_hand() -> None:
    q = k = torch.tensor([[[[1.0, 0.0]], [[0.6, 0.8]]]])
    v = torch.tensor([[[[2.0]], [[3.0]]]])
    log_decay, beta = torch.log(torch.tensor([[[1.0], [0.5]]])), torch.tensor([[[0.5], [1.0]]])
    # S = (1, 0); it fades to (0.5, 0), which recalls 0.3 for the second key and is corrected by 2.7.
    expected = torch.tensor([1.0, 0.6 * (0.5 + 2.7 * 0.6) + 0.8 * (2.7 * 0.8)]) / 2**0.5
    for rule in (recurrent_gated_delta_rule, chunked_gated_delta_rule):
        assert torch.allclose(rule(q, k, v, log_decay, beta).flatten(), expected, atol=1e-6)


@pytest.mark.parametrize("length", [1, 7, 64, 65, 200, 1024])
@pytest.mark.parametrize("fading", [0.0, 0.1, 30.0])
def test_chunks_equal_the_recurrence(length: int, fading: float) -> None:
    given = arguments(length, fading=fading)
    slow, fast = recurrent_gated_delta_rule(*given), chunked_gated_delta_rule(*given)
    assert fast.shape == slow.shape == (2, length, 3, 16)
    assert (fast - slow).abs().max() < 1e-5


@pytest.mark.parametrize("fading", [0.1, 30.0])
def test_chunks_have_the_recurrences_gradient(fading: float) -> None:
    given = [x.double().requires_grad_() for x in arguments(100, fading=fading)]
    weight = torch.randn(2, 100, 3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    slow, fast = (
        torch.autograd.grad((rule(*given) * weight).sum(), given)
        for rule in (recurrent_gated_delta_rule, chunked_gated_delta_rule)
    )
    for a, b in zip(slow, fast, strict=True):
        assert torch.allclose(a, b, atol=1e-8) and torch.isfinite(b).all()


def test_autocast_leaves_the_rule_in_full_precision() -> None:
    q, k, v, log_decay, beta = arguments(96)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = gated_delta_rule(q, k, v.bfloat16(), log_decay, beta.bfloat16())
        network = GDN(GDNSettings(num_layers=1, num_heads=2, width=32), vocab_size=11)
        network(torch.zeros(2, 70, dtype=torch.long)).float().sum().backward()
    assert half.dtype == torch.bfloat16
    full = recurrent_gated_delta_rule(q, k, v.bfloat16().float(), log_decay, beta.bfloat16().float())
    assert (half.float() - full).abs().max() < 4e-3
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_mixer_is_the_definition() -> None:
    torch.manual_seed(0)
    mixer = GatedDelta(width=32, num_heads=2, head_dim=12)
    x = torch.randn(1, 9, 32)

    def convolved(project: torch.nn.Module, conv: torch.nn.Module) -> Tensor:
        y, kernel = project(x), conv.conv.weight[:, 0]
        rows = [sum(kernel[:, 3 - back] * y[:, t - back] for back in range(4) if t >= back) for t in range(9)]
        return F.silu(torch.stack(rows, dim=1)).view(1, 9, 2, -1)

    q, k, v = (convolved(p, c) for p, c in ((mixer.q, mixer.q_conv), (mixer.k, mixer.k_conv), (mixer.v, mixer.v_conv)))
    log_decay = -mixer.log_rate_H.exp() * torch.log(1 + torch.exp(mixer.decay(x) + mixer.step_bias_H))
    y = recurrent_gated_delta_rule(
        F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, log_decay, torch.sigmoid(mixer.beta(x))
    )
    normed = y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + 1e-6)
    expected = mixer.out((normed * F.silu(mixer.gate(x).view(1, 9, 2, -1))).view(1, 9, -1))
    assert torch.allclose(mixer(x), expected, atol=1e-3)


def test_decay_starts_in_its_range() -> None:
    mixer = GatedDelta(width=64, num_heads=32, head_dim=4)
    assert mixer.log_rate_H.exp().min() > 0 and mixer.log_rate_H.exp().max() <= 16
    steps = F.softplus(mixer.step_bias_H)
    assert steps.min() >= 1e-3 * 0.999 and steps.max() <= 0.1 * 1.001


class WithoutRules(torch.autograd.Function):
    """The recurrence as the library's kernels are: with a gradient, without a rule for vmap."""

    @staticmethod
    def forward(ctx, *taken: Tensor) -> Tensor:
        ctx.save_for_backward(*taken)
        return recurrent_gated_delta_rule(*taken)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in ctx.saved_tensors]
            return torch.autograd.grad(recurrent_gated_delta_rule(*leaves), leaves, grad)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.dtype, int]]:
    """A stand-in with the kernel's signature: what is passed to it and what comes back, without a GPU."""
    passed = []

    def chunk_gated_delta_rule(q, k, v, g, beta, scale=None, initial_state=None, output_final_state=False):
        passed.append((g.dtype, len(q)))
        return WithoutRules.apply(q, k, v, g, beta), None

    module = types.ModuleType("fla.ops.gated_delta_rule")
    module.chunk_gated_delta_rule = chunk_gated_delta_rule
    for name in ("fla", "fla.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "fla.ops.gated_delta_rule", module)
    monkeypatch.setattr(gated_delta, "kernel_applies", lambda values: True)
    return passed


def test_kernel_is_used_on_cuda_where_it_is_installed(calls: list[tuple[torch.dtype, int]]) -> None:
    given = arguments(20)
    assert torch.allclose(gated_delta_rule(*given), recurrent_gated_delta_rule(*given))
    assert calls == [(torch.float32, 2)]


def test_kernel_takes_all_runs_of_a_pack_in_one_batch(calls: list[tuple[torch.dtype, int]]) -> None:
    q, k, v, *rates = arguments(20)
    v_by_run = torch.stack([v * factor for factor in (1, 2, 3)]).requires_grad_()
    outputs = torch.func.vmap(lambda v: gated_delta_rule(q, k, v, *rates))(v_by_run)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), v_by_run)
    assert calls == [(torch.float32, 6)]
    for run, v in enumerate(v_by_run.detach()):
        leaf = v.clone().requires_grad_()
        alone = recurrent_gated_delta_rule(q, k, leaf, *rates)
        assert torch.allclose(outputs[run], alone, atol=1e-6)
        assert torch.allclose(gradient[run], torch.autograd.grad(alone.square().sum(), leaf)[0], atol=1e-5)


def test_a_step_with_the_kernel_is_not_recorded(calls: list[tuple[torch.dtype, int]]) -> None:
    with pytest.raises(RuntimeError, match="not seen by a trace"):
        make_fx(gated_delta_rule)(*arguments(20))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel needs a GPU")
def test_kernel_equals_the_chunks() -> None:
    pytest.importorskip("fla")
    given = [x.cuda() for x in arguments(1024, heads=6, keys=48, values=96)]
    assert gated_delta.kernel_applies(given[2])
    with_kernel = gated_delta_rule(*(x.bfloat16() if x.ndim == 4 else x for x in given))
    assert (with_kernel.float() - chunked_gated_delta_rule(*given)).abs().max() < 2e-2
