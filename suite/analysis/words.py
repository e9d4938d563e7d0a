"""Words for people, in one place: names, numbers and verdicts as the terminal, the pages and the figures write them."""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from suite.analysis.verdict import LEVEL, POWER
from suite.fields import escaped
from suite.records.tuning import Setting, is_time

UNKNOWN = "\N{EN DASH}"
"""Stands in a page's table where there is no value."""

_TITLES = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "signsgd": "SignSGD",
    "signum": "Signum",
    "muon": "Muon",
    "lion": "Lion",
    "nsgd": "NSGD",
    "rmsprop": "RMSprop",
    "adafactor": "Adafactor",
    "schedule_free": "Schedule-Free AdamW",
    "schedule_free_sgd": "Schedule-Free SGD",
    "scion": "Scion",
    "ademamix": "AdEMAMix",
    "mars": "MARS",
    "adopt": "ADOPT",
    "prodigy": "Prodigy",
    "sophia": "Sophia",
    "sophia_ef": "Sophia-EF",
    "soap": "SOAP",
}


_NAMES: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("names")


@contextlib.contextmanager
def named(labels: Iterable[str], titles: Mapping[str, str]) -> Iterator[None]:
    """While this lasts, optimizers are called as a sweep's YAML says; those of one title have their labels behind it.

    Args:
        labels: all optimizers.
        titles: label -> title, of those that the YAML names.
    """
    names = {label: escaped(titles.get(label) or _usual_title(label)) for label in labels}
    counts = Counter(names.values())
    token = _NAMES.set({label: name if counts[name] == 1 else f"{name} ({label})" for label, name in names.items()})
    try:
        yield
    finally:
        _NAMES.reset(token)


def optimizer_title(label: str) -> str:
    """How an optimizer's label is written for people: as `named` has it, else as usual, else in words."""
    return _NAMES.get({}).get(label) or _usual_title(label)


def labels_by_name(labels: Iterable[str], titles: Mapping[str, str]) -> dict[str, str]:
    """Every name of an optimizer, a label or a title, in small letters -> its label.

    Args:
        labels: all optimizers.
        titles: label -> title, of those that the YAML names.
    """
    labels = list(labels)
    by_title = {titles.get(label, optimizer_title(label)).lower(): label for label in labels}
    return by_title | {label.lower(): label for label in labels}


def _usual_title(label: str) -> str:
    return _TITLES.get(label) or " ".join(_TITLES.get(word, word) for word in label.split("_")) or label


def pair_text(reference: str, challenger: str) -> str:
    """Two optimizers that are compared: ``SGD against Adam``."""
    return f"{optimizer_title(challenger)} against {optimizer_title(reference)}"


def series_names(series: Sequence[tuple[str, str, str]]) -> list[str]:
    """Names that distinguish series of gaps: their tasks, their pairs of optimizers, or both; empty for a single one.

    Args:
        series: task, reference and challenger of each.
    """
    tasks, pairs = len({key[0] for key in series}) > 1, len({key[1:] for key in series}) > 1
    return [": ".join([key[0]] * tasks + [pair_text(*key[1:])] * pairs) for key in series]


def format_value(value: Any) -> str:
    """A hyperparameter's value as people write it: ``0.001``, ``1e-5``, ``0.999``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ", ".join(map(format_value, value)) if isinstance(value, tuple) else str(value)
    text = f"{value:.6g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}"


def format_setting(setting: Setting) -> str:
    """A setting in one line, learning rate first: ``lr 0.3, momentum 0.95``, ``half-life of beta2 1e6 tokens``."""
    ordered = sorted(setting, key=lambda pair: (pair[0] != "lr", pair[0]))
    return ", ".join(_with_name(name, value) for name, value in ordered) or "as configured"


def _with_name(name: str, value: Any) -> str:
    if not is_time(name):
        return f"{name} {format_value(value)}"
    what, unit = _time_words(name)
    return f"{what} {format_value(value)} {unit}"


def _time_words(name: str) -> tuple[str, str]:
    """What a half-life or a time scale is of, and its unit: ``half-life of beta2``, ``tokens``."""
    of, _, kind = name.rpartition(".")
    word, _, unit = kind.rpartition("_")
    return f"{'half-life' if word == 'half_life' else 'time scale'} of {setting_title(of)}", unit


_SETTINGS = {"lr": "learning rate", "eps": "epsilon", "wd": "weight decay"}


def setting_title(name: str) -> str:
    """How a setting's name is written on an axis: ``learning rate``, ``weight decay``, ``Adam's learning rate``."""
    if is_time(name):
        return "{} ({})".format(*_time_words(name))
    owner, dot, last = name.rpartition(".")
    words = _SETTINGS.get(last, last.replace("_", " "))
    return f"{optimizer_title(owner)}'s {words}" if dot else words


def edge_text(edges: Sequence[tuple[str, str]]) -> str:
    """Edge flags: ``lr largest, momentum smallest``."""
    return ", ".join(f"{axis} {end}" for axis, end in edges)


def number(value: float, form: str, unit: str = "") -> str:
    """A number of a page, with real minus and infinity signs; an en dash where it is not known."""
    if math.isnan(value):
        return UNKNOWN
    return format(value, _fitting(value, form)).replace("-", "\N{MINUS SIGN}").replace("inf", "\N{INFINITY}") + unit


def plain_number(value: float, form: str = ".4f") -> str:
    """A number of a terminal; a hyphen where it is not known."""
    return "-" if math.isnan(value) else format(value, _fitting(value, form))


def _fitting(value: float, form: str) -> str:
    """A form with fixed decimals where these show a number, else one with three digits: ``1.2e-07``, ``3.46e+06``."""
    head, point, decimals = form.partition(".")
    if not point or not decimals.endswith("f") or math.isinf(value) or value == 0:
        return form
    count = int(decimals[:-1])
    shown = 5 * 10.0**-count if count > 2 else 0.0  # a share of a percent that is not shown is next to nothing
    return form if shown <= abs(value) < 1e5 else f"{head}.3g"


def loss_text(loss: float) -> str:
    """A final loss; ``diverged`` where no setting has a finite one."""
    return "diverged" if math.isinf(loss) else plain_number(loss)


def share_text(share: float) -> str:
    """A share of a trunk's steps."""
    return f"{100 * share:g}%"


def batch_size_text(size: float) -> str:
    """A batch size that an estimate gives: with two digits below 10, else as a whole number."""
    return f"{size:.2g}" if size < 10 else f"{size:.0f}"


MOST_SIZES = 8
"""Largest number of batch sizes that a sentence names."""


def batch_sizes_text(sizes: Iterable[int]) -> str:
    """Measured batch sizes: ``batch sizes 1, 4``; of many the first: ``batch sizes 1, 2, 3 and 37 more``."""
    unique = [str(size) for size in sorted(set(sizes))]
    if len(unique) > MOST_SIZES:
        return f"batch sizes {', '.join(unique[:3])} and {len(unique) - 3} more"
    return f"batch size{'s' if len(unique) > 1 else ''} {', '.join(unique)}"


def count_text(count: float) -> str:
    """A number of steps, samples or tokens, with three digits: ``1,230``, ``1.23M``; an en dash where not known."""
    if math.isnan(count):
        return UNKNOWN
    if math.isinf(count):
        return "\N{INFINITY}"
    if abs(count) < 999.5:
        return f"{count:.3g}"
    shown = float(f"{count:.3g}")
    for unit, size in (("B", 1e9), ("M", 1e6)):
        if shown >= size:
            return f"{shown / size:.3g}{unit}"
    return f"{shown:,.0f}"


def range_text(low: float, high: float) -> str:
    """The ends of an interval of such numbers: ``120 to 340``; an end that is not known to be is named."""
    if math.isnan(low) or math.isnan(high):
        return UNKNOWN
    if math.isinf(high):
        return "beyond the budget" if math.isinf(low) else f"from {count_text(low)} up"
    return f"up to {count_text(high)}" if low == 0 else f"{count_text(low)} to {count_text(high)}"


def counted(count: int, one: str, several: str = "") -> str:
    """So many of something: ``1 run``, ``2 runs``."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def interval_text(interval: tuple[float, float] | None) -> str:
    """An interval of batch sizes: ``95% interval 6 to 30``, with open ends named."""
    if interval is None:
        return "interval not known"
    low, high = interval
    if high == 0:
        where = "below the range"
    elif math.isinf(low):
        where = "above the range"
    elif low == 0:
        where = "wider than the range" if math.isinf(high) else f"up to {batch_size_text(high)}"
    elif math.isinf(high):
        where = f"from {batch_size_text(low)} up"
    else:
        where = f"{batch_size_text(low)} to {batch_size_text(high)}"
    return f"{LEVEL:.0%} interval {where}"


def listed(parts: Sequence[str]) -> str:
    """Clauses in a row: ``a; b; c``."""
    return "; ".join(parts)


MOST_PAIRS = 6
"""Largest number of sentences of one kind, one for each pair of optimizers."""


def first_of(sentences: Sequence[str]) -> list[str]:
    """The first sentences of a kind, and how many more the report has."""
    more = len(sentences) - MOST_PAIRS
    return [*sentences[:MOST_PAIRS], *([f"({more} more such sentences in the report.)"] if more > 0 else [])]


def seeds_text(needed: float) -> str:
    """A number of seeds needed; an en dash where it is not known."""
    if math.isnan(needed):
        return UNKNOWN
    return "over 1000" if math.isinf(needed) else f"{needed:.0f}"


def seeds_needed_text(gap: Mapping[str, Any]) -> str:
    """The seeds that would decide a gap, in a table's cell; an en dash where its verdict is decided or there is none.

    Args:
        gap: a row of `suite.analysis.gap.gap_table`.
    """
    return seeds_text(gap["seeds_needed"]) if gap["verdict"] in ("leans", "open") else UNKNOWN


def grouped(named_sentences: Sequence[tuple[str, str]]) -> list[str]:
    """Sentences with what they are about in front; those that say the same stand once, for all of it."""
    about: dict[str, list[str]] = {}
    for name, sentence in named_sentences:
        about.setdefault(sentence, []).append(name)
    lines = []
    for sentence, names in about.items():
        more = f" and {len(names) - MOST_PAIRS} more" if len(names) > MOST_PAIRS else ""
        head = ", ".join(filter(None, names[:MOST_PAIRS])) + more
        lines.append(f"{head}: {sentence}" if head else sentence)
    return lines


def verdict_text(gap: Mapping[str, Any]) -> str:
    """The verdict at one batch size in a table's cell: ``SGD better``, ``level within 0.5%``, ``leans SGD``, ``open``.

    Args:
        gap: a row of `suite.analysis.gap.gap_table`.
    """
    kind = gap["verdict"]
    if not isinstance(kind, str):
        diverged = math.isinf(gap["reference_loss"]) and math.isinf(gap["challenger_loss"])
        return "both diverged" if diverged else "no result"
    if kind == "better":
        return f"{optimizer_title(gap['better'])} better"
    if kind == "leans":
        return f"leans {optimizer_title(gap['leans'])}"
    return f"level within {gap['margin']:g}%" if kind == "level" else "open"


def verdict_phrase(gap: Mapping[str, Any]) -> str:
    """The verdict as part of a sentence.

    Args:
        gap: a row of `suite.analysis.gap.gap_table` with a verdict.
    """
    if math.isinf(gap["gap"]):
        loser = gap["reference"] if gap["gap"] > 0 else gap["challenger"]
        return f"every setting of {optimizer_title(loser)} diverged"
    if gap["verdict"] == "better":
        return f"{optimizer_title(gap['better'])} is better"
    if gap["verdict"] == "leans":
        edge = gap["reference_edges"] if gap["leans"] == gap["challenger"] else gap["challenger_edges"]
        why = ", the other's point on the edge of its grid" if len(edge) else ""
        return f"the gap leans to {optimizer_title(gap['leans'])}{why}"
    if gap["verdict"] == "level":
        return f"the two are level within {gap['margin']:g}%"
    return "the gap is open on one seed" if gap["seeds"] < 2 else "the gap is open"


VERDICT_WORDS = (
    f"Better: the {LEVEL:.0%} interval excludes zero (and the other's tuned point lies on no edge of its grid). Level: "
    "the whole interval lies within the margin. Leans: the 80% interval excludes zero. Open: none of these. Seeds "
    "needed, where the gap leans or is open: the fewest reporting seeds that would make a gap of the measured size "
    f"better, or level, with a chance of {POWER:.0%}."
)
"""What the words of a verdict mean, for readers of a table."""
