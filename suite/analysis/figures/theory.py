"""Figures of what theory predicts: the gap's regimes, the noisy quadratic, the Zipf bigram model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from suite.analysis.figures.layout import legend_above, panel_grid
from suite.analysis.figures.palette import optimizer_style, shades
from suite.analysis.figures.scales import batch_size_axis, decade_axis, zero_line
from suite.analysis.figures.style import FAINT, scaled
from suite.theory.bigram import scaling_exponent
from suite.theory.bounds import FIGURE_8_RATIOS, Problem, largest_admissible_batch_size
from suite.theory.noisy_quadratic import Prediction
from suite.theory.regimes import gap_model, relative_gap

LARGEST_BATCH_SIZE = 65_536
_TITLES = {"sgd": "SGD", "signsgd": "sign descent (band: two standard errors)"}
_METHODS = ("sgd", "signsgd")


def regimes_figure(panels: Sequence[Mapping[int, Problem]]) -> Figure:
    """Relative gap of the bounds against batch size (paper 1, Figure 8).

    A ring marks a crossover. To the right of the dotted line (everywhere, where there is none) the bound of normalised
    SGD is extrapolated: its tuned momentum would have to be below zero.

    Args:
        panels: for each panel, problems of one ``L_2`` by their ratio ``r = L_inf / L_2``.
    """
    figure, (panel_axes,) = panel_grid(len(panels), height=24, narrowest=13, margin=0, sharey=True)
    sizes = np.geomspace(1, LARGEST_BATCH_SIZE, 400)
    colors: dict[int, Any] = {}
    for ratios, method in zip(FIGURE_8_RATIOS.values(), ("adam", "sgd"), strict=True):
        colors |= dict(zip(ratios, shades(optimizer_style(method, ())["color"], len(ratios)), strict=True))
    for axes, problems in zip(panel_axes, panels, strict=True):
        for ratio, problem in problems.items():
            gaps = relative_gap(problem, sizes)
            line = "-" if ratio in FIGURE_8_RATIOS["I"] else (0, (5, 1.5))
            axes.plot(sizes, gaps, color=colors[ratio], linestyle=line, linewidth=scaled(1.6))
            crossover = gap_model(problem).crossover()
            if crossover is not None and crossover <= LARGEST_BATCH_SIZE:
                ring: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": colors[ratio], "zorder": 4}
                axes.plot([crossover], [0], "o", markersize=scaled(5.5), **ring)
        _regime_frame(axes, next(iter(problems.values())))
    panel_axes[0].set_ylabel("relative gap of the bounds\n(sign descent − SGD) / sum")
    figure.legend(handles=_regime_handles(colors), loc="outside right center", title="L∞ / L₂", fontsize=scaled(7))
    return figure


def _regime_frame(axes: Axes, problem: Problem) -> None:
    batch_size_axis(axes, [1, 64, 4096], octaves=0.3)
    axes.set_xlim(right=1.3 * LARGEST_BATCH_SIZE)
    axes.set_ylim(-1.1, 1.1)
    zero_line(axes)
    limit = largest_admissible_batch_size(problem.normalised_sgd)
    if limit > 1:
        axes.axvline(limit, color=FAINT, linewidth=scaled(0.9), linestyle=(0, (1, 1.6)))
    axes.set_title(f"L₂ = {problem.smoothness_2:g}")
    for height, word, anchor in ((1.06, "▲ SGD better", "top"), (-1.06, "▼ sign descent better", "bottom")):
        axes.text(
            0.015, height, word, transform=axes.get_yaxis_transform(), va=anchor, fontsize=scaled(7.5), color=FAINT,
        )  # fmt: skip


def _regime_handles(colors: Mapping[int, Any]) -> list[Line2D]:
    handles = []
    line: Any
    for regime, words, line in (("I", "I: crossover", "-"), ("II", "II: SGD at every size", (0, (5, 1.5)))):
        handles.append(Line2D([], [], linestyle="none", label=f"Regime {words}"))
        handles += [
            Line2D([], [], color=colors[ratio], linestyle=line, linewidth=scaled(1.6), label=f"{ratio:,}")
            for ratio in FIGURE_8_RATIOS[regime]
        ]
    beyond = "SGD's bound ends here;\nextrapolated beyond"
    return [*handles, Line2D([], [], color=FAINT, linewidth=scaled(0.9), linestyle=(0, (1, 1.6)), label=beyond)]


def quadratic_figure(rows: Sequence[tuple[str, Mapping[str, Sequence[Prediction]]]]) -> Figure:
    """Predicted tuned final loss of SGD and sign descent against batch size (paper 2, Figure 17).

    Args:
        rows: for each kind of noise, a title and the predictions by the Hessian's layout.
    """
    layouts = list(rows[0][1])
    figure, grid = panel_grid(len(layouts), height=17, narrowest=15, rows=len(rows))
    for line, (title, by_layout) in zip(grid, rows, strict=True):
        for axes, layout in zip(line, layouts, strict=True):
            predictions = by_layout[layout]
            sizes = [p.batch_size for p in predictions]
            for method in _METHODS:
                drawn = optimizer_style(method, _METHODS)
                values = [getattr(p, method) for p in predictions]
                axes.plot(sizes, values, **drawn, linewidth=scaled(1.4), markersize=scaled(4.6), label=_TITLES[method])
            sign, errors = np.array([p.signsgd for p in predictions]), np.array([p.error for p in predictions])
            color = optimizer_style("signsgd", _METHODS)["color"]
            # The band of two standard errors may reach zero, which a logarithmic axis does not have.
            axes.fill_between(
                sizes, np.maximum(sign - 2 * errors, sign / 3), sign + 2 * errors, color=color, alpha=0.2, linewidth=0
            )
            batch_size_axis(axes, sizes, octaves=0.4)
            axes.set_yscale("log")
            axes.set_title(f"{layout} Hessian, {title}", fontsize=scaled(8))
        for axes in line:
            axes.set_ylabel("tuned final loss" if axes is line[0] else "")
        every = [value for group in by_layout.values() for p in group for value in (p.sgd, p.signsgd)]
        for axes in line:
            decade_axis(axes.yaxis, every)
            axes.set_ylim(min(every) / 1.6, max(every) * 1.6)
    legend_above(figure, *grid[0, 0].get_legend_handles_labels())
    return figure


def bigram_figure(needed: Mapping[float, Mapping[str, Sequence[tuple[int, float]]]], target: float) -> Figure:
    """Steps to a relative error against vocabulary size, for gradient descent and sign descent (Kunstner & Bach 2025).

    Args:
        needed: by Zipf exponent and method (``gd``, ``signsgd``), pairs of vocabulary size and steps.
        target: the relative error.
    """
    figure, (panel_axes,) = panel_grid(len(needed), height=20, narrowest=12, sharey=True)
    for axes, (exponent, methods) in zip(panel_axes, needed.items(), strict=True):
        for method, points in methods.items():
            drawn = optimizer_style("sgd" if method == "gd" else "signsgd", _METHODS)
            sizes, steps = np.array(points, dtype=float).T
            power = scaling_exponent(method, exponent, target)
            name = "gradient descent" if method == "gd" else "sign descent"
            axes.plot(
                sizes, steps, **drawn, linewidth=scaled(1.4), markersize=scaled(4), label=f"{name}: d^{power:.2g}"
            )
            axes.plot(
                sizes, steps[-1] * (sizes / sizes[-1]) ** power, color=drawn["color"], linewidth=scaled(3.5), alpha=0.18
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        decade_axis(axes.xaxis, sizes)
        axes.set_xlabel("vocabulary size d")
        axes.set_title(f"Zipf exponent {exponent:g}")
        axes.legend(loc="upper left", fontsize=scaled(7), handlelength=1.6)
    every = [steps for methods in needed.values() for points in methods.values() for _, steps in points]
    decade_axis(panel_axes[0].yaxis, every)
    panel_axes[0].set_ylim(min(every) / 2, max(every) * 25)
    panel_axes[0].set_ylabel(f"steps to a relative error of {target:g}")
    return figure
