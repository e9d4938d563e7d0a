"""Figures of several series, of long names and of values of many magnitudes."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from synthetic_records import gap_rows

from suite.analysis.crossover import crossover
from suite.analysis.figures.gap import gap_figure
from suite.analysis.figures.heatmap import heatmap_figure
from suite.analysis.figures.layout import legend_above, panel_grid
from suite.analysis.figures.palette import optimizer_style, series_style
from suite.analysis.figures.panels import panels_figure
from suite.analysis.figures.sensitivity import sensitivity_figure
from suite.analysis.figures.style import COLUMN, LOOKS, PAGE, SLIDE, Look, caption_of, drawn, save, style
from suite.analysis.figures.tuned import tuned_figure
from suite.analysis.published import published_gaps, published_losses
from suite.analysis.words import batch_size_text, optimizer_title

CHALLENGERS = ["sgd", "lion", "a_hybrid_of_many_optimizers_with_a_long_name"]


def several(sizes: list[int], relative: list[float]) -> pd.DataFrame:
    """Equal gaps of every challenger: drawn at one place they would hide each other."""
    rows = gap_rows(relative, sizes)
    for role in ("reference", "challenger"):
        rows[f"{role}_loss"] = 3.0
        rows[f"{role}_setting"] = rows[f"{role}_edges"] = [()] * len(rows)
    return pd.concat([rows.assign(challenger=challenger) for challenger in CHALLENGERS], ignore_index=True)


def drawn_points(figure: Figure) -> list[tuple[float, float, float]]:
    """Batch size, value and place in pixels of every visible point of the first panel."""
    FigureCanvasAgg(figure).draw()
    lines = [line for line in figure.axes[0].lines if line.get_marker() in "osD^vPX*" and line.get_alpha() is None]
    return [
        (float(x), float(y), float(line.get_transform().transform((x, y))[0]))
        for line in lines
        for x, y in zip(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), strict=True)
        if line.get_linestyle() == "None"
    ]


def test_points_stand_at_their_batch_size_and_only_those_that_cover_each_other_are_moved() -> None:
    gaps = several([4, 16, 64], [3.0, 1.0, -2.0])
    gaps.loc[(gaps["challenger"] == "lion") & (gaps["batch_size"] == 64), "relative_gap"] = 2.0
    pairs = [rows for _, rows in gaps.groupby("challenger", sort=False)]
    with style():
        figure = gap_figure(gaps, [crossover(rows) for rows in pairs], ["adam", *CHALLENGERS])
        found = drawn_points(figure)
        per_octave = np.diff(figure.axes[0].transData.transform([(4, 0), (8, 0)])[:, 0])[0]
        place_of = {size: figure.axes[0].transData.transform((size, 0))[0] for size in (4, 16, 64)}
    assert {x for x, _, _ in found} == {4, 16, 64}, "a point's value along x is its batch size"
    for size in (4, 16, 64):
        places = [place for x, _, place in found if x == size]
        assert len(set(places)) == (2 if size == 64 else 3) + (size == 64)
        assert all(abs(place - place_of[size]) < 0.5 * per_octave for place in places)
    (alone,) = [place for x, y, place in found if x == 64 and y == 2.0]
    assert alone == pytest.approx(place_of[64]), "nothing covers it"
    assert "side by side" in caption_of(figure)
    one = gaps[gaps["challenger"] == "sgd"]
    assert "side by side" not in caption_of(gap_figure(one, [crossover(one)], ["adam", "sgd"]))


def test_every_bar_lies_inside_its_panel_and_is_wider_than_its_marker() -> None:
    rows = several([4, 16, 64], [3.0, 1.0, -2.0])
    rows = rows[rows["challenger"] == "sgd"].assign(relative_uncertainty=[5.0, 0.001, 9.0])
    with style():
        figure = gap_figure(rows, [crossover(rows)], ["adam", "sgd"])
        FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    ends = np.concatenate([path.vertices[:, 1] for bars in axes.collections[:9] for path in bars.get_paths()])
    assert low < -11 and high > 8 and {-11.0, 8.0} <= set(np.round(ends, 9))
    caps = [line for line in axes.lines if line.get_marker() == "_"]
    dots = [line for line in axes.lines if line.get_marker() == "o" and line.get_alpha() is None]
    assert caps and min(cap.get_markersize() for cap in caps) > max(dot.get_markersize() for dot in dots)
    assert min(cap.get_zorder() for cap in caps) > max(dot.get_zorder() for dot in dots)


@pytest.mark.parametrize(("gaps", "drawn_lines"), [([4.0, -3.0], 0), ([4.0, 1.0, -2.0], 1), ([9.0, 0.1, 9.0], 0)])
def test_a_trend_needs_three_points_that_it_does_not_contradict(gaps: list[float], drawn_lines: int) -> None:
    rows = several([4**power for power in range(len(gaps))], gaps)
    rows = rows[rows["challenger"] == "sgd"]
    with style():
        figure = gap_figure(rows, [crossover(rows)], ["adam", "sgd"])
    bands = [band for band in figure.axes[0].collections if isinstance(band, PolyCollection)]
    assert len(bands) == drawn_lines and ("with its 95% band" in caption_of(figure)) == bool(drawn_lines)


def test_a_caption_explains_what_was_drawn_and_nothing_else() -> None:
    rows = several([4, 16], [3.0, 2.0])
    rows = rows[rows["challenger"] == "sgd"]
    figure = gap_figure(rows, [crossover(rows)], ["adam", "sgd"])
    assert caption_of(figure) == "Bars: 95% intervals."
    edged = rows.assign(reference_edges=[("lr largest",), ()], relative_uncertainty=np.nan, uncertainty=np.nan)
    assert caption_of(gap_figure(edged, [crossover(edged)], ["adam", "sgd"])) == (
        "Open points: a tuned point lies on the edge of its grid."
    )
    gone = rows.assign(gap=[np.inf, 2.0], relative_gap=[np.inf, 2.0])
    assert "Arrows: every setting" in caption_of(gap_figure(gone, [crossover(gone)], ["adam", "sgd"]))


def test_the_sides_are_bold_only_where_a_verdict_supports_them() -> None:
    rows = several([4, 16, 64], [4.0, 3.0, -0.01])
    rows = rows[rows["challenger"] == "sgd"]
    figure = gap_figure(rows, [crossover(rows)], ["adam", "sgd"])
    weights = {text.get_text()[:-2]: text.get_fontweight() for text in figure.axes[0].texts if "er " in text.get_text()}
    weights |= {text.get_text()[:-2]: text.get_fontweight() for text in figure.axes[0].texts if "ahead" in str(text)}
    assert weights == {"SGD better": "bold", "Adam ahead": "normal"}


def test_the_sides_of_zero_are_named_where_no_point_lies() -> None:
    for gaps in ([4.0, 3.0, -2.0], [-0.2, -3.0, -6.0], [3000.0, 1.0, -2.0]):
        rows = several([4, 16, 64], gaps)
        rows = rows[rows["challenger"] == "sgd"].assign(relative_uncertainty=[0.4, 1.0, 6.5])
        with style():
            figure = gap_figure(rows, [crossover(rows)], ["adam", "sgd"])
            FigureCanvasAgg(figure).draw()
        axes = figure.axes[0]
        ends = [*(rows["relative_gap"] + rows["relative_uncertainty"])]
        ends += [*(rows["relative_gap"] - rows["relative_uncertainty"])]
        heights = axes.transData.transform([(4, end) for end in ends])[:, 1]
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()[-1] in "\u2191\u2193"]
        assert len(boxes) == 2
        assert all(not (box.y0 < height < box.y1) for box in boxes for height in heights)


def test_a_figure_has_the_size_and_the_type_of_its_look(tmp_path: Path) -> None:
    gaps = several([1, 4, 16, 64, 256], [3.0, 2.0, 1.0, 0.5, -2.0])
    rows = gaps[gaps["challenger"] == "sgd"]
    for look in (*LOOKS.values(), Look(width=6.75, font_size=10)):
        figure = drawn(lambda: gap_figure(rows, [crossover(rows)], ["adam", "sgd"]), look)
        assert figure is not None
        assert figure.axes[0].xaxis.label.get_fontsize() == look.font_size
        if look.proportion:
            assert figure.get_figwidth() / figure.get_figheight() == pytest.approx(look.proportion)
        assert figure.get_figwidth() <= look.width + 1e-9
    png, svg, pdf = save(figure, tmp_path, "gap")
    assert png.stat().st_size > 10_000 and svg.read_text().startswith("<?xml")
    assert pdf.read_bytes().startswith(b"%PDF") and b"/Type3" not in pdf.read_bytes()
    again = save(figure, tmp_path, "again", ("pdf",))[0]
    assert len(again.read_bytes()) == len(pdf.read_bytes()), "nothing in it depends on the time"
    assert len(drawn(lambda: gap_figure(rows, [crossover(rows)], []), COLUMN).axes) == 1
    assert len(drawn(lambda: gap_figure(rows, [crossover(rows)], []), PAGE).axes) == 2


def test_a_crowded_slide_is_drawn_wider_with_the_same_proportions() -> None:
    def draw() -> Figure:
        return panel_grid(30, height=12, narrowest=10)[0]

    figure = drawn(draw, SLIDE)
    assert figure is not None and figure.get_figwidth() > SLIDE.width
    assert figure.get_figwidth() / figure.get_figheight() == pytest.approx(16 / 9)


def test_an_optimizer_has_one_colour_and_no_task_has_it() -> None:
    alone = optimizer_style("mine", ["adam", "sgd", "mine", "other"])
    assert alone == optimizer_style("mine", ["sgd", "mine", "other", "adam"])
    assert optimizer_style("muon", ["muon"]) == optimizer_style("muon", ["adam", "lion", "mine", "muon"])
    assert alone["color"] != optimizer_style("other", ["adam", "sgd", "mine", "other"])["color"]
    hues = {optimizer_style(name, ["adam", "sgd", "muon", "mine"])["color"] for name in ("adam", "sgd", "muon", "mine")}
    series = [series_style(number) for number in range(16)]
    assert len(hues) == 4 and not hues & {one["color"] for one in series}
    assert len({tuple(one.values()) for one in series}) == 16


@pytest.mark.parametrize("count", [1, 40])
def test_as_many_batch_sizes_are_labelled_as_have_room(count: int) -> None:
    sizes = sorted({round(1.3**power) + power for power in range(count)})
    rows = several(sizes, [3.0] * len(sizes))
    rows = rows[rows["challenger"] == "sgd"]
    with style():
        figure = gap_figure(rows, [crossover(rows)], ["adam", "sgd"])
        FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert boxes and all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))
    assert len(boxes) + len(axes.get_xticks(minor=True)) == len(sizes)


@pytest.mark.parametrize("sizes", [[64], [4, 64]])
def test_a_papers_gap_is_drawn_beside_ours(sizes: list[int]) -> None:
    gaps = several(sizes, [3.0] * len(sizes)).assign(better="sgd")
    entry = {"challenger": "lion", "batch_size": 64, "relative_gap": -7.0, "source": "text"}
    with_another = pd.concat([gaps, gaps.assign(task="another")])
    entry["panel"] = "toy/net"
    figure = panels_figure(with_another, published_gaps([entry], with_another))
    assert figure is not None
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x" and len(line.get_xdata())]
    drawn = np.concatenate([np.r_[line.get_xdata(), line.get_ydata()] for line in crosses]).astype(float)
    assert (drawn == -7.0).sum() == 1


@pytest.mark.parametrize("sizes", [[64], [4, 64]])
def test_gaps_that_rest_on_an_edge_are_open(sizes: list[int]) -> None:
    gaps = several(sizes, [3.0] * len(sizes))
    gaps.at[0, "reference_edges"] = ("beta smallest",)
    figure = panels_figure(pd.concat([gaps, gaps.assign(task="another", reference_edges=[()] * len(gaps))]))
    assert figure is not None
    markers = [line for line in figure.axes[0].lines if line.get_marker() in "osD^vPX*" and len(line.get_xdata())]
    assert sum(len(line.get_xdata()) for line in markers if line.get_markerfacecolor() == "white") == 1


@pytest.mark.parametrize("gaps", [[4.0, 3.0, 1.0, -2.0], [1.0, -3.0, -4.0, -5.0]])
def test_the_crossover_is_named_within_its_panel(gaps: list[float]) -> None:
    rows = several([1, 4, 16, 64], gaps)
    rows = rows[rows["challenger"] == "sgd"]
    with style():
        figure = gap_figure(rows, [crossover(rows)], ["adam", "sgd"])
        FigureCanvasAgg(figure).draw()
    for axes in figure.axes:
        (named,) = [text for text in axes.texts if "crossover" in text.get_text()]
        box, frame = named.get_window_extent(), axes.get_window_extent()
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1


def test_a_crossover_has_its_interval_and_where_that_is_not_known_its_bracket() -> None:
    rows = gap_rows([3.0, 1.0, -1.0])
    rows["reference_setting"] = rows["challenger_setting"] = [()] * len(rows)
    found = crossover(rows)
    assert found.line_interval is not None and (found.low, found.high) == (4, 16)
    low, high = map(batch_size_text, found.line_interval)
    cases = {f"(95%: {low} to {high})": found.line_interval, "(95%: up to 30)": (0.0, 30.0), "(between 4 and 16)": None}
    for said, interval in cases.items():
        with style():
            figure = gap_figure(rows, [dataclasses.replace(found, line_interval=interval)], ["adam", "sgd"])
        for axes in figure.axes:
            (named,) = [text.get_text() for text in axes.texts if "crossover" in text.get_text()]
            assert named.replace("\n", " ").endswith(said)


def test_every_line_of_a_lone_gap_is_named() -> None:
    rows = gap_rows([3.0, 1.0, -1.0])
    rows["reference_setting"] = rows["challenger_setting"] = [()] * len(rows)
    figure = gap_figure(rows, [crossover(rows)], ["adam", "sgd"], fit=np.log)
    (legend,) = figure.legends
    names = {text.get_text() for text in legend.get_texts()}
    assert names == {
        "measured",
        "weighted line, 95% band",
        "theory's three terms, fitted",
        "crossover between 4 and 16",
    }


@pytest.mark.parametrize(("other", "count"), [([-7.0, 2.0, -1.0], 1), ([-70.0, 2.0, -40.0], 2)])
def test_panels_of_one_pair_share_an_axis_where_their_ranges_are_alike(other: list[float], count: int) -> None:
    tasks = {"GAT": [1.0, -2.0, -3.0], "ResNet": other}
    gaps = pd.concat([gap_rows(relative).assign(task=task) for task, relative in tasks.items()], ignore_index=True)
    gaps["reference_setting"] = gaps["challenger_setting"] = [()] * len(gaps)
    entry = {"panel": "GAT", "challenger": "sgd", "batch_size": 16, "relative_gap": 1.5, "source": "text"}
    figure = panels_figure(gaps, published_gaps([entry], gaps))
    assert figure is not None and len(figure.axes) == count
    (legend,) = figure.legends
    assert legend.get_texts()[-1].get_text() == "the paper's, its network and budget"
    if count == 2:
        heights = [np.ptp(axes.get_ylim()) for axes in figure.axes]
        assert heights[1] > 5 * heights[0]
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low < 0 < high and axes.yaxis.get_major_ticks()[0].label1.get_visible()
        assert [line for line in axes.lines if list(line.get_ydata()) == [0, 0]], "the line of zero"


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
        png, *_ = save(figure, tmp_path, "named")
    picture = imread(png)[..., :3]
    border = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    assert all((edge == 1).all() for edge in border), "letters are cut off at the border"


def test_long_names_lie_within_the_picture(tmp_path: Path) -> None:
    with style():
        figure = panels_figure(several([64], [3.0]))
        assert figure is not None
        png, *_ = save(figure, tmp_path, "rows")
    picture = imread(png)[..., :3]
    border = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    assert all((edge == 1).all() for edge in border), "letters are cut off at the border"


@pytest.mark.parametrize(("last", "scale"), [(-2.0, "linear"), (-2000.0, "symlog")])
def test_gaps_of_many_magnitudes_are_drawn_on_a_logarithm(last: float, scale: str) -> None:
    gaps = several([1, 4, 64], [3.0, 1.0, last])
    figure = panels_figure(pd.concat([gaps, gaps.assign(task="another")]))
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


def test_losses_of_a_paper_are_crosses_where_they_are_near() -> None:
    tuned = pd.DataFrame({"task": "t", "optimizer": "sgd", "batch_size": [1, 4], "loss": [3.0, 3.4], "edges": [(), ()],
                          "uncertainty": [0.1, 0.1], "setting": [(("lr", 0.1),), (("lr", 0.1),)]})  # fmt: skip

    def crosses(*losses: float) -> tuple[list[float], str]:
        entries = [{"batch_size": 4, "losses": {"sgd": loss, "adam": 3.1}, "source": "table 1"} for loss in losses]
        figure = tuned_figure(tuned, ["sgd"], published_losses(entries, tuned))
        axes = figure.axes[0]
        drawn = [float(loss) for line in axes.lines if line.get_marker() == "x" for loss in line.get_ydata()]
        assert all(axes.get_ylim()[0] < loss < axes.get_ylim()[1] for loss in [2.9, 3.5, *drawn])
        return drawn, caption_of(figure)

    plain = crosses()[1]
    assert crosses(3.2, 3.6) == ([3.2, 3.6], plain + " Crosses: losses that the paper prints.")
    assert crosses(9.0) == ([], plain + " Losses that the paper prints far from these are in the table alone.")


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
    (ring,) = (line for line in lines.axes[0].lines if line.get_markersize() == 8.5)
    assert ring.get_xdata() == [0.01] and ring.get_ydata() == [pytest.approx(2.08)]


def test_one_momentum_has_no_map_of_two() -> None:
    runs = maps()
    runs["setting"] = runs["setting"].map(lambda setting: setting[:2])
    with style():
        assert heatmap_figure(runs, ["adam"], momenta=True) is None and heatmap_figure(runs, ["adam"]) is not None
