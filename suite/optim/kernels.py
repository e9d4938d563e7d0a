"""A rule's arithmetic on pieces of parameters, in place, operation by operation or fused by torch.compile."""

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
"""Number of coordinates from which fusing pays for its seconds."""

_State = dict[str, Tensor]


def pays_off(parameters: Sequence[Tensor]) -> bool:
    """Whether fused arithmetic is worth its compilation: many coordinates, and a compiler for their device."""
    if sum(p.numel() for p in parameters) < COMPILE_FROM:
        return False
    kinds = {p.device.type for p in parameters}
    return len(kinds) == 1 and has_compiler(kinds.pop())


def has_compiler(device: str) -> bool:
    """Whether torch.compile finds what it needs for a kind of device, ``cpu`` or ``cuda``."""
    if device == "cpu":
        return any(shutil.which(name) for name in ("g++", "c++", "clang++"))
    return device == "cuda" and importlib.util.find_spec("triton") is not None


class Kernels:
    """Moves pieces by a rule.

    Args:
        config: the rule.
        compiled: fuse the arithmetic. Where that fails, a warning says so and the operations run one by one.
    """

    def __init__(self, config: OptimizerConfig, *, compiled: bool) -> None:
        self.config = config
        self.compiled = compiled
        self._last_hyper: dict[str, Any] = {}
        self._last_numbers: dict[str, Tensor] = {}

    @property
    def longest(self) -> int | None:
        """Length above which pieces are cut: fused arithmetic has no temporaries to keep small."""
        return WHOLE if self.compiled else None

    def move(self, piece: Piece, hyper: Mapping[str, Any], step: int) -> None:
        """One step of a rule."""
        if self._fuses(piece, step) and self._run(_move, piece, piece.grads[0], hyper, step):
            return
        delta, new = self.config.update(piece.grad, piece.param, piece.old_state, hyper, step)
        piece.add(delta)
        piece.keep(new)

    def accumulate(self, config: StatisticConfig, piece: Piece, hyper: Mapping[str, Any], step: int) -> _State:
        """First pass of a rule with a statistic; gives the new state."""
        if self._fuses(piece, step) and self._run(_accumulate, piece, piece.grads[0], hyper, step):
            return piece.old_state
        param = piece.param
        grad = decay_gradient(config.decay, piece.grad, param, hyper)
        new = config.accumulate(grad, param, piece.old_state, hyper, step)
        piece.keep(new)
        return new

    def finish(self, config: StatisticConfig, piece: Piece, statistic: Tensor, hyper: Mapping[str, Any]) -> None:
        """Second pass of a rule with a statistic."""
        if self._fuses(piece, 2) and self._run(_finish, piece, statistic, hyper, 2):
            return
        delta = config.finish(piece.old_state, statistic, hyper)
        piece.add(decay_delta(config.decay, delta, piece.param, hyper))

    def _fuses(self, piece: Piece, step: int) -> bool:
        # The first step has code of its own in some rules, which is not worth a compilation; neither are small pieces.
        return self.compiled and step > 1 and len(piece.params) == 1 and piece.params[0].ndim == 1

    def _run(
        self, function: Callable[..., None], piece: Piece, extra: Tensor, hyper: Mapping[str, Any], step: int
    ) -> bool:
        state = {name: tensors[0] for name, tensors in piece.state.items()}
        try:
            fused = _fused(function, type(self.config).__qualname__)
            fused(self.config, piece.params[0], extra, state, self._numbers(hyper), step)
        except Exception as error:
            # Compilation fails before anything has moved, and in many ways: no compiler, no space, an unknown one.
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
        """Hyperparameters as tensors: numbers would be part of the compiled code, which other numbers make anew."""
        if hyper != self._last_hyper:
            self._last_hyper = dict(hyper)
            self._last_numbers = {k: torch.as_tensor(value, dtype=torch.float64) for k, value in hyper.items()}
        return self._last_numbers


@functools.cache
def _fused(function: Callable[..., None], rule: str) -> Callable[..., None]:
    # Compiled variants are kept per code object and their number is limited, so each rule gets a copy of its own.
    assert isinstance(function, types.FunctionType)
    copy = types.FunctionType(
        function.__code__.replace(co_name=f"{function.__name__}_{rule}"),
        function.__globals__,
        function.__name__,
    )
    # Without `dynamic_threads` the length of the first piece, perhaps in an earlier process whose code is kept on disk,
    # decides whether a kernel for all lengths uses more than one thread.
    options: dict[str, Any] = {"cpp.dynamic_threads": True, "cpp.enable_floating_point_contract_flag": "fast"}
    available = torch._inductor.list_options()
    return torch.compile(copy, dynamic=True, options={k: value for k, value in options.items() if k in available})


def _move(
    config: OptimizerConfig, param: Tensor, grad: Tensor, state: _State, hyper: dict[str, Any], step: int
) -> None:
    delta, new = config.update(grad, param, state, hyper, step)
    param.add_(delta)
    for name, old in state.items():
        old.copy_(new[name])


def _accumulate(
    config: StatisticConfig, param: Tensor, grad: Tensor, state: _State, hyper: dict[str, Any], step: int
) -> None:
    new = config.accumulate(decay_gradient(config.decay, grad, param, hyper), param, state, hyper, step)
    for name, old in state.items():
        old.copy_(new[name])


def _finish(
    config: StatisticConfig, param: Tensor, statistic: Tensor, state: _State, hyper: dict[str, Any], step: int
) -> None:
    param.add_(decay_delta(config.decay, config.finish(state, statistic, hyper), param, hyper))
