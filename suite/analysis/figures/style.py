"""How figures look: their sizes and type, what a caption says of them, and how a figure is saved."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from suite.fields import check_ranges, escaped, require
from suite.records.files import write_atomically, write_text_atomically

INK, FAINT, GRID = "#222222", "#6b6b6b", "#e3e3e3"
TIP = "tip: "
"""Begins the id of an invisible point whose words a browser shows while the pointer is on it."""

_WIDER = (1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5)
"""How much wider a picture of fixed proportions is drawn, at the same type size, where its panels need the room."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """Size, type and scales of figures.

    Attributes:
        name: what it is for.
        width: of a figure, in inches.
        font_size: of the axes' labels, in printer's points; everything else follows it.
        proportion: width over height; None: as high as the panels need.
        pixels: width of the PNG.
        batch_scale: scale of the axis of batch sizes.
        loss_scale: scale of the axis of tuned losses; auto: logarithmic where they differ by more than a factor of 20.
        gap_scale: scale of the axis of gaps, a logarithmic one linear around zero; auto: where some are far larger.
    """

    name: str = "page"
    width: float = dataclasses.field(default=5.5, metadata={"at_least": 2, "at_most": 60})
    font_size: float = dataclasses.field(default=9.0, metadata={"at_least": 4, "at_most": 80})
    proportion: float | None = None
    pixels: int = 1650
    batch_scale: Literal["linear", "log"] = "log"
    loss_scale: Literal["auto", "linear", "log"] = "auto"
    gap_scale: Literal["auto", "linear", "log"] = "auto"

    def __post_init__(self) -> None:
        for name in ("width", "font_size"):
            value = getattr(self, name)
            require(isinstance(value, int | float), f"look.{name}", "a number", value)
        check_ranges(Look, vars(self), name="look")
        kinds = get_type_hints(Look)
        for name in ("batch_scale", "loss_scale", "gap_scale"):
            scales, scale = get_args(kinds[name]), getattr(self, name)
            require(scale in scales, f"look.{name}", f"one of {', '.join(scales)}", scale)


PAGE = Look()
"""The text width of a page of one column."""
COLUMN = Look(name="column", width=3.5, font_size=8.0, pixels=1400)
"""A column of a page of two."""
SLIDE = Look(name="slide", width=40 / 3, font_size=20.0, proportion=16 / 9, pixels=1920)
"""A whole slide."""
LOOKS = {look.name: look for look in (PAGE, COLUMN, SLIDE)}

_LOOK = contextvars.ContextVar("look", default=PAGE)


class Captioned(Figure):
    """A figure that knows what its caption must explain: what was drawn in it, and nothing else.

    Attributes:
        look: how it is drawn.
        caption: sentences, in the order of drawing.
    """

    def __init__(self, height: float, *, width: float | None = None) -> None:
        """An empty figure in the present look; ``height`` and ``width`` in ems, by default as wide as the look."""
        self.look = look()
        self.caption: list[str] = []
        super().__init__(figsize=(self.look.width if width is None else width * em(), height * em()))


def explain(axes: Axes, sentence: str) -> None:
    """Add a sentence to the caption of the figure of some axes, unless it is there."""
    figure = axes.get_figure(root=True)
    if isinstance(figure, Captioned) and sentence not in figure.caption:
        figure.caption.append(sentence)


def caption_of(figure: Figure) -> str:
    """What a figure's caption must explain."""
    return " ".join(figure.caption) if isinstance(figure, Captioned) else ""


def look() -> Look:
    """The look that figures are drawn in at present, see `style`."""
    return _LOOK.get()


def em() -> float:
    """The type size in inches, which lengths are measured by so that they follow it."""
    return float(matplotlib.rcParams["font.size"]) / 72


def scaled(size: float) -> float:
    """A length in printer's points, in proportion to the type: as given at a type size of 9."""
    return size * float(matplotlib.rcParams["font.size"]) / 9


@contextlib.contextmanager
def style(chosen: Look = PAGE) -> Iterator[None]:
    """Draw with the suite's type sizes and lines, and leave matplotlib's settings as they were."""
    token = _LOOK.set(chosen)
    try:
        with matplotlib.rc_context(_settings(chosen.font_size)):
            yield
    finally:
        _LOOK.reset(token)


def drawn(draw: Callable[[], Figure | None], chosen: Look = PAGE) -> Figure | None:
    """Draw a figure in a look; where that has fixed proportions, on a picture wide enough for all its panels."""
    figure = None
    for wider in _WIDER if chosen.proportion else (1,):
        with style(dataclasses.replace(chosen, width=chosen.width * wider)):
            figure = draw()
        if figure is None or chosen.proportion is None:
            return figure
        width = chosen.width * wider
        if figure.get_figheight() <= width / chosen.proportion:
            break
    if figure is not None and chosen.proportion is not None:
        figure.set_size_inches(width, width / chosen.proportion)
    return figure


def _settings(font: float) -> Any:
    scale = font / 9
    return {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": font,
        "axes.titlesize": font,
        "axes.titlelocation": "left",
        "axes.titley": 1.0,  # the default height, set so that it is not computed at every drawing
        "axes.titlepad": 0.5 * font,
        "axes.labelsize": font,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.7 * scale,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6 * scale,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.labelsize": 0.9 * font,
        "ytick.labelsize": 0.9 * font,
        "xtick.major.width": 0.7 * scale,
        "ytick.major.width": 0.7 * scale,
        "xtick.major.size": 3.2 * scale,
        "ytick.major.size": 3.2 * scale,
        "xtick.minor.size": 1.8 * scale,
        "lines.linewidth": 1.4 * scale,
        "lines.markersize": 4.6 * scale,
        "legend.fontsize": 0.9 * font,
        "legend.title_fontsize": 0.9 * font,
        "legend.frameon": False,
        "legend.handlelength": 2.8,
        "text.color": INK,
        "text.parse_math": False,
        "hatch.linewidth": 0.5 * scale,
        "hatch.color": FAINT,
        "figure.constrained_layout.use": True,
        "svg.fonttype": "path",
        "svg.hashsalt": "adam-sgd-gap",
        "pdf.fonttype": 42,  # journals refuse type 3
    }


def save(figure: Figure, folder: Path, name: str, kinds: tuple[str, ...] = ("png", "svg", "pdf")) -> list[Path]:
    """Write a figure; points of the SVG have the words of `suite.analysis.figures.marks.tip`.

    Args:
        figure: what was drawn.
        folder: where to.
        name: of the files, without suffix.
        kinds: some of ``png``, ``svg`` and ``pdf``.

    Returns:
        The paths, in the order of ``kinds``.
    """
    of_figure = figure.look if isinstance(figure, Captioned) else PAGE
    for words in figure.findobj(Text):
        words.set_text("\n".join(map(escaped, words.get_text().split("\n"))))
    with matplotlib.rc_context(_settings(of_figure.font_size)):
        return _write(figure, of_figure, [folder / f"{name}.{kind}" for kind in kinds])


def _write(figure: Figure, of_figure: Look, paths: list[Path]) -> list[Path]:
    # All files have the layout that is computed at the resolution of the PNG, whose letters are wider. Each canvas
    # draws once; `savefig` would draw twice, once to compute a layout.
    usual = figure.dpi
    figure.dpi = of_figure.pixels / max(of_figure.width, figure.get_figwidth())
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    for path in paths:
        _WRITERS[path.suffix](figure, path)
    figure.dpi = usual
    return paths


def _write_png(figure: Figure, path: Path) -> None:
    canvas = FigureCanvasAgg(figure)
    write_atomically(path, lambda temporary: canvas.print_png(temporary, metadata={"Software": None}))


def _write_svg(figure: Figure, path: Path) -> None:
    written = io.StringIO()
    figure.dpi = 72
    FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None, "Creator": None})
    write_text_atomically(path, re.sub(f'<g id="{TIP}([^"]*)">', _titled, written.getvalue()))


def _write_pdf(figure: Figure, path: Path) -> None:
    shown = figure.findobj(_is_tip)
    for point in shown:
        point.set_visible(False)
    canvas = FigureCanvasPdf(figure)
    nothing = {"CreationDate": None, "Creator": None, "Producer": None}
    write_atomically(path, lambda temporary: canvas.print_pdf(temporary, metadata=nothing))
    for point in shown:
        point.set_visible(True)


_WRITERS = {".png": _write_png, ".svg": _write_svg, ".pdf": _write_pdf}


def _is_tip(artist: Artist) -> bool:
    return str(artist.get_gid() or "").startswith(TIP)


def _titled(tip: re.Match[str]) -> str:
    return f"<g><title>{tip[1].replace(' / ', chr(10))}</title>"
