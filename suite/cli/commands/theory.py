"""``theory``: what the papers' formulas predict, as tables and figures; nothing is trained."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.cli.arguments import DEFAULT_STORE
from suite.cli.parser import Parser
from suite.fields import check_ranges

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from suite.analysis.comparison import Comparison
    from suite.theory.bounds import Problem
    from suite.theory.noisy_quadratic import Prediction

SUBJECTS = {
    "regimes": "gap of the bounds, its regimes and crossovers (paper 1, Figure 8)",
    "quadratic": "tuned SGD and sign descent on a noisy quadratic (paper 2, Figure 17)",
    "batch_size": "batch sizes at which the bounds of sign and norm methods are least (talks)",
    "filters": "momentum of a signal and its sign; the variance that equal betas track (paper 3)",
    "bigram": "steps that gradient and sign descent need on a Zipf language (Kunstner & Bach)",
    "fit": "the three-term gap model fitted to a sweep's measured gaps",
}

NOISE = 3.0
"""Standard deviation of one sample's gradient at which batch sizes are shown: at Figure 8's one sample is best."""

_FIT_FIRST = (
    "theory fit prints a table and draws no figure: it takes a sweep's YAML first, as in python -m suite theory fit "
    "SWEEP.yaml, and no --out; leave --out out."
)

LARGEST_SPECTRUM = 10_000_000
"""Largest dimension for which the threshold of the spectra is computed: its sum has a term per dimension."""


_POSITIVE = {"above": 0, "at_most": 1e30}


_PROBLEM = ("dimension", "noise", "suboptimality", "budget")

READS: dict[str, tuple[str, ...]] = {
    "regimes": _PROBLEM,
    "quadratic": ("steps", "sigma", "samples"),
    "batch_size": _PROBLEM,
    "filters": (),
    "bigram": ("target",),
}
"""Subject -> the options that it reads."""

DEFAULTS = {"steps": 500, "sigma": 200.0, "samples": 4096, "target": 0.1}
"""Values of options that are not given; those of a problem depend on the subject."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """Ranges of the options; null: the subject's own value."""

    dimension: int | None = dataclasses.field(metadata={"at_least": 1, "at_most": 10**15})
    noise: float | None = dataclasses.field(metadata=_POSITIVE)
    suboptimality: float | None = dataclasses.field(metadata=_POSITIVE)
    budget: float | None = dataclasses.field(metadata=_POSITIVE)
    steps: int = dataclasses.field(metadata={"at_least": 1, "at_most": 20_000})
    sigma: float = dataclasses.field(metadata=_POSITIVE)
    samples: int = dataclasses.field(metadata={"at_least": 1, "at_most": 100_000})
    target: float = dataclasses.field(metadata={"above": 0, "below": 1})


def main(command: str, arguments: list[str]) -> int:
    """Print the tables and write the figures of one subject; without a subject, of all that need no runs."""
    if arguments[:1] == ["fit"]:
        return _fit(arguments[1:])
    lines = "\n".join(f"  {name:10} {line}" for name, line in SUBJECTS.items())
    parser = Parser(
        prog="python -m suite theory",
        description="What theory predicts; see docs/theory.md for the formulas.",
        epilog=f"subjects:\n{lines}\n\nfit takes a sweep's YAML: python -m suite theory fit SWEEP.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("subject", nargs="?", choices=[*SUBJECTS], help="default: all but fit")
    folder = "folder of the figures (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path(DEFAULT_STORE) / "theory", help=folder)
    problem = parser.add_argument_group("regimes, batch_size: another problem than Figure 8's")
    problem.add_argument("--dimension", type=int, help="d")
    problem.add_argument(
        "--noise",
        type=float,
        help="sigma, standard deviation of one sample's gradient (default: Figure 8's 0.01 for regimes, "
        f"{NOISE:g} for batch_size, since at 0.01 one sample is best)",
    )
    problem.add_argument("--suboptimality", type=float, help="initial loss above the infimum")
    problem.add_argument("--budget", type=float, help="T, samples")
    noisy = parser.add_argument_group("quadratic")
    noisy.add_argument("--steps", type=int, help=f"with subsets of rows (default: {DEFAULTS['steps']}, the paper's)")
    noisy.add_argument("--sigma", type=float, help=f"of Gaussian noise (default: {DEFAULTS['sigma']:g})")
    noisy.add_argument("--samples", type=int, help=f"budget with Gaussian noise (default: {DEFAULTS['samples']})")
    zipf = parser.add_argument_group("bigram")
    zipf.add_argument("--target", type=float, help=f"relative error to reach (default: {DEFAULTS['target']})")
    options = parser.parse_args(arguments)
    if options.subject == "fit":
        raise ValueError(_FIT_FIRST)
    _refuse_unread(options)
    vars(options).update({name: value for name, value in DEFAULTS.items() if getattr(options, name) is None})
    check_ranges(Asked, vars(options), name="theory")
    from suite.analysis.figures.style import drawn, save

    draw = {
        "regimes": _regimes, "quadratic": _quadratic, "batch_size": _batch_size, "filters": _filters, "bigram": _bigram
    }  # fmt: skip
    for subject in [options.subject] if options.subject else draw:
        figure = drawn(functools.partial(draw[subject], options))
        assert figure is not None
        options.out.mkdir(parents=True, exist_ok=True)  # not before the request is known to be right
        print(f"\nFigure: {', '.join(map(str, save(figure, options.out, subject)))}\n")
    return 0


def _refuse_unread(options: argparse.Namespace) -> None:
    """Refuse options that the subject does not read.

    Raises:
        ValueError: there is one; the message says which subjects read it.
    """
    for field in dataclasses.fields(Asked):
        name, subjects = field.name, [subject for subject, read in READS.items() if field.name in read]
        if getattr(options, name) is not None and options.subject not in (None, *subjects):
            raise ValueError(
                f"theory {options.subject} does not read --{name}, an option of {' and '.join(subjects)}; leave it out."
            )


def _regimes(options: argparse.Namespace) -> Figure:
    from suite.analysis.figures.theory import regimes_figure
    from suite.theory.bounds import FIGURE_8, FIGURE_8_RATIOS, FIGURE_8_SMOOTHNESS, Problem
    from suite.theory.regimes import approximate_crossover, gap_model
    from suite.theory.spectra import LIMIT_EXPONENT, threshold_exponent

    asked = {name: getattr(options, name) for name in FIGURE_8}
    constants: dict[str, Any] = FIGURE_8 | {name: value for name, value in asked.items() if value is not None}
    ratios = [r for group in FIGURE_8_RATIOS.values() for r in group if r <= constants["dimension"]]
    panels: list[dict[int, Problem]] = [
        {r: Problem(**constants, smoothness_2=smoothness, smoothness_inf=r * smoothness) for r in ratios}
        for smoothness in FIGURE_8_SMOOTHNESS
    ]
    print("Gap of the bounds: sign descent minus normalised SGD; positive: SGD better (paper 1, section 5).")
    print(", ".join(f"{name} {value:g}" for name, value in constants.items()))
    rows = []
    for ratio, problem in (pair for panel in panels for pair in panel.items()):
        model = gap_model(problem)
        sizes = (model.crossover(), approximate_crossover(problem), model.smallest_at)
        gaps = (f"{float(model(size)):+.3g}" for size in (1, 1024))
        rows.append([f"{problem.smoothness_2:g}", str(ratio), model.regime, *map(_number, sizes), *gaps])
    head = ["L_2", "L_inf / L_2", "regime", "crossover", "approximate", "smallest at", "gap at 1", "gap at 1024"]
    _table(head, rows)
    if 1 < constants["dimension"] <= LARGEST_SPECTRUM:
        threshold = threshold_exponent(constants["dimension"])
        print(f"A quadratic with eigenvalues i^-p is in Regime II below p = {threshold:.3f} and in Regime I above; the")
        print(f"threshold falls to {LIMIT_EXPONENT:.3f} as the dimension grows (paper 1, section 5.3).")
    return regimes_figure(panels)


def _quadratic(options: argparse.Namespace) -> Figure:
    from suite.analysis.figures.theory import quadratic_figure

    sizes = [4**power for power in range(5) if 4**power <= options.samples]
    subsets = _predictions("rows", 0.0, {size: options.steps for size in range(1, 10, 2)})
    gaussian = _predictions("gaussian", options.sigma, {size: options.samples // size for size in sizes})
    shown = [
        (f"subsets of rows, {options.steps} steps", subsets),
        (f"Gaussian noise, {options.samples:,} samples", gaussian),
    ]
    print("Expected final loss w'Hw/2 at the best of a grid of learning rates, from w = 1; sign descent by its SDE.")
    print("Better: by more than two standard errors.")
    rows = [
        [
            title, layout, str(p.batch_size), str(p.steps), f"{p.sgd:.3g}", f"{p.sgd_lr:.2g}",
            f"{p.signsgd:.3g} +/- {2 * p.error:.1g}", f"{p.signsgd_lr:.2g}", _better(p),
        ]
        for title, by_layout in shown
        for layout, predictions in by_layout.items()
        for p in predictions
    ]  # fmt: skip
    _table(["noise", "Hessian", "batch size", "steps", "SGD", "lr", "sign descent", "lr", "better"], rows)
    return quadratic_figure(shown)


def _predictions(noise: Any, sigma: float, steps_of: Mapping[int, int]) -> dict[str, list[Prediction]]:
    """Predictions by the Hessian's layout; ``steps_of`` has the number of steps of every batch size."""
    import numpy as np

    from suite.optim.schedule import WarmupCosine
    from suite.theory.hessians import BLOCKS, block_hessian
    from suite.theory.noisy_quadratic import NoisyQuadratic, predict

    schedule = WarmupCosine(warmup_share=0.05)
    lrs: dict[str, Any] = {"sgd_lrs": np.geomspace(1e-6, 1e-3, 13), "sign_lrs": np.geomspace(1e-3, 1, 13)}
    predictions: dict[str, list[Prediction]] = {layout: [] for layout in BLOCKS}
    for layout, by_size in predictions.items():
        problem = NoisyQuadratic(hessian=block_hessian(layout), noise=noise, sigma=sigma)
        for size, steps in steps_of.items():
            multipliers = np.array([schedule(step, steps) for step in range(steps)])
            by_size.append(predict(problem, size, multipliers, **lrs))
    return predictions


def _better(prediction: Prediction) -> str:
    if abs(prediction.gap) < 2 * prediction.error:
        return "tie"
    return "SGD" if prediction.gap > 0 else "sign descent"


def _batch_size(options: argparse.Namespace) -> Figure:
    import numpy as np

    from suite.analysis.figures.signals import batch_sizes_figure
    from suite.theory.bounds import FIGURE_8, Problem, largest_admissible_batch_size, possible_batch_size, tuned_bound

    asked = {name: getattr(options, name) for name in FIGURE_8}
    constants: dict[str, Any] = (
        FIGURE_8 | {"noise": NOISE} | {name: value for name, value in asked.items() if value is not None}
    )
    ratios = [ratio for ratio in (1, 8, 100) if ratio <= constants["dimension"]]
    problems = {f"L∞ / L₂ = {r}": Problem(**constants, smoothness_2=1.0, smoothness_inf=float(r)) for r in ratios}
    print("Batch sizes from one sample to the whole budget at which the tuned bounds are least.")
    print(", ".join(f"{name} {value:g}" for name, value in constants.items()))
    rows = [
        [title, name, f"{possible_batch_size(method):.4g}",
         f"{float(tuned_bound(method, possible_batch_size(method))):.4g}",
         f"{largest_admissible_batch_size(method):.4g}"]
        for title, problem in problems.items()
        for name, method in (("normalised SGD", problem.normalised_sgd), ("sign descent", problem.sign_sgd))
    ]  # fmt: skip
    _table(["problem", "method", "batch size", "bound there", "extrapolated beyond"], rows)
    return batch_sizes_figure(problems, np.geomspace(0.01, 100, 50) * constants["budget"])


def _filters(options: argparse.Namespace) -> Figure:
    from suite.analysis.figures.signals import filters_figure
    from suite.analysis.words import optimizer_title
    from suite.theory.filters import agreement, filtered, noisy, signal
    from suite.theory.variational import is_variance, telling_gradients

    clean, gradients = signal(), noisy()
    steps = filtered(gradients, 0.95)
    print("Cosine between what is stepped along and the signal 1.8 sin(0.03 k) exp(-0.0025 k), noise of deviation 1,")
    print("every average with decay 0.95 (paper 3, the filter demonstration).")
    _table(
        ["method", "cosine"], [[optimizer_title(name), f"{agreement(step, clean):.3f}"] for name, step in steps.items()]
    )
    print(
        "Adam's second moment is a mean squared plus a variance at every step, of these gradients and of some that grow"
    )
    print("by beta2 / beta1 a step: of all gradients if and only if the betas are equal (paper 3, section 4).")
    pairs = [(0.95, 0.95), (0.9, 0.95), (0.9, 0.999), (0.95, 0.9)]
    rows = []
    for pair in pairs:
        tracked = (is_variance(some, *pair) for some in (gradients, telling_gradients(*pair)))
        rows.append([*map("{:g}".format, pair), *("yes" if is_tracked else "no" for is_tracked in tracked)])
    _table(["beta1", "beta2", "these", "growing"], rows)
    return filters_figure(clean, gradients, steps)


def _bigram(options: argparse.Namespace) -> Figure:
    from suite.analysis.figures.theory import bigram_figure
    from suite.theory.bigram import scaling_exponent, steps_needed

    sizes = [10**power for power in range(2, 6)]
    needed = {
        exponent: {
            method: [(size, steps_needed(method, options.target, size, exponent)) for size in sizes]
            for method in ("gd", "signsgd")
        }
        for exponent in (0.5, 1.0, 1.5)
    }
    print(f"Steps to a relative error of {options.target:g} on the linear bigram model (Kunstner & Bach 2025).")
    rows = [
        [f"{exponent:g}", "gradient descent" if method == "gd" else "sign descent",
         *(f"{steps:,.3g}" for _, steps in points), f"d^{scaling_exponent(method, exponent, options.target):.2g}"]
        for exponent, methods in needed.items()
        for method, points in methods.items()
    ]  # fmt: skip
    _table(["Zipf exponent", "method", *(f"d = {size:,}" for size in sizes), "theory"], rows)
    return bigram_figure(needed, options.target)


def _fit(arguments: list[str]) -> int:
    if any(word.partition("=")[0] == "--out" for word in arguments):
        raise ValueError(_FIT_FIRST)
    from suite.cli.plans import parse_sweep, plan_of, sweep_parser
    from suite.records import Store

    parser = sweep_parser("theory fit", "The three-term gap model fitted to a sweep's measured gaps.")
    options, spec, _ = parse_sweep(parser, arguments)
    assert spec is not None
    store = Store(options.store)
    from suite.analysis.comparison import compare_plan

    print_fits(compare_plan(store, plan_of(spec, store)))
    return 0


def print_fits(comparison: Comparison) -> None:
    """Print coefficients, fitted gaps and a sentence for every pair of optimizers that was compared.

    Args:
        comparison: see `suite.analysis.comparison`.

    Raises:
        ValueError: fewer than three batch sizes have a finite gap.
    """
    from suite.analysis.words import optimizer_title
    from suite.theory.gap_fit import fit_gap_model

    for (task, *pair), gaps in comparison.gaps.groupby(["task", "reference", "challenger"], sort=False):
        with comparison.named():
            reference, challenger = map(optimizer_title, pair)
        fit = fit_gap_model(gaps["batch_size"].tolist(), gaps["gap"].tolist())
        print(f"{task}: gap = {reference} - {challenger}")
        names = [field.name for field in dataclasses.fields(fit.model)]
        print("  " + ", ".join(f"{name} {getattr(fit.model, name):+.4g}" for name in names))
        rows = [
            [f"{size:g}", f"{gap:+.4f}", f"{float(fit.model(size)):+.4f}"]
            for size, gap in zip(fit.batch_sizes, fit.gaps, strict=True)
        ]
        _table(["batch size", "measured", "fitted"], rows)
        print(fit.sentence())


def _table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, ["-" * width for width in widths], *rows]:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
