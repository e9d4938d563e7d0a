"""The attention's backend is a setting: all compute the same, in the layouts that their libraries ask for."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from torch import Tensor

from models import attention
from models.attention import attend
from models.gpt import GPT, GPTSettings
from models.transformer import Transformer, TransformerSettings

# R runs, B batch, H heads, T positions, D head dim.
SHAPE = (2, 3, 5, 8)


def heads(*shape: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, dtype=dtype, generator=generator).requires_grad_() for _ in "qkv"]


def by_loops(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Attention of every position by itself: the definition, independent of all backends."""
    y = torch.zeros_like(v)
    for b, h, t in ((b, h, t) for b in range(q.shape[0]) for h in range(q.shape[1]) for t in range(q.shape[2])):
        seen = t + 1 if causal else k.shape[2]
        scores = (k[b, h, :seen] @ q[b, h, t] / q.shape[-1] ** 0.5).exp()
        y[b, h, t] = scores / scores.sum() @ v[b, h, :seen]
    return y


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """A stand-in for the flash-attn library, in its layout ``[B, T, H, D]``; returns the shapes it was called with."""
    shapes: list[tuple[int, ...]] = []

    def flash_attn_func(q_BTHD: Tensor, k_BTHD: Tensor, v_BTHD: Tensor, *, causal: bool = False) -> Tensor:
        shapes.append(tuple(q_BTHD.shape))
        scores = torch.einsum("bthd,bshd->bhts", q_BTHD, k_BTHD) / q_BTHD.shape[-1] ** 0.5
        if causal:
            scores = scores + torch.full(scores.shape[-2:], -torch.inf, dtype=scores.dtype).triu(1)
        return torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v_BTHD)

    module = types.ModuleType("flash_attn")
    module.flash_attn_func = flash_attn_func  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    monkeypatch.setattr(attention, "flash_attn_refusal", lambda queries: None)
    return shapes


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("backend", ["sdpa", "flash_attn", "math"])
def test_every_backend_is_the_definition(calls: list[Any], backend: Any, causal: bool) -> None:
    q, k, v = heads(*SHAPE)
    expected = by_loops(q, k, v, causal)
    got = attend(q, k, v, causal=causal, backend=backend)
    torch.testing.assert_close(got, expected)
    weight = torch.randn(SHAPE, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad((got * weight).sum(), (q, k, v)),
        torch.autograd.grad((expected * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    assert calls == ([(2, 5, 3, 8)] if backend == "flash_attn" else [])


@pytest.mark.parametrize("backend", ["sdpa", "flash_attn", "math"])
def test_every_backend_takes_many_runs_at_once(calls: list[Any], backend: Any) -> None:
    q, k, v = heads(4, *SHAPE)
    together = torch.func.vmap(lambda q, k, v: attend(q, k, v, causal=True, backend=backend))(q, k, v)
    alone = torch.stack([by_loops(q[r], k[r], v[r], True) for r in range(4)])
    torch.testing.assert_close(together, alone)
    for ours, theirs in zip(
        torch.autograd.grad(together.square().sum(), (q, k, v)),
        torch.autograd.grad(alone.square().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    # One call for all runs: they are folded into the batch.
    assert calls == ([(8, 5, 3, 8)] if backend == "flash_attn" else [])


def test_math_has_a_second_derivative() -> None:
    q, k, v = heads(1, 1, 3, 2)
    assert torch.autograd.gradgradcheck(lambda *x: attend(*x, causal=True, backend="math"), (q, k, v))


@pytest.mark.parametrize(("kind", "settings"), [(GPT, GPTSettings), (Transformer, TransformerSettings)])
def test_networks_hand_the_setting_on(calls: list[Any], kind: Any, settings: Any) -> None:
    outputs = []
    tokens = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(0))
    for backend in ("sdpa", "flash_attn", "math"):
        torch.manual_seed(0)
        network = kind(settings(num_layers=2, num_heads=3, width=24, attention=backend), vocab_size=50, max_len=12)
        torch.nn.init.normal_(network.head.weight)
        outputs.append(network(tokens))
    assert calls == [(2, 12, 3, 8)] * 2
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outputs[2], outputs[0], rtol=1e-4, atol=1e-4)


def test_what_cannot_be_used_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = heads(*SHAPE, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"^model.attention must be one of sdpa, flash_attn, math, got 'flash'\.$"):
        attend(q, k, v, causal=True, backend="flash")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got 'fast'"):
        GPT(GPTSettings(attention="fast"), vocab_size=5, max_len=4)  # type: ignore[arg-type]
    installed = False
    monkeypatch.setattr(attention, "is_installed", lambda library: installed)
    with pytest.raises(ValueError, match=r"^.* it is not installed \(extra cuda\); set model.attention to sdpa\.$"):
        attend(q, k, v, causal=True, backend="flash_attn")
    installed = True
    with pytest.raises(ValueError, match=r"^.* need tensors on a GPU, got cpu; set model.attention to sdpa\.$"):
        attend(q, k, v, causal=True, backend="flash_attn")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flash-attn's kernels need a GPU")
def test_flash_attn_equals_sdpa_in_half_precision() -> None:
    pytest.importorskip("flash_attn")
    q, k, v = (x.detach().cuda().bfloat16() for x in heads(2, 6, 256, 64))
    got, expected = (attend(q, k, v, causal=True, backend=backend) for backend in ("flash_attn", "sdpa"))
    torch.testing.assert_close(got, expected, rtol=2e-2, atol=2e-2)
    with pytest.raises(ValueError, match=r"need half precision \(trainer.precision bf16-mixed\), got torch.float32"):
        attend(q.float(), k.float(), v.float(), causal=True, backend="flash_attn")
