"""Figures without runs: what averaging does to a signal, and the batch size at which a bound is least."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from suite.analysis.figures.layout import label_bottoms, legend_above, legend_entries, panel_grid
from suite.analysis.figures.palette import optimizer_style
from suite.analysis.figures.scales import batch_size_axis, decade_axis
from suite.analysis.figures.style import FAINT, scaled
from suite.theory.bounds import Method, Problem, largest_admissible_batch_size, possible_batch_size, tuned_bound
from suite.theory.filters import Array

LARGEST_BATCH_SIZE = 65_536
_METHODS = ("sgd", "signsgd")
_SQUASHED = ("signum", "ema_sign", "adam")
_TITLES = {"signum": "its sign (Signum)", "ema_sign": "average of signs", "adam": "Adam, equal betas"}


def filters_figure(clean: Array, gradients: Array, steps: Mapping[str, Array]) -> Figure:
    """A noisy signal, its momentum, and what sign methods and Adam step along (paper 3, the filter demonstration).

    In the second panel the signal is scaled to 1.

    Args:
        clean: the signal, ``[steps]``.
        gradients: with noise, ``[steps]``.
        steps: what each optimizer steps along, by its name, see `suite.theory.filters.filtered`.
    """
    figure, (panel_axes,) = panel_grid(2, height=18, narrowest=18)
    left, right = panel_axes
    left.plot(gradients, color=FAINT, linewidth=scaled(0.5), alpha=0.4, label="gradient")
    left.plot(clean, color="black", linewidth=scaled(1.2), label="signal")
    color = optimizer_style("sgd", ())["color"]
    left.plot(steps["sgd"], color=color, linewidth=scaled(1.4), label="its momentum (SGD)")
    left.set_title("the signal")
    right.plot(clean / np.abs(clean).max(), color="black", linewidth=scaled(1.2))
    for name in _SQUASHED:
        color = optimizer_style(name, _SQUASHED)["color"]
        right.plot(steps[name], color=color, linewidth=scaled(1.1), alpha=0.85, label=_TITLES[name])
    right.set_title("what is stepped along")
    right.set_ylim(-1.15, 1.15)
    label_bottoms(panel_axes, "step")
    legend_above(figure, *legend_entries(panel_axes))
    return figure


def batch_sizes_figure(problems: Mapping[str, Problem], budgets: Array) -> Figure:
    """Bounds of normalised SGD and sign descent against batch size, a ring where each is least; and it over the budget.

    Right of a dotted line a bound is extrapolated, see `largest_admissible_batch_size`.

    Args:
        problems: by title, a panel each.
        budgets: samples, ascending, for the last panel, which is of the first problem.
    """
    figure, (panel_axes,) = panel_grid(len(problems) + 1, height=20, narrowest=14)
    sizes = np.geomspace(1, LARGEST_BATCH_SIZE, 300)
    for axes, (title, problem) in zip(panel_axes[:-1], problems.items(), strict=True):
        for name, method in _methods(problem).items():
            drawn = optimizer_style(name, _METHODS)
            values = tuned_bound(method, sizes)
            label = "normalised SGD" if name == "sgd" else "sign descent"
            axes.plot(sizes, values, color=drawn["color"], linewidth=scaled(1.5), label=label)
            best = possible_batch_size(method)
            ring = {"markerfacecolor": "white", "markeredgecolor": drawn["color"]}
            axes.plot([best], [tuned_bound(method, best)], "o", markersize=scaled(5.5), zorder=4, **ring)
            limit = largest_admissible_batch_size(method)
            if 1 < limit < LARGEST_BATCH_SIZE:
                axes.axvline(limit, color=drawn["color"], linewidth=scaled(0.9), linestyle=(0, (1, 1.6)))
        batch_size_axis(axes, [1, 64, 4096], octaves=0.3)
        axes.set_xlim(right=1.3 * LARGEST_BATCH_SIZE)
        axes.set_yscale("log")
        decade_axis(axes.yaxis, np.concatenate([tuned_bound(method, sizes) for method in _methods(problem).values()]))
        axes.set_title(title)
    panel_axes[0].set_ylabel("bound of the gradient's norm")
    last, (title, first) = panel_axes[-1], next(iter(problems.items()))
    for name in _METHODS:
        least = [
            possible_batch_size(_methods(dataclasses.replace(first, budget=float(budget)))[name]) for budget in budgets
        ]
        last.plot(np.asarray(budgets), least, color=optimizer_style(name, _METHODS)["color"], linewidth=scaled(1.5))
    last.set_xscale("log")
    last.set_yscale("log")
    decade_axis(last.xaxis, budgets)
    last.set_xlabel("budget T, samples")
    last.set_ylabel("batch size at the least bound")
    last.set_title(title)
    legend_above(figure, *panel_axes[0].get_legend_handles_labels())
    return figure


def _methods(problem: Problem) -> dict[str, Method]:
    return {"sgd": problem.normalised_sgd, "signsgd": problem.sign_sgd}
