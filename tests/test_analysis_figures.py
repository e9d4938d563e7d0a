"""Figures of several series, of long names and of values of many magnitudes."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from synthetic_records import gap_rows

from suite.analysis.crossover import crossover
from suite.analysis.figures.gap import gap_figure
from suite.analysis.figures.heatmap import heatmap_figure
from suite.analysis.figures.panels import panels_figure
from suite.analysis.figures.sensitivity import sensitivity_figure
from suite.analysis.figures.style import legend_above, optimizer_style, save, style
from suite.analysis.figures.tuned import tuned_figure
from suite.analysis.published import published_gaps
from suite.analysis.words import optimizer_title

CHALLENGERS = ["sgd", "lion", "a_hybrid_of_many_optimizers_with_a_long_name"]


def several(sizes: list[int], relative: list[float]) -> pd.DataFrame:
    """Equal gaps of every challenger: drawn at one place they would hide each other."""
    rows = gap_rows(relative, sizes)
    for role in ("reference", "challenger"):
        rows[f"{role}_loss"] = 3.0
        rows[f"{role}_setting"] = rows[f"{role}_edges"] = [()] * len(rows)
    return pd.concat([rows.assign(challenger=challenger) for challenger in CHALLENGERS], ignore_index=True)


def places(figure: Figure, size: int) -> set[float]:
    """Where visible points stand within half an octave of a batch size."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() in "osD^vPX*" and line.get_alpha() != 0]
    found = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in lines])
    return {float(x) for x in found if abs(np.log2(x / size)) < 0.5}


def test_challengers_stand_side_by_side() -> None:
    gaps = several([4, 64], [3.0, -2.0])
    pairs = [rows for _, rows in gaps.groupby("challenger", sort=False)]
    with style():
        both = [gap_figure(gaps, [crossover(rows) for rows in pairs], ["adam", *CHALLENGERS]), panels_figure(gaps)]
    for figure in both:
        assert figure is not None
        assert len(places(figure, 4)) == len(places(figure, 64)) == len(CHALLENGERS)


@pytest.mark.parametrize("sizes", [[64], [4, 64]])
def test_a_papers_gap_is_drawn_beside_ours(sizes: list[int]) -> None:
    gaps = several(sizes, [3.0] * len(sizes)).assign(better="sgd")
    entry = {"challenger": "lion", "batch_size": 64, "relative_gap": -7.0, "source": "text"}
    figure = panels_figure(gaps, published_gaps([entry], gaps))
    assert figure is not None
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x" and len(line.get_xdata())]
    drawn = np.concatenate([np.r_[line.get_xdata(), line.get_ydata()] for line in crosses]).astype(float)
    assert (drawn == -7.0).sum() == 1


@pytest.mark.parametrize("sizes", [[64], [4, 64]])
def test_gaps_that_rest_on_an_edge_are_open(sizes: list[int]) -> None:
    gaps = several(sizes, [3.0] * len(sizes))
    gaps.at[0, "reference_edges"] = ("beta smallest",)
    figure = panels_figure(gaps)
    assert figure is not None
    markers = [line for line in figure.axes[0].lines if line.get_marker() in "osD^vPX*" and len(line.get_xdata())]
    assert sum(len(line.get_xdata()) for line in markers if line.get_markerfacecolor() == "white") == 1


@pytest.mark.parametrize(("gaps", "near"), [([4.0, 3.0, -2.0], True), ([-0.2, -3.0, -6.0], False)])
def test_the_sides_of_zero_are_named_where_no_point_lies(gaps: list[float], near: bool) -> None:
    rows = several([4, 16, 64], gaps)
    rows = rows[rows["challenger"] == "sgd"].assign(relative_uncertainty=[0.4, 1.0, 6.5], uncertainty=[0.4, 1.0, 6.5])
    figure = gap_figure(rows, [crossover(rows)], ["adam", "sgd"])
    assert figure is not None
    named = [text for text in figure.axes[0].texts if "better" in text.get_text()]
    assert len(named) == 2 and all((text.xy[1] == 0) == near for text in named)


@pytest.mark.parametrize("gaps", [[4.0, 3.0, 1.0, -2.0], [1.0, -3.0, -4.0, -5.0]])
def test_the_crossover_is_named_within_its_panel(gaps: list[float]) -> None:
    rows = several([1, 4, 16, 64], gaps)
    rows = rows[rows["challenger"] == "sgd"]
    figure = gap_figure(rows, [crossover(rows)], ["adam", "sgd"])
    assert figure is not None
    with style():
        FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        (named,) = [text for text in axes.texts if "crossover" in text.get_text()]
        box, frame = named.get_window_extent(), axes.get_window_extent()
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1


def test_panels_of_several_optimizers_have_axes_of_their_own() -> None:
    gaps = pd.concat([several([4, 64], [3.0, -2.0]).assign(task=task) for task in ("GPT", "ViT", "GAT", "GRIT")])
    figure = panels_figure(gaps.reset_index(drop=True))
    assert figure is not None
    drawn = [axes for axes in figure.axes if axes.has_data()]
    assert [axes.get_title(loc="left") or axes.get_title() for axes in drawn] == ["GPT", "ViT", "GAT", "GRIT"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [optimizer_title(name) for name in CHALLENGERS]


@pytest.mark.parametrize(
    "others",
    [
        [f"optimizer number {n}" for n in range(20)],
        ["lion", "muon", "schedule_free", "schedule_free_sgd", "soap"],
        [f"number {n}" for n in range(5)],
        [f"rather long {n}" for n in range(4)],
    ],
)
def test_optimizers_look_different_and_their_names_stay_within_the_picture(tmp_path: Path, others: list[str]) -> None:
    labels = ["adam", "sgd", *others]
    looks = [tuple(map(str, optimizer_style(label, labels).values())) for label in labels]
    assert len(set(looks)) == len(labels)
    with style():
        figure = Figure(figsize=(7.2, 4))
        axes = figure.subplots()
        for label in labels:
            axes.plot([1], [1], label=optimizer_title(label), **optimizer_style(label, labels))
        legend_above(figure, *axes.get_legend_handles_labels())
        png, _ = save(figure, tmp_path, "named")
    picture = imread(png)[..., :3]
    border = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    assert all((edge == 1).all() for edge in border), "letters are cut off at the border"


def test_long_names_lie_within_the_picture(tmp_path: Path) -> None:
    with style():
        figure = panels_figure(several([64], [3.0]))
        assert figure is not None
        png, _ = save(figure, tmp_path, "rows")
    picture = imread(png)[..., :3]
    border = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    assert all((edge == 1).all() for edge in border), "letters are cut off at the border"


@pytest.mark.parametrize(("last", "scale"), [(-2.0, "linear"), (-2000.0, "symlog")])
def test_gaps_of_many_magnitudes_are_drawn_on_a_logarithm(last: float, scale: str) -> None:
    figure = panels_figure(several([1, 4, 64], [3.0, 1.0, last]))
    assert figure is not None and figure.axes[0].get_yscale() == scale


@pytest.mark.parametrize(("last", "scale"), [(3.5, "linear"), (300.0, "log")])
def test_losses_of_many_magnitudes_are_drawn_on_a_logarithm(last: float, scale: str) -> None:
    tuned = pd.DataFrame(
        {
            "optimizer": "sgd",
            "batch_size": [1, 4],
            "loss": [3.0, last],
            "uncertainty": [1.0, 400.0],
            "edges": [(), ()],
            "setting": [(("lr", 0.1),), (("lr", 0.1),)],
        }
    )
    axes = tuned_figure(tuned, ["sgd"]).axes[0]
    assert axes.get_yscale() == scale
    if scale == "log":
        ends = np.concatenate([path.vertices[:, 1] for bars in axes.collections for path in bars.get_paths()])
        assert (ends > 0).all(), "a bar must end on the axis"


def maps() -> pd.DataFrame:
    """Adam over lr x beta1 x beta2 with planted losses, three finalists with further seeds and the winner reported."""
    grid = itertools.product((0.01, 0.1), (0.8, 0.9), (0.9, 0.95, 0.99))
    rows = []

    def add(lr: float, beta1: float, beta2: float, loss: float, seed: int = 1, *, reporting: bool = False) -> None:
        setting = (("lr", lr), ("beta1", beta1), ("beta2", beta2))
        rows.append({"setting": setting, "seed": seed, "loss": loss, "run_id": str(len(rows)), "reporting": reporting})

    for lr, beta1, beta2 in grid:
        add(lr, beta1, beta2, 2 + abs(np.log10(lr) + 2) + 10 * (0.9 - beta1) + 2 * abs(beta2 - 0.95))
    for seed in (2, 3):
        add(0.01, 0.9, 0.95, 2.6, seed)  # the best of the grid had been lucky: 2, 2.6 and 2.6
        add(0.01, 0.9, 0.9, 2.2, seed)  # this one is lower in the mean: 2.1, 2.2 and 2.2
        add(0.01, 0.9, 0.9, 7.0, seed + 2, reporting=True)
    fixed = {"task": "t", "optimizer": "adam", "batch_size": 4, "status": "finished"}
    return pd.DataFrame(rows).assign(**fixed)


def framed(figure: Figure) -> list[tuple[float, float]]:
    return [
        (patch.get_x() + 0.5, patch.get_y() + 0.5)
        for patch in figure.axes[0].patches
        if isinstance(patch, Rectangle) and not patch.get_fill()
    ]


def test_maps_show_the_seeds_that_chose_and_frame_the_tuned_point() -> None:
    with style():
        whole, momenta = heatmap_figure(maps(), ["adam"]), heatmap_figure(maps(), ["adam"], momenta=True)
        lines = sensitivity_figure(maps(), ["adam"])
    assert whole is not None and momenta is not None
    assert (whole.axes[0].get_xlabel(), whole.axes[0].get_ylabel()) == ("learning rate", "beta1")
    assert (momenta.axes[0].get_xlabel(), momenta.axes[0].get_ylabel()) == ("beta2", "beta1")
    assert framed(whole) == [(0, 1)] and framed(momenta) == [(0, 1)]
    numbers = {text.get_position(): float(text.get_text()) for text in momenta.axes[0].texts}
    assert numbers == {
        (0, 0): 3.1, (1, 0): 3.0, (2, 0): 3.08, (0, 1): pytest.approx(6.5 / 3, abs=0.005), (1, 1): 2.4, (2, 1): 2.08,
    }  # fmt: skip
    (ring,) = (line for line in lines.axes[0].lines if line.get_markersize() == 9)
    assert ring.get_xdata() == [0.01] and ring.get_ydata() == [pytest.approx(2.08)]


def test_one_momentum_has_no_map_of_two() -> None:
    runs = maps()
    runs["setting"] = runs["setting"].map(lambda setting: setting[:2])
    with style():
        assert heatmap_figure(runs, ["adam"], momenta=True) is None and heatmap_figure(runs, ["adam"]) is not None
