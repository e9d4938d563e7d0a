"""Cuts large parameters and joins small ones into vectors of a length on which elementwise arithmetic is fast."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from suite.optim.sharding import local

CPU_CHUNK = 1 << 16
"""Number of elements per piece on a CPU, small enough that temporaries stay in a core's cache."""

DEVICE_CHUNK = 1 << 24
"""Number of elements per piece on an accelerator, where every further launch costs time."""

WHOLE = 1 << 62
"""As ``longest`` of `pieces_of`: cut nothing, because no parameter is that long."""


@dataclasses.dataclass
class Piece:
    """A contiguous part of one parameter, or several small parameters that are joined.

    Attributes:
        params: vectors that share memory with the parameters; a parameter whose layout no vector can share, itself.
        grads: the gradients of ``params``, with coordinates in the same order.
        state: the state tensors of ``params`` by name, with coordinates in the same order.
    """

    params: list[Tensor]
    grads: list[Tensor]
    state: dict[str, list[Tensor]]

    @property
    def grad(self) -> Tensor:
        """The gradient as one vector; may be a copy, so read only."""
        return _vector(self.grads)

    @property
    def param(self) -> Tensor:
        """The parameters as one vector; may be a copy, so read only."""
        return _vector(self.params)

    @property
    def old_state(self) -> dict[str, Tensor]:
        """The state by name, one vector each; may be copies, so read only."""
        return {name: _vector(tensors) for name, tensors in self.state.items()}

    def add(self, delta: Tensor) -> None:
        """Add a step, one vector, to the parameters."""
        _write(torch._foreach_add_, self.params, delta)

    def keep(self, new_state: dict[str, Tensor]) -> None:
        """Write a new state, one vector per name, into the state tensors."""
        for name, value in new_state.items():
            _write(torch._foreach_copy_, self.state[name], value)


def pieces_of(
    params: Sequence[Tensor],
    states: Sequence[dict[str, Tensor]],
    *,
    longest: int | None = None,
    in_order: bool = False,
) -> Iterator[Piece]:
    """Divide parameters into pieces.

    Args:
        params: parameters with gradients.
        states: the state tensors of each parameter, by name.
        longest: length above which a parameter is cut; by default the device's chunk, ``CPU_CHUNK`` or
            ``DEVICE_CHUNK``. Small parameters are joined up to the device's chunk in any case.
        in_order: join only neighbours, so that the pieces come in the order of the parameters.
    """
    waiting: list[Piece] = []
    size = 0
    for param, state in zip(params, states, strict=True):
        piece = _whole(param, state)
        first = piece.params[0]
        chunk = CPU_CHUNK if first.device.type == "cpu" else DEVICE_CHUNK
        large = first.numel() >= chunk
        last = waiting[-1].params[0] if waiting else first
        alike = (last.dtype, last.device) == (first.dtype, first.device)
        if waiting and (in_order if large else size + first.numel() > chunk or not alike):
            yield joined(waiting)
            waiting, size = [], 0
        if not large:
            waiting.append(piece)
            size += first.numel()
        elif first.ndim == 1 and first.numel() > (longest or chunk):
            yield from _cut(piece, longest or chunk)
        else:
            yield piece
    if waiting:
        yield joined(waiting)


def _whole(param: Tensor, state: dict[str, Tensor]) -> Piece:
    assert param.grad is not None
    tensors = [local(param.detach()), local(param.grad), *(local(value) for value in state.values())]
    first = tensors[0]
    # All tensors need the same order of coordinates: that of memory if they share a layout, else the logical order.
    if all(t.is_contiguous() for t in tensors):
        tensors = [t.view(-1) for t in tensors]
    elif _is_channels_last(first) and all(t.stride() == first.stride() for t in tensors):
        tensors = [t.as_strided((t.numel(),), (1,)) for t in tensors]
    return Piece([tensors[0]], [tensors[1]], {name: [t] for name, t in zip(state, tensors[2:], strict=True)})


def _is_channels_last(tensor: Tensor) -> bool:
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim)
    return layout is not None and tensor.is_contiguous(memory_format=layout)


def _cut(piece: Piece, chunk: int) -> Iterator[Piece]:
    names = list(piece.state)
    columns = [piece.params[0], piece.grads[0], *(piece.state[name][0] for name in names)]
    for param, grad, *state in zip(*(column.split(chunk) for column in columns), strict=True):
        yield Piece([param], [grad], {name: [value] for name, value in zip(names, state, strict=True)})


def joined(pieces: Sequence[Piece]) -> Piece:
    """Join several pieces, which have the same state names, into one."""
    return Piece(
        [param for piece in pieces for param in piece.params],
        [grad for piece in pieces for grad in piece.grads],
        {name: [value for piece in pieces for value in piece.state[name]] for name in pieces[0].state},
    )


def _vector(tensors: list[Tensor]) -> Tensor:
    return tensors[0].reshape(-1) if len(tensors) == 1 else torch.cat([t.reshape(-1) for t in tensors])


def _write(operation: Callable[..., Any], tensors: list[Tensor], values: Tensor) -> None:
    parts = values.split([t.numel() for t in tensors]) if len(tensors) > 1 else (values,)
    operation(tensors, [part.view_as(t) for part, t in zip(parts, tensors, strict=True)])
