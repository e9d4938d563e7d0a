"""Text streamed from the Hugging Face hub, without a copy of the raw files on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tasks.kinds.local_files import DamagedSource, one_line
from tasks.kinds.text.documents import Piece, Source


@dataclass(frozen=True)
class HubText(Source):
    """The ``text`` column of a dataset on the hub, in the order in which it is stored.

    Args:
        dataset: name on the hub, such as ``HuggingFaceFW/fineweb-edu``.
        config: the dataset's configuration, such as ``sample-10BT``; None: its default.
        split: the dataset's own split that is read.
        size_bytes: rough size of the text, for the disk check.
        data_files: read these files in place of the hub's (``dataset`` is then ``parquet`` or ``json``).
        revision: the commit to read; None: the one that the main branch points to when the work begins.
    """

    dataset: str
    config: str | None = None
    split: str = "train"
    size_bytes: int = 0
    data_files: tuple[str, ...] = ()
    revision: str | None = None

    label = "paper"

    def identity(self) -> dict[str, Any]:
        """Names on the hub; which commit they mean on the day is among the facts."""
        return {
            "kind": "hub",
            "dataset": self.dataset,
            "config": self.config,
            "split": self.split,
            "data_files": list(self.data_files),
            "revision": self.revision,
        }

    def facts(self) -> dict[str, Any]:
        """The identity, and the revision on the hub."""
        return self.identity() | {"revision": self._revision}

    def pinned(self, facts: dict[str, Any]) -> HubText:
        """The same dataset at the revision in ``facts``."""
        return replace(self, revision=facts["revision"])

    def text_bytes(self) -> int:
        """Rough size of the text in bytes."""
        return self.size_bytes

    def pieces(self, skip: int = 0) -> Iterator[Piece]:
        """Documents, without the first ``skip``.

        Raises:
            ValueError: the hub cannot be reached; what is prepared so far is kept.
            DamagedSource: the dataset has no text column, or a row has no text in it.
        """
        for row in self._rows(skip):
            if not isinstance(row.get("text"), str):
                raise DamagedSource(
                    f"{self.dataset} must have a string in the column text in every row, got one with "
                    f"{', '.join(sorted(row)) or 'no columns'}; choose another dataset or data.source."
                )
            yield Piece(row["text"], 1)

    def _rows(self, skip: int) -> Iterator[dict[str, Any]]:
        try:
            from datasets import load_dataset

            files = {"data_files": list(self.data_files)} if self.data_files else {}
            stream = load_dataset(
                self.dataset, self.config, split=self.split, streaming=True, revision=self._revision, **files
            )
            # Whole tables are skipped without decoding their rows.
            yield from stream.select_columns(["text"]).skip(skip) if skip else stream.select_columns(["text"])
        except (GeneratorExit, DamagedSource):
            raise
        except Exception as error:  # whatever the network stack raises
            raise self._unreachable(error) from error

    @cached_property
    def _revision(self) -> str | None:
        """The commit that is read; looked up once, so that one preparation reads one version."""
        if self.revision is not None or self.data_files:
            return self.revision
        try:
            from huggingface_hub import HfApi

            return HfApi().dataset_info(self.dataset).sha
        except Exception as error:  # whatever the network stack raises
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ValueError:
        return ValueError(
            f"data.source paper reads {self.dataset} from the Hugging Face hub, but that failed "
            f"({type(error).__name__}: {one_line(error)}); start again when the hub can be reached (what is done so "
            "far is kept), or download its parquet files elsewhere and set data.source to their folder."
        )
