"""Would other optimizers have moved the same way on the same gradients?"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from suite.diagnostics.diagnostic import Diagnostic, Part, Values
from suite.diagnostics.moment import Moment
from suite.diagnostics.schedule import Schedule
from suite.diagnostics.vectors import joined
from suite.optim import OptimizerConfig, parse
from suite.optim.config import ConfigError, require

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"name": "adam", "beta": 0.95},
    "signum": {"name": "signum", "momentum": 0.95},
    "sgd": {"name": "sgd", "momentum": 0.9},
}
"""Those that are followed by default. Of equal momentum all three would agree in every sign, whatever the gradients."""


def sign_agreement(first: Tensor, second: Tensor) -> Tensor:
    """Share of coordinates with the same sign, of those that both move; NaN where there are none.

    Independent directions agree in half of their coordinates.
    """
    both = (first != 0) & (second != 0)
    return (both & (first.sign() == second.sign())).sum() / both.sum()


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of the angle between two vectors, 0-d."""
    lengths = torch.linalg.vector_norm(first) * torch.linalg.vector_norm(second)
    return torch.dot(first, second) / lengths


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement(Diagnostic):
    """Sign agreement and cosine between the updates of several optimizers on the gradients that the run has.

    The optimizers are followed from ``window`` steps before a measurement on: they see the run's clipped gradients at
    the run's weights, at a learning rate of 1, and move nothing.

    Quantities, by pair such as ``adam~sgd``, ``run`` being the update that the run itself makes: ``sign_agreement``,
    ``cosine``.

    Attributes:
        window: steps that they are followed for; a momentum remembers ``1 / (1 - momentum)`` steps.
        optimizers: label -> settings of an optimizer, without ``lr``; it must work on single coordinates.
    """

    window: int = 30
    optimizers: dict[str, Any] = dataclasses.field(default_factory=lambda: dict(OPTIMIZERS))

    first: bool = False
    default: ClassVar[Schedule] = Schedule(every=1000)
    looks_at = "update"
    needs: ClassVar[frozenset[Part]] = frozenset({"clipped", "before"})

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.window >= 1, "window", "at least 1", self.window)
        for label, config in self.configs().items():
            if config.scope != "element":
                raise ConfigError(f"optimizers.{label} must work on single coordinates, got {type(config).__name__}.")

    def configs(self) -> dict[str, OptimizerConfig]:
        """The optimizers that are followed."""
        return {label: parse({**settings, "lr": 1.0}) for label, settings in self.optimizers.items()}

    @property
    def follows(self) -> int:
        """The window."""
        return self.window

    def measure(self, moment: Moment) -> Values:
        """Follow one step; compare where that is due."""
        updates = self._followed(moment.clipped, moment.before, moment.memory)
        if not moment.due:
            return {}
        moment.memory.clear()
        updates["run"] = joined(moment.update)
        found: Values = {}
        for first, second in itertools.combinations(updates, 2):
            found["sign_agreement", f"{first}~{second}"] = sign_agreement(updates[first], updates[second])
            found["cosine", f"{first}~{second}"] = cosine(updates[first], updates[second])
        return found

    def _followed(
        self, gradient: Mapping[str, Tensor], weights: Mapping[str, Tensor], memory: dict[str, Any]
    ) -> dict[str, Tensor]:
        """The updates that the optimizers would make at this step."""
        grad, at = joined(gradient), joined(weights)
        updates = {}
        memory["step"] = memory.get("step", 0) + 1
        for label, config in self.configs().items():
            state = memory.get(label) or config.init_state(at)
            # Memory that comes from a checkpoint is where the checkpoint was read to.
            state = {name: value.to(at.device) for name, value in state.items()}
            updates[label], memory[label] = config.update(grad, at, state, config.hyperparameters(), memory["step"])
        return updates
