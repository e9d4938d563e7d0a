"""YAML by the core schema of YAML 1.2, with limits: no key may come twice, and aliases may not expand without end.

PyYAML follows YAML 1.1, where ``on`` and ``yes`` are true, ``010`` is eight, ``1:30`` is ninety and ``1e-3`` is a text.
Here ``on`` and ``yes`` are texts, ``010`` is ten, ``1:30`` is a text and ``1e-3`` is a thousandth.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from suite.fields.names import ConfigError

MOST_NODES = 200_000
"""Largest number of values in a document; a value behind an alias counts once per alias."""

MOST_BYTES = 2_000_000
"""Size of a file: what is larger holds no settings."""

MOST_DIGITS = 3000
"""Characters of a whole number: Python writes no longer one out, in whatever base it was given."""

_TAG = "tag:yaml.org,2002:"
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (rf"[-+]?{_DIGITS}|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        rf"[-+]?(?:\.[0-9]+|{_DIGITS}(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    "merge": (r"<<", ["<"]),
}
"""Kind of an unquoted value -> its regular expression, and the characters with which it may begin."""

_TAGS = {_TAG + kind for kind in (*_SCALARS, "str", "seq", "map")}


def read_yaml(path: str | Path, *, what: str = "") -> dict[str, Any]:
    """Read a YAML file that holds a mapping with texts as keys.

    Args:
        path: the file.
        what: words before the path in error messages, such as ``--sources``.

    Raises:
        ConfigError: the file cannot be read, is not YAML, gives a key twice, or does not hold such a mapping.
    """
    name = f"{what} {path}".strip()
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"There is no file {name}; give the path of a YAML file.") from None
    except OSError as error:
        raise ConfigError(f"{name} must be a file that can be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not YAML: it is not UTF-8 ({error.reason} at byte {error.start}).") from error
    if len(text) > MOST_BYTES:
        raise ConfigError(f"{name} must be a file of settings, of at most {MOST_BYTES:,} characters; it is longer.")
    content = yaml_value(text, name)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{name} must hold a mapping with texts as keys, got {content!r:.60}.")
    return content


def yaml_value(text: str, name: str) -> Any:
    """Read a YAML document, such as a value of the command line.

    Args:
        text: the document.
        name: the document's name in error messages.

    Raises:
        ConfigError: the text is not YAML, gives a key twice, has an unsupported tag, or its aliases expand too far.
    """
    import yaml

    try:
        loader = _loader_class()(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(loader, node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except ConfigError as error:
        raise ConfigError(f"{name} {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is not YAML: {' '.join(str(error).split())}.") from error


def _check(loader: Any, root: Any) -> None:
    """Refuse repeated keys, unknown tags, values that contain themselves, and more than ``MOST_NODES`` values."""
    import yaml

    sizes: dict[int, int] = {}
    unfolding: set[int] = set()

    def size(node: Any) -> int:
        if id(node) in unfolding:
            raise ConfigError("refers to itself; write its values out.")
        if id(node) not in sizes:
            if node.tag not in _TAGS:
                raise ConfigError(f"has a value with the tag {node.tag}; write numbers, texts, lists and mappings.")
            unfolding.add(id(node))
            inner = [] if isinstance(node, yaml.ScalarNode) else node.value
            if isinstance(node, yaml.MappingNode):
                _check_keys(loader, [key for key, _ in inner])
                inner = [part for pair in inner for part in pair]
            sizes[id(node)] = 1 + sum(map(size, inner))
            unfolding.discard(id(node))
        return sizes[id(node)]

    if size(root) > MOST_NODES:
        raise ConfigError(f"must hold at most {MOST_NODES:,} values with its aliases written out; it holds more.")


def _check_keys(loader: Any, nodes: list[Any]) -> None:
    lines: dict[Any, int] = {}
    for node in nodes:
        if isinstance(node.value, str) and node.tag != _TAG + "merge":
            key, line = loader.construct_object(node), node.start_mark.line + 1
            if key in lines:
                raise ConfigError(f"gives the key {key!r} twice (lines {lines[key]} and {line}); leave one out.")
            lines[key] = line


@functools.cache
def _loader_class() -> type:
    """A safe loader with the core schema of YAML 1.2."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

        def construct_yaml_int(self, node: Any) -> int:
            text = self.construct_scalar(node)
            if len(text) > MOST_DIGITS:
                raise ConfigError(f"has a whole number of {len(text):,} digits; no setting takes it.")
            base = {"0o": 8, "0x": 16}.get(text[:2], 10)
            return int(text, base)

    for kind, (pattern, first) in _SCALARS.items():
        Loader.add_implicit_resolver(_TAG + kind, re.compile(f"^(?:{pattern})$"), first)
    Loader.add_constructor(_TAG + "int", Loader.construct_yaml_int)
    return Loader
