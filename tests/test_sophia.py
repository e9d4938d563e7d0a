"""Sophia: its estimate, its steps in loops, runs and packs, and what is refused."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from pretended_capture import PretendedCapture
from small_packs import config_of, curve, pack
from small_runs import SGD, make_data, make_task, make_trainer, run_task, run_tasks, train
from torch import Tensor, nn
from torch.nn import functional as F

from suite.diagnostics.agreement import Agreement
from suite.optim import Adam, ConfigError, Sophia, build, draw_labels, parse
from suite.optim.kernels import has_compiler
from suite.optim.trial import _Trial
from suite.records import Store
from suite.training.sampled_gradient import backward_on_drawn_labels, label_uniforms
from tasks.imagenet21k.data import ImageNet21kData
from tasks.imagenet21k.resnet20 import ImageNet21kResNet20
from tasks.zinc.gat import ZincGAT

SOPHIA = {"name": "sophia", "lr": 3e-3, "beta1": 0.9, "beta2": 0.9, "rho": 0.1, "every": 3}
HYBRID = {
    "name": "hybrid",
    "sophia": {"on": ["hidden"], **{k: v for k, v in SOPHIA.items() if k != "name"}},
    "adam": {"lr": 1e-3},
}


def uniforms(*place: Any) -> Tensor:
    return torch.from_numpy(label_uniforms(*place))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


# Labels.


def test_labels_are_drawn_with_the_networks_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0], [3.0, 3.0, -100.0, 0.0]])
    u = torch.from_numpy(np.random.default_rng(0).uniform(size=(2, 40_000)))
    drawn = draw_labels(logits[:, None].expand(2, 40_000, 4), u)
    shares = F.one_hot(drawn, 4).double().mean(dim=1)
    torch.testing.assert_close(shares, logits.double().softmax(-1), rtol=0, atol=0.012)  # five standard errors
    assert int(draw_labels(torch.tensor([0.0, 0.0, -torch.inf]), torch.tensor(1.0))) < 3
    with torch.random.fork_rng():
        assert draw_labels(torch.zeros(5, 7, 3)).shape == (5, 7)


def test_labels_are_the_same_one_run_at_a_time_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, u = torch.randn(3, 10, 6), torch.rand(3, 10, dtype=torch.float64)
    whole = draw_labels(logits, u)
    assert torch.equal(torch.func.vmap(draw_labels)(logits, u), whole)
    monkeypatch.setattr("suite.optim.drawn_labels._AT_ONCE", 13)
    assert torch.equal(draw_labels(logits, u), whole)


def test_a_sample_has_one_number_however_the_batch_is_cut() -> None:
    whole = uniforms(7, 3, 0, (6, 5))
    for parts in (2, 3, 6):
        cut = [uniforms(7, 3, number, (6 // parts, 5)) for number in range(parts)]
        assert torch.equal(torch.cat(cut), whole)
    assert whole.min() > 0 and whole.max() < 1 and len(whole.unique()) == 30
    for other in (uniforms(8, 3, 0, (6, 5)), uniforms(7, 4, 0, (6, 5)), uniforms(7, 3, 1, (6, 5))):
        assert not (set(other.flatten().tolist()) & set(whole.flatten().tolist()))


def test_the_mean_of_the_estimate_is_the_diagonal_of_the_gauss_newton_matrix() -> None:
    """Of softmax regression it is, per weight w_kj: the mean over samples of p_k (1 - p_k) x_j^2."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    network = nn.Linear(3, 4, bias=False).double()
    with torch.no_grad():
        network.weight.copy_(torch.randn(4, 3, generator=generator, dtype=torch.float64))
    p = network(x).softmax(-1).detach()
    exact = torch.einsum("nk,nj->kj", p * (1 - p), x * x) / len(x)
    optimizer = build(Sophia(lr=0.1, every=1), network)
    draws = []
    for number in range(4000):
        logits = network(x)
        F.cross_entropy(logits, draw_labels(logits, uniforms(0, 0, number, (6,)))).backward()
        optimizer.keep_sampled_gradient(terms=len(x))
        assert network.weight.grad is None
        draws.append(optimizer.state[network.weight]["sampled_gradient"].square())
    estimates = torch.stack(draws)
    error = estimates.std(dim=0) / math.sqrt(len(draws))
    assert ((estimates.mean(dim=0) - exact).abs() < 3 * error).all()
    assert (error < 0.05 * exact).all()


# Plain loops.


def reference_step(
    weights: list[Tensor],
    state: dict[str, Any],
    grads: list[Tensor],
    sampled: list[Tensor] | None,
    terms: int,
    lr: float,
) -> None:
    """The paper's algorithm 3, in place; ``sampled`` is the gradient on drawn labels, where one is due."""
    for i, weight in enumerate(weights):
        m = state["m"][i] = 0.9 * state["m"][i] + 0.1 * grads[i]
        if sampled is not None:
            state["h"][i] = 0.9 * state["h"][i] + 0.1 * terms * sampled[i] ** 2
        weight.data -= lr * m.sign() * torch.minimum(m.abs() / (0.1 * state["h"][i] + 1e-15), torch.ones(()))


def classifier() -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
        x = torch.randn(12, 4, dtype=torch.float64)
        return network, x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def sampled_loss(network: nn.Module, x: Tensor, step: int) -> Tensor:
    logits = network(x)
    return F.cross_entropy(logits, draw_labels(logits, uniforms(0, step, 0, logits.shape[:1])))


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_loop_takes_the_steps_of_the_paper(compiled: bool) -> None:
    if compiled and not has_compiler("cpu"):
        pytest.skip("no C++ compiler")
    (network, x, y), (twin, *_) = classifier(), classifier()
    optimizer = build(parse(SOPHIA), network, compiled=compiled)
    weights = list(twin.parameters())
    state: dict[str, Any] = {name: [torch.zeros_like(w) for w in weights] for name in "mh"}
    for step in range(14):
        sampled = None
        assert optimizer.needs_sampled_gradient() == (step % 3 == 0)
        if optimizer.needs_sampled_gradient():
            sampled_loss(network, x, step).backward()
            optimizer.keep_sampled_gradient(terms=12)
            sampled = list(torch.autograd.grad(sampled_loss(twin, x, step), weights))
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        reference_step(
            weights, state, list(torch.autograd.grad(F.cross_entropy(twin(x), y), weights)), sampled, 12, 3e-3
        )
    for ours, theirs in zip(network.parameters(), weights, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert {name for held in optimizer.state.values() for name in held} == {"step", "exp_avg", "curvature"}


def test_a_due_step_without_the_second_gradient_is_an_error_and_changes_nothing() -> None:
    network, x, y = classifier()
    optimizer = build(parse(SOPHIA), network)
    before = copy.deepcopy(network.state_dict())

    def fails(what: Callable[[], Any], sentence: str) -> None:
        with pytest.raises(ConfigError, match=sentence):
            what()

    def ordinary() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()

    ordinary()
    for _ in range(2):
        fails(optimizer.step, r"step 1, got none; .*keep_sampled_gradient\(terms=\.\.\.\)")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    optimizer.zero_grad()
    fails(lambda: optimizer.keep_sampled_gradient(terms=12), r"call backward\(\) first")
    for step in range(4):
        if step in (0, 3):
            ordinary()
            fails(optimizer.step, f"step {step + 1}, got none")  # what the first step used is gone
            optimizer.zero_grad()
            sampled_loss(network, x, step).backward()
            fails(lambda: optimizer.keep_sampled_gradient(terms=0), "terms must be at least 1")
            optimizer.keep_sampled_gradient(terms=12)
        else:
            fails(lambda: optimizer.keep_sampled_gradient(terms=12), "needs no gradient on drawn labels")
        ordinary()
        optimizer.step()
    adam = build(Adam(lr=0.1), network, implementation="rule")
    assert not adam.needs_sampled_gradient()  # type: ignore[attr-defined]
    config = parse(SOPHIA)
    zeros = {name: torch.zeros(3) for name in config.buffers}
    fails(lambda: config.rule(torch.ones(3), torch.ones(3), zeros, config.hyperparameters(), 1), "step 1, got none")


def test_a_parameter_is_due_by_its_own_steps_and_may_lack_a_gradient() -> None:
    network, x, y = classifier()
    optimizer = build(parse(SOPHIA), network)
    bias = list(network.parameters())[1]
    for step in range(5):
        if optimizer.needs_sampled_gradient():
            sampled_loss(network, x, step).backward()
            bias.grad = None
            optimizer.keep_sampled_gradient(terms=12)
        F.cross_entropy(network(x), y).backward()
        if step == 0:
            bias.grad = None  # its first step is the second
        optimizer.step()
        optimizer.zero_grad()
    assert optimizer.state[bias]["step"] == 4 and not optimizer.state[bias]["curvature"].any()
    assert "sampled_gradient" not in optimizer.state[bias]


def test_a_hybrid_gives_the_second_gradient_to_the_groups_that_need_it() -> None:
    network, x, y = classifier()
    groups = {"sophia": {"on": ["0.*"], **HYBRID["sophia"]}, "adam": {"lr": 1e-3}, "name": "hybrid"}  # type: ignore[dict-item]
    groups["sophia"]["on"] = ["0.*"]  # type: ignore[index]
    assert parse(groups).sampled_every == 3 and parse({"name": "hybrid", "sgd": {"lr": 1}}).sampled_every == 0
    optimizer = build(groups, network)
    for step in range(7):
        assert optimizer.needs_sampled_gradient() == (step % 3 == 0)
        if step % 3 == 0:
            sampled_loss(network, x, step).backward()
            optimizer.keep_sampled_gradient(terms=12)
            assert all(p.grad is None for p in network.parameters())
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    names = [set(optimizer.state[p]) for p in network.parameters()]
    assert "curvature" in names[0] and "curvature" not in names[2]
    with pytest.raises(ConfigError, match="No rule needs the gradient on drawn labels"):
        optimizer.keep_sampled_gradient(terms=12)


def test_what_composes_no_second_gradient_refuses_it() -> None:
    with pytest.raises(
        ConfigError, match="grafted.direction must be a rule that needs the gradient of the batch alone"
    ):
        parse({"name": "grafted", "lr": 1, "magnitude": {"name": "sgd"}, "direction": {"name": "sophia"}})
    with pytest.raises(ConfigError, match="optimizers.sophia must need the gradient of the batch alone"):
        Agreement(optimizers={"sophia": {"name": "sophia"}})


def test_a_rule_of_ones_own_may_need_it_and_is_tried_with_it() -> None:
    _Trial(Sophia(lr=0.1, every=2), torch.float64).run()


# Runs.


def reference_run(task: Any, data: Any, steps: int) -> tuple[list[float], list[Tensor]]:
    """Losses and weights of a run, by a plain loop over whole batches, without accumulation."""
    data.ensure_open()
    data.seed = 42
    network = task.seeded_network(42, data.facts()).double()
    weights = list(network.parameters())
    state: dict[str, Any] = {name: [torch.zeros_like(w) for w in weights] for name in "mh"}
    losses = []
    for step in range(steps):
        tokens = torch.cat(list(data.gather_steps(data.plan(), step, step + 1)))
        logits = network(tokens[:, :-1]).flatten(0, 1).float()  # as the task's loss has them
        loss = F.cross_entropy(logits, tokens[:, 1:].flatten())
        sampled = None
        if step % 3 == 0:
            u = uniforms(42, step, 0, tokens[:, 1:].shape).flatten()
            edges = logits.detach().double().softmax(-1).cumsum(-1)
            drawn = torch.searchsorted(edges, u[:, None], right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)
            on_drawn = F.cross_entropy(logits, drawn)
            sampled = list(torch.autograd.grad(on_drawn, weights, retain_graph=True))
        grads = list(torch.autograd.grad(loss, weights))
        norm = torch.stack([g.norm() for g in grads]).norm()
        grads = [g * min(1.0, 1 / float(norm + 1e-6)) for g in grads]
        lr = float(task.lr_schedule.rate(step, steps).of(SOPHIA["lr"]))
        reference_step(weights, state, grads, sampled, tokens[:, 1:].numel(), lr)
        losses.append(loss.item())
    return losses, weights


@pytest.mark.parametrize("micro_batch", [4, 2])
def test_a_run_takes_the_steps_of_a_plain_loop(micro_batch: int, tmp_path: Path, data_dir: Path) -> None:
    settings = {"budget_steps": 12, "batch_size": 4, "micro_batch": micro_batch}
    task, data = make_task(SOPHIA), make_data(data_dir, **settings)
    store, config = Store(tmp_path), config_of(SOPHIA, data, {})
    outcome = run_task(task, data, make_trainer(precision="64-true"), config=config, store=store)
    losses, weights = reference_run(make_task(SOPHIA), make_data(data_dir, **settings), 12)
    np.testing.assert_allclose(curve(store, outcome), losses, rtol=1e-6)
    assert task.network is not None
    for ours, theirs in zip(task.network.parameters(), weights, strict=True):
        assert (ours - theirs).norm() < 1e-6 * theirs.norm()


def test_a_run_resumes_bit_equal(tmp_path: Path, data_dir: Path) -> None:
    class Stop(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 4:
                raise KeyboardInterrupt

    settings = {"budget_steps": 20, "block_steps": 2}
    whole, cut = Store(tmp_path / "whole"), Store(tmp_path / "cut")
    expected = train(whole, make_data(data_dir, **settings), SOPHIA)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(cut, make_data(data_dir, **settings), SOPHIA, trainer={"callbacks": [Stop()]}, checkpoint_seconds=0)
    got = train(cut, make_data(data_dir, **settings), SOPHIA)
    assert got.record["final"] == expected.record["final"]
    assert cut.curves(got.record["run_id"]).equals(whole.curves(expected.record["run_id"]))


def test_other_streams_and_running_statistics_are_untouched(data_dir: Path) -> None:
    data = ImageNet21kData(source="sample", data_dir=str(data_dir), batch_size=4, budget_steps=2)
    data.ensure_open()
    data.seed = 42
    task = ImageNet21kResNet20(optimizer=SOPHIA)
    task.build_network(data.facts())
    assert task.network is not None
    task.network = nn.Sequential(task.network, nn.Dropout(0.5)).train()
    buffers = {name: value.clone() for name, value in task.network.named_buffers()}
    state = torch.get_rng_state()
    batch = next(iter(data.gather_steps(data.plan(), 0, 1)))
    terms = backward_on_drawn_labels(task, [batch], step=0)
    assert terms == 4 and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(buffers[name], value) for name, value in task.network.named_buffers())
    first = [p.grad.clone() for p in task.network.parameters() if p.grad is not None]
    task.network.zero_grad()
    torch.rand(3)
    backward_on_drawn_labels(task, [batch], step=0)
    assert all(torch.equal(p.grad, g) for p, g in zip(task.network.parameters(), first, strict=True))


def test_a_network_without_classes_is_refused_before_anything_is_trained() -> None:
    for optimizer in (SOPHIA, HYBRID):
        with pytest.raises(ValueError, match=r"predictions of classes, which zinc/gat has not; take sophia_ef"):
            ZincGAT(optimizer=optimizer)


@pytest.mark.parametrize("kind", ["single", "pack"])
def test_steps_repeated_from_a_recording_are_the_plain_ones(
    kind: str, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = []
    for launching in (0.0, 0.9):
        capture = PretendedCapture(launching=launching)
        for module in ("suite.training.task", "suite.packs.packed_task"):
            monkeypatch.setattr(f"{module}.capture_of", lambda trainer, capture=capture: capture)
        store, data = Store(tmp_path / str(launching)), make_data(data_dir, budget_steps=24)
        outcome = (
            train(store, data, SOPHIA) if kind == "single" else pack(store, data, [SOPHIA, {**SOPHIA, "rho": 1.0}])[0]
        )
        curves.append(curve(store, outcome))
    assert capture.recordings == 1 and capture.repetitions > 3
    np.testing.assert_allclose(*curves, rtol=1e-5)


def test_scaled_losses_are_refused(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer()
    monkeypatch.setattr(type(trainer.precision_plugin), "scaler", object(), raising=False)
    data = make_data(data_dir)
    with pytest.raises(ValueError, match="16-mixed; set it to bf16-mixed"):
        run_task(make_task(SOPHIA), data, trainer, config=config_of(SOPHIA, data, {}), store=Store(tmp_path))


def test_a_loss_of_chunks_draws_the_same_labels(tmp_path: Path, data_dir: Path) -> None:
    losses = []
    for chunk in (None, 40):
        stores = Store(tmp_path / f"{chunk}"), Store(tmp_path / f"pack{chunk}")
        settings = {"budget_steps": 10, "batch_size": 4}
        alone = train(stores[0], make_data(data_dir, **settings), SOPHIA, model={"loss_chunk": chunk})
        together = pack(stores[1], make_data(data_dir, **settings), [SOPHIA], model={"loss_chunk": chunk})
        losses += [curve(stores[0], alone), curve(stores[1], together[0])]
    for others in losses[1:]:
        np.testing.assert_allclose(others, losses[0], rtol=1e-5)


# Packs.


@pytest.mark.parametrize("steps", ["plain", "recorded", pytest.param("compiled", marks=pytest.mark.slow)])
def test_a_pack_of_several_seeds_and_its_twins(steps: str, tmp_path: Path, data_dir: Path) -> None:
    settings = {"budget_steps": 20, "batch_size": 4, "micro_batch": 2, "block_steps": 4}
    specs = [(SOPHIA, 1), ({**SOPHIA, "rho": 1.0}, 2), ({**SOPHIA, "lr": 1e30}, 1), ({**SOPHIA, "lr": 1e-3}, 2)]
    data, store, alone = make_data(data_dir, **settings), Store(tmp_path / "pack"), Store(tmp_path / "single")
    configs = [{**config_of(spec, data, {}), "seed_everything": seed} for spec, seed in specs]
    tasks = [make_task(spec) for spec, _ in specs]
    got = run_tasks(tasks, data, make_trainer(), store=store, configs=configs, steps=steps)
    for (spec, seed), outcome in zip(specs, got, strict=True):
        twin = train(alone, make_data(data_dir, **settings), spec, seed=seed)
        assert outcome.record["run_id"] == twin.record["run_id"]
        assert outcome.record["status"] == twin.record["status"]
        if outcome.record["status"] == "finished":
            np.testing.assert_allclose(curve(store, outcome), curve(alone, twin), rtol=1e-4)


def test_a_pack_of_hybrids_resumes_bit_equal(tmp_path: Path, data_dir: Path) -> None:
    class Stop(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 4:
                raise KeyboardInterrupt

    specs = [{**HYBRID, "lr": lr} for lr in (1.0, 0.5)]
    expected = pack(Store(tmp_path / "whole"), make_data(data_dir, block_steps=3), specs)
    store = Store(tmp_path / "cut")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        stopping = make_trainer(callbacks=[Stop()])
        pack(store, make_data(data_dir, block_steps=3), specs, trainer=stopping, checkpoint_seconds=0)
    got = pack(store, make_data(data_dir, block_steps=3), specs)
    twin = train(Store(tmp_path / "single"), make_data(data_dir), specs[0])
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.record["final"] == theirs.record["final"]
    np.testing.assert_allclose(curve(store, got[0]), curve(Store(tmp_path / "single"), twin), rtol=1e-4)


def test_runs_of_other_rules_ask_for_nothing(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.training.sampled_gradient.second_pass", None)
    monkeypatch.setattr("suite.packs.packed_task.second_pass", None)
    assert train(Store(tmp_path / "a"), make_data(data_dir, budget_steps=4), SGD).record["status"] == "finished"
    assert pack(Store(tmp_path / "b"), make_data(data_dir, budget_steps=4), [SGD])[0].record["status"] == "finished"
