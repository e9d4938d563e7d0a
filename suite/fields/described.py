"""Settings in words: name, type, bounds, default and doc line of every field of a dataclass."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from suite.fields.reading import bounds_in_words, field_types

_KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", Any: "any value"}

_OR_NULL = ", or null"

_LIKE_NOTHING = object()


@dataclasses.dataclass(frozen=True)
class Described:
    """A setting in words.

    Attributes:
        name: of the field.
        kind: what values it takes, bounds included.
        default: as YAML would have it; empty for a setting that must be given.
        doc: its doc line; empty where there is none.
        parts: dataclasses that its values are made of.
    """

    name: str
    kind: str
    default: str
    doc: str
    parts: tuple[type, ...] = ()


def described(cls: type) -> list[Described]:
    """The settings of a dataclass, in order; those that its constructor does not take are left out."""
    kinds, docs = field_types(cls), field_docs(cls)
    fields = [f for f in dataclasses.fields(cls) if f.name in kinds]  # type: ignore[arg-type]
    return [
        Described(
            f.name,
            _bounded(kind_in_words(kinds[f.name]), bounds_in_words(f.metadata)),
            _default(f),
            docs.get(f.name, ""),
            tuple(_dataclasses_in(kinds[f.name])),
        )
        for f in fields
    ]


def field_docs(cls: type) -> dict[str, str]:
    """The doc lines of a dataclass's fields: the strings below them, or the class's ``Attributes`` section.

    Those of a base class count where the class itself has none; a class whose source cannot be read has none.
    """
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        docs |= {**_attributes_section(base.__doc__ or ""), **_strings_below(base)}
    return docs


def kind_in_words(kind: Any) -> str:
    """A type in plain words, such as ``list of whole numbers, or null``; keys of mappings are texts."""
    origin, kinds = get_origin(kind), get_args(kind)
    if kind is type(None):
        return "null"
    if origin is Literal:
        return " or ".join(map(str, kinds))
    if origin in (types.UnionType, typing.Union):
        words = [kind_in_words(inner) for inner in kinds if inner is not type(None)]
        return " or ".join(dict.fromkeys(words)) + (_OR_NULL if type(None) in kinds else "")
    if origin in (list, tuple) and kinds:
        return f"list of {_plural(kind_in_words(kinds[0]))}"
    if origin in (dict, Mapping) or kind is dict:
        inner = kind_in_words(kinds[1]).removesuffix(_OR_NULL) if kinds else "any value"
        return "mapping" if inner == "any value" else f"mapping to {_plural(inner)}"
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return f"mapping ({kind.__name__})"
    return _KINDS.get(kind, getattr(kind, "__name__", str(kind)))


def _bounded(kind: str, bounds: str) -> str:
    """A type with its bounds, null last."""
    null = _OR_NULL if kind.endswith(_OR_NULL) else ""
    return ", ".join(filter(None, [kind.removesuffix(_OR_NULL), bounds])) + null


def _plural(words: str) -> str:
    for one, many in (("whole number", "whole numbers"), ("mapping", "mappings"), ("text", "texts")):
        if words == one or words.startswith((f"{one} (", f"{one} to")):
            return words.replace(one, many, 1)
    return {"number": "numbers", "any value": "any values"}.get(words, words)


def _dataclasses_in(kind: Any) -> list[type]:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return [kind]
    return [part for inner in get_args(kind) for part in _dataclasses_in(inner)]


def _default(f: dataclasses.Field[Any]) -> str:
    value: Any = _LIKE_NOTHING
    if f.default is not dataclasses.MISSING:
        value = f.default
    elif f.default_factory is not dataclasses.MISSING:
        value = f.default_factory()
    if value is _LIKE_NOTHING:
        return ""
    return in_yaml(value)


def in_yaml(value: Any) -> str:
    """A plain value as YAML has it, in one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {in_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_yaml, value)) + "]"
    return repr(value) if isinstance(value, str) and (not value or ": " in value) else str(value)


def _strings_below(cls: type) -> dict[str, str]:
    """The strings that stand below the fields of a class's own body."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return {}
    docs, name = {}, ""
    for node in tree.body if isinstance(tree, ast.ClassDef) else ():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif name and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docs[name] = " ".join(str(node.value.value).split())
            name = ""
        else:
            name = ""
    return docs


def _attributes_section(doc: str) -> dict[str, str]:
    """The lines of a docstring's ``Attributes`` section."""
    section = re.search(r"^Attributes:\n(.*?)(?=^\S|\Z)", inspect.cleandoc(doc), re.DOTALL | re.MULTILINE)
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", section[1] if section else "", re.DOTALL | re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in entries}
