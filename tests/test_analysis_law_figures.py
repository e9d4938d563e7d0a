"""Figures of the steps to a target and of the tuned settings: open ends, round ticks, lines that are named."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from suite.analysis.critical import critical_table
from suite.analysis.figures.effects import effects_figure
from suite.analysis.figures.palette import optimizer_style
from suite.analysis.figures.scales import log_axis
from suite.analysis.figures.style import caption_of, style
from suite.analysis.figures.target import target_figure
from suite.analysis.figures.tuned_laws import tuned_laws_figure

LABELS = ["adam", "sgd"]
SIZES = [1, 4, 16, 64]


def steps_to_target(lows: list[float], highs: list[float]) -> pd.DataFrame:
    """Steps of Adam that halve with the batch size, with factors to the ends of their intervals."""
    steps = 6400 / np.array(SIZES)
    return pd.DataFrame(
        {
            "task": "t", "optimizer": "adam", "batch_size": SIZES, "target": 2.0, "outcome": "reached", "steps": steps,
            "steps_low": steps * lows, "steps_high": steps * highs, "samples": 6400.0, "tokens": 409_600.0,
            "edges": [()] * len(SIZES),
        }
    )  # fmt: skip


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def marks(lines: list[Line2D], marker: str) -> list[tuple[float, float]]:
    """Places of all marks of a kind."""
    drawn = [line for line in lines if line.get_marker() == marker]
    return [(float(x), float(y)) for line in drawn for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


@pytest.mark.parametrize("far", [math.inf, 1e4])
def test_an_open_end_is_an_arrowhead_that_does_not_stretch_the_axis(far: float) -> None:
    closed = steps_to_target([0.9] * 4, [1.1] * 4)
    figures = []
    for steps in (closed, steps_to_target([0.0, 0.9, 0.9, 0.9], [1.1, 1.1, 1.1, far])):
        with style():
            figure = target_figure(steps, critical_table(closed, retrained=False), LABELS)
        assert figure is not None
        figures.append(figure)
    (plain, _), (left, right) = (figure.axes for figure in figures)
    bottom, top = left.get_ylim()
    assert plain.get_ylim()[0] == pytest.approx(bottom) and top == pytest.approx(plain.get_ylim()[1])
    for axes in (left, right):
        ((below, low),), ((above, high),) = marks(axes.lines, "v"), marks(axes.lines, "^")
        assert (below, above) == (1, 64) and axes.get_ylim()[0] < low < high < axes.get_ylim()[1]
        assert len(marks(axes.lines, "_")) == 6, "an end with an arrowhead has no cap"
    assert "interval goes on" in legend_of(figures[1]) and "Arrows: the interval goes on." in caption_of(figures[1])
    assert "interval goes on" not in legend_of(figures[0]) and "Arrows" not in caption_of(figures[0])


def test_the_lines_of_one_colour_are_named() -> None:
    steps = steps_to_target([0.9] * 4, [1.1] * 4)
    fitted = target_figure(steps, critical_table(steps, retrained=False), LABELS)
    plain = target_figure(steps, critical_table(steps[:0], retrained=False), LABELS)
    assert fitted is not None and plain is not None
    assert legend_of(fitted) == ["Adam", "perfect scaling", "points joined", "fit of S + E / B"]
    assert legend_of(plain) == ["Adam", "perfect scaling", "points joined"]


def tuned_momenta() -> pd.DataFrame:
    """One minus the momentum of two optimizers over batch sizes, off the grid."""
    rows = [
        {"task": "t", "optimizer": label, "quantity": "1 - momentum", "batch_size": size, "value": value}
        for label, values in (("adam", (0.041, 0.17, 0.27, 0.31)), ("sgd", (0.025, 0.053, 0.096, 0.21)))
        for size, value in zip(SIZES, values, strict=True)
    ]
    return pd.DataFrame(rows).assign(step=0.7, edge=False)


def test_every_rule_has_the_colour_of_its_optimizer_and_starts_with_its_law() -> None:
    figure = tuned_laws_figure(tuned_momenta(), LABELS)
    assert figure is not None
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > len(SIZES)]
    for label in LABELS:
        law, rule = (
            [line for line in lines if line.get_color() == optimizer_style(label, LABELS)["color"]
             and line.get_linestyle() == kind] for kind in ("-", ":")
        )  # fmt: skip
        (xs, ys), (law_xs, law_ys) = rule[0].get_data(), law[0].get_data()
        assert len(rule) == len(law) == 1 and xs[0] == law_xs[0] == SIZES[0] and ys[0] == pytest.approx(law_ys[0])
        assert ys[-1] / ys[0] == pytest.approx(64), "the half-life in tokens is kept"
    assert legend_of(figure) == ["Adam", "SGD", "law, 95% band", "rule's slope"]
    assert figure.get_supxlabel().startswith("Points: minimum of the parabola")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.019, 0.69, [0.02, 0.05, 0.1, 0.2, 0.5]),
        (3e-5, 2.0, [1e-4, 1e-3, 1e-2, 0.1, 1.0]),
        (1e-9, 2e1, [1e-9, 1e-7, 1e-5, 1e-3, 0.1, 10.0]),
        (2.1, 4.2, [3.0, 4.0]),
        (2.1, 2.2, [2.1, 2.2]),
    ],
)
def test_a_logarithmic_axis_is_labelled_at_round_values(low: float, high: float, ticks: list[float]) -> None:
    axes = Figure().subplots()
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    log_axis(axes.yaxis, low, high, "{:g}".format, most=6)
    assert axes.get_yticks() == pytest.approx(ticks) and not len(axes.get_yticks(minor=True))


def test_the_ticks_of_tuned_values_are_not_the_values() -> None:
    figure = tuned_laws_figure(tuned_momenta(), LABELS)
    assert figure is not None
    written = [figure.axes[0].yaxis.get_major_formatter()(tick) for tick in figure.axes[0].get_yticks()]
    assert written == ["0.02", "0.05", "0.1", "0.2", "0.5"]


def test_effects_stand_in_the_order_of_the_design() -> None:
    level = {"task": "t", "reference": "adam", "challenger": "sgd", "effect": 1.0, "low": 0.0, "high": 2.0}
    names = {4: ["middle (not low)", "b 2"], 16: ["middle (not low)", "high (not low)", "b 2"]}
    effects = pd.DataFrame([
        {**level, "corrected": False, "batch_size": size, "effect_of": name}
        for size, of_size in names.items() for name in of_size
    ])  # fmt: skip
    figure = effects_figure(effects)
    assert figure is not None
    titles = [title.get_text() for title in figure.axes[0].get_yticklabels()]
    assert titles == ["middle\n(not low)", "high\n(not low)", "b 2"]
