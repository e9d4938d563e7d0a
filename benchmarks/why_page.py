"""`docs/why.md`: what diagnostics measured inside the tuned runs of the archives, beside their gaps."""

from __future__ import annotations

import math
from pathlib import Path

from result_texts import row, wrapped

from suite.analysis.comparison import compare_plan
from suite.analysis.diagnosed import store_diagnostics
from suite.analysis.figures.style import drawn
from suite.analysis.figures.why import why_figure
from suite.analysis.why import Why, why
from suite.analysis.words import UNKNOWN, number, optimizer_title
from suite.cli.commands.why import sentences
from suite.records import Store

INTRODUCTION = """# Why: what goes along with the gap

The papers explain the Adam-SGD gap by the smoothness ratio r (paper 1), by noise and clipping (paper 2), by rare
classes (Kunstner et al. 2024), by unlike Hessian blocks (Zhang et al. 2024), by heavy tails (Zhang et al. 2020). Here
all are measured in the same tuned runs of the laptop sweeps of [results](results/README.md), one more run of each
tuned setting with

```
python -m suite sweep configs/sweeps/laptop_NAME.yaml --sources sources.yaml --diagnose '{noise: {times: 2,
    gradients: 64}, smoothness: {times: 2, iterations: 4, samples: 8}, frequency: {times: 2}, spectra: {times: 1}}'
python -m suite why --csv why.csv --figure .
```

A value is the median over a run's measurements, then the mean over the two optimizers, geometric where it spans
decades. Definitions: `suite/analysis/why.py`, [diagnostics](diagnostics.md). This page is written from the archives of
the runs by `python benchmarks/results.py`.
"""

COLUMNS = {
    "r": "r", "noise_scale": "noise scale", "tail_index": "tail index", "frequency_gap": "rare − frequent",
    "js_distance": "JS, start", "js_distance_end": "JS, end",
}  # fmt: skip

LEGEND = """Gap: Adam minus SGD in percent of Adam's loss; better: at 95%. Crossover: "below all" where Adam is better
at every batch size with a verdict, "above all" where SGD is. Noise scale in samples. Rare − frequent: the gap on the
rarest tenth of the training targets less that on the most frequent. JS: mean Jensen-Shannon distance between the
Hessian's blocks."""


def measured(store: Store) -> Why | None:
    """What was measured beside the gaps of all sweeps of a store; None where nothing was."""
    plans = [plan for plan in store.plans() if plan.get("diagnose")]
    if not plans:
        return None
    return why([compare_plan(store, plan) for plan in plans], store_diagnostics(store, plans))


def draw_why(found: Why, path: Path) -> None:
    """The figure of the page."""
    figure = drawn(lambda: why_figure(found.table, found.with_gap))
    if figure is not None:
        figure.savefig(path, dpi=160)


def why_page(found: Why | None) -> str:
    """The page; without anything measured, it says so."""
    if found is None:
        return f"{INTRODUCTION}\nNo archive has runs with diagnostics yet, so nothing is said here.\n"
    heads = ["task", "batch size", "gap %", "better", "crossover", *COLUMNS.values()]
    lines = [row(heads), "|" + "---|" * len(heads)]
    for one in found.table.to_dict("records"):
        better = optimizer_title(one["better"]) if isinstance(one["better"], str) and one["better"] else UNKNOWN
        cells = [one["task"], one["batch_size"], number(one["relative_gap"], "+.2f"), better]
        lines.append(row([*cells, _crossover(one["crossover"]), *(_cell(one[name]) for name in COLUMNS)]))
    correlations = "\n".join(["```", *sentences(found), "```"])
    figure = "![relative gap against each measure](results/why.png)"
    return "\n\n".join([INTRODUCTION.strip(), figure, "\n".join(lines), wrapped(LEGEND), correlations]) + "\n"


def _crossover(value: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    return "below all" if value == 0 else "above all" if math.isinf(value) else f"{value:.0f}"


def _cell(value: float) -> str:
    return UNKNOWN if math.isnan(value) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"
