"""Turns errors of the parser, of a class and of the trainer into one sentence each."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from suite.execution.faults import EXTRAS, needs

_WRAPPED = "Does not validate against any of the Union subtypes"

_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "NoneType": "null"}


def of_a_parser(message: str) -> str:
    """Shorten a parser's message of several lines to one sentence: what was expected, what came, what to change."""
    missing = re.search(r"Problem with given class_path '[^']*':\s+No module named '(\w+)", message)
    if missing and missing[1] in EXTRAS:
        return needs(missing[1])
    keys = re.findall(r'Parser key "([^"]+)"', message)
    kinds = re.findall(r"Expected a typing.Literal\[(.*)\]", message)
    union = re.findall(r"Subtypes: \[(.*)\]", message)  # not all of its errors name what they expected
    classes = re.findall(r"<class '(\w+)'>", " ".join(union)) + re.findall(r"Expected an? <class '(\w+)'>", message)
    kinds += [_KINDS.get(kind, kind) for kind in classes]
    values = re.findall(r"(?:Given|Got) value: (.*)", message)
    if keys and keys[-1] in ("model", "data"):
        kinds = ["a mapping with class_path and init_args"]
    if keys and kinds and values:
        return f"{keys[-1]} must be {' or '.join(dict.fromkeys(kinds))}, got {values[-1]!r:.80}."
    unknown = re.search(r"Option '([^']+)' is not accepted", message)
    if unknown:
        return f"There is no setting {unknown.group(1)!r} here; --print_config shows those there are."
    return " ".join(message.split()).rstrip(".") + "; see --help."


@contextlib.contextmanager
def of_a_class() -> Iterator[None]:
    """A context that raises a class's error about its settings without the parser's text around it.

    Raises:
        ValueError: a class refuses its settings.
    """
    try:
        yield
    except ValueError as error:
        cause: BaseException = error
        while str(cause).startswith(_WRAPPED) and isinstance(cause.__cause__, Exception):
            cause = cause.__cause__
        if cause is error:
            raise
        raise ValueError(str(cause)) from error


@contextlib.contextmanager
def of_the_trainer() -> Iterator[None]:
    """A context that turns the trainer's errors about its settings and missing devices into a sentence.

    Raises:
        ValueError: the trainer refuses its settings.
    """
    try:
        yield
    except (TypeError, MisconfigurationException, ImportError, RuntimeError) as error:
        raise ValueError(f"The trainer refuses its settings: {' '.join(str(error).split()).rstrip('.!')}.") from error
