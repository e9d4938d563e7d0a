"""The toy problems: generated data, known losses, packs, and the theory's qualitative claims on real runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from one_step import sgd_progress, sign_progress
from small_runs import make_trainer, run_task, run_tasks

from suite.optim import SGD, SignSGD, build
from suite.records import Store
from suite.theory.bigram import gradient_descent_loss, sign_descent_loss
from suite.theory.frequencies import zipf
from suite.theory.hessians import block_hessian
from suite.theory.noisy_quadratic import NoisyQuadratic as Prediction
from suite.theory.noisy_quadratic import sgd_losses
from tasks.toy.data import Bigrams, NoisyQuadratic, ZipfText
from tasks.toy.language import ZipfLanguage
from tasks.toy.linear_bigram import ToyLinearBigram
from tasks.toy.quadratic import ToyQuadratic
from tasks.toy.randomness import normals, uniforms
from tasks.toy.zipf_lm import ToyZipfLM

SIGMAS = 4.5
"""Standard errors that a Monte Carlo mean may be off: once in 100,000."""

GPT = {"num_layers": 1, "num_heads": 1, "width": 16}
TEXT = {"vocab_size": 16, "seq_len": 16, "num_val_samples": 2048}
CONSTANT = {"name": "constant"}


def config_of(name: str, spec: dict[str, Any], data: Any) -> dict[str, Any]:
    return {
        "seed_everything": 42,
        "model": {"init_args": {"optimizer": spec, "name": name}},
        "data": {"init_args": {"batch_size": data.batch_size}},
        "trainer": {"precision": None},
    }


def train_pack(store: Store, cls: type[Any], data: Any, specs: list[dict[str, Any]], **model: Any) -> list[dict]:
    tasks = [cls(optimizer=spec, **model) for spec in specs]
    configs = [config_of(cls.__name__, spec, data) for spec in specs]
    outcomes = run_tasks(tasks, data, make_trainer(), configs=configs, store=store)
    return [outcome.record for outcome in outcomes]


def train_one(store: Store, cls: type[Any], data: Any, spec: dict[str, Any], **model: Any) -> dict:
    task = cls(optimizer=spec, **model)
    config = config_of(cls.__name__, spec, data)
    return run_task(task, data, make_trainer(), config=config, store=store).record


# Samples by number.


def test_a_samples_numbers_depend_on_its_number_alone() -> None:
    whole = uniforms(7, "x", np.arange(50), 6)
    assert whole.shape == (50, 6) and (whole > 0).all() and (whole < 1).all()
    chosen = np.array([31, 3, 4, 5, 49, 4])
    np.testing.assert_array_equal(uniforms(7, "x", chosen, 6), whole[chosen])
    for other in (uniforms(8, "x", chosen, 6), uniforms(7, "y", chosen, 6)):
        assert not np.isin(other, whole).any()


def test_numbers_are_distributed_as_they_say() -> None:
    drawn = uniforms(1, "x", np.arange(20_000), 5)
    assert abs(drawn.mean() - 0.5) < SIGMAS / np.sqrt(12 * drawn.size)
    drawn = normals(1, "x", np.arange(20_000), 5)
    assert drawn.shape == (20_000, 5) and abs(drawn.mean()) < SIGMAS / np.sqrt(drawn.size)
    assert abs(drawn.var() - 1) < SIGMAS * np.sqrt(2 / drawn.size)
    assert abs(np.mean(drawn**4) - 3) < SIGMAS * np.sqrt(96 / drawn.size)
    correlations = np.corrcoef(np.concatenate((drawn[1:], drawn[:-1]), axis=1).T) - np.eye(10)
    assert np.abs(correlations).max() < 5.5 / np.sqrt(20_000)


@pytest.mark.parametrize("cls", [NoisyQuadratic, Bigrams, ZipfText])
def test_batches_are_a_function_of_seed_and_step(cls: type[Any]) -> None:
    def flat(batches: Any) -> list[np.ndarray]:
        return [np.asarray(batch[0] if isinstance(batch, tuple) else batch) for batch in batches]

    def batches(seed: int, first_step: int, micro_batch: int | None = None) -> list[np.ndarray]:
        data = cls(batch_size=4, budget_steps=12, micro_batch=micro_batch, block_steps=5)
        data.ensure_open()
        data.seed = seed
        blocks = data.blocks(data.plan(), first_step)
        return [np.concatenate(flat(step)) for block in blocks for step in block]

    whole = batches(1, 0)
    assert len(whole) == 12
    for got, expected in zip(batches(1, 7), whole[7:], strict=True):
        np.testing.assert_array_equal(got, expected)
    for got, expected in zip(batches(1, 0, micro_batch=2), whole, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert any((a != b).any() for a, b in zip(batches(2, 0), whole, strict=True))


@pytest.mark.parametrize("cls", [NoisyQuadratic, Bigrams, ZipfText])
def test_only_generated_sources_exist(cls: type[Any]) -> None:
    prints = {cls(batch_size=1, source=source).ensure_open() for source in ("sample", "paper")}
    assert len(prints) == 1
    with pytest.raises(ValueError, match=r"data\.source of a toy task must be sample .* got 'corpus\.txt'"):
        cls(batch_size=1, source="corpus.txt")


@pytest.mark.parametrize(
    ("cls", "settings", "part"),
    [
        (NoisyQuadratic, {"batch_size": 10}, "at most 9 with data.noise rows, got 10"),
        (NoisyQuadratic, {"batch_size": 1, "noise": "uniform"}, "rows or gaussian, got 'uniform'"),
        (NoisyQuadratic, {"batch_size": 1, "hessian": "mixed"}, "heterogeneous, homogeneous, got 'mixed'"),
        (NoisyQuadratic, {"batch_size": 1, "sigma": -1.0}, "data.sigma must be at least 0, got -1"),
        (Bigrams, {"batch_size": 1, "gradients": "exact"}, "sampled or population, got 'exact'"),
        (Bigrams, {"batch_size": 1, "vocab_size": 1}, "data.vocab_size must be at least 2 and at most 8192"),
        (ZipfText, {"batch_size": 1, "context": 0}, "data.context must be at least 1"),
        (
            ZipfText,
            {"batch_size": 1, "classes": 1000},
            "data.classes must be at most data.vocab_size, got 1000 classes of 512",
        ),
        (ZipfText, {"batch_size": 1, "seq_len": 0}, "data.seq_len must be at least 1"),
        (ZipfText, {"batch_size": 1, "num_samples": 0}, "data.num_samples must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(cls: type[Any], settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        cls(**settings)


# The quadratic.


def gradients_of(data: NoisyQuadratic, batches: list[torch.Tensor], weight: np.ndarray) -> np.ndarray:
    network = ToyQuadratic(optimizer={"name": "sgd", "lr": 1.0}).make_network(data.facts()).double()
    network.weight.data = torch.from_numpy(weight)
    losses = [network(batch.double() if batch.is_floating_point() else batch).mean() for batch in batches]
    return np.stack([torch.autograd.grad(loss, network.weight)[0].numpy() for loss in losses])


@pytest.mark.parametrize("hessian", ["heterogeneous", "homogeneous"])
@pytest.mark.parametrize("noise", ["rows", "gaussian"])
def test_quadratic_gradients(hessian: str, noise: str) -> None:
    data = NoisyQuadratic(batch_size=3, hessian=hessian, noise=noise, sigma=2.0)
    data.ensure_open()
    weight, matrix = np.linspace(-1, 1, 9), block_hessian(hessian)
    exact = gradients_of(data, [data.gather("val", np.arange(1))], weight)[0]
    np.testing.assert_allclose(exact, matrix @ weight, rtol=1e-5)
    seen = gradients_of(data, data.gather_many("train", np.arange(1800).reshape(600, 3)), weight)
    problem = Prediction(hessian=matrix, noise=noise, sigma=2.0)
    spread = problem.spread(weight, 3)
    assert (np.abs(seen.mean(axis=0) - exact) < SIGMAS * spread / np.sqrt(600) + 1e-3).all()
    np.testing.assert_allclose(seen.std(axis=0), spread, rtol=0.2, atol=1e-3)


def test_rows_of_a_step_differ_and_nine_have_no_noise() -> None:
    data = NoisyQuadratic(batch_size=9)
    rows = data.gather("train", np.arange(900)).view(100, 9)
    assert (rows.sort(dim=1).values == torch.arange(9)).all() and (rows[0] != rows[1]).any()
    weight = np.linspace(-1, 1, 9)
    np.testing.assert_allclose(
        gradients_of(data, [rows[0][:, None]], weight)[0], block_hessian("heterogeneous") @ weight, rtol=1e-5
    )
    singles = NoisyQuadratic(batch_size=1).gather("train", np.arange(9000)).flatten()
    counts = torch.bincount(singles, minlength=9)
    assert (counts - 1000).abs().max() < SIGMAS * np.sqrt(9000 * 8 / 81)


def test_early_progress_depends_on_the_batch_size_as_the_diffusions_say() -> None:
    hessian, sigma = block_hessian("heterogeneous"), 20_000.0
    gradient = hessian @ np.ones(9)
    measured: dict[str, list[float]] = {"sgd": [], "signsgd": []}
    predicted: dict[str, list[float]] = {"sgd": [], "signsgd": []}
    for size in (1, 16, 256):
        data = NoisyQuadratic(batch_size=size, noise="gaussian", sigma=sigma)
        batches = data.gather_many("train", np.arange(300 * size).reshape(300, size))
        for label, config, progress in (
            ("sgd", SGD(lr=1e-8), sgd_progress),
            ("signsgd", SignSGD(lr=1e-4), sign_progress),
        ):
            decreases = []
            network = ToyQuadratic(optimizer={"name": "sgd", "lr": 1.0}).make_network(data.facts())
            optimizer = build(config, network)
            for batch in batches:
                network.weight.data.fill_(1.0)
                optimizer.zero_grad()
                network(batch).mean().backward()
                optimizer.step()
                after = network.weight.detach().double().numpy()
                decreases.append(0.5 * (hessian.sum() - after @ hessian @ after))
            error = np.std(decreases, ddof=1) / np.sqrt(len(decreases))
            expected = progress(gradient, hessian, sigma, config.lr, size)
            assert abs(np.mean(decreases) - expected) < SIGMAS * error + 1e-3 * abs(expected)
            measured[label].append(float(np.mean(decreases)))
            predicted[label].append(float(expected))
    # SGD's progress is the same at all sizes; sign descent's grows with them until the signs are known.
    assert max(predicted["sgd"]) / min(predicted["sgd"]) < 1.2
    assert measured["signsgd"][1] > 2.5 * measured["signsgd"][0] and measured["signsgd"][2] > 4 * measured["signsgd"][0]


@pytest.mark.parametrize("hessian", ["heterogeneous", "homogeneous"])
def test_sign_methods_win_large_batches_where_blocks_differ(tmp_path: Path, hessian: str) -> None:
    best: dict[tuple[str, int], float] = {}
    schedule = {"name": "warmup_cosine", "warmup_share": 0.05}
    for size in (4, 256):
        for label, lrs in (("sgd", (3e-5, 1e-4, 1.8e-4, 3e-4, 5.6e-4)), ("signsgd", (0.01, 0.02, 0.05, 0.1, 0.2))):
            data = NoisyQuadratic(batch_size=size, hessian=hessian, noise="gaussian", sigma=200.0, budget_samples=4096)
            specs = [{"name": label, "lr": lr} for lr in lrs]
            store = Store(tmp_path / f"{label}{size}")
            records = train_pack(store, ToyQuadratic, data, specs, schedule=schedule, clip_norm=None)
            best[label, size] = min(r["final"]["val"] for r in records if r["status"] == "finished")
    # Small batches: SGD wins or ties (within 15%, the spread of one seed).
    assert best["sgd", 4] < 1.15 * best["signsgd", 4]
    if hessian == "heterogeneous":
        assert best["signsgd", 256] < 0.3 * best["sgd", 256]
    else:
        assert best["sgd", 256] < best["signsgd", 256]


def test_sgd_reaches_the_loss_that_its_second_moment_predicts(tmp_path: Path) -> None:
    data = NoisyQuadratic(batch_size=16, noise="gaussian", sigma=200.0, budget_samples=4096)
    spec = {"name": "sgd", "lr": 2e-4}
    record = train_one(Store(tmp_path), ToyQuadratic, data, spec, schedule=CONSTANT, clip_norm=None)
    problem = Prediction(hessian=block_hessian("heterogeneous"), sigma=200.0)
    expected = sgd_losses(problem, np.ones(9), np.full(256, 2e-4), 16)[-1]
    # One path: its loss is a sum of squares, nine of them, three large.
    assert record["steps"] == 256 and 0.1 * expected < record["final"]["val"] < 4 * expected
    assert record["facts"]["trivial_loss"] == pytest.approx(block_hessian("heterogeneous").sum() / 2)


# The linear bigram model.


@pytest.mark.parametrize("name", ["sgd", "signsgd"])
def test_population_training_is_the_theory(tmp_path: Path, name: str) -> None:
    pi = zipf(32, 1.0)
    lr, expected = {
        "sgd": (1 / pi[0], float(gradient_descent_loss(30, 32, 1.0))),
        "signsgd": (pi[-1] / 40, float(sign_descent_loss(30, pi[-1] / 40, 32, 1.0))),
    }[name]
    data = Bigrams(batch_size=1, vocab_size=32, gradients="population", budget_steps=30)
    spec = {"name": name, "lr": float(lr)}
    record = train_one(Store(tmp_path), ToyLinearBigram, data, spec, schedule=CONSTANT, clip_norm=None)
    assert record["metrics"]["val/relative_error"] == pytest.approx(expected, rel=1e-3)


def test_sampled_gradients_estimate_the_populations() -> None:
    data = Bigrams(batch_size=20_000, vocab_size=8, exponent=0.7)
    data.ensure_open()
    task = ToyLinearBigram(optimizer={"name": "sgd", "lr": 1.0})
    gradients, losses = [], []
    for batch in (data.gather("train", np.arange(20_000)), data.gather("val", np.arange(1))):
        network = task.make_network(data.facts())
        torch.nn.init.constant_(network.table.weight, 0.1)
        total, count = task.loss(network(*task.inputs(batch)), batch)
        (total / count).backward()
        gradients.append(network.table.weight.grad.numpy())
        losses.append((total / count).item())
    # Each coordinate of one pair's gradient is at most 1 in size.
    bound = SIGMAS * np.sqrt(zipf(8, 0.7)[0] / 20_000)
    assert np.abs(gradients[0] - gradients[1]).max() < bound and losses[0] == pytest.approx(losses[1], abs=bound)


# The language.


def language(**settings: Any) -> ZipfLanguage:
    settings = {"vocab_size": 12, "exponent": 1.0, "context": 1, "classes": 5, "sharpness": 2.0, "seed": 3, **settings}
    return ZipfLanguage(**settings)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_entropies_by_the_full_table_of_pairs(exponent: float) -> None:
    words = language(exponent=exponent)
    pi, shares, classes = words.frequencies, words.class_shares, words.class_of
    table = words.chain[classes][:, classes] * (pi / shares[classes])[None, :]
    np.testing.assert_allclose(table.sum(axis=1), 1)
    np.testing.assert_allclose(pi @ table, pi, rtol=1e-9)
    assert words.entropy_rate == pytest.approx(-np.sum(pi[:, None] * table * np.log(table)))
    assert words.unigram_entropy == pytest.approx(-np.sum(pi * np.log(pi)))
    assert words.entropy_rate < 0.97 * words.unigram_entropy
    assert set(classes) == set(range(5))


def test_a_dull_language_has_independent_words() -> None:
    words = language(sharpness=0.0)
    assert words.entropy_rate == pytest.approx(words.unigram_entropy) == words.optimal_loss(10)
    assert language(classes=1).entropy_rate == pytest.approx(words.unigram_entropy)


@pytest.mark.parametrize("context", [1, 3])
def test_the_true_predictor_reaches_the_optimal_loss(context: int) -> None:
    words, length = language(context=context), 8
    tokens = words.windows(5, "train", np.arange(4000), length + 1)
    pi, classes = words.frequencies, words.class_of
    counts = np.bincount(tokens.flatten(), minlength=12) / tokens.size
    # Tokens of a window depend on each other: the windows are the independent draws.
    assert np.abs(counts - pi).max() < SIGMAS * np.sqrt(0.25 / 4000)
    log_table = np.log(words.chain[classes][:, classes] * (pi / words.class_shares[classes])[None, :])
    costs = -np.log(pi)[tokens[:, 1:]]
    costs[:, context - 1 :] = -log_table[tokens[:, : length + 1 - context], tokens[:, context:]]
    per_window = costs.mean(axis=1)
    assert abs(per_window.mean() - words.optimal_loss(length)) < SIGMAS * per_window.std() / np.sqrt(4000)
    assert words.optimal_loss(length) < words.unigram_entropy


def test_a_language_of_many_words_is_made_quickly() -> None:
    words = language(vocab_size=50_257, classes=64)
    tokens = words.windows(0, "train", np.arange(64), 65)
    assert tokens.shape == (64, 65) and tokens.max() < 50_257 and 0 < words.entropy_rate < words.unigram_entropy


def test_a_network_learns_more_than_frequencies(tmp_path: Path) -> None:
    data = ZipfText(batch_size=32, budget_steps=300, sharpness=3.0, **TEXT)
    record = train_one(Store(tmp_path), ToyZipfLM, data, {"name": "adam", "lr": 0.02, "beta": 0.9}, **GPT)
    facts = record["facts"]
    # A token's cost spreads by about 1.5 nats; the validation split is a sample.
    assert facts["optimal_loss"] < record["final"]["val"] + SIGMAS * 1.5 / np.sqrt(2048 * 16)
    assert record["final"]["val"] < 0.5 * (facts["trivial_loss"] + facts["optimal_loss"])


# Packs.


@pytest.mark.parametrize(
    ("cls", "make", "model", "specs"),
    [
        (ToyQuadratic, lambda: NoisyQuadratic(batch_size=3, budget_steps=20), {"clip_norm": None},
         [{"name": "adam", "lr": lr, "beta": 0.9} for lr in (0.01, 0.02, 0.1)]),
        (ToyQuadratic, lambda: NoisyQuadratic(batch_size=4, budget_steps=20, noise="gaussian", sigma=9.0), {},
         [{"name": "sgd", "lr": lr, "momentum": 0.5} for lr in (0.001, 0.01, 0.1)]),
        (ToyLinearBigram, lambda: Bigrams(batch_size=8, budget_steps=20, vocab_size=16), {"clip_norm": None},
         [{"name": "sgd", "lr": lr} for lr in (0.1, 0.3, 1.0)]),
        (ToyZipfLM, lambda: ZipfText(batch_size=4, budget_steps=20, **TEXT), GPT,
         [{"name": "adam", "lr": lr, "beta": 0.9} for lr in (1e-3, 3e-3, 1e-2)]),
    ],
    ids=["rows", "gaussian", "bigram", "zipf"],
)  # fmt: skip
def test_every_toy_task_trains_in_packs(
    tmp_path: Path, cls: type[Any], make: Any, model: dict[str, Any], specs: list[dict[str, Any]]
) -> None:
    together, alone = Store(tmp_path / "pack"), Store(tmp_path / "single")
    for spec, got in zip(specs, train_pack(together, cls, make(), specs, **model), strict=True):
        twin = train_one(alone, cls, make(), spec, **model)
        assert got["run_id"] == twin["run_id"] and got["status"] == twin["status"] == "finished"
        ours, theirs = together.curves(got["run_id"]), alone.curves(twin["run_id"])
        for column in ("train_loss", "grad_norm"):
            np.testing.assert_allclose(ours[column].to_numpy(), theirs[column].to_numpy(), rtol=2e-4, atol=1e-5)
        assert got["final"]["val"] == pytest.approx(twin["final"]["val"], rel=1e-3)
