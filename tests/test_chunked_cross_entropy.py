"""The loss of a large vocabulary in chunks: the plain loss and its gradients, without ever holding all logits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import make_data, make_task, make_trainer, run_tasks, train
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models import cross_entropy, head
from models.cross_entropy import summed_cross_entropy, torch_applies
from models.gpt import GPT, GPTSettings
from models.head import Head, chunk_tokens
from suite.records import Store

TOKENS, WIDTH, VOCABULARY = 37, 8, 101


def problem(dtype: torch.dtype = torch.float64, runs: tuple[int, ...] = ()) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(*runs, TOKENS, WIDTH, dtype=dtype, generator=generator).requires_grad_()
    weight = torch.randn(*runs, VOCABULARY, WIDTH, dtype=dtype, generator=generator).requires_grad_()
    return features, weight, torch.randint(0, VOCABULARY, (TOKENS,), generator=generator)


def plain(features: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    logits = F.linear(features, weight)
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="sum")


@pytest.fixture(params=["torch's", "ours"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each implementation in turn, in full precision."""
    if request.param == "ours":
        monkeypatch.setattr(cross_entropy, "torch_applies", lambda features, weight: False)
    elif not torch_applies(*problem()[:2]):
        pytest.skip("this torch has no linear_cross_entropy")


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("chunk", [1, 10, TOKENS, TOKENS + 5])
def test_value_and_gradients_are_those_of_the_plain_loss(chunk: int) -> None:
    features, weight, targets = problem()
    expected = plain(features, weight, targets)
    got = summed_cross_entropy(features, weight, targets, chunk_tokens=chunk)
    assert got.item() == pytest.approx(expected.item(), rel=1e-12)
    # A factor, as a mean over tokens and micro-batches has one.
    for ours, theirs in zip(
        torch.autograd.grad(got / 7, (features, weight)),
        torch.autograd.grad(expected / 7, (features, weight)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("implementation")
def test_value_without_gradients() -> None:
    features, weight, targets = problem()
    with torch.no_grad():
        got = summed_cross_entropy(features, weight, targets, chunk_tokens=10)
    assert not got.requires_grad and got.item() == pytest.approx(plain(features, weight, targets).item(), rel=1e-12)


@pytest.mark.parametrize("frozen", [0, 1])
def test_what_needs_no_gradient_gets_none(monkeypatch: pytest.MonkeyPatch, frozen: int) -> None:
    monkeypatch.setattr(cross_entropy, "torch_applies", lambda features, weight: False)
    pair = list(problem()[:2])
    targets = problem()[2]
    pair[frozen] = pair[frozen].detach()
    summed_cross_entropy(*pair, targets, chunk_tokens=10).backward()
    (expected,) = torch.autograd.grad(plain(*pair, targets), pair[1 - frozen])
    assert pair[frozen].grad is None
    torch.testing.assert_close(pair[1 - frozen].grad, expected)


def test_huge_logits_do_not_overflow() -> None:
    features, weight, targets = problem(torch.float32)
    got = summed_cross_entropy(features * 100, weight * 100, targets, chunk_tokens=10)
    assert got.item() == pytest.approx(plain(features * 100, weight * 100, targets).item(), rel=1e-6)


def test_half_precision_is_no_worse_than_the_plain_losses() -> None:
    features, weight, targets = problem(torch.float32)
    exact = plain(features.double(), weight.double(), targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not torch_applies(features, weight)
        losses = plain(features, weight, targets), summed_cross_entropy(features, weight, targets, chunk_tokens=10)
    references = torch.autograd.grad(exact, (features, weight))
    errors = []
    for loss in losses:
        assert loss.dtype == torch.float32
        grads = torch.autograd.grad(loss, (features, weight))
        errors.append([(g - r).norm() / r.norm() for g, r in zip(grads, references, strict=True)])
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)
    for theirs, ours in zip(*errors, strict=True):
        assert ours < 1.2 * theirs < 0.05


def test_runs_under_vmap_are_those_one_by_one() -> None:
    features, weight, targets = problem(runs=(3,))
    together = torch.func.vmap(lambda f, w: summed_cross_entropy(f, w, targets, chunk_tokens=10))(features, weight)
    alone = torch.stack([plain(f, w, targets) for f, w in zip(features, weight, strict=True)])
    torch.testing.assert_close(together, alone)
    factors = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad((together * factors).sum(), (features, weight)),
        torch.autograd.grad((alone * factors).sum(), (features, weight)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    shared = torch.func.vmap(lambda f: summed_cross_entropy(f, weight[1], targets, chunk_tokens=10))(features)
    torch.testing.assert_close(shared[2], plain(features[2], weight[1], targets))


def test_no_more_than_a_chunk_of_logits_is_ever_held(monkeypatch: pytest.MonkeyPatch) -> None:
    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            self.numbers = max([self.numbers, *(x.numel() for x in tree_leaves(made) if isinstance(x, Tensor))])
            return made

    monkeypatch.setattr(cross_entropy, "torch_applies", lambda features, weight: False)
    features, weight, targets = problem()
    with Largest() as chunked:
        summed_cross_entropy(features, weight, targets, chunk_tokens=5).backward()
    with Largest() as at_once:
        plain(features, weight, targets).backward()
    assert chunked.numbers == weight.numel() > 5 * VOCABULARY and at_once.numbers == TOKENS * VOCABULARY


def test_auto_holds_all_logits_while_they_are_few() -> None:
    assert chunk_tokens("auto", 2**27 // 256, 256) is None
    assert chunk_tokens("auto", 2**27 // 256 + 1, 256) == 2**26 // 256
    assert chunk_tokens("auto", 256 * 1024, 50_257) == 1335
    assert chunk_tokens("auto", 2, 2**27) == 1
    assert chunk_tokens(7, 1, 1) == 7 and chunk_tokens(None, 2**20, 2**20) is None


def test_head_gives_logits_unless_it_is_asked_for_the_loss() -> None:
    network = GPT(GPTSettings(num_layers=1, num_heads=1, width=16), vocab_size=50, max_len=12)
    tokens, targets = torch.randint(0, 50, (2, 3, 12)).unbind(0)
    assert isinstance(network.head, Head)
    for arguments in ((tokens,), (tokens, targets), (tokens, targets, "auto"), (tokens, None, 4)):
        assert network(*arguments).shape == (3, 12, 50)
    assert network(tokens, targets, 4).item() == pytest.approx(36 * math.log(50))


@pytest.mark.parametrize("optimizer", [{"name": "sgd", "lr": 0.3, "momentum": 0.9}, {"name": "adam", "lr": 1e-2}])
def test_a_run_is_the_same_in_chunks(tmp_path: Path, optimizer: dict[str, Any]) -> None:
    curves = []
    for chunk in (None, 50):
        store = Store(tmp_path / str(chunk))
        outcome = train(store, make_data(tmp_path), optimizer, model={"loss_chunk": chunk})
        record = outcome.record
        curves.append((store.curves(record["run_id"])["train_loss"].to_numpy(), record["metrics"]["val/perplexity"]))
    np.testing.assert_allclose(curves[1][0], curves[0][0], rtol=2e-5)
    assert curves[1][1] == pytest.approx(curves[0][1], rel=1e-4)


def test_a_pack_in_chunks_is_its_single_twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `auto` sees what is too large here for both, and the evaluation's batches too.
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", 1000)
    monkeypatch.setattr(head, "CHUNK_LOGITS", 256 * 50)
    store, data = Store(tmp_path / "pack"), make_data(tmp_path, budget_steps=20)
    specs = [{"name": "sgd", "lr": lr, "momentum": 0.9} for lr in (0.1, 0.5)]
    config = {"seed_everything": 42, "model": {}, "data": {}, "trainer": {}}
    configs = [{**config, "model": {"init_args": {"optimizer": spec}}} for spec in specs]
    outcomes = run_tasks([make_task(spec) for spec in specs], data, make_trainer(), configs=configs, store=store)
    monkeypatch.undo()
    for spec, outcome in zip(specs, outcomes, strict=True):
        twin = train(Store(tmp_path / "single"), make_data(tmp_path, budget_steps=20), spec).record
        assert outcome.record["final"]["ema"] == pytest.approx(twin["final"]["ema"], rel=1e-5)
        assert outcome.record["final"]["val"] == pytest.approx(twin["final"]["val"], rel=1e-4)


def test_predictions_are_tokens_however_the_loss_is_taken(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    data.ensure_open()
    batch = data.gather("val", np.arange(3))
    task = make_task(loss_chunk=4)
    task.build_network(data.facts())
    assert task.predict_step(batch, 0).shape == (3, 32)
    total, count = task.loss(task(batch), batch)
    assert total.ndim == 0 and (total / count).item() == pytest.approx(math.log(256), rel=1e-5)


def test_a_chunk_of_no_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model.loss_chunk must be at least 1, or null, got 0"):
        make_task(loss_chunk=0)


@pytest.mark.usefixtures("implementation")
def test_the_heads_weight_is_at_hand_where_fsdp_cuts_it(tmp_path: Path) -> None:
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        network = GPT(GPTSettings(num_layers=1, num_heads=1, width=16), vocab_size=50, max_len=12)
        torch.nn.init.normal_(network.head.weight)
        tokens, targets = torch.randint(0, 50, (2, 3, 12)).unbind(0)
        F.cross_entropy(network(tokens).flatten(0, 1), targets.flatten(), reduction="sum").backward()
        expected = network.head.weight.grad.clone()
        network.zero_grad()
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
        fully_shard(network.head, mesh=mesh, reshard_after_forward=True)
        fully_shard(network, mesh=mesh)
        network(tokens, targets, 5).backward()
        torch.testing.assert_close(network.head.weight.grad.full_tensor(), expected)
    finally:
        torch.distributed.destroy_process_group()
