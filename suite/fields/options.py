"""Options of a command line that name a setting: ``--family.field VALUE`` or ``--family.field=VALUE``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from suite.fields.names import ConfigError
from suite.fields.yaml_files import yaml_value


def take_options(
    words: Sequence[str],
    *,
    families: Collection[str] = (),
    names: Collection[str] = (),
    flags: Collection[str] = (),
) -> tuple[dict[str, str], list[str]]:
    """Take options out of a command line.

    Args:
        words: the command line.
        families: first parts of the options to take: ``model`` for every ``--model.field VALUE``.
        names: options with one value, ``--name VALUE``.
        flags: options without a value.

    Returns:
        A dict from option, without dashes, to value as typed (``true`` for a flag; the last one if an option is
        repeated), and the remaining words in order.

    Raises:
        ConfigError: an option lacks its value.
    """
    options: dict[str, str] = {}
    left: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        option, equals, value = word.partition("=")
        name = option[2:] if option.startswith("--") else ""
        family, dot, _ = name.partition(".")
        if name in flags and not equals:
            options[name] = "true"
        elif name in names or (dot and family in families):
            if not equals:
                if not queue or queue[0].startswith("--"):
                    raise ConfigError(f"{option} needs a value; write {option} VALUE.")
                value = queue.pop(0)
            options[name] = value
        else:
            left.append(word)
    return options, left


def option_value(text: str, option: str) -> Any:
    """The value of an option, read as YAML; text that is not YAML, such as ``*.weight``, is returned as it is.

    Raises:
        ConfigError: the text is not YAML and begins with a bracket or quotation mark.
    """
    try:
        return yaml_value(text, option)
    except ConfigError:
        if text.startswith(("[", "{", '"', "'")):
            raise
        return text
