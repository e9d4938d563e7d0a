"""Diagnostics on problems whose answer is known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from suite.diagnostics.agreement import Directions
from suite.diagnostics.clipping import clipped_share, global_norm, share_at_limit
from suite.diagnostics.frequency import Frequency, groups_by_frequency, mean_by_group
from suite.diagnostics.moment import Moment
from suite.diagnostics.noise import BatchesOf
from suite.diagnostics.noise_statistics import (
    NoiseStatistics,
    expected_sign,
    hill_tail_index,
    scale_of,
    sign_progress,
)
from suite.diagnostics.sharpness import second_order
from suite.diagnostics.smoothness import euclidean_norm, path_smoothness, sign_norm
from suite.diagnostics.spectra import Spectrum, jensen_shannon, lanczos_spectrum, spectrum_distances
from suite.diagnostics.updates import ratios_by_role, rms
from suite.theory import sde
from suite.theory.frequencies import zipf
from suite.theory.spectra import smoothness_ratio


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetric(size: int, seed: int = 0) -> Tensor:
    matrix = torch.randn(size, size, generator=seeded(seed), dtype=torch.float64)
    return matrix @ matrix.T / size


def test_norms_ratios_and_shares() -> None:
    assert global_norm([torch.tensor([3.0]), torch.tensor([[4.0]])]) == 5
    assert clipped_share([0.5, 2.0, 3.0, 0.1, 4.0], 1.0, 2) == {1: 0.5, 3: 0.5, 4: 1.0}
    assert clipped_share([9.0], None, 3) == {0: 0.0}
    assert share_at_limit(torch.tensor([0.1, -1.0, 1.0, 0.9]), 1.0) == 0.5
    assert rms(torch.tensor([3.0, -3.0, 3.0])) == pytest.approx(3)
    weights = {"a": torch.tensor([3.0]), "b": torch.tensor([4.0]), "c": torch.tensor([2.0])}
    update = {name: torch.tensor([0.5]) for name in weights}
    ratios = ratios_by_role(update, weights, {"a": "hidden", "b": "hidden", "c": "head"})
    assert ratios["hidden"] == pytest.approx(math.sqrt(0.5) / 5) and ratios["head"] == pytest.approx(0.25)


def test_signs_and_angles_of_known_vectors() -> None:
    a, b = torch.tensor([1.0, -2.0, 3.0, 0.0]), torch.tensor([2.0, 2.0, 1.0, 5.0])
    zero, one = torch.zeros(4), torch.tensor([0.0, 1.0, 0.0, 0.0])
    found = Directions(["a", "b", "minus a", "zero", "one"])
    for piece in (slice(0, 3), slice(3, 4)):
        parts = {"a": a, "b": b, "minus a": -a, "zero": zero, "one": one}
        found.add({label: vector[piece] for label, vector in parts.items()})
    assert found.sign_agreement("a", "b") == pytest.approx(2 / 3)
    assert found.cosine("a", "b") == pytest.approx(1 / math.sqrt(14 * 34))
    assert found.sign_agreement("a", "minus a") == 0 and found.cosine("a", "minus a") == pytest.approx(-1)
    assert found.sign_agreement("a", "one") == 0 and found.cosine("a", "one") == pytest.approx(-2 / math.sqrt(14))
    assert torch.isnan(found.sign_agreement("a", "zero")) and torch.isnan(found.cosine("a", "zero"))


def test_the_expansion_of_a_quadratic_is_exact() -> None:
    h = symmetric(12)
    x, update = torch.randn(2, 12, generator=seeded(1), dtype=torch.float64)
    terms = second_order(h @ x, lambda v: h @ v, update)
    change = 0.5 * (x + update) @ h @ (x + update) - 0.5 * x @ h @ x
    assert terms["predicted_change"] == pytest.approx(float(change))
    assert terms["gradient_correlation"] + terms["directional_sharpness"] == pytest.approx(float(change))
    values, vectors = torch.linalg.eigh(h)
    along = second_order(h @ x, lambda v: h @ v, 0.1 * vectors[:, -1])
    assert along["direction_sharpness"] == pytest.approx(float(values[-1]))


def test_smoothness_of_diagonal_quadratics_is_the_theorys() -> None:
    for exponent in (0.5, 1.0, 2.0):
        diagonal = torch.arange(1, 201, dtype=torch.float64) ** -exponent
        start = torch.randn(200, generator=seeded(), dtype=torch.float64)
        l2 = euclidean_norm(lambda v, d=diagonal: d * v, start, 200)
        linf = sign_norm(lambda v, d=diagonal: d * v, start, 2)
        assert l2 == pytest.approx(1, rel=1e-3) and linf == pytest.approx(float(diagonal.sum()))
        assert float(linf / l2) == pytest.approx(smoothness_ratio(200, exponent), rel=1e-3)


def test_sign_norm_finds_the_maximum_over_all_signs() -> None:
    h = symmetric(8, seed=3)
    signs = torch.tensor(np.array(np.meshgrid(*[[-1.0, 1.0]] * 8)).reshape(8, -1))
    exact = (h @ signs).abs().sum(dim=0).max()
    starts = [
        sign_norm(lambda v: h @ v, torch.randn(8, generator=seeded(s), dtype=torch.float64), 10) for s in range(9)
    ]
    assert max(starts) == pytest.approx(float(exact)) and all(found <= exact + 1e-9 for found in starts)
    # Along any step both estimates are lower bounds, and their ratio is possible.
    step = torch.randn(8, generator=seeded(7), dtype=torch.float64)
    l2, linf = path_smoothness(h @ step, step)
    assert l2 <= torch.linalg.eigvalsh(h)[-1] + 1e-9 and linf <= exact + 1e-9 and 1 <= linf / l2 <= 8


def test_lanczos_has_the_moments_of_the_matrix() -> None:
    pytest.importorskip("curvlinops")
    h = symmetric(60, seed=5)
    before = torch.get_rng_state()
    found = lanczos_spectrum(lambda v: h @ v, torch.zeros(60, dtype=torch.float64), nodes=12, repeats=40)
    assert torch.equal(before, torch.get_rng_state())
    assert found.mean == pytest.approx(float(h.trace()) / 60, rel=0.05)
    assert float(found.nodes**2 @ found.weights) == pytest.approx(float(h.square().sum()) / 60, rel=0.08)
    assert found.nodes.max() == pytest.approx(float(torch.linalg.eigvalsh(h)[-1]), rel=0.01)
    flat = lanczos_spectrum(lambda v: 0 * v, torch.zeros(60), nodes=8, repeats=2)
    assert flat.mean == 0 and flat.weights.sum() == pytest.approx(1)
    twice = lanczos_spectrum(lambda v: 2 * v, torch.zeros(5), nodes=4, repeats=1)
    assert twice.mean == pytest.approx(2)


def test_distances_of_known_spectra() -> None:
    same, other = np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.0, 0.0, 0.25, 0.75])
    assert jensen_shannon(same, same) == 0 and jensen_shannon(same, other) == pytest.approx(1)
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(math.sqrt(0.3112781), rel=1e-6)
    small = Spectrum(np.array([1.0, 2.0, 3.0]), np.full(3, 1 / 3))
    large = Spectrum(np.array([4998.0, 4999.0, 5000.0]), np.full(3, 1 / 3))
    mixed = Spectrum(np.array([1.0, 99.0, 4998.0]), np.full(3, 1 / 3))
    apart = spectrum_distances({"a": small, "b": large})["a~b"]
    alike = spectrum_distances({"a": mixed, "b": Spectrum(np.array([2.0, 100.0, 4999.0]), np.full(3, 1 / 3))})["a~b"]
    assert apart == pytest.approx(1, abs=1e-6) and alike < 0.4  # paper 2's heterogeneous and homogeneous blocks


def test_the_noise_scale_of_known_noise() -> None:
    size, groups, dim = 4, 4000, 30
    truth = torch.linspace(-0.2, 0.2, dim, dtype=torch.float64)
    deviations = torch.linspace(0.5, 2.0, dim, dtype=torch.float64)
    noise = torch.randn(groups, size, dim, generator=seeded(), dtype=torch.float64) * deviations
    gradients = truth + noise.mean(dim=1)
    statistics, batches = NoiseStatistics(size), BatchesOf(10, truth)
    for first, second in gradients.view(-1, 2, dim):
        statistics.add(first, second)
        batches.add(first)
        batches.add(second)
    scale = scale_of(statistics)
    trace = float(deviations.square().sum())
    assert scale.trace == pytest.approx(trace, rel=0.03)
    assert scale.signal == pytest.approx(float(truth.square().sum()), rel=0.1)
    assert scale.simple == pytest.approx(trace / float(truth.square().sum()), rel=0.1)
    assert statistics.variance.sqrt().numpy() == pytest.approx(deviations.numpy(), rel=0.06)
    assert batches.trace * 10 * size == pytest.approx(trace, rel=0.1)
    # Sign descent progresses as the diffusion limit says.
    predicted = sign_progress(truth, expected_sign(truth, deviations, 10 * size))
    assert batches.progress == pytest.approx(float(predicted), abs=0.02)


def test_the_erf_drift_is_the_theorys() -> None:
    gradient = torch.linspace(-1, 1, 9, dtype=torch.float64)
    noise = torch.tensor([0.0, *[1.5] * 8], dtype=torch.float64)
    theirs = sde.expected_sign(gradient.numpy(), noise.numpy(), 16)
    np.testing.assert_allclose(expected_sign(gradient, noise, 16).numpy(), theirs, rtol=1e-9)
    assert sign_progress(gradient, gradient.sign()) == pytest.approx(1)


def test_the_tail_index_of_known_laws() -> None:
    uniform = torch.rand(200_000, generator=seeded(), dtype=torch.float64)
    for index in (1.5, 3.0):
        found, k = hill_tail_index(uniform ** (-1 / index))
        assert k == 20_000 and found == pytest.approx(index, rel=0.03)
    student = torch.distributions.StudentT(3.0)
    torch.manual_seed(0)
    found, _ = hill_tail_index(student.sample((200_000,)).abs())
    assert 2.0 < found < 2.9  # the bias that the docstring tells
    norms = torch.randn(2000, 500, generator=seeded()).norm(dim=1)
    assert hill_tail_index(norms)[0] > 10
    assert math.isnan(hill_tail_index(torch.ones(3))[0]) and hill_tail_index(torch.ones(50))[0] == math.inf


def test_the_hill_estimate_has_no_bias_on_few_pareto_values() -> None:
    draws = torch.rand(4000, 64, generator=seeded(1), dtype=torch.float64) ** (-1 / 2.5)
    estimates = [hill_tail_index(row)[0] for row in draws[:1500]]
    assert np.mean(estimates) == pytest.approx(2.5, rel=0.05)


def test_zipf_words_fall_into_equal_shares() -> None:
    counts = np.round(1e7 * zipf(5000, 1.0)).astype(np.int64)
    groups = groups_by_frequency(np.random.default_rng(0).permutation(counts), 10)
    shuffled = np.random.default_rng(0).permutation(counts)
    shares = np.bincount(groups, weights=shuffled, minlength=10) / shuffled.sum()
    assert shares[1:] == pytest.approx(0.1, abs=0.06)  # the most frequent word alone is 11% of all
    sizes = np.bincount(groups, minlength=10)
    assert sizes[0] <= 2 and sizes[-1] > 1000 and np.all(np.diff(sizes) >= 0)
    assert shuffled[groups == 0].min() >= shuffled[groups == 1].max()
    means, numbers = mean_by_group(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]), 3)
    assert means[0] == 2 and torch.isnan(means[1]) and means[2] == 5 and numbers.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("each", "asked", "known", "taken"),
    [(64, None, 5000, 64), (8, None, 5000, 256), (1, None, 5000, 2048), (1, None, 485, 485), (1, 30, 5000, 30)],
)
def test_samples_hold_targets_enough_for_all_groups(each: int, asked: int | None, known: int, taken: int) -> None:
    class Counting(Frequency):
        def _losses_of(self, moment: Moment, start: int, stop: int) -> tuple[Tensor, Tensor]:
            numbers = torch.arange(start, stop).repeat_interleave(each)
            return numbers.float(), numbers

    moment = cast(Moment, SimpleNamespace(data=SimpleNamespace(val_samples=known)))
    losses, samples = Counting(samples=asked)._losses(moment)
    assert samples.tolist() == losses.tolist() == torch.arange(taken).repeat_interleave(each).tolist()
