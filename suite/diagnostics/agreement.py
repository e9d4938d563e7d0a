"""Agreement: would other optimizers make similar updates from the same gradients?"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from suite.diagnostics.diagnostic import Diagnostic, Part, Values
from suite.diagnostics.moment import Moment
from suite.fields import ConfigError
from suite.optim import OptimizerConfig, parse

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"name": "adam", "beta": 0.95},
    "signum": {"name": "signum", "momentum": 0.95},
    "sgd": {"name": "sgd", "momentum": 0.9},
}
"""The optimizers that are compared by default. With equal momenta Signum and SGD would agree in every sign."""

PIECE = 1 << 18
"""Number of coordinates that are computed at once."""


class Directions:
    """Sign agreement and cosine of each pair of directions, accumulated over pieces of their coordinates.

    Args:
        labels: names of the directions.
    """

    def __init__(self, labels: Iterable[str]) -> None:
        self._pairs = list(itertools.combinations_with_replacement(labels, 2))
        self._sums: dict[tuple[str, str], Tensor] = {}

    def add(self, pieces: Mapping[str, Tensor]) -> None:
        """Add some coordinates: one flat tensor per direction, all of equal length."""
        signs = {label: piece.sign() for label, piece in pieces.items()}
        for first, second in self._pairs:
            both = signs[first] * signs[second]
            dot = torch.dot(pieces[first], pieces[second])
            sums = torch.stack([dot.double(), (both > 0).sum().double(), both.count_nonzero().double()])
            self._sums[first, second] = self._sums[first, second] + sums if (first, second) in self._sums else sums

    def sign_agreement(self, first: str, second: str) -> Tensor:
        """Share of equal signs among the coordinates in which neither direction is zero, 0-d; NaN without any.

        Independent directions agree in half of these coordinates.
        """
        _, same, both = self._sums[first, second]
        return same / both

    def cosine(self, first: str, second: str) -> Tensor:
        """Cosine of the angle between two directions, 0-d."""
        lengths = self._sums[first, first][0].sqrt() * self._sums[second, second][0].sqrt()
        return self._sums[first, second][0] / lengths


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement(Diagnostic):
    """Sign agreement and cosine between the updates of several optimizers from the gradients of the run.

    In the ``window`` steps up to a measurement, the state of each optimizer is updated with the run's clipped gradients
    at the run's weights. Its update, at learning rate 1, is compared but not applied.

    Quantities: ``sign_agreement`` and ``cosine``, by pair such as ``adam~sgd``; ``run`` is the update of the run.

    Attributes:
        window: number of steps for which states are updated; a momentum averages ``1 / (1 - momentum)`` steps.
        optimizers: label -> settings of an optimizer, without ``lr``; it must work on single coordinates.
    """

    window: int = dataclasses.field(default=30, metadata={"at_least": 1})
    optimizers: dict[str, Any] = dataclasses.field(default_factory=lambda: dict(OPTIMIZERS))

    first: bool = False
    default: ClassVar[dict[str, int]] = {"every": 1000}
    looks_at = "update"
    needs: ClassVar[frozenset[Part]] = frozenset({"clipped", "before"})

    def __post_init__(self) -> None:
        for label, config in self.configs().items():
            if config.scope != "element":
                raise ConfigError(f"optimizers.{label} must work on single coordinates, got {type(config).__name__}.")
            if config.sampled_every:
                raise ConfigError(
                    f"optimizers.{label} must need the gradient of the batch alone, got {type(config).__name__}, which "
                    "needs one on drawn labels too."
                )

    def configs(self) -> dict[str, OptimizerConfig]:
        """The configs of the compared optimizers, at learning rate 1, by label."""
        return {label: parse({**settings, "lr": 1.0}) for label, settings in self.optimizers.items()}

    @property
    def follows(self) -> int:
        """The number of steps of the window."""
        return self.window

    def measure(self, moment: Moment) -> Values:
        """Update the optimizers' states by one step; at a measurement also compare the updates."""
        labels = [*self.optimizers, "run"]
        directions = Directions(labels) if moment.due else None
        for updates in self._followed(moment):
            if directions is not None:
                directions.add(updates)
        if directions is None:
            return {}
        moment.memory.clear()
        values: Values = {}
        for first, second in itertools.combinations(labels, 2):
            values["sign_agreement", f"{first}~{second}"] = directions.sign_agreement(first, second)
            values["cosine", f"{first}~{second}"] = directions.cosine(first, second)
        return values

    def _followed(self, moment: Moment) -> Iterator[dict[str, Tensor]]:
        """The updates of the optimizers and of the run at this step, by label, one piece of a parameter at a time.

        Pieces are short, so that only the optimizers' states need memory of the network's size.
        """
        memory, weights = moment.memory, moment.weights
        memory["step"] = memory.get("step", 0) + 1
        configs = self.configs()
        numbers = {label: config.hyperparameters() for label, config in configs.items()}
        for name, whole in moment.clipped.items():
            gradient, before = _flat(whole), _flat(moment.before[name])
            for label, config in configs.items():
                # Memory that was restored from a checkpoint may be on another device.
                state = memory.get(f"{label} {name}") or config.init_state(before)
                memory[f"{label} {name}"] = {key: value.to(before.device) for key, value in state.items()}
            after = _flat(weights[name])
            for start in range(0, len(gradient), PIECE):
                piece = slice(start, start + PIECE)
                updates = {}
                for label, config in configs.items():
                    state = {key: value[piece] for key, value in memory[f"{label} {name}"].items()}
                    updates[label], new = config.update(
                        gradient[piece], before[piece], state, numbers[label], memory["step"]
                    )
                    for key, value in new.items():
                        state[key].copy_(value)
                updates["run"] = after[piece] - before[piece]
                yield updates


def _flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).to(torch.promote_types(tensor.dtype, torch.float32))
