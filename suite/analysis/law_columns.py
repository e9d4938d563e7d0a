"""Columns of the tables of laws and effects, as the report's page and the pages of results show them."""

from __future__ import annotations

import math
from typing import Any

from suite.analysis.columns import Column
from suite.analysis.tuned_laws import quantity_title
from suite.analysis.verdict import LEVEL
from suite.analysis.words import UNKNOWN, format_value, number, optimizer_title, pair_text

_INTERVAL = f"{LEVEL:.0%} interval"

_JUDGED = {"agrees": "agrees", "contradicts": "contradicts it", "open": "open", "": UNKNOWN}

CRITICAL = [
    Column("optimizer", lambda row: optimizer_title(row.optimizer), words=True),
    Column("halving stops between", lambda row: _stops_text(row)),
    Column("steps fall there as the power", lambda row: number(row.power, ".2f")),
    Column("critical batch size", lambda row: _critical_text(row)),
    Column(_INTERVAL, lambda row: _ends_text(row.critical_low, row.critical_high, ".3g")),
]
"""Of rows of `suite.analysis.critical.critical_table`; a critical batch size stands there with its interval only."""

TUNED_LAWS = [
    Column("optimizer", lambda row: optimizer_title(row.optimizer), words=True),
    Column("setting", lambda row: quantity_title(row.quantity), words=True),
    Column("power of the batch size", lambda row: number(row.exponent, "+.2f")),
    Column(_INTERVAL, lambda row: _ends_text(row.low, row.high, "+.2f")),
    Column("at batch size 1", lambda row: format_value(float(f"{row.at_batch_size_1:.3g}"))),
    Column("rule", lambda row: f"{row.rule}: {row.rule_exponent:g}" if row.rule else UNKNOWN, words=True),
    Column("", lambda row: _JUDGED[row.judgement], words=True),
    Column("points", lambda row: row.points),
    Column("on an edge", lambda row: row.on_edge),
]
"""Of rows of `suite.analysis.tuned_laws.tuned_laws`."""

EFFECTS = [
    Column("batch size", lambda row: row.batch_size),
    Column("effect of", lambda row: row.effect_of, words=True),
    Column("on the relative gap", lambda row: number(row.effect, "+.2f", " %")),
    Column(_INTERVAL, lambda row: _ends_text(row.low, row.high, "+.2f")),
    Column("", lambda row: _effect_words(row), words=True),
    Column("share of the gap taken away (negative: widened)", lambda row: _share_text(row)),
]
"""Of the first table of `suite.analysis.effects.effects_tables`."""

EXPLAINED = [
    Column("pair", lambda row: pair_text(row.reference, row.challenger), words=True),
    Column("batch size", lambda row: row.batch_size),
    Column("panels", lambda row: row.panels),
    Column("fitted gap at the first values", lambda row: number(row.gap_at_first, "+.2f", " %")),
    Column("explained by effects", lambda row: number(100 * row.explained_by_effects, ".0f", " %")),
    Column("with interactions", lambda row: number(100 * row.explained_with_interactions, ".0f", " %")),
    Column("noise", lambda row: number(100 * row.noise_share, ".0f", " %")),
]
"""Of the second table of `suite.analysis.effects.effects_tables`."""


def _ends_text(low: float, high: float, form: str) -> str:
    return UNKNOWN if math.isnan(low) else f"{number(low, form)} to {number(high, form)}"


def _stops_text(row: Any) -> str:
    return UNKNOWN if math.isnan(row.stops_from) else f"{row.stops_from:g} and {row.stops_at:g}"


def _critical_text(row: Any) -> str:
    if not row.fits:
        return "contradicted by the steps"
    if math.isnan(row.critical_low):
        return UNKNOWN
    return "beyond all" if math.isinf(row.critical) else number(row.critical, ".3g")


def _effect_words(row: Any) -> str:
    if not row.p <= 1 - LEVEL:
        return "open"
    towards = f"towards {optimizer_title(row.challenger if row.effect > 0 else row.reference)}"
    return towards if row.corrected else f"{towards}, alone"


def _share_text(row: Any) -> str:
    if math.isnan(row.share_of_gap):
        return UNKNOWN
    ends = " to ".join(number(100 * end, ".0f") for end in (row.share_low, row.share_high))
    return f"{number(100 * row.share_of_gap, '.0f')} % ({ends})"
