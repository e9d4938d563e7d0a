"""Colours, markers and lines: one look per optimizer in every figure, and others for what is no optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb

# Okabe and Ito's palette stays apart under all common colour-vision deficiencies; yellow is left out (too light on
# white). Each optimizer also has its own marker and line style, so that grey prints lose nothing.
_ADAM = ("#0072B2", "o", "-")
_SGD = ("#D55E00", "s", (0, (5, 1.5)))
_SPARE_COLORS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A7A7A", "#7B3FA0", "#8C6D31")
_SPARE_MARKERS = "D^vPX*<>h"
_SPARE_LINES = ("-.", ":", (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
_KNOWN = (
    "muon", "lion", "signsgd", "adamw", "soap", "nsgd", "scion", "schedule_free_sgd",
    "schedule_free", "signum", "rmsprop", "adafactor",
)  # fmt: skip
"""Optimizers with a look of their own in whatever sweep."""

# Tol's muted colours, none of which an optimizer has: a task must not look like one.
SERIES_COLORS = ("#332288", "#117733", "#AA4499", "#999933", "#44AA99", "#882255", "#CC6677", "#661100")
"""Colours of series that are no optimizers."""
SERIES_MARKERS = "osD^vPX*"


def optimizer_style(label: str, labels: Sequence[str]) -> dict[str, Any]:
    """Colour, marker and line style of an optimizer: of the well-known ones always the same.

    The others take what those among ``labels`` leave, in their order; one list for a whole report or index gives each
    optimizer one colour throughout. Colours repeat, with other markers and lines, after those there are.

    Args:
        label: the optimizer.
        labels: all optimizers that are drawn anywhere.
    """
    keys = ("color", "marker", "linestyle")
    if label in ("adam", "sgd"):
        return dict(zip(keys, _ADAM if label == "adam" else _SGD, strict=True))
    if label in _KNOWN:
        return dict(zip(keys, _spare(_KNOWN.index(label)), strict=True))
    taken = {_spare(_KNOWN.index(name))[0] for name in labels if name in _KNOWN}
    free = [color for color in _SPARE_COLORS if color not in taken] or list(_SPARE_COLORS)
    others = [name for name in dict.fromkeys([*labels, label]) if name not in (*_KNOWN, "adam", "sgd")]
    number = others.index(label)
    _, marker, line = _spare(number)
    return dict(zip(keys, (free[number % len(free)], marker, line), strict=True))


def _spare(number: int) -> tuple[Any, Any, Any]:
    color, marker, line = (kind[number % len(kind)] for kind in (_SPARE_COLORS, _SPARE_MARKERS, _SPARE_LINES))
    return color, marker, line


def shades(color: str, count: int) -> list[tuple[float, float, float]]:
    """Shades of one hue from light to dark, so that the order is visible in grey prints too."""
    base, mixes = np.array(to_rgb(color)), np.linspace(0.62, -0.5, count) if count > 1 else np.array([0.0])
    return [tuple(base + (1 - base) * mix if mix >= 0 else base * (1 + mix)) for mix in mixes]


def series_style(number: int) -> dict[str, Any]:
    """Colour and marker of a series that is no optimizer, by its place among them."""
    turn, order = divmod(number, len(SERIES_COLORS))
    return {"color": SERIES_COLORS[order], "marker": SERIES_MARKERS[(order + turn) % len(SERIES_MARKERS)]}
