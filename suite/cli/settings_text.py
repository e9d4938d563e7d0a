"""Settings of tasks and optimizers as text for a terminal: what they take, their values, what they do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from suite.fields import Described, described, escaped, in_yaml, read_yaml

WIDTH = 110
"""Columns of a line."""


def task_text(name: str) -> str:
    """A task: its recipe, and every setting of its network and its data with what the recipe sets.

    Raises:
        ValueError: there is no such task, or its classes cannot be imported.
    """
    from suite.execution.matrix import describe_tasks, task_file, task_name
    from suite.optim.registry import import_class

    name = task_name(name)
    file = task_file(name)
    recipe = read_yaml(file, what="The task")
    parts = [f"{name}: {describe_tasks()[name]}", f"recipe: {file}"]
    for part, title in (("model", "The network and its training"), ("data", "The data")):
        described_there = recipe.get(part) or {}
        cls = import_class(str(described_there.get("class_path")))
        values = described_there.get("init_args") or {}
        lines = options_text(described(cls), prefix=f"--{part}.", values=values)
        parts.append(f"{title} ({cls.__module__}.{cls.__qualname__}):\n{lines}")
    parts.append(
        "In a sweep's overrides they stand without the dashes (model.width). Values are those of the recipe, or the\n"
        "defaults where it sets none. `python -m suite optimizers NAME` tells the settings of an optimizer."
    )
    return escaped_lines("\n\n".join(parts))


def options_text(settings: list[Described], *, prefix: str, values: Mapping[str, Any] | None = None) -> str:
    """Options, an entry each.

    Args:
        settings: the settings.
        prefix: what stands before a name.
        values: values that differ from the defaults, by name.
    """
    return "\n".join(line for setting in settings for line in _entry(setting, prefix, values or {}))


def _entry(setting: Described, prefix: str, values: Mapping[str, Any]) -> Iterator[str]:
    value = in_yaml(values[setting.name]) if setting.name in values else setting.default or "(must be given)"
    yield f"  {prefix}{setting.name}  {value}"
    default = f"; default {setting.default}" if setting.name in values and setting.default not in ("", value) else ""
    words = f"{setting.kind}{default}. {setting.doc[:1].upper()}{setting.doc[1:]}".rstrip()
    yield from textwrap.wrap(words, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_long_words=False)


def escaped_lines(text: str) -> str:
    """Text whose lines hold printable characters alone."""
    return "\n".join(map(escaped, text.split("\n")))
