"""Moving values between nodes and edges of a graph by row copies, also where many networks run at once.

Under `torch.func.vmap` the general gather and scatter work element by element. Here whole rows move: where the networks
share a graph, the run dimension becomes one more dimension of the rows; where each has its own, the graphs become one
large graph.

Shape letters: N nodes, E edges, G graphs; any trailing dimensions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def lift(x: Tensor, index_E: Tensor) -> Tensor:
    """The row of a node for every edge.

    Args:
        x: ``[N, ...]``.
        index_E: int64, a node per edge.

    Returns:
        ``[E, ...]``.
    """
    return _Lift.apply(x, index_E, 0) if _is_batched(x) or _is_batched(index_E) else x.index_select(0, index_E)


def collect(x: Tensor, index_E: Tensor, size: int) -> Tensor:
    """For every node the sum of its edges' rows.

    Args:
        x: ``[E, ...]``.
        index_E: int64, a node per edge.
        size: N.

    Returns:
        ``[N, ...]``; nodes without an edge get 0.
    """
    if _is_batched(x) or _is_batched(index_E):
        return _Collect.apply(x, index_E, size, 0)
    return x.new_zeros(size, *x.shape[1:]).index_add(0, index_E, x)


def highest(x: Tensor, index_E: Tensor, size: int) -> Tensor:
    """For every node the largest of its edges' values, as constants: no gradient flows through them.

    Args:
        x: ``[E, ...]``.
        index_E: int64, a node per edge.
        size: N.

    Returns:
        ``[N, ...]``; nodes without an edge get the lowest finite number.
    """
    return _Highest.apply(x.detach(), index_E, size, 0)


def sum_pool(x: Tensor, graph_N: Tensor, num_graphs: int) -> Tensor:
    """Sums of nodes' rows over each graph.

    Args:
        x: ``[N, ...]``.
        graph_N: int64, the graph of each node; those of number G are filler.
        num_graphs: G.

    Returns:
        ``[G, ...]``.
    """
    return collect(x, graph_N, num_graphs + 1)[:num_graphs]


def mean_pool(x: Tensor, graph_N: Tensor, num_graphs: int) -> Tensor:
    """Means of nodes' rows over each graph; see `sum_pool`."""
    count_G = x.new_zeros(num_graphs + 1).index_add(0, graph_N, x.new_ones(len(graph_N)))[:num_graphs].clamp(min=1)
    return sum_pool(x, graph_N, num_graphs) / count_G.reshape(-1, *[1] * (x.ndim - 1))


def _is_batched(x: Tensor) -> bool:
    return torch._C._functorch.is_batchedtensor(x)


def _one_graph(
    runs: int, in_dims: tuple[Any, ...], x: Tensor, index: Tensor, size: int | None, dim: int
) -> tuple[Tensor, Tensor]:
    """The graphs of R runs as one: their rows ``[R * N, ...]``, and the indices ``[R * E]`` into R times ``size``."""
    assert dim == 0  # each run's own rows; only a nested vmap would have more dimensions before them
    x_RN = x.expand(runs, *x.shape) if in_dims[0] is None else x.movedim(in_dims[0], 0)
    first_R1 = torch.arange(runs, device=index.device)[:, None] * (x_RN.shape[1] if size is None else size)
    return x_RN.flatten(0, 1), (index.movedim(in_dims[1], 0) + first_R1).flatten()


class _Lift(torch.autograd.Function):
    """`lift` along a dimension; its gradient is `collect`."""

    @staticmethod
    def forward(x: Tensor, index: Tensor, dim: int) -> Tensor:
        return x.index_select(dim, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, index, ctx.dim = inputs
        ctx.size = x.shape[ctx.dim]
        ctx.save_for_backward(index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return _Collect.apply(grad, ctx.saved_tensors[0], ctx.size, ctx.dim), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, index: Tensor, dim: int) -> tuple[Tensor, int | None]:
        if in_dims[1] is not None:
            rows, places = _one_graph(info.batch_size, in_dims, x, index, None, dim)
            return _Lift.apply(rows, places, 0).unflatten(0, (info.batch_size, -1)), 0
        if in_dims[0] is None:
            return _Lift.apply(x, index, dim), None
        return _Lift.apply(x.movedim(in_dims[0], 0), index, dim + 1), 0


class _Collect(torch.autograd.Function):
    """`collect` along a dimension; its gradient is `lift`."""

    @staticmethod
    def forward(x: Tensor, index: Tensor, size: int, dim: int) -> Tensor:
        return x.new_zeros(*x.shape[:dim], size, *x.shape[dim + 1 :]).index_add_(dim, index, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, index, _, ctx.dim = inputs
        ctx.save_for_backward(index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return _Lift.apply(grad, ctx.saved_tensors[0], ctx.dim), None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], x: Tensor, index: Tensor, size: int, dim: int
    ) -> tuple[Tensor, int | None]:
        if in_dims[1] is not None:
            rows, places = _one_graph(info.batch_size, in_dims, x, index, size, dim)
            return _Collect.apply(rows, places, info.batch_size * size, 0).unflatten(0, (info.batch_size, size)), 0
        if in_dims[0] is None:
            return _Collect.apply(x, index, size, dim), None
        return _Collect.apply(x.movedim(in_dims[0], 0), index, size, dim + 1), 0


class _Highest(torch.autograd.Function):
    """`highest` along a dimension."""

    @staticmethod
    def forward(x: Tensor, index: Tensor, size: int, dim: int) -> Tensor:
        lowest = x.new_full((*x.shape[:dim], size, *x.shape[dim + 1 :]), torch.finfo(x.dtype).min)
        return lowest.index_reduce_(dim, index, x, "amax")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return None, None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], x: Tensor, index: Tensor, size: int, dim: int
    ) -> tuple[Tensor, int | None]:
        if in_dims[1] is not None:
            rows, places = _one_graph(info.batch_size, in_dims, x, index, size, dim)
            return _Highest.apply(rows, places, info.batch_size * size, 0).unflatten(0, (info.batch_size, size)), 0
        if in_dims[0] is None:
            return _Highest.apply(x, index, size, dim), None
        return _Highest.apply(x.movedim(in_dims[0], 0), index, size, dim + 1), 0
