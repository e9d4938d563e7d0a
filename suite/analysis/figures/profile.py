"""Performance profiles: the share of workloads on which an optimizer is within a factor of the soonest."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from suite.analysis.figures.layout import legend_above, legend_entries, panel_grid
from suite.analysis.figures.palette import optimizer_style
from suite.analysis.figures.scales import fixed_ticks
from suite.analysis.figures.style import scaled
from suite.analysis.profile import MOST
from suite.analysis.words import optimizer_title


def profile_figure(shares: pd.DataFrame, labels: Sequence[str]) -> Figure | None:
    """A step curve per optimizer.

    Args:
        shares: see `suite.analysis.profile.profile`.
        labels: optimizers in the order of their colours.

    Returns:
        The figure; None without workloads.
    """
    if shares.empty:
        return None
    figure, ((axes,),) = panel_grid(1, height=18, narrowest=24, alone=34)
    axes.set_xscale("log")
    for label in [*(x for x in labels if x in shares), *(x for x in shares if x not in labels)]:
        looks = optimizer_style(label, labels)
        line = {"color": looks["color"], "linestyle": looks["linestyle"], "linewidth": scaled(1.4)}
        axes.step(shares.index, shares[label], where="post", label=optimizer_title(label), **line)
    axes.set_xlim(1, MOST)
    fixed_ticks(axes.xaxis, [1, 1.5, 2, 3, MOST], "{:g}".format)
    axes.set_ylim(-0.02, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("steps to the target, as a multiple of the fewest")
    axes.set_ylabel("share of the workloads")
    legend_above(figure, *legend_entries([axes]))
    return figure
