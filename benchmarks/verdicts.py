"""How often a verdict is false, an interval covers and the asked seeds suffice, on data made to order.

    python benchmarks/verdicts.py [--quick] [--json FILE]

Losses are a quadratic bowl over a 5 x 3 grid of learning rate and momentum, whose minimum lies anywhere between grid
points, at a loss of 300 spreads between seeds, and noise, half of it of the seed (shared by the settings of an
optimizer), half of the run. Every setting is trained with one seed, three finalists with three more, and reporting
seeds that the optimizers share report the chosen setting. A sweep has four batch sizes, whose spreads differ by 0.33
(standard deviation of their logarithm). The two optimizers' reporting losses correlate over seeds by -0.3 to 0.8; there
is no gap between them but where it is said. The rules are those of `suite.analysis.verdict`, `suite.analysis.surface`
and `suite.analysis.crossover`.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from suite.analysis.surface import Excess, Tried, excess_of
from suite.analysis.verdict import LEVEL, errors_of_means, holm, moderated, seeds_for_power
from suite.sweep.until import Until

LRS, MOMENTA = tuple(10.0 ** (k / 2 - 2) for k in range(5)), (0.9, 0.97, 0.99)
SETTINGS = [(("lr", rate), ("momentum", momentum)) for rate in LRS for momentum in MOMENTA]
SIZES = 4
SEEDS = (2, 3, 5, 8)
CURVATURES = (0.25, 1.0, 4.0)
FINALISTS, FINALIST_SEEDS = 3, 3
HETEROGENEITY = 0.33
LOSS = 300.0
"""At the minimum, in spreads: seeds of the language models of `docs/results` end 0.1 to 0.7% apart."""
NOTHING = Excess(loss=0.0, error=0.0, freedom=0.0)
"""What a grid tells whose outliers leave no curvature."""
GAP = 4.0
"""Of the batch sizes that have a gap where a crossover is looked for and there is none, in spreads."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What data are made of.

    Attributes:
        curvature: of the bowl along the learning rate, in spreads between seeds per grid step squared; half of it along
            the momentum.
        spreads: between seeds, of the reference and the challenger.
        heavy: whether the noise has Student's t with four degrees of freedom.
        correlation: of the two optimizers' reporting losses over seeds.
    """

    curvature: float
    spreads: tuple[float, float]
    heavy: bool
    correlation: float


def cases() -> Iterator[Case]:
    """Normal and heavy-tailed, equal and unequal noise, three curvatures, over the range of correlations."""
    correlations = itertools.cycle((-0.3, 0.4, 0.8, 0.0))
    for heavy, spreads, curvature in itertools.product((False, True), ((1.0, 1.0), (1.0, 2.0)), CURVATURES):
        yield Case(curvature=curvature, spreads=spreads, heavy=heavy, correlation=next(correlations))


class Draws:
    """Draws sweeps of one case, with a fixed seed.

    Args:
        case: what they are made of.
        sweeps: how many.
    """

    def __init__(self, case: Case, sweeps: int) -> None:
        self.case, self.count = case, sweeps * SIZES
        self.rng = np.random.default_rng(0)
        self.scale = np.exp(HETEROGENEITY * self.rng.standard_normal(self.count))

    def noise(self, *shape: int) -> np.ndarray:
        """Noise of unit variance."""
        if self.case.heavy:
            return self.rng.standard_t(4, shape) / math.sqrt(2)
        return self.rng.standard_normal(shape)

    def bowl(self) -> np.ndarray:
        """True losses of the grid above the minimum, ``[count, settings]``."""
        lr, momentum = (x.ravel() for x in np.meshgrid(np.arange(5) - 2.0, np.arange(3) - 1.0, indexing="ij"))
        centre = self.rng.uniform(-0.5, 0.5, (2, self.count, 1))
        return self.case.curvature * ((lr - centre[0]) ** 2 + 0.5 * (momentum - centre[1]) ** 2)

    def tuned(self, spread: float) -> np.ndarray:
        """True excess of the chosen settings, its estimate and the estimate's standard error, ``[3, count]``."""
        bowl, seeds = self.bowl(), 1 + FINALIST_SEEDS
        of_seed, of_run = self.noise(self.count, 1, seeds), self.noise(self.count, len(SETTINGS), seeds)
        runs = bowl[..., None] + spread * (of_seed + of_run) / math.sqrt(2)
        result = np.zeros((3, self.count))
        for row, (losses, truth) in enumerate(zip(runs, bowl, strict=True)):
            tried = [Tried(setting=s, loss=LOSS + x[0], seeds=1) for s, x in zip(SETTINGS, losses, strict=True)]
            finalists = np.argsort(losses[:, 0])[:FINALISTS]
            for place in finalists:
                several = losses[place]
                tried[place] = Tried(
                    setting=SETTINGS[place], loss=LOSS + several.mean(), seeds=seeds, variance=several.var(ddof=1)
                )
            chosen = min(finalists, key=lambda place: tried[place].loss)
            excess = excess_of(tried[chosen], tried) or NOTHING
            result[:, row] = truth[chosen], excess.loss, excess.error
        return result

    def chosen_alone(self, seeds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Differences by seed where the seeds that choose report too, what is taken off them, and its error."""
        first = self.noise(self.count, seeds)
        second = self.case.correlation * first + math.sqrt(1 - self.case.correlation**2) * self.noise(self.count, seeds)
        differences, taken, variance = np.zeros((self.count, seeds)), np.zeros(self.count), np.zeros(self.count)
        for sign, of_seed, spread in zip((1, -1), (first, second), self.case.spreads, strict=True):
            noise = of_seed[:, None] + self.noise(self.count, len(SETTINGS), seeds)
            runs = self.bowl()[..., None] + spread * noise / math.sqrt(2)
            for row, losses in enumerate(runs):
                tried = [
                    Tried(setting=s, loss=LOSS + x.mean(), seeds=seeds, variance=x.var(ddof=1))
                    for s, x in zip(SETTINGS, losses, strict=True)
                ]
                chosen = min(range(len(tried)), key=lambda place: tried[place].loss)
                excess = excess_of(tried[chosen], tried) or NOTHING
                differences[row] += sign * losses[chosen]
                taken[row] += sign * (excess.loss - excess.luck)
                variance[row] += excess.error**2
        return differences, taken, np.sqrt(variance)

    def reported(self, seeds: int) -> np.ndarray:
        """Noise of the differences over shared reporting seeds, ``[count, seeds]``."""
        reference, own = self.noise(self.count, seeds), self.noise(self.count, seeds)
        share = self.case.correlation
        challenger = share * reference + math.sqrt(1 - share**2) * own
        return self.scale[:, None] * (self.case.spreads[0] * reference - self.case.spreads[1] * challenger)

    @property
    def difference_spread(self) -> float:
        """Standard deviation of the differences by seed, at a batch size of mean spread."""
        first, second = self.case.spreads
        return math.sqrt(first**2 + second**2 - 2 * self.case.correlation * first * second)


@dataclasses.dataclass(frozen=True)
class Estimates:
    """Gaps of many sweeps, ``[sweeps, sizes]`` each."""

    gap: np.ndarray
    error: np.ndarray
    freedom: np.ndarray

    @property
    def half(self) -> np.ndarray:
        """Half the intervals at `LEVEL`."""
        return stdtrit(self.freedom, (1 + LEVEL) / 2) * self.error

    def together(self) -> np.ndarray:
        """Signs of the gaps that hold after correction for the number of batch sizes; 0 for others."""
        p = 2 * stdtr(self.freedom, -np.abs(self.gap) / self.error)
        return np.sign(self.gap) * holm(p)


def estimates(differences: np.ndarray, excess: np.ndarray, error: np.ndarray) -> Estimates:
    """The suite's gaps from differences by seed ``[count, seeds]`` and what the surface tells, ``[count]``."""
    seeds = differences.shape[1]
    variances = differences.var(axis=1, ddof=1).reshape(-1, SIZES)
    errors, freedom, _ = errors_of_means(variances, np.full_like(variances, seeds), error.reshape(-1, SIZES))
    return Estimates((differences.mean(axis=1) - excess).reshape(-1, SIZES), errors, freedom)


def crossing_share(found: Estimates) -> float:
    """Share of sweeps of which a crossover is claimed."""
    signs = found.together()
    return float(((signs.max(axis=1) > 0) & (signs.min(axis=1) < 0)).mean())


def measure(case: Case, sweeps: int) -> list[dict[str, Any]]:
    """A row per number of reporting seeds."""
    draws = Draws(case, sweeps)
    reference, challenger = (draws.tuned(spread) for spread in case.spreads)
    excess, error = reference[1] - challenger[1], np.hypot(reference[2], challenger[2])
    biases = [float((x[0] - x[1]).mean()) / s for x, s in zip((reference, challenger), case.spreads, strict=True)]
    half_of_them = np.arange(draws.count) % SIZES < SIZES // 2
    rows = []
    for seeds in SEEDS:
        noise = (reference[0] - challenger[0])[:, None] + draws.reported(seeds)
        found = estimates(noise, excess, error)
        with_gap = estimates(noise + GAP * draws.difference_spread * half_of_them[:, None], excess, error)
        false = np.abs(found.gap) > found.half
        rows.append(
            {
                **dataclasses.asdict(case),
                "seeds": seeds,
                "false_better": float(false.mean()),
                "coverage": 1 - float(false.mean()),
                "half_width": float(np.median(found.half)),
                "false_crossover": max(crossing_share(found), crossing_share(with_gap)),
                "bias": max(biases, key=abs),
            }
        )
    return rows


def without_reporting_seeds(case: Case, sweeps: int, seeds: int) -> dict[str, Any]:
    """The same where the seeds that choose report too."""
    found = estimates(*Draws(case, sweeps).chosen_alone(seeds))
    coverage = float((np.abs(found.gap) <= found.half).mean())
    return {**dataclasses.asdict(case), "chosen_alone": seeds, "coverage": coverage}


def power_of(case: Case, sweeps: int, seeds: int) -> dict[str, Any]:
    """Power with the seeds that are asked for, at the smallest gap that these are asked for.

    The gap is in moderated spreads: those are what the suite asks with.
    """
    low, high = 0.0, 100.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if seeds_for_power(middle, 1.0, sizes=SIZES) <= seeds else (middle, high)
    draws = Draws(case, sweeps)
    variances = np.square(draws.difference_spread * draws.scale).reshape(-1, SIZES)
    gap = high * np.sqrt(moderated(variances, np.full_like(variances, seeds - 1.0))[0]).ravel()
    nothing = np.zeros(draws.count)
    found = estimates(gap[:, None] + draws.reported(seeds), nothing, nothing)
    return {**dataclasses.asdict(case), "asked": seeds, "power": float((found.gap > found.half).mean())}


def sequential(case: Case, sweeps: int) -> dict[str, Any]:
    """False verdicts of a sweep that adds reporting seeds until there is one; see `suite.sweep.until`."""
    until = Until()
    draws = Draws(case, sweeps)
    reference, challenger = (draws.tuned(spread) for spread in case.spreads)
    excess, error = reference[1] - challenger[1], np.hypot(reference[2], challenger[2])
    looks = [len(seeds) for seeds in until.seeds([], [0])]
    noise = (reference[0] - challenger[0])[:, None] + draws.reported(looks[-1])
    decided = np.zeros(draws.count, dtype=bool)
    for look in looks:
        found = estimates(noise[:, :look], excess, error)
        half = stdtrit(found.freedom, (1 + until.level_of_a_look) / 2) * found.error
        decided |= (np.abs(found.gap) > half).ravel()
    return {**dataclasses.asdict(case), "looks": looks, "false_sequential": float(decided.mean())}


def ranges(rows: list[dict[str, Any]], name: str, form: str) -> str:
    """Smallest and largest value of a figure."""
    values = [row[name] for row in rows]
    return f"{min(values):{form}} to {max(values):{form}}"


def main() -> None:
    """Print the tables of docs/analysis.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sweeps: a look in ten seconds")
    parser.add_argument("--json", type=Path, help="file for every figure")
    options = parser.parse_args()
    sweeps, begun = 80 if options.quick else 800, time.perf_counter()
    every, few = list(cases()), list(cases())[:6:3]
    with ProcessPoolExecutor() as pool:
        measured = pool.map(measure, every, repeat(sweeps))
        choosing = pool.map(
            without_reporting_seeds, *zip(*itertools.product(every, [sweeps // 8], (2, 3)), strict=True)
        )
        powers = pool.map(power_of, *zip(*itertools.product(few, [4 * sweeps], (3, 5, 8, 12)), strict=True))
        sequences = pool.map(sequential, every, repeat(sweeps))
    figures, alone = list(itertools.chain(*measured)), list(choosing)
    power, looked = list(powers), list(sequences)
    print("| noise | spreads | reporting seeds | false better | coverage of 95% | false crossover | bias in spreads |")
    print("|---|---|---|---|---|---|---|")
    for heavy, spreads, seeds in itertools.product((False, True), ((1.0, 1.0), (1.0, 2.0)), SEEDS):
        rows = [r for r in figures if (r["heavy"], r["spreads"], r["seeds"]) == (heavy, spreads, seeds)]
        names = "heavy-tailed" if heavy else "normal", "equal" if spreads[0] == spreads[1] else "1 to 2"
        parts = (("false_better", ".1%"), ("coverage", ".1%"), ("false_crossover", ".1%"), ("bias", ".2f"))
        print(f"| {' | '.join([*names, str(seeds), *(ranges(rows, *part) for part in parts)])} |")
    print(f"\nWithout reporting seeds (2 and 3 that choose): coverage {ranges(alone, 'coverage', '.1%')}.")
    print(f"Power with the seeds that are asked for (3, 5, 8 and 12): {ranges(power, 'power', '.1%')}.")
    false = ranges(looked, "false_sequential", ".1%")
    print(f"Until there is a verdict (looks at {looked[0]['looks']} seeds), false better: {false}.")
    print(f"{time.perf_counter() - begun:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(figures + alone + power + looked, indent=1))


if __name__ == "__main__":
    main()
