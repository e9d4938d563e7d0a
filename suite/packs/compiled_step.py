"""The arithmetic of a step as one graph, compiled or replayed, which packs of equal shapes share."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

MOST_GRAPHS = 16
"""Number of graphs that a process keeps; the least recently used is dropped."""

MOST_SHAPES = 4
"""Number of batch shapes for which a pack makes graphs; a pack with more shapes runs without graphs."""

_GRAPHS: OrderedDict[str, Callable[..., Any]] = OrderedDict()


class NotCompiled(RuntimeError):
    """The step cannot be one graph; the message says why."""


class CompiledStep:
    """Executes a function as one graph: forward and backward pass, or these with clipping and update.

    The function is traced once per shape of its arguments, its autograd included, so that the graph is plain
    arithmetic. A compiled graph is fastest, but compilation takes a minute on slow cores. A replayed graph has the same
    results bit by bit as the function, without the cost of Python, autograd and vmap per call; tracing takes seconds.
    The process keeps graphs by ``signature`` and shapes, so that the next pack with equal shapes need not trace again.

    Args:
        function: takes trees of tensors, may write to them in place, and returns tensors. Arguments that are not
            tensors are constants of the graph.
        signature: everything beside the arguments' shapes on which the function's arithmetic depends.
        fuse: compile the graph; otherwise its operations are replayed one by one.
    """

    def __init__(self, function: Callable[..., Any], signature: str, *, fuse: bool = True) -> None:
        self._function = function
        self._signature = f"{fuse}|{signature}"
        self._fuse = fuse
        self._shapes: set[str] = set()

    def __call__(self, *args: Any) -> Any:
        """The function's value; None for the first arguments of a shape, since only repeated shapes are worth a graph.

        Raises:
            NotCompiled: the function draws random numbers, or cannot be traced or compiled, or there are more than
                ``MOST_SHAPES`` shapes. No argument has been changed.
        """
        leaves, tree = pytree.tree_flatten(args)
        key = self._key(leaves, tree)
        if key not in _GRAPHS:
            if key not in self._shapes:
                self._shapes.add(key)
                if len(self._shapes) > MOST_SHAPES:
                    raise NotCompiled("its batches come in many shapes")
                return None
            return self._first(key, leaves, tree)
        _GRAPHS.move_to_end(key)
        return _called(_GRAPHS[key], leaves)

    def _first(self, key: str, leaves: list[Any], tree: pytree.TreeSpec) -> Any:
        graph: Callable[..., Any] = _traced(self._function, leaves, tree)
        if self._fuse:
            graph = torch.compile(graph, dynamic=False)
        try:
            value = _called(graph, leaves)
        except Exception as error:
            # Compilation can fail in many ways, but it does so before it has changed a tensor.
            if "torch" not in type(error).__module__:
                raise
            raise NotCompiled(f"it cannot be compiled ({str(error).strip().partition(chr(10))[0]})") from error
        _GRAPHS[key] = graph
        while len(_GRAPHS) > MOST_GRAPHS:
            _GRAPHS.popitem(last=False)
        return value

    def _key(self, leaves: list[Any], tree: pytree.TreeSpec) -> str:
        shapes = [(tuple(x.shape), x.dtype, x.device, x.stride()) if isinstance(x, Tensor) else repr(x) for x in leaves]
        whole = f"{self._signature}|{tree}|{shapes}|{torch.get_num_threads()}"
        return hashlib.sha256(whole.encode()).hexdigest()


def _called(graph: Callable[..., Any], leaves: list[Any]) -> Any:
    """The graph's value; autograd and autocast are off, because the graph already contains their operations."""
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    with torch.no_grad(), torch.autocast(tensors[0].device.type, enabled=False):
        return graph(*tensors)


def _traced(function: Callable[..., Any], leaves: list[Any], tree: pytree.TreeSpec) -> GraphModule:
    """Trace the function to a graph over the tensors among ``leaves``, without changing their values."""

    def of_tensors(*tensors: Tensor) -> Any:
        rest = iter(tensors)
        args = pytree.tree_unflatten([next(rest) if isinstance(x, Tensor) else x for x in leaves], tree)
        return function(*args)

    copies = [x.clone() for x in leaves if isinstance(x, Tensor)]  # tracing executes the function
    try:
        graph = make_fx(of_tensors)(*copies)
    except Exception as error:
        raise NotCompiled(f"it cannot be traced ({str(error).strip().partition(chr(10))[0]})") from error
    for node in graph.graph.nodes:
        if _draws(node):
            raise NotCompiled(f"it draws random numbers ({node.target})")
        if node.op == "get_attr" and getattr(graph, str(node.target)).numel() > 1:
            raise NotCompiled("its network holds tensors that are no buffers")
    return graph


def _draws(node: torch.fx.Node) -> bool:
    """Whether a node draws random numbers; attention carries the tag but draws only if its dropout is above 0."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    if "dropout_p" not in names:
        return True
    number = names.index("dropout_p")
    return bool(node.kwargs.get("dropout_p", node.args[number] if len(node.args) > number else 0.0))
