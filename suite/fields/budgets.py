"""A budget as people say it."""

from __future__ import annotations

from typing import Any

_PREFIX = "budget_"


def budget_text(name: str, value: Any) -> str:
    """The value of a budget, such as ``250,000 tokens`` for ``data.budget_tokens``; empty for what is none."""
    last = name.rpartition(".")[2]
    if not last.startswith(_PREFIX) or isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f"{value:,.12g} {last.removeprefix(_PREFIX)}"
