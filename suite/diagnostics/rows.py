"""The results of diagnostics as rows of one long table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from suite.diagnostics.diagnostic import Values

COLUMNS = (
    ("step", pa.int64()),
    ("diagnostic", pa.string()),
    ("quantity", pa.string()),
    ("group", pa.string()),
    ("value", pa.float64()),
)


class Rows:
    """Rows of (step, diagnostic, quantity, group, value); values may still be on a device."""

    def __init__(self) -> None:
        self.keys: list[tuple[int, str, str, str]] = []
        self._values: list[float | Tensor] = []

    def add(self, step: int, diagnostic: str, values: Values) -> None:
        """Add the results of one diagnostic at one step."""
        for (quantity, group), value in values.items():
            self.keys.append((step, diagnostic, quantity, group))
            self._values.append(value)

    @property
    def values(self) -> list[float]:
        """All values on the host; values on a device are fetched together."""
        waiting = [i for i, value in enumerate(self._values) if isinstance(value, Tensor)]
        if waiting:
            stacked = torch.stack([torch.as_tensor(self._values[i]).detach().double() for i in waiting])
            for i, value in zip(waiting, stacked.tolist(), strict=True):
                self._values[i] = value
        return [float(value) for value in self._values]

    def table(self, last_step: int | None = None) -> pa.Table:
        """The rows in the order of steps, without those after ``last_step``."""
        rows = [(*key, value) for key, value in zip(self.keys, self.values, strict=True)]
        rows = sorted((row for row in rows if last_step is None or row[0] <= last_step), key=lambda row: row[0])
        return pa.table({name: pa.array([row[i] for row in rows], kind) for i, (name, kind) in enumerate(COLUMNS)})

    def state(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {"keys": [list(key) for key in self.keys], "values": self.values}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the rows of a checkpoint."""
        self.keys = [(int(key[0]), key[1], key[2], key[3]) for key in state["keys"]]
        self._values = list(state["values"])
