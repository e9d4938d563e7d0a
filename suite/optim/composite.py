"""Several optimizers over one network as one `torch.optim.Optimizer`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from suite.fields import ConfigError
from suite.optim.rule_optimizer import RuleOptimizer


def takes_closure(step: Callable[..., Any]) -> bool:
    """Whether a ``step`` may be called with ``closure=...``, as schedulers and trainers do with every optimizer's."""
    parameters = inspect.signature(step).parameters.values()
    return any(p.name == "closure" or p.kind is p.VAR_KEYWORD for p in parameters)


class CompositeOptimizer(torch.optim.Optimizer):
    """Several optimizers that take their steps together.

    This optimizer shares its groups and its state with its parts: for schedulers, ``state_dict`` and checkpoints it is
    one optimizer, whose groups come in the order of the parts. A part's ``step``
    need not take a closure.

    Args:
        parts: optimizers over disjoint parameters.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts: list[torch.optim.Optimizer] = []
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.param_groups = [group for part in parts for group in part.param_groups]
        self.parts = list(parts)
        for part in parts:
            self.state.update(part.state)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step with every part; the closure is called once, before them."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for part in self.parts:
            part.step()
        return loss

    def needs_sampled_gradient(self) -> bool:
        """Whether a part's next step needs the gradient on drawn labels, see `RuleOptimizer.keep_sampled_gradient`."""
        return bool(self._sampling())

    @torch.no_grad()
    def keep_sampled_gradient(self, *, terms: int) -> None:
        """Keep the gradients for the parts that need them, and clear all; see `RuleOptimizer.keep_sampled_gradient`.

        Raises:
            ConfigError: no part needs them; or there is no term.
        """
        sampling = self._sampling()
        if not sampling:
            raise ConfigError(
                "No rule needs the gradient on drawn labels for its next step, got one; call keep_sampled_gradient "
                "where needs_sampled_gradient() is true."
            )
        for part in sampling:
            part.keep_sampled_gradient(terms=terms)
        self.zero_grad()

    def _sampling(self) -> list[RuleOptimizer]:
        return [part for part in self.parts if isinstance(part, RuleOptimizer) and part.needs_sampled_gradient()]

    def __getstate__(self) -> dict[str, Any]:
        """The content of copies and pickles: the state of a torch optimizer, and the parts."""
        return {**super().__getstate__(), "parts": self.parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the groups and the state of a copy, and share them with the parts again."""
        super().__setstate__(state)
        self._share()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Raise ValueError once the optimizer is built, because a new group would belong to no part."""
        if self.parts:
            raise ValueError("The groups of a composite optimizer are fixed, got a new one; build it anew.")
        super().add_param_group(param_group)

    def _share(self) -> None:
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.param_groups = self.param_groups[start:end]
            part.state = self.state
            start = end
