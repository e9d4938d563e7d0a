"""Which values a record and a plan may hold: those that the rest of the suite relies on are checked when it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from suite.records.final_loss import FINAL_LOSSES, SETTLED


class Fields(NamedTuple):
    """A mapping with some known keys; it may have others, which nothing relies on.

    Attributes:
        required: key -> kind.
        optional: key -> kind, of keys that may be absent.
    """

    required: Mapping[str, Any] = {}
    optional: Mapping[str, Any] = {}


class Positive:
    """The kind of numbers above zero."""


RUN_ID = re.compile(r"[0-9a-f]{16}")
_STATUSES = (*sorted(SETTLED), "failed", "interrupted")
_SIZE, _COUNT = range(1, 2**63), range(2**63)
_TEXT = (str, None)

RECORD = Fields(
    required={
        "run_id": RUN_ID, "status": {*_STATUSES}, "task": str, "optimizer": dict, "batch_size": _SIZE, "seed": _COUNT,
        "steps": _COUNT, "final": {str: float}, "metrics": {str: float}, "config": dict,
    },
    optional={
        "diverged_at": (_COUNT, None), "weights": ({str: str}, None), "parameters": (_COUNT, None),
        "thinned": (_SIZE, None),
        "curves": Fields({"rows": _COUNT, "sha256": str}),
        "diagnostics": (Fields({"rows": _COUNT, "sha256": str}), None),
        "code": (Fields(optional={"version": _TEXT, "commit": _TEXT, "dirty": (bool, None)}), None),
        "device": (Fields(optional={"kind": _TEXT, "name": _TEXT, "count": _COUNT}), None),
        "data": (Fields(optional={"name": _TEXT, "fingerprint": _TEXT}), None),
        "facts": (Fields(optional={"seq_len": (_SIZE, None)}), None),
        "packages": ({str: str}, None), "seconds": ({str: float}, None),
        "host": _TEXT, "started": _TEXT, "ended": _TEXT,
    },
)  # fmt: skip
"""A run's record."""

_RUN = Fields(
    required={
        "run_id": RUN_ID, "optimizer": str, "batch_size": _SIZE, "seed": _COUNT, "steps": _COUNT, "axes": dict,
    },
    optional={
        "panel": str, "round": _COUNT, "reporting": bool, "diagnoses": ("", RUN_ID), "keeps": [_SIZE],
        "initial": ([(RUN_ID, _COUNT)], None),
    },
)  # fmt: skip

_PANEL = Fields(
    optional={
        "task": str, "overrides": (dict, None), "final_loss": {*FINAL_LOSSES},
        "branch": (Fields({"of": str, "optimizer": str, "share": float}), None),
    },
)  # fmt: skip

_PUBLISHED = Fields(
    required={"source": str},
    optional={
        "panel": _TEXT, "batch_size": (_SIZE, None), "reference": str, "challenger": str, "gap": float,
        "relative_gap": float, "losses": ({str: float}, None), "perplexities": ({str: Positive}, None),
    },
)  # fmt: skip

_SEARCH = Fields(
    required={
        "precision": Positive, "most": _SIZE, "chance": float,
        "groups": [
            Fields(
                required={"optimizer": str, "batch_size": _SIZE, "axes": {str: list}, "grid": _SIZE, "over": bool},
                optional={"panel": _TEXT, "chance": (float, None)},
            )
        ],
    },
)  # fmt: skip

_UNTIL = Fields(
    required={"precision": Positive, "level": Positive, "looks": [_SIZE], "level_of_a_look": Positive},
    optional={"most_runs": _SIZE},
)  # fmt: skip

PLAN = Fields(
    required={"plan_id": str, "name": str, "task": str, "final_loss": {*FINAL_LOSSES}, "runs": [_RUN]},
    optional={
        "file": _TEXT, "command": _TEXT, "question": _TEXT, "source": _TEXT, "task_title": _TEXT,
        "overrides": (dict, None), "panels": ({str: _PANEL}, None), "published": ([_PUBLISHED], None),
        "margin": Positive, "targets": ({str: float}, None), "titles": ({str: str}, None), "search": (_SEARCH, None),
        "skip": ([dict], None), "until": (_UNTIL, None),
        "extend_edges": (_COUNT, None), "extend_axes": ([str], None), "diagnose": ({str: (dict, None)}, None),
        "packs": ({str: _SIZE}, None), "compiled": ([str], None), "fingerprints": ({str: str}, None),
    },
)  # fmt: skip
"""A sweep's plan."""


def fault(value: Any, kind: Any, name: str) -> str | None:
    """What is wrong with a value, in words; None: nothing.

    Args:
        value: plain values, as JSON has them.
        kind: a type (``float`` includes whole numbers), `Positive`, a range of whole numbers, a pattern, a set of
            texts, `Fields`, ``[kind]`` for a list, ``{str: kind}`` for a mapping, a text or None for itself, a tuple of
            alternatives.
        name: what the message calls the value.
    """
    if isinstance(kind, Fields):
        return _fault_of_fields(value, kind, name)
    if isinstance(kind, tuple):
        faults = [fault(value, one, name) for one in kind]
        return None if None in faults else faults[0]
    if isinstance(kind, list | dict):
        if not isinstance(value, type(kind)):
            return _sentence(name, f"a {type(kind).__name__}", value)
        (inner,) = kind.values() if isinstance(kind, dict) else kind
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return next((wrong for key, item in items if (wrong := fault(item, inner, f"{name}.{key}"))), None)
    right, expected = _plain(value, kind)
    return None if right else _sentence(name, expected, value)


def _fault_of_fields(value: Any, kind: Fields, name: str) -> str | None:
    if not isinstance(value, dict):
        return _sentence(name, "a dict", value)
    start = f"{name}." if name else ""
    for key, inner in kind.required.items():
        if wrong := fault(value.get(key), inner, start + key):
            return wrong
    for key, inner in kind.optional.items():
        if key in value and (wrong := fault(value[key], inner, start + key)):
            return wrong
    return None


def _plain(value: Any, kind: Any) -> tuple[bool, str]:
    """Whether a value is of a kind that is no container, and the kind in words."""
    if isinstance(kind, range):
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and value in kind, f"a whole number from {kind.start} to {kind.stop - 1}"
    if isinstance(kind, re.Pattern):
        return isinstance(value, str) and kind.fullmatch(value) is not None, "a run's 16 hexadecimal digits"
    if isinstance(kind, set):
        return isinstance(value, str) and value in kind, " or ".join(sorted(kind))
    if kind in (float, Positive):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (kind is float or value > 0), "a number" if kind is float else "a number above zero"
    if isinstance(kind, type):
        return isinstance(value, kind), f"a {kind.__name__}"
    return value == kind, "empty" if kind == "" else str(kind)


def _sentence(name: str, expected: str, value: Any) -> str:
    return f"'{name}' should be {expected}, got {value!r:.80}"
