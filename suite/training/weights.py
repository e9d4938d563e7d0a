"""Weights that a run keeps during training, and runs that start from them."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from suite.optim import evaluation_weights
from suite.records import Store

_RUN_ID = re.compile(r"[0-9a-f]{16}")


@dataclasses.dataclass(unsafe_hash=True)
class StartingPoint:
    """The weights of another run after one of its steps; two of the same run and step are equal.

    Attributes:
        run: id of the run.
        step: steps that it had taken.
    """

    run: str
    step: int
    _weights: dict[str, Tensor] | None = dataclasses.field(default=None, init=False, compare=False, repr=False)

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> StartingPoint:
        """Make one from plain values.

        Raises:
            ValueError: they are not ``run``, 16 hexadecimal digits, and ``step``, a whole number from 1 up.
        """
        run, step = spec.get("run"), spec.get("step")
        right = isinstance(run, str) and _RUN_ID.fullmatch(run) and isinstance(step, int) and step > 0
        if set(spec) != {"run", "step"} or not right:
            raise ValueError(
                "model.initial must be {run: ID, step: N}, a run's 16 hexadecimal digits and a step from 1 up, got "
                f"{dict(spec)}."
            )
        return cls(str(run), int(spec["step"]))

    def read(self, store: Store) -> None:
        """Read the weights.

        Raises:
            StoreError: the store does not have them.
        """
        path = store.weights(self.run, self.step)
        self._weights = torch.load(path, map_location="cpu", weights_only=True)

    def load_into(self, network: nn.Module) -> None:
        """Give a network these weights if they have been read; a checkpoint's weights may replace them later.

        Raises:
            ValueError: they are another network's.
        """
        if self._weights is None:
            return
        try:
            network.load_state_dict(self._weights)
        except RuntimeError as error:
            raise ValueError(
                f"The weights of run {self.run} must fit the network that starts from them; they are those of another "
                f"({' '.join(str(error).split()):.200})."
            ) from error


class KeepWeights(Callback):
    """Writes the weights that the optimizer provides for evaluation, after some steps.

    Args:
        store: where the run's folder is.
        run_id: of the run.
        steps: after which; blocks end at them.
    """

    def __init__(self, store: Store, run_id: str, steps: tuple[int, ...]) -> None:
        self.store = store
        self.run_id = run_id
        self.steps = steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write at the asked steps, unless the run has just diverged."""
        step = trainer.global_step
        if step not in self.steps or trainer.should_stop:
            return
        with evaluation_weights(pl_module.optimizers(use_pl_optimizer=False)):  # type: ignore[arg-type]
            whole = trainer.strategy.lightning_module_state_dict()
            weights = {name.removeprefix("network."): v for name, v in whole.items() if name.startswith("network.")}
            if trainer.is_global_zero:
                self.store.write_weights(self.run_id, step, functools.partial(_write, weights))


def _write(weights: Mapping[str, Tensor], path: Path) -> None:
    with open(path, "wb") as file:  # by name, the content would hold the name
        torch.save(dict(weights), file)
