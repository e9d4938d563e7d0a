"""The embedded sample corpus: the English prose in every Python installation; no network is needed.

It is the language reference that ``help()`` shows, and the docstrings and longer comments of the standard
library, read from the source files without importing them and stripped of what is not prose (signatures,
grammar rules, interactive examples, underlines, tables of names). On CPython 3.11 that is 5,918 documents,
1.8 MB, 285,000 words, read in about two seconds. The text differs between Python versions, so its checksum
and every result on it belong to one version; the manifest of the prepared data names it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.kinds.local_files import DamagedSource
from tasks.kinds.text.documents import Piece, Source

RECIPE = 1
"""Raised whenever the rules below change, so that an older prepared sample is not taken for the new one."""

_LEFT_OUT = frozenset(
    ["test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "ensurepip", "lib2to3"]
)
_DOCSTRING = re.compile(r'(?:\A(?:[ \t]*(?:#[^\n]*)?\n)*|:[ \t]*\n[ \t]+)[rR]?"""(?P<text>.*?)"""', re.DOTALL)
_COMMENT = re.compile(r"(?:^[ \t]*#[^\n]*\n){3,}", re.MULTILINE)
_COMMENT_SIGN = re.compile(r"^[ \t]*#+", re.MULTILINE)
_ROLE = re.compile(r":[a-z:]+:`~?\.?([^`<]+?)(?:\s*<[^`]*>)?`")
_MARKS = re.compile(r"``|(?<![\w*])\*{1,2}(?=\w)|(?<=\w)\*{1,2}(?![\w*])|`")
_PROSE_START = re.compile(r"[A-Z\"'(]")
_WORD = re.compile(r"[A-Za-z]{2,}")
_COMMON_WORDS = frozenset(
    ["the", "of", "to", "is", "are", "in", "and", "or", "if", "for", "this", "that", "with", "by", "be", "as"]
)
_MIN_CHARACTERS = 60


@dataclass(frozen=True)
class SampleText(Source):
    """The embedded sample corpus as a source of documents."""

    label = "sample"

    def identity(self) -> dict[str, Any]:
        """What decides the text: the Python version and the recipe."""
        return {"kind": "sample", "python": platform.python_version(), "recipe": RECIPE}

    def text_bytes(self) -> int:
        """Rough size of the text in bytes."""
        return 2_000_000

    def pieces(self, skip: int = 0) -> Iterator[Piece]:
        """Documents, modules mixed in a fixed order, so that the end (validation) is like the rest."""
        documents = _scattered_documents()
        if not documents:
            raise DamagedSource(
                "data.source sample reads the standard library's source files, but this Python installation "
                "has none; set data.source to a text file or folder."
            )
        for text in islice(documents, skip, None):
            yield Piece(text + "\n\n", 1)


@lru_cache(maxsize=1)
def _scattered_documents() -> list[str]:
    # A checksum orders documents as if at random, yet the same way everywhere.
    return sorted(set(_documents()), key=lambda text: hashlib.sha256(text.encode()).hexdigest())


def _documents() -> Iterator[str]:
    for raw in _language_reference():
        yield from _prose(raw)
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        if _LEFT_OUT.isdisjoint(path.relative_to(library).parts):
            source = path.read_text(encoding="utf-8", errors="ignore")
            for match in _DOCSTRING.finditer(source):
                yield from _prose(match["text"])
            for match in _COMMENT.finditer(source):
                yield from _prose(_COMMENT_SIGN.sub("", match[0]))


def _language_reference() -> Iterator[str]:
    """Sections of the language reference; none where a distribution leaves them out."""
    if importlib.util.find_spec("pydoc_data") is None or importlib.util.find_spec("pydoc_data.topics") is None:
        return
    from pydoc_data.topics import topics

    for name in sorted(topics):
        # One section per document: a whole topic can be a tenth of the corpus.
        yield from re.split(r"\n(?=[^\n]+\n[*=\-~]{4,}\n)", topics[name])


def _prose(raw: str) -> Iterator[str]:
    """The prose paragraphs of one docstring or section, joined; nothing when too little is left."""
    kept = []
    for block in re.split(r"\n\s*\n", raw.expandtabs()):
        lines = [line.strip() for line in block.strip().splitlines()]
        lines = [line for line in lines if line and not line.startswith((">>>", "... ", ".. ", "@", "%"))]
        lines = [line for line in lines if any(character.isalnum() for character in line)]
        paragraph = _MARKS.sub("", _ROLE.sub(r"\1", " ".join(lines)))
        paragraph = re.sub(r"\s+", " ", paragraph.replace("\\", "")).lstrip("*-+ ").strip()
        if _reads_as_prose(paragraph):
            kept.append(paragraph)
    text = "\n\n".join(kept)
    if len(text) >= _MIN_CHARACTERS:
        yield text


def _reads_as_prose(paragraph: str) -> bool:
    if "::=" in paragraph or not _PROSE_START.match(paragraph) or not re.search(r"[.:;!?)]", paragraph):
        return False
    words = _WORD.findall(paragraph)
    letters = sum(map(len, words))
    common = sum(word.lower() in _COMMON_WORDS for word in words)
    # Code, tables and lists of names have few letters for their length or hardly a short common word.
    return len(words) >= 5 and letters >= 0.68 * len(paragraph.replace(" ", "")) and common >= 0.06 * len(words)
