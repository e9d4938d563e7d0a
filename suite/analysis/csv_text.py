"""Tables as CSV, in which a spreadsheet finds no formula to compute."""

from __future__ import annotations

from typing import Any

import pandas as pd

from suite.fields import escaped

_COMPUTED = ("=", "+", "-", "@")


def csv_text(frame: pd.DataFrame, float_format: str | None = None) -> str:
    """A table as CSV, without its index.

    A text that a spreadsheet would take for a formula gets a quotation mark in front, with which spreadsheets mark a
    text; numbers stay as they are, also those that are written as texts. Control characters are written out.

    Args:
        frame: the table.
        float_format: how numbers are written, such as ``%.6g``; None: to the last digit.
    """
    written = frame.rename(columns=inert)
    for column in written.columns:
        if not pd.api.types.is_numeric_dtype(written[column]):
            written[column] = written[column].map(inert)
    return str(written.to_csv(index=False, float_format=float_format, lineterminator="\n"))


def inert(value: Any) -> Any:
    """A cell that no spreadsheet computes; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    text = escaped(value)
    if not text.startswith(_COMPUTED):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def restored(text: str) -> str:
    """The text of a cell, without the quotation mark that `inert` put in front."""
    return text[1:] if text.startswith(tuple(f"'{sign}" for sign in _COMPUTED)) else text
