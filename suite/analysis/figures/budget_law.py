"""The crossover against the budget, with its power law and theory's slope."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from suite.analysis.budget_law import THEORY, BudgetLaw
from suite.analysis.figures.layout import legend_above, legend_entries, panel_grid
from suite.analysis.figures.marks import intervals, tip
from suite.analysis.figures.palette import series_style
from suite.analysis.figures.scales import fixed_ticks
from suite.analysis.figures.style import FAINT, explain, scaled
from suite.analysis.words import batch_size_text, count_text, pair_text

_REACH = 1.6
"""Length of an arrow from a bound, as a ratio of batch sizes."""


def budget_law_figure(laws: list[BudgetLaw]) -> Figure | None:
    """Crossovers of every family and pair against the budget.

    Args:
        laws: see `suite.analysis.budget_law.budget_laws`; those without any claimed crossover are left out.

    Returns:
        The figure; None without a claimed crossover.
    """
    shown = [law for law in laws if law.zeros]
    if not shown:
        return None
    figure, ((axes,),) = panel_grid(1, height=20, narrowest=24)
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    several = len({law.family.name for law in shown}) > 1
    for number, law in enumerate(shown):
        _draw(axes, law, number, several=several)
    _limits(axes, shown)
    units = dict.fromkeys(law.family.unit for law in shown)
    axes.set_xlabel(f"budget ({' or '.join(units)})")
    axes.set_ylabel("batch size of the crossover")
    if len(shown) > 1:
        legend_above(figure, *legend_entries([axes]))
    return figure


def _draw(axes: Axes, law: BudgetLaw, number: int, *, several: bool) -> None:
    looks = series_style(number)
    budgets, zeros = np.array(list(law.zeros)), np.array(list(law.zeros.values()))
    name = pair_text(law.reference, law.challenger)
    name = f"{law.family.name}: {name}" if several else name
    axes.plot(budgets, zeros, linestyle="none", label=name, zorder=3, markersize=scaled(4.6), **looks)
    spans = np.array([law.spans[budget] for budget in law.zeros])
    with np.errstate(invalid="ignore"):
        low = np.where(spans[:, 0] < zeros / 16, zeros / 16, spans[:, 0])
        high = np.where(spans[:, 1] > zeros * 16, zeros * 16, spans[:, 1])
    intervals(axes, budgets, zeros, np.stack([zeros - low, high - zeros]), looks["color"])
    for budget, zero in law.zeros.items():
        tip(axes, budget, zero, f"{name}: {batch_size_text(zero)} at {count_text(budget)} {law.family.unit}")
    _draw_bounds(axes, law, name, looks)
    if math.isnan(law.exponent) or law.bends:
        return
    along = np.geomspace(law.family.budgets[0], law.family.budgets[-1], 40)
    fitted = law.factor * along**law.exponent
    axes.plot(along, fitted, color=looks["color"], linewidth=scaled(1.2), zorder=2)
    centre = math.exp(float(np.log(budgets).mean()))
    theory = law.factor * centre**law.exponent * (along / centre) ** THEORY
    axes.plot(along, theory, color=FAINT, linestyle=":", linewidth=scaled(1.1), zorder=1.8)
    explain(axes, "Dotted: as the square root of the budget, theory's law.")


def _draw_bounds(axes: Axes, law: BudgetLaw, name: str, looks: dict[str, Any]) -> None:
    """An arrow from every bound to where the crossover lies."""
    size = scaled(4.6)
    style = {"arrowstyle": "-|>", "color": looks["color"], "linewidth": scaled(1.2), "shrinkA": size / 2, "shrinkB": 0}
    for budget, (low, high) in law.bounds.items():
        side, at, end = ("above", low, low * _REACH) if math.isinf(high) else ("below", high, high / _REACH)
        hollow = looks | {"markerfacecolor": "white"}
        axes.plot([budget], [at], linestyle="none", zorder=3, markersize=size, **hollow)
        axes.plot([budget], [end], linestyle="none", marker="none")
        axes.annotate("", (budget, end), (budget, at), arrowprops=style)
        tip(axes, budget, at, f"{name}: {side} {batch_size_text(at)} at {count_text(budget)} {law.family.unit}")
        explain(axes, "Arrows: the crossover lies beyond, as one optimizer is better up to there.")


def _limits(axes: Axes, laws: list[BudgetLaw]) -> None:
    """Ticks at the budgets, and at batch sizes that are powers of two."""
    budgets = sorted({budget for law in laws for budget in law.family.budgets})
    axes.set_xlim(budgets[0] / 1.6, budgets[-1] * 1.6)
    fixed_ticks(axes.xaxis, budgets, count_text)
    low, high = axes.get_ylim()
    octaves = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    axes.set_yticks([2.0**power for power in octaves][:: max(1, len(octaves) // 6)])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for law in laws:
        for budget, crossover in zip(law.family.budgets, law.crossovers, strict=True):
            if not crossover.claimed and budget not in law.bounds:
                axes.axvline(budget, color=FAINT, linewidth=scaled(0.8), linestyle=(0, (1, 3)), zorder=1)
                explain(axes, "Vertical lines: budgets at which no crossover is claimed.")
