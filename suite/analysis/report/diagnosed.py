"""What happened inside the tuned runs, as sections of the page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from suite.analysis.comparison import Comparison
from suite.analysis.figures.diagnosed import diagnosed_figure
from suite.analysis.figures.style import save, style
from suite.analysis.report.page import Markup, element, picture

CAPTIONS = {
    "clipping": (
        "Clipping",
        "Gradient norm before clipping (dotted: after it), and the share of steps that were clipped, per block of "
        "steps.",
    ),
    "clipped_coordinates": ("Clipped coordinates", "Share of each layer's coordinates that were clipped."),
    "updates": (
        "Size of the steps",
        "Norm of the update over norm of the weights by role, and root mean square of the update by layer; medians "
        "over the steps.",
    ),
    "agreement": (
        "Agreement of the optimizers",
        "Updates that optimizers would make on the gradients of the run, pair by pair; run: the update it made. "
        "Dashed: what independent directions give.",
    ),
    "noise": (
        "Gradient noise",
        "Simple noise scale; tail index of the noise norms (dashed: below 2 the variance is infinite); progress of a "
        "sign step as a share of a noiseless one (dotted: predicted by the diffusion limit); signal to noise by layer.",
    ),
    "frequency": (
        "Rare and frequent classes",
        "Validation loss at the end by frequency of the target in the training data, 1 for the most frequent; below, "
        "the gap on each group: above zero the challenger is better.",
    ),
    "sharpness": (
        "Along the steps",
        "Change of the loss that a step's first and second order predict (dotted: the actual one), its two parts, and "
        "the sharpness of the direction.",
    ),
    "smoothness": (
        "Smoothness",
        "Ratio r of the smoothness constants (dashed: d^(1/3), below which the theory predicts a crossover), and the "
        "two constants (dotted: along the path).",
    ),
    "spectra": (
        "Hessian spectra of the blocks",
        "Jensen-Shannon distance between the spectra of blocks: mean over pairs, mean of each block to the others, and "
        "each block's largest eigenvalue.",
    ),
}
"""Diagnostic -> heading and how to read its figure."""


def draw_diagnosed(comparison: Comparison, points: pd.DataFrame, folder: Path, suffix: str = "") -> Markup:
    """A section with a figure per diagnostic of one task; nothing where none was measured.

    Args:
        comparison: of one task.
        points: see `suite.analysis.diagnosed.diagnosed_points`.
        folder: where PNG and SVG go.
        suffix: of the files' names.
    """
    labels = list(comparison.runs["optimizer"].drop_duplicates())
    pair = comparison.pairs[0] if comparison.pairs else None
    parts = []
    for name in dict.fromkeys(points["diagnostic"]):
        heading, caption = CAPTIONS.get(name, (name, f"What {name} measured."))
        with style():
            figure = diagnosed_figure(points, name, labels, pair)
            if figure is None:
                continue
            _, svg = save(figure, folder, f"diagnostic-{name.replace('.', '-')}{suffix}")
        parts += [element("h3", heading), picture(svg, f"{heading} of the tuned runs.", caption)]
    if not parts:
        return Markup("")
    return element("section", element("h2", "What happened inside the tuned runs"), *parts)
