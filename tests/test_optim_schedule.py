"""Schedules at steps computed by hand, and clipping against torch's."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from suite.optim import (
    Clipping,
    ConfigError,
    Constant,
    Linear,
    WarmupCosine,
    WarmupStableDecay,
    clip_global_norm,
    clip_runs,
)
from suite.optim.catalogue import SCHEDULES
from suite.optim.schedule import parse_schedule, resolve_schedule


def test_warmup_cosine_by_hand() -> None:
    schedule = WarmupCosine()
    assert [schedule(step, 100) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert schedule(55, 100) == pytest.approx(0.5)
    assert schedule(40, 100) == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))
    assert schedule(100, 100) == pytest.approx(0.0)
    assert WarmupCosine(final_share=0.1)(100, 100) == pytest.approx(0.1)


def test_linear_constant_and_stable_decay_by_hand() -> None:
    assert [Linear()(step, 100) for step in (0, 10, 55, 100)] == pytest.approx([0.1, 1.0, 0.5, 0.0])
    assert [Constant()(step, 100) for step in (0, 99)] == [1.0, 1.0]
    stable = WarmupStableDecay(warmup_share=0.1, cooldown_share=0.2)
    assert [stable(step, 100) for step in (0, 10, 79, 90, 100)] == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])


def test_a_warm_up_takes_whole_steps_and_may_take_all() -> None:
    assert [Linear()(step, 19) for step in (0, 1)] == pytest.approx([1.0, 1.0])  # 10% of 19 steps is one
    assert [Linear(warmup_share=1.0)(step, 4) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert [Constant(warmup_share=0.5)(step, 4) for step in range(4)] == pytest.approx([0.5, 1.0, 1.0, 1.0])
    assert Linear(final_share=0.2)(100, 100) == pytest.approx(0.2)
    assert Linear(final_share=0.2)(55, 100) == pytest.approx(0.6)
    assert WarmupCosine(final_share=0.2)(55, 100) == pytest.approx(0.6)


def test_warm_up_and_cool_down_together_take_at_most_all_steps() -> None:
    whole = WarmupStableDecay(warmup_share=0.5, cooldown_share=0.5)
    assert [whole(step, 8) for step in range(9)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0])
    assert [WarmupStableDecay(cooldown_share=0.0)(step, 20) for step in (0, 1, 20)] == pytest.approx([0.5, 1.0, 1.0])
    late = WarmupStableDecay(warmup_share=0.0, cooldown_share=0.25)
    assert [late(step, 8) for step in (0, 6, 7, 8)] == pytest.approx([1.0, 1.0, 0.5, 0.0])
    for warm_up, cool_down in ((0.6, 0.5), (1.0, 0.01), (0.01, 1.0)):
        with pytest.raises(
            ConfigError, match=rf"warmup_share \+ cooldown_share must be at most 1, got {warm_up + cool_down}"
        ):
            WarmupStableDecay(warmup_share=warm_up, cooldown_share=cool_down)


@pytest.mark.parametrize("wrong", [-0.01, 1.01, math.nan])
def test_shares_lie_between_0_and_1(wrong: float) -> None:
    for cls, name in ((Constant, "warmup_share"), (WarmupCosine, "final_share"), (Linear, "final_share"),
                      (WarmupStableDecay, "cooldown_share")):  # fmt: skip
        assert all(cls(**{name: right}) for right in (0.0, 0.9))
        with pytest.raises(ConfigError, match=name):
            cls(**{name: wrong})


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_stays_between_0_and_1_and_goes_through_plain_values(name: str) -> None:
    schedule = parse_schedule({"name": name})
    for total in (1, 2, 3, 10, 97):
        assert all(0 <= schedule(step, total) <= 1 for step in range(total + 1))
        assert schedule(0, total) > 0
    assert parse_schedule(resolve_schedule(schedule)) == schedule
    with pytest.raises(ConfigError, match="no setting"):
        parse_schedule({"name": name, "warmup": 10})


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_may_count_its_warm_up_in_steps(name: str) -> None:
    schedule = parse_schedule({"name": name, "warmup_share": 0.5, "warmup_steps": 4})
    for total in (3, 4, 5, 97):
        assert [schedule(step, total) for step in range(min(total, 4))] == [(i + 1) / 4 for i in range(min(total, 4))]
        assert all(0 <= schedule(step, total) <= 1 for step in range(total + 1))
    assert schedule(4, 97) == 1  # the next phase begins at the peak
    idle = parse_schedule({"name": name, "warmup_steps": 4, "from_zero": True})
    assert [idle(step, 97) for step in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    with pytest.raises(ConfigError, match="warmup_steps must be at least 1"):
        parse_schedule({"name": name, "warmup_steps": 0})


def test_the_cool_down_takes_its_share_of_all_steps_or_what_the_warm_up_leaves() -> None:
    stable = WarmupStableDecay(warmup_steps=10, cooldown_share=0.2)
    assert [stable(step, 100) for step in (9, 10, 80, 90, 99)] == pytest.approx([1, 1, 1, 0.5, 0.05])
    assert [stable(step, 12) for step in (9, 10, 11, 12)] == pytest.approx([1, 1, 0.5, 0])
    crowded = WarmupStableDecay(warmup_steps=10, cooldown_share=0.9)
    assert [crowded(step, 20) for step in (9, 10, 15, 19)] == pytest.approx([1, 1, 0.5, 0.1])


@pytest.mark.parametrize("peak", [4e-3, 6.25e-5])
@pytest.mark.parametrize("total", [50, 400])
def test_schedules_of_papers_2_and_3_are_those_of_their_code(peak: float, total: int) -> None:
    # plainLM: step i of w warm-up steps has i / w of the peak; then the rate falls to 1e-5, after the last step.
    warmup, start, end = int(0.1 * total), total * 3 // 4, 1e-5
    cosine = WarmupCosine(from_zero=True, final_lr=end)
    stable = WarmupStableDecay(warmup_steps=warmup, cooldown_share=1 - start / total, from_zero=True, final_lr=end)
    rising = peak / warmup * np.arange(warmup)
    falling = end + (peak - end) * (1 + np.cos(np.pi * np.arange(total - warmup) / (total - warmup))) / 2
    found = [cosine.rate(step, total).of(peak) for step in range(total)]
    np.testing.assert_allclose(found, [*rising, *falling], rtol=1e-12, atol=1e-20)
    line = peak + (end - peak) / (total - start) * np.arange(total - start)
    found = [stable.rate(step, total).of(peak) for step in range(warmup, total)]
    np.testing.assert_allclose(found, [*[peak] * (start - warmup), *line], rtol=1e-12)
    assert found[-1] > end  # reached after the last step


def test_branches_of_paper_1_end_at_zero_as_in_their_code() -> None:
    branch = Linear(warmup_share=0.0, reaches_final=True)
    assert [branch(step, 5) for step in range(6)] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0, 0])
    assert [Linear(warmup_share=0.0)(step, 5) for step in range(5)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert WarmupCosine(warmup_share=0.0, reaches_final=True)(4, 5) == pytest.approx(0)


def test_an_end_that_is_a_rate_takes_the_place_of_a_share_of_the_peak() -> None:
    with pytest.raises(ConfigError, match="final_share must be 0 where final_lr is set, got 0.1"):
        WarmupCosine(final_share=0.1, final_lr=1e-5)
    assert WarmupCosine().rate(50, 100) == (WarmupCosine()(50, 100), 0)


def test_settings_that_are_left_out_do_not_stand_in_the_plain_values() -> None:
    # Runs' ids are made of plain values: a setting that came later must not change those of earlier runs.
    assert resolve_schedule(Linear())["init_args"] == {"warmup_share": 0.1, "final_share": 0.0}
    changed = Linear(warmup_steps=5, reaches_final=True, final_lr=1e-5)
    assert parse_schedule(resolve_schedule(changed)) == changed


@pytest.mark.parametrize("module", ["aside", "zest"])
def test_a_schedule_from_elsewhere_keeps_its_path(module: str) -> None:
    outside = dataclasses.make_dataclass("Mine", [], bases=(Constant,), frozen=True)
    outside.__module__ = module
    assert resolve_schedule(outside())["class_path"] == f"{module}.Mine"
    assert resolve_schedule(Constant())["class_path"] == "suite.optim.Constant"


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clip_equals_torch(max_norm: float) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = [torch.nn.Parameter(torch.zeros(3, 4)), torch.nn.Parameter(torch.zeros(7))]
    for p in ours:
        p.grad = torch.randn(p.shape, generator=generator)
    grads = [p.grad.clone() for p in ours if p.grad is not None]
    norm = clip_global_norm(grads, max_norm)
    expected = torch.nn.utils.clip_grad_norm_(ours, max_norm)
    torch.testing.assert_close(norm, expected)
    for p, grad in zip(ours, grads, strict=True):
        torch.testing.assert_close(grad, p.grad)


@pytest.mark.parametrize("count", [1000, 65_536, 65_537, 5_000_000])
def test_norms_of_long_gradients_are_right(count: int) -> None:
    grads = torch.randn(2, count, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [1e-3]])
    expected = torch.linalg.vector_norm(grads.double(), dim=1)
    torch.testing.assert_close(clip_runs(grads, None)[1].double(), expected, rtol=3e-6, atol=0)
    for grad, norm in zip(grads, expected, strict=True):
        found = clip_global_norm([grad.view(-1, count // 500 if count % 500 == 0 else 1)], None)
        torch.testing.assert_close(found.double(), norm, rtol=3e-6, atol=0)


def test_clipping_takes_parameters_as_torch_does() -> None:
    torch.manual_seed(0)
    ours, theirs = (
        torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2), torch.nn.Linear(2, 2)) for _ in "ab"
    )
    theirs.load_state_dict(ours.state_dict())
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    for network in (ours, theirs):
        network[:2](torch.arange(6.0).view(2, 3)).square().sum().backward()  # the last layer has no gradient
    norm = clip_global_norm(ours.parameters(), 1.0)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)) and norm > 1
    for mine, other in zip(ours[:2].parameters(), theirs[:2].parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
    assert Clipping(max_coordinate=0.01)(list(ours.parameters())) == pytest.approx(1, abs=1e-4)
    assert max(float(p.grad.abs().max()) for p in ours[:2].parameters()) == pytest.approx(0.01)


def test_clip_without_gradients_or_limit() -> None:
    assert clip_global_norm([], 1.0).item() == 0
    grads = [torch.tensor([3.0, -4.0])]
    assert clip_global_norm(grads, None).item() == 5 and grads[0].tolist() == [3.0, -4.0]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [30.0, -40.0]),
        ({"max_norm": 1}, [0.6, -0.8]),
        ({"max_norm": 5, "max_coordinate": 3.5}, [3.0, -3.5]),
        ({"max_coordinate": 35}, [30.0, -35.0]),
    ],
)
def test_clipping_limits(limits: dict[str, float], expected: list[float]) -> None:
    grads = [torch.tensor([30.0]), torch.tensor([-40.0])]
    assert Clipping(**limits)(grads).item() == pytest.approx(50)
    assert torch.cat(grads).tolist() == pytest.approx(expected, rel=1e-5)


def test_runs_are_clipped_each_by_its_own_norm() -> None:
    grads = torch.tensor([[30.0, -40.0], [0.3, 0.4], [3.0, 4.0]])
    clipped, norms = clip_runs(grads, torch.tensor([[1.0], [1.0], [2.5]], dtype=torch.float64), 1.8)
    assert norms.tolist() == pytest.approx([50, 0.5, 5])
    torch.testing.assert_close(clipped, torch.tensor([[0.6, -0.8], [0.3, 0.4], [1.5, 1.8]]))


def test_clipping_refuses_what_is_no_limit() -> None:
    for wrong in ({"max_norm": -1.0}, {"max_norm": 0.0}, {"max_coordinate": math.nan}):
        with pytest.raises(ConfigError):
            Clipping(**wrong)
