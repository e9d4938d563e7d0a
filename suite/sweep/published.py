"""Values that a paper prints, as a sweep's YAML states them beside the question: shown next to what was measured.

One entry is a mapping::

    - {panel: "GPT", batch_size: 1024, gap: -0.316, source: "secondary summary"}
    - {batch_size: 256, losses: {adam: 4.5291, sgd: 4.8853}, source: "released results, 4-mer"}
    - {batch_size: 256, perplexities: {adam: 21.86, sgd: 53.62}, source: "paper 3, table 1"}

``gap`` and ``relative_gap`` (percent) are of ``challenger`` against ``reference`` (by default SGD against Adam), with
this suite's sign; ``losses`` and ``perplexities`` are by optimizer. ``source`` says where the value was read.
"""

from __future__ import annotations

from typing import Any

_NUMBERS = ("gap", "relative_gap")
_TABLES = ("losses", "perplexities")
_TEXTS = ("source", "panel", "reference", "challenger")


def check_published(where: str, value: Any) -> None:
    """Check one entry of ``published``.

    Raises:
        ValueError: it is not a mapping of the keys above, or names neither source nor value.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a mapping with source and a value, got {value!r}.")
    known = {"batch_size", *_NUMBERS, *_TABLES, *_TEXTS}
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ValueError(f"{where} has a key {unknown[0]!r}; it may have {', '.join(sorted(known))}.")
    if not isinstance(value.get("source"), str) or not any(key in value for key in (*_NUMBERS, *_TABLES)):
        raise ValueError(f"{where} must give source and one of {', '.join((*_NUMBERS, *_TABLES))}.")
    for key in _TEXTS:
        if not isinstance(value.get(key, ""), str):
            raise ValueError(f"{key} of {where} must be a text, got {value[key]!r}.")
    if not _is_number(value.get("batch_size", 1)):
        raise ValueError(f"batch_size of {where} must be a number, got {value['batch_size']!r}.")
    for key in _NUMBERS:
        if not _is_number(value.get(key, 0)):
            raise ValueError(f"{key} of {where} must be a number, got {value[key]!r}.")
    for key in _TABLES:
        table = value.get(key, {})
        if not isinstance(table, dict) or not all(_is_number(number) for number in table.values()):
            raise ValueError(f"{key} of {where} must be a mapping from optimizers to numbers, got {table!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
