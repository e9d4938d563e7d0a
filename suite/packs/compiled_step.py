"""One graph for what a step computes, compiled or executed as recorded, shared by all packs of one shape."""

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
"""Graphs that a process keeps."""

MOST_SHAPES = 4
"""Shapes of batches that one pack may come in; with more it runs without a graph."""

_GRAPHS: OrderedDict[str, Callable[..., Any]] = OrderedDict()


class NotCompiled(RuntimeError):
    """A step that cannot be one graph; the message says why."""


class CompiledStep:
    """Calls a function as one graph: forward and backward, or these with clipping and update.

    The function is traced once per shape of its arguments with the autograd inside it, so that the graph is plain
    arithmetic. Compiled it is fastest, but compilation takes a minute on slow cores. As recorded, it does bit for bit
    what the function does without what Python, autograd and vmap cost per call; tracing takes seconds. Graphs are kept
    for the process under ``signature`` and shapes, so that the next pack of one shape starts at full speed.

    Args:
        function: takes trees of tensors, may write to them in place, and returns tensors. Arguments that are no tensors
            are taken as constant for one shape.
        signature: everything beside the arguments' shapes that decides what the function computes.
        fuse: compile the graph; else it is executed as recorded.
    """

    def __init__(self, function: Callable[..., Any], signature: str, *, fuse: bool = True) -> None:
        self._function = function
        self._signature = f"{fuse}|{signature}"
        self._fuse = fuse
        self._shapes: set[str] = set()

    def __call__(self, *args: Any) -> Any:
        """The function's value; None where these shapes are new, and worth a graph only if they come again.

        Raises:
            NotCompiled: the function draws random numbers, does what cannot be traced or compiled, or its arguments
                come in too many shapes. Nothing has been written then.
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
            # Compilation fails before anything has moved, and in many ways: no space, what a backend cannot do.
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
    """The graph's value. Autograd and autocast are in the graph already, as operations of their own."""
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    with torch.no_grad(), torch.autocast(tensors[0].device.type, enabled=False):
        return graph(*tensors)


def _traced(function: Callable[..., Any], leaves: list[Any], tree: pytree.TreeSpec) -> GraphModule:
    """The function as a graph over the tensors among ``leaves``, whose values stay as they are."""

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
    """Whether a node draws random numbers: attention has that tag, and does so with dropout alone."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    if "dropout_p" not in names:
        return True
    number = names.index("dropout_p")
    return bool(node.kwargs.get("dropout_p", node.args[number] if len(node.args) > number else 0.0))
