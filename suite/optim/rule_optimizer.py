"""A `torch.optim.Optimizer` around a pure update rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from suite.optim.config import OptimizerConfig

CHUNK = 1 << 16
"""Elements that an elementwise rule works on at a time: its temporaries then stay in a core's cache."""


class RuleOptimizer(torch.optim.Optimizer):
    """Applies a config's `update` to parameters one run at a time.

    Elementwise rules run over chunks: small tensors are joined, large ones cut, so that neither the number of tensors
    nor the memory traffic of temporaries costs much. Rules with a wider scope see whole tensors, or all as one vector.

    Args:
        groups: parameter groups; their numbers override the config's hyperparameters.
        config: the update rule.
    """

    def __init__(self, groups: list[dict[str, Any]], config: OptimizerConfig) -> None:
        self.config = config
        super().__init__(groups, config.hyperparameters())

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with the gradients that are there; parameters without one are left alone."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for param in params:
                if not self.state[param]:
                    self.state[param] = {"step": 0, **self.config.init_state(param)}
                self.state[param]["step"] += 1
            hyper = {name: group[name] for name in self.config.hyperparameters()}
            for step, parts in self._parts(params):
                self._apply(parts, hyper, step)
        return loss

    def _parts(self, params: list[Tensor]) -> Iterator[tuple[int, list[Tensor]]]:
        by_step: dict[int, list[Tensor]] = {}
        for param in params:
            by_step.setdefault(self.state[param]["step"], []).append(param)
        for step, same in by_step.items():
            if self.config.scope == "global":
                yield step, same
            elif self.config.scope == "tensor":
                yield from ((step, [param]) for param in same)
            else:
                yield from ((step, part) for part in _joined(same))

    def _apply(self, params: list[Tensor], hyper: dict[str, Any], step: int) -> None:
        names = [name for name in self.state[params[0]] if name != "step"]
        if self.config.scope == "tensor" or (len(params) == 1 and params[0].numel() <= CHUNK):
            param, kept = params[0], self.state[params[0]]
            delta, new = self.config.update(_grad(param), param, {n: kept[n] for n in names}, hyper, step)
            param.add_(delta)
            for name in names:
                kept[name].copy_(new[name])
        elif len(params) == 1 and self.config.scope == "element":
            param, kept = params[0], self.state[params[0]]
            flat = [_flat(param), _flat(_grad(param)), *(_flat(kept[n]) for n in names)]
            for piece, grad, *state in zip(*(t.split(CHUNK) for t in flat), strict=True):
                delta, new = self.config.update(grad, piece, dict(zip(names, state, strict=True)), hyper, step)
                piece.add_(delta)
                for name, old in zip(names, state, strict=True):
                    old.copy_(new[name])
        else:
            sizes = [p.numel() for p in params]
            state = {n: torch.cat([self.state[p][n].flatten() for p in params]) for n in names}
            grad = torch.cat([_grad(p).flatten() for p in params])
            whole = torch.cat([p.detach().flatten() for p in params])
            delta, new = self.config.update(grad, whole, state, hyper, step)
            torch._foreach_add_(params, _split_like(delta, params, sizes))
            for name in names:
                torch._foreach_copy_([self.state[p][name] for p in params], _split_like(new[name], params, sizes))


def _joined(params: list[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one dtype and device, joined up to a chunk; larger tensors alone."""
    part: list[Tensor] = []
    size = 0
    for param in params:
        alike = part and (part[0].dtype, part[0].device) == (param.dtype, param.device)
        if part and (not alike or size + param.numel() > CHUNK):
            yield part
            part, size = [], 0
        part.append(param)
        size += param.numel()
    if part:
        yield part


def _grad(param: Tensor) -> Tensor:
    assert param.grad is not None
    return param.grad


def _flat(tensor: Tensor) -> Tensor:
    return tensor.view(-1) if tensor.is_contiguous() else tensor.detach().as_strided((tensor.numel(),), (1,))


def _split_like(flat: Tensor, params: list[Tensor], sizes: list[int]) -> list[Tensor]:
    return [piece.view_as(p) for piece, p in zip(flat.split(sizes), params, strict=True)]
