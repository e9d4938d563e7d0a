"""In-place steps of a rule on pieces of parameters: one operation after another, or fused by torch.compile."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from suite.optim.config import OptimizerConfig, decay_delta, decay_gradient
from suite.optim.pieces import WHOLE, Piece
from suite.optim.statistic import StatisticConfig

COMPILE_FROM = 8_000_000
"""Number of coordinates from which fused steps make up for the seconds of their compilation."""

_State = dict[str, Tensor]


def pays_off(parameters: Sequence[Tensor]) -> bool:
    """Whether to compile the arithmetic: there are many coordinates, on one kind of device that has a compiler."""
    if sum(p.numel() for p in parameters) < COMPILE_FROM:
        return False
    kinds = {p.device.type for p in parameters}
    return len(kinds) == 1 and has_compiler(kinds.pop())


def has_compiler(device: str) -> bool:
    """Whether the compiler that torch.compile needs for a kind of device, ``cpu`` or ``cuda``, is installed."""
    if device == "cpu":
        return any(shutil.which(name) for name in ("g++", "c++", "clang++"))
    return device == "cuda" and importlib.util.find_spec("triton") is not None


class Kernels:
    """Applies a rule to pieces of parameters.

    Args:
        config: the rule.
        compiled: fuse the arithmetic with torch.compile. If compilation fails, it warns and runs without.
    """

    def __init__(self, config: OptimizerConfig, *, compiled: bool) -> None:
        self.config = config
        self.compiled = compiled
        self._last_hyper: dict[str, Any] = {}
        self._last_numbers: dict[str, Tensor] = {}

    @property
    def longest(self) -> int | None:
        """The length above which `pieces_of` cuts; fused steps need no cuts, because they have no temporaries."""
        return WHOLE if self.compiled else None

    def move(self, piece: Piece, hyper: Mapping[str, Any], step: int) -> None:
        """Take one step of the rule on a piece, in place; ``step`` is 1 for the first."""
        if self._fuses(piece, step) and self._run(_move, piece, piece.grads[0], hyper, step):
            return
        delta, new = self.config.update(piece.grad, piece.param, piece.old_state, hyper, step)
        piece.add(delta)
        piece.keep(new)

    def accumulate(self, config: StatisticConfig, piece: Piece, hyper: Mapping[str, Any], step: int) -> _State:
        """Run the first pass of a rule with a statistic: update the piece's state, and return the new state."""
        if self._fuses(piece, step) and self._run(_accumulate, piece, piece.grads[0], hyper, step):
            return piece.old_state
        param = piece.param
        grad = decay_gradient(config.decay, piece.grad, param, hyper)
        new = config.accumulate(grad, param, piece.old_state, hyper, step)
        piece.keep(new)
        return new

    def finish(self, config: StatisticConfig, piece: Piece, statistic: Tensor, hyper: Mapping[str, Any]) -> None:
        """Run the second pass of a rule with a statistic: move the piece's parameters."""
        if self._fuses(piece, 2) and self._run(_finish, piece, statistic, hyper, 2):
            return
        delta = config.finish(piece.old_state, statistic, hyper)
        piece.add(decay_delta(config.decay, delta, piece.param, hyper))

    def _fuses(self, piece: Piece, step: int) -> bool:
        # Some rules branch on the first step; compiling that branch is not worth it, nor is compiling for small pieces.
        return self.compiled and step > 1 and len(piece.params) == 1 and piece.params[0].ndim == 1

    def _run(
        self, function: Callable[..., None], piece: Piece, extra: Tensor, hyper: Mapping[str, Any], step: int
    ) -> bool:
        state = {name: tensors[0] for name, tensors in piece.state.items()}
        try:
            fused = _fused(function, type(self.config).__qualname__)
            fused(self.config, piece.params[0], extra, state, self._numbers(hyper), step)
        except Exception as error:
            # Compilation can fail in many ways, but it does so before it has changed a tensor.
            if "torch" not in type(error).__module__:
                raise
            warnings.warn(
                f"{type(self.config).__name__} runs without fused arithmetic, because torch.compile failed: "
                f"{str(error).strip().partition(chr(10))[0]}",
                stacklevel=2,
            )
            self.compiled = False
            return False
        return True

    def _numbers(self, hyper: Mapping[str, Any]) -> dict[str, Tensor]:
        """Hyperparameters as 0-d tensors; floats would be compiled in, and each new value would compile again."""
        if hyper != self._last_hyper:
            self._last_hyper = dict(hyper)
            self._last_numbers = {k: torch.as_tensor(value, dtype=torch.float64) for k, value in hyper.items()}
        return self._last_numbers


@functools.cache
def _fused(function: Callable[..., None], rule: str) -> Callable[..., None]:
    # torch.compile limits the number of compiled variants per code object, so each rule gets its own code object.
    assert isinstance(function, types.FunctionType)
    copy = types.FunctionType(
        function.__code__.replace(co_name=f"{function.__name__}_{rule}"),
        function.__globals__,
        function.__name__,
    )
    # Without `dynamic_threads` the kernel for all lengths is single-threaded if the first piece was short, even if that
    # was in an earlier process, because compiled code is cached on disk.
    options: dict[str, Any] = {"cpp.dynamic_threads": True, "cpp.enable_floating_point_contract_flag": "fast"}
    available = torch._inductor.list_options()
    return torch.compile(copy, dynamic=True, options={k: value for k, value in options.items() if k in available})


def _move(
    config: OptimizerConfig, param: Tensor, grad: Tensor, state: _State, hyper: dict[str, Any], step: int
) -> None:
    delta, new = config.update(grad, param, state, hyper, step)
    param.add_(delta)
    for name, value in new.items():
        state[name].copy_(value)


def _accumulate(
    config: StatisticConfig, param: Tensor, grad: Tensor, state: _State, hyper: dict[str, Any], step: int
) -> None:
    new = config.accumulate(decay_gradient(config.decay, grad, param, hyper), param, state, hyper, step)
    for name, value in new.items():
        state[name].copy_(value)


def _finish(
    config: StatisticConfig, param: Tensor, statistic: Tensor, state: _State, hyper: dict[str, Any], step: int
) -> None:
    param.add_(decay_delta(config.decay, config.finish(state, statistic, hyper), param, hyper))
