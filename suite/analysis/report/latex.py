"""Tables as papers have them: booktabs' rules, fixed decimals, intervals, and bold type where a verdict supports it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from suite.analysis.columns import Column, cells
from suite.analysis.words import (
    count_text,
    format_value,
    number,
    optimizer_title,
    range_text,
    setting_title,
    verdict_text,
)
from suite.records.tuning import axes_of

HEAD = "% \\usepackage{booktabs}\n"
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}",
}  # fmt: skip
_LEAST, _MOST = 2, 6
"""Decimals of a loss."""


def latex_text(text: str) -> str:
    """Words in which LaTeX sees no command."""
    return re.sub(r"[\\&%$#_{}~^<>]", lambda letter: _SPECIAL[letter[0]], " ".join(text.split()))


def gap_latex(gaps: pd.DataFrame) -> str:
    """The gaps: both tuned losses, the gap with its 95% interval, the relative gap, the verdict.

    The better optimizer's loss is bold where the verdict is that it is better; nothing else is.

    Args:
        gaps: see `suite.analysis.gap.gap_table`.
    """
    form = f".{_decimals(gaps['uncertainty'])}f"
    several = gaps[["reference", "challenger"]].drop_duplicates().shape[0] > 1
    names = ["reference", "challenger"] if several or gaps.empty else [gaps[r].iloc[0] for r in _ROLES]
    columns = [
        *_task(gaps),
        Column("batch size", lambda row: row["batch_size"]),
        *(Column(role, _name(role), words=True) for role in _ROLES if several),
        *(
            Column(f"{role}'s loss" if several else latex_text(optimizer_title(name)), _loss(role, form))
            for role, name in zip(_ROLES, names, strict=True)
        ),
        Column("gap", lambda row: _math(row["gap"], f"+{form}")),
        Column(r"95\% interval", lambda row: _interval(row, form)),
        Column(r"relative gap (\%)", lambda row: _math(row["relative_gap"], "+.2f")),
        Column("verdict", lambda row: latex_text(verdict_text(row)), words=True),
    ]
    return _table(columns, (row for _, row in gaps.iterrows()))


def tuned_latex(tuned: pd.DataFrame) -> str:
    """The tuned settings, a column for each of their values, and the tuned losses with half their 95% intervals.

    Args:
        tuned: see `suite.analysis.tuned.tuned_points`.
    """
    form = f".{_decimals(tuned['uncertainty'])}f"
    settings = [name for name, _ in axes_of(dict.fromkeys(tuned["setting"]))] if len(tuned) else []
    names = sorted(settings, key=lambda name: (name != "lr", name))
    columns = [
        *_task(tuned),
        Column("batch size", lambda row: row["batch_size"]),
        Column("optimizer", lambda row: latex_text(optimizer_title(row["optimizer"])), words=True),
        *(Column(latex_text(setting_title(name)), _value(name)) for name in names),
        Column("tuned loss", lambda row: _loss_with_half(row, form)),
        Column("seeds", lambda row: row["seeds"]),
    ]
    return _table(columns, (row for _, row in tuned.iterrows()))


def steps_latex(steps: pd.DataFrame) -> str:
    """Steps, samples and tokens to the target loss, with the 95% interval of the steps.

    The steps are bold where an optimizer is sooner at 95%; where the target was not reached, the table says so.

    Args:
        steps: see `suite.analysis.target.target_table`.
    """

    def count(name: str) -> Callable[[pd.Series], str]:
        return lambda row: latex_text(count_text(row[name])) if row["outcome"] in _REACHED else "--"

    def first(row: pd.Series) -> str:
        words = {"reached": count_text(row["steps"]), "at most": f"at most {count_text(row['steps'])}"}
        text = latex_text(words.get(row["outcome"], row["outcome"]))
        return rf"\textbf{{{text}}}" if row["sooner"] == row["optimizer"] else text

    columns = [
        *_task(steps),
        Column("batch size", lambda row: row["batch_size"]),
        Column("optimizer", lambda row: latex_text(optimizer_title(row["optimizer"])), words=True),
        Column("target loss", lambda row: _math(row["target"], ".4g")),
        Column("steps", first),
        Column(r"95\% interval", lambda row: latex_text(range_text(row["steps_low"], row["steps_high"]))),
        Column("samples", count("samples")),
        Column("tokens", count("tokens")),
    ]
    return _table(columns, (row for _, row in steps.iterrows()))


_REACHED = ("reached", "at most")


def lr_width_latex(widths: pd.DataFrame) -> str:
    """The ranges of learning rates near the best.

    Args:
        widths: see `suite.analysis.lr_width.lr_width_table`.
    """
    columns = [
        *_task(widths),
        Column("batch size", lambda row: row["batch_size"]),
        Column("optimizer", lambda row: latex_text(optimizer_title(row["optimizer"])), words=True),
        Column("from", lambda row: format_value(float(f"{row['low']:.3g}"))),
        Column("to", lambda row: format_value(float(f"{row['high']:.3g}"))),
        Column("decades", lambda row: (r"$\geq " if row["open"] else "$") + f"{row['width']:.2f}$"),
    ]
    return _table(columns, (row for _, row in widths.iterrows()))


_ROLES = ("reference", "challenger")


def _task(frame: pd.DataFrame) -> list[Column]:
    several = frame["task"].nunique() > 1
    return [Column("task", lambda row: latex_text(row["task"]), words=True)] if several else []


def _table(columns: list[Column], rows: Iterable[Any]) -> str:
    head, body, words = cells(columns, rows)
    aligned = "".join("l" if number in words else "r" for number in range(len(head)))
    frame = pd.DataFrame(body, columns=pd.Index(head), dtype=object)
    return HEAD + str(frame.to_latex(index=False, escape=False, column_format=aligned))


def _decimals(uncertainties: pd.Series) -> int:
    """Decimals that show two digits of the usual uncertainty."""
    positive = uncertainties[np.isfinite(uncertainties.to_numpy(dtype=float)) & (uncertainties > 0)]
    if positive.empty:
        return 4
    return int(np.clip(1 - math.floor(math.log10(float(positive.median()))), _LEAST, _MOST))


def _math(value: float, form: str) -> str:
    if math.isnan(value):
        return "--"
    return f"${number(value, form)}$".replace("\N{MINUS SIGN}", "-").replace("\N{INFINITY}", r"\infty")


def _name(role: str) -> Callable[[pd.Series], str]:
    return lambda row: latex_text(optimizer_title(row[role]))


def _loss(role: str, form: str) -> Callable[[pd.Series], str]:
    def write(row: pd.Series) -> str:
        loss = float(row[f"{role}_loss"])
        text = "diverged" if math.isinf(loss) else _math(loss, form)
        edge = r"$^\ast$" if len(row[f"{role}_edges"]) and math.isfinite(loss) else ""
        return (rf"\textbf{{{text.strip('$')}}}" if row["better"] == row[role] else text) + edge

    return write


def _interval(row: pd.Series, form: str) -> str:
    if not math.isfinite(row["uncertainty"]):
        return "--"
    low, high = (row["gap"] + sign * row["uncertainty"] for sign in (-1, 1))
    return f"[{_math(low, f'+{form}')}, {_math(high, f'+{form}')}]"


def _loss_with_half(row: pd.Series, form: str) -> str:
    loss = float(row["loss"])
    if not math.isfinite(loss):
        return "--" if math.isnan(loss) else "diverged"
    half = rf" \pm {format(row['uncertainty'], form)}" if math.isfinite(row["uncertainty"]) else ""
    edge = r"^\ast" if len(row["edges"]) else ""
    return f"{_math(loss, form)[:-1]}{half}{edge}$"


def _value(name: str) -> Callable[[pd.Series], str]:
    def write(row: pd.Series) -> str:
        values = dict(row["setting"])
        return latex_text(format_value(values[name])) if name in values and math.isfinite(row["loss"]) else "--"

    return write
