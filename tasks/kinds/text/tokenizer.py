"""From text to token ids: the four kinds of tokenizer, by the names that ``data.tokenizer`` takes.

- ``gpt2``: GPT-2 byte-level BPE through tiktoken, 50,257 ids, special tokens treated as ordinary text.
- ``gpt-neox``: GPT-NeoX-20B, 50,277 ids, from the Hugging Face cache or hub; ``gpt-neox:PATH`` reads a
  ``tokenizer.json``.
- ``bpe:SIZE``: byte-level BPE with exactly SIZE ids, trained on the training part of the data.
- ``byte``: the UTF-8 bytes, 256 ids.

A tokenizer is a small value that can be sent to worker processes; what is large or slow to build is built
where it is used, once per process. This module must import quickly and without torch for their sake.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tasks.kinds.local_files import one_line

MAX_VOCAB_SIZE = 2**16
"""Token files hold unsigned 16-bit ids."""

LONGEST_WORD = 2000
"""Bytes of a word from which merges are learnt. The trainer's time is quadratic in a word's length, so longer runs of
letters, digits or spaces are cut for training; for encoding they are not."""

NAMES = "gpt2, gpt-neox, gpt-neox:<path of a tokenizer.json>, bpe:<size> or byte"

_LONG_SPACE = re.compile(r"[ \t\n\r]{10000,}(?=\S)")

_PROBE = "The gap IS 12.5%; né 漢 \U0001f642 <a>~{}"
"""A text with letters of both cases, signs, and characters that few vocabularies hold."""


class Tokenizer(Protocol):
    """Turns texts into ids."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        ...

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """Ids of each text, little-endian uint16 arrays; nothing is added before, between or after."""
        ...


@dataclass(frozen=True)
class ByteTokenizer:
    """The UTF-8 bytes themselves."""

    vocab_size: int = 256

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """See `Tokenizer.encode`."""
        return [np.frombuffer(text.encode(), dtype=np.uint8).astype("<u2") for text in texts]


@dataclass(frozen=True)
class TiktokenTokenizer:
    """A tiktoken encoding, its special tokens read as ordinary text (what paper 1's preparation does).

    Args:
        encoding: tiktoken's name, such as ``gpt2``.
        vocab_size: number of ids, special ones included.

    Raises:
        ValueError: tiktoken or its vocabulary files cannot be had.
    """

    encoding: str
    vocab_size: int

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """See `Tokenizer.encode`."""
        encode = _tiktoken_encoding(self.encoding).encode_ordinary
        return [
            np.array([token for part in _before_last_of_long_spaces(text) for token in encode(part)], dtype="<u2")
            for text in texts
        ]


def _before_last_of_long_spaces(text: str) -> list[str]:
    """The text, cut where GPT-2's splitting rule cuts anyway; its matching of long white space overflows the stack."""
    cuts = [0, *(run.end() - 1 for run in _LONG_SPACE.finditer(text)), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(cuts)]


@dataclass(frozen=True)
class JsonTokenizer:
    """A tokenizer of the Hugging Face ``tokenizers`` library, special tokens read as ordinary text.

    Args:
        definition: the content of its ``tokenizer.json``.
        vocab_size: number of ids.
    """

    definition: str = field(repr=False)
    vocab_size: int

    def encode(self, texts: list[str]) -> list[np.ndarray]:
        """See `Tokenizer.encode`."""
        tokenizer = _from_definition(self.definition)
        return [np.array(e.ids, dtype="<u2") for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


@lru_cache(maxsize=2)
def _tiktoken_encoding(name: str) -> Any:
    try:
        import tiktoken

        return tiktoken.get_encoding(name)
    except Exception as error:  # whatever the network stack or a damaged cache raises
        raise ValueError(
            f"data.tokenizer {name} needs tiktoken and its vocabulary files, from the network or from the "
            f"folder in TIKTOKEN_CACHE_DIR, but that failed ({type(error).__name__}: {one_line(error)}); set "
            "TIKTOKEN_CACHE_DIR, or set data.tokenizer: bpe:1024, which needs neither."
        ) from error


@lru_cache(maxsize=2)
def _from_definition(definition: str) -> Any:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_str(definition)
    tokenizer.encode_special_tokens = True
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenizer_identity(name: str) -> dict[str, Any]:
    """What decides the ids, for the identity of prepared data.

    Args:
        name: a value of ``data.tokenizer``.

    Returns:
        The name; for a local ``tokenizer.json`` its checksum in place of its path.

    Raises:
        ValueError: there is no such tokenizer or file.
    """
    kind, _, argument = name.partition(":")
    if kind == "gpt-neox" and argument:
        return {
            "name": kind,
            "sha256": hashlib.sha256(_read_definition(name, Path(argument)).encode()).hexdigest(),
        }
    if kind == "bpe":
        bpe_size(name)
    elif name not in ("gpt2", "gpt-neox", "byte"):
        raise ValueError(f"data.tokenizer must be {NAMES}, got {name!r}.")
    return {"name": name}


def bpe_size(name: str) -> int | None:
    """The vocabulary size in ``bpe:<size>``; None for the other tokenizers.

    Raises:
        ValueError: the size is no number from 256 to 65,536.
    """
    kind, _, size = name.partition(":")
    if kind != "bpe":
        return None
    if not size.isdecimal() or not 256 <= int(size) <= MAX_VOCAB_SIZE:
        raise ValueError(
            f"data.tokenizer bpe:<size> needs a size from 256 (the bytes) to {MAX_VOCAB_SIZE} (16-bit ids), "
            f"got {size or 'none'!r}; set for example data.tokenizer: bpe:1024."
        )
    return int(size)


def load_tokenizer(name: str) -> Tokenizer:
    """Make a tokenizer that needs no training.

    Args:
        name: ``gpt2``, ``gpt-neox``, ``gpt-neox:<path>`` or ``byte``.

    Raises:
        ValueError: its files cannot be had, or its ids do not fit 16 bits; the message says what to set.
    """
    if name == "byte":
        return ByteTokenizer()
    if name == "gpt2":
        return TiktokenTokenizer(name, _checked_size(name, _tiktoken_encoding(name).n_vocab))
    kind, _, path = name.partition(":")
    if kind != "gpt-neox":
        raise ValueError(f"data.tokenizer must be {NAMES}, got {name!r}.")
    return json_tokenizer(name, _read_definition(name, Path(path) if path else _gpt_neox_file()))


def json_tokenizer(name: str, definition: str) -> JsonTokenizer:
    """Make a tokenizer from the content of a ``tokenizer.json``.

    Args:
        name: for messages.
        definition: the content.

    Raises:
        ValueError: it is no tokenizer, it loses characters, or its ids do not fit 16 bits.
    """
    try:
        tokenizer = _from_definition(definition)
    except Exception as error:  # the library raises bare Exception
        raise ValueError(
            f"data.tokenizer {name} must name a tokenizer.json of the tokenizers library, but it cannot be "
            f"read ({error}); give the path of such a file."
        ) from error
    size = _checked_size(name, max(tokenizer.get_vocab().values(), default=-1) + 1)
    read_back = tokenizer.decode(tokenizer.encode(_PROBE, add_special_tokens=False).ids)
    if "".join(read_back.split()) != "".join(_PROBE.split()):
        raise ValueError(
            f"data.tokenizer {name} must keep every text, but it changes or drops characters ({_PROBE!r} comes back as "
            f"{read_back!r}); choose a byte-level one, such as gpt-neox or bpe:1024."
        )
    return JsonTokenizer(definition, size)


def train_bpe(size: int, texts: Iterable[str]) -> JsonTokenizer:
    """Train a byte-level BPE with the GPT-2 splitting rule; the same texts give the same tokenizer.

    Merges are learnt from words of at most `LONGEST_WORD` bytes.

    Args:
        size: number of ids, the 256 bytes included.
        texts: training texts.

    Raises:
        ValueError: the texts do not hold enough different words for so many ids.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    cut = pre_tokenizers.Split(tokenizers.Regex(f".{{1,{LONGEST_WORD}}}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, cut])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = words
    if tokenizer.get_vocab_size() != size:
        raise ValueError(
            f"data.tokenizer bpe:{size} needs text with at least {size} different byte sequences, and this "
            f"text gives {tokenizer.get_vocab_size()}; lower the size or give more text."
        )
    return JsonTokenizer(tokenizer.to_str(), size)


def _checked_size(name: str, vocab_size: int) -> int:
    if not 0 < vocab_size <= MAX_VOCAB_SIZE:
        raise ValueError(
            f"data.tokenizer must have at most {MAX_VOCAB_SIZE} ids (token files hold 16 bits each), got "
            f"{vocab_size} from {name}; choose {NAMES}."
        )
    return vocab_size


def _read_definition(name: str, path: Path) -> str:
    try:
        if not path.is_file():  # a pipe or a device would never end
            raise OSError("no such file" if not path.exists() else "no regular file")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"data.tokenizer {name} must name a readable tokenizer.json, but {path} cannot be read "
            f"({error}); give the path of such a file."
        ) from error


def _gpt_neox_file() -> Path:
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download("EleutherAI/gpt-neox-20b", "tokenizer.json"))
    except Exception as error:  # whatever the network stack raises
        raise ValueError(
            "data.tokenizer gpt-neox needs its tokenizer.json from the Hugging Face cache or hub, but "
            f"neither has it ({type(error).__name__}); download EleutherAI/gpt-neox-20b's file elsewhere and "
            "set data.tokenizer: gpt-neox:<its path>."
        ) from error
