"""Options about what of a comparison is shown, and how figures look."""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import TYPE_CHECKING

from suite.cli.parser import Parser
from suite.fields import nearest

if TYPE_CHECKING:
    from suite.analysis.figures.style import Look
    from suite.analysis.selection import Selection

_SCALES = ("auto", "linear", "log")


def add_selection(parser: Parser) -> None:
    """Add the options that choose among optimizers and batch sizes."""
    parser.add_argument("--optimizers", metavar="NAMES", help="only these, with commas between (default: all)")
    parser.add_argument(
        "--batch-sizes", metavar="SIZES", help="show only these, with commas between; verdicts stay (default: all)"
    )


def add_target(parser: Parser) -> None:
    """Add the option that sets the loss to which steps are counted."""
    parser.add_argument(
        "--target",
        type=float,
        metavar="LOSS",
        help="loss to which steps are counted (default: the sweep's, else the final loss of the worst tuned point)",
    )


def target_of(options: argparse.Namespace) -> float | None:
    """The target loss that was given.

    Raises:
        ValueError: it is no finite number.
    """
    if options.target is not None and not math.isfinite(options.target):
        raise ValueError(f"--target must be a finite loss, got {options.target:g}; change it.")
    return options.target  # type: ignore[no-any-return]


def add_looks(parser: Parser) -> None:
    """Add the options about sizes, type and scales of figures."""
    group = parser.add_argument_group("figures")
    group.add_argument(
        "--looks", metavar="NAMES", help="page, column, slide, with commas between (default: all; of an index: page)"
    )
    group.add_argument("--width", type=float, metavar="INCHES", help="of the page's figures (default: 5.5)")
    group.add_argument("--font-size", type=float, metavar="POINTS", help="of the page's figures (default: 9)")
    group.add_argument("--batch-scale", choices=_SCALES[1:], default="log", help="of batch sizes (default: log)")
    group.add_argument("--loss-scale", choices=_SCALES, default="auto", help="of tuned losses (default: auto)")
    group.add_argument("--gap-scale", choices=_SCALES, default="auto", help="of gaps, log: linear around zero")


def selection_of(options: argparse.Namespace) -> Selection:
    """What was chosen.

    Raises:
        ValueError: a batch size is no whole number.
    """
    from suite.analysis.selection import Selection

    sizes = _words(options.batch_sizes, "--batch-sizes")
    if not all(size.isascii() and size.isdigit() for size in sizes):
        raise ValueError(f"--batch-sizes must be whole numbers with commas between, got {options.batch_sizes!r:.80}.")
    return Selection(optimizers=tuple(_words(options.optimizers, "--optimizers")), batch_sizes=tuple(map(int, sizes)))


def looks_of(options: argparse.Namespace, *, several: bool) -> tuple[Look, ...]:
    """The looks that were asked for, that of the page first.

    Args:
        options: of the command line.
        several: whether all looks are drawn where none are named.

    Raises:
        ValueError: there is no such look, or a size is out of range.
    """
    from suite.analysis.figures.style import LOOKS

    names = _words(options.looks, "--looks") or (list(LOOKS) if several else ["page"])
    for name in names:
        if name not in LOOKS:
            raise ValueError(f"There is no look {name!r}{nearest(name, LOOKS)}; change --looks.")
    scales = {f"{axis}_scale": getattr(options, f"{axis}_scale") for axis in ("batch", "loss", "gap")}
    sizes = {name: value for name in ("width", "font_size") if (value := getattr(options, name)) is not None}
    looks = {name: dataclasses.replace(look, **scales) for name, look in LOOKS.items()}
    looks["page"] = dataclasses.replace(looks["page"], **sizes)
    # The page itself shows the figures of the first.
    return tuple(looks[name] for name in dict.fromkeys(["page", *names]))


def _words(text: str | None, option: str) -> list[str]:
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if text is not None and not words:
        raise ValueError(f"{option} must have at least one value, got {text!r}; leave it out for all.")
    return words
