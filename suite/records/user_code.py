"""Which code of the user's own makes a run? The files that define its classes, and what these import, by checksum."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from suite.fields import is_the_users


class _Source(NamedTuple):
    """A module as it was when its checksum was first taken.

    Attributes:
        spec: of the module; reloading makes another.
        checksum: of its file.
        imports: names of modules that it may import.
    """

    spec: Any
    checksum: str
    imports: tuple[str, ...]


_sources: dict[str, _Source] = {}


def user_code(classes: Iterable[type]) -> dict[str, str]:
    """Checksums of the user's own modules that classes are made of.

    A module is the user's when its file lies neither in the suite with its tasks and models nor among Python's and
    installed packages. Counted are the modules that define the classes and their bases, the packages around them, and
    whatever of the user's these import, further and further: whole files, so that a comment counts too. A process
    keeps the checksum with which it has imported a module. Data that the code reads do not count.

    A class without a file, made in a notebook or at a prompt, counts with its compiled functions and with the
    functions, classes and plain values of the same module that these name.

    Returns:
        Module name -> 16 hexadecimal digits; empty where all is the suite's or a library's.
    """
    code: dict[str, str] = {}
    bases = [base for cls in classes for base in cls.__mro__]
    waiting = [base.__module__ for base in bases]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        around = name.rpartition(".")[0]
        file = None if _is_anothers(around) else _file_of(name)
        if file is None or not is_the_users(file):
            continue
        source = _source(name, file)
        code[name] = source.checksum
        waiting += [*source.imports, around]
    for module in {base.__module__ for base in bases if _has_no_file(base.__module__)}:
        text = "\n".join(sorted({_compiled(base, module, set()) for base in bases if base.__module__ == module}))
        code[module] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return code


def _file_of(name: str) -> str | None:
    """File of a module, imported or not; None where it has none, or there is no such module."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None)
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        spec = importlib.util.find_spec(name) if name else None
        return spec.origin if spec is not None and spec.has_location else None
    return None


def _is_anothers(package: str) -> bool:
    """Whether a package is a library's, so that what is imported from it is no module of the user's."""
    file = _file_of(package)
    return file is not None and not is_the_users(file)


def _source(name: str, file: str) -> _Source:
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is not None and name in _sources and _sources[name].spec is spec:
        return _sources[name]
    content = Path(file).read_bytes()
    package = name if Path(file).stem == "__init__" else name.rpartition(".")[0]
    source = _Source(spec, hashlib.sha256(content).hexdigest()[:16], tuple(sorted(_imports(content, package))))
    if module is not None:
        _sources[name] = source
    return source


def _imports(content: bytes, package: str) -> set[str]:
    """Names of the modules that a source imports, wherever in it; of ``from a import b`` also ``a.b``."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # a compiled module
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            with contextlib.suppress(ImportError):
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def _has_no_file(module: str) -> bool:
    loaded = sys.modules.get(module)
    unknown = getattr(loaded, "__file__", None) is None and getattr(loaded, "__spec__", None) is None
    return loaded is not None and unknown


def _compiled(thing: Any, module: str, seen: set[int]) -> str:
    """A class, function or plain value of a module without a file, as text that only another one differs from."""
    if id(thing) in seen:
        return ""
    if isinstance(thing, type):
        seen.add(id(thing))
        members = {k: v for k, v in vars(thing).items() if not k.startswith("__") or k in ("__post_init__", "__init__")}
        return f"{thing.__qualname__}: " + " ".join(
            f"{k}={_compiled(v, module, seen)}" for k, v in sorted(members.items())
        )
    function = getattr(thing, "__func__", getattr(thing, "fget", thing))
    if isinstance(function, types.FunctionType):
        seen.add(id(thing))
        names = sorted(_names(function.__code__))
        named = [function.__globals__[name] for name in names if name in function.__globals__]
        of_module = [x for x in named if getattr(x, "__module__", None) == module or isinstance(x, _PLAIN)]
        return _of_code(function.__code__) + " ".join(_compiled(x, module, seen) for x in of_module)
    if isinstance(thing, tuple):
        return f"({', '.join(_compiled(item, module, seen) for item in thing)})"
    return repr(thing) if isinstance(thing, _PLAIN) else ""


_PLAIN = (bool, int, float, complex, str, bytes, tuple, type(None))


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _of_code(code: types.CodeType) -> str:
    constants = [
        _of_code(c) if isinstance(c, types.CodeType) else repr(sorted(c, key=repr) if isinstance(c, frozenset) else c)
        for c in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
