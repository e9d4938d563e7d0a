"""Saves weights of a run during training, and starts runs from such weights."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from suite.optim import evaluation_weights
from suite.records import Store
from suite.training.blocks import BlockCallback
from suite.training.stopping import is_over

_RUN_ID = re.compile(r"[0-9a-f]{16}")


@dataclasses.dataclass(unsafe_hash=True)
class StartingPoint:
    """The weights of another run after one of its steps; objects with the same run and step compare equal.

    Attributes:
        run: id of the other run.
        step: number of steps that it had taken.
    """

    run: str
    step: int
    _weights: dict[str, Tensor] | None = dataclasses.field(default=None, init=False, compare=False, repr=False)

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> StartingPoint:
        """Make a starting point from plain values.

        Raises:
            ValueError: they are not ``run``, of 16 hexadecimal digits, and ``step``, a whole number from 1 up.
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
        """Read the weights from a store.

        Raises:
            StoreError: the store does not have them.
        """
        path = store.weights(self.run, self.step)
        self._weights = torch.load(path, map_location="cpu", weights_only=True)

    def load_into(self, network: nn.Module) -> None:
        """Load the weights into a network if they have been read; a checkpoint's weights may replace them later.

        Raises:
            ValueError: the weights do not fit the network.
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


class KeepWeights(BlockCallback):
    """Saves the optimizer's evaluation weights after chosen steps.

    Args:
        store: the store with the run's folder.
        run_id: the run's id.
        steps: the steps after which weights are saved; blocks end at them.
    """

    def __init__(self, store: Store, run_id: str, steps: tuple[int, ...]) -> None:
        self.store = store
        self.run_id = run_id
        self.steps = steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save the weights at the chosen steps, unless the run has just diverged."""
        step = trainer.global_step
        if step not in self.steps or is_over(trainer):
            return
        with evaluation_weights(pl_module.optimizers(use_pl_optimizer=False)):  # type: ignore[arg-type]
            whole = trainer.strategy.lightning_module_state_dict()
            weights = {name.removeprefix("network."): v for name, v in whole.items() if name.startswith("network.")}
            if trainer.is_global_zero:
                self.store.write_weights(self.run_id, step, functools.partial(_write, weights))


def _write(weights: Mapping[str, Tensor], path: Path) -> None:
    with open(path, "wb") as file:  # given a path, torch.save would write the file's name into the content
        torch.save(dict(weights), file)
