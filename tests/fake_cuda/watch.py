"""Sees where a program waits for the pretended device: values that are read from it, and copies that block."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from pretended_device import pinned, storage_of
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(str(ROOT / package) + "/" for package in ("suite", "tasks", "models"))

aten = torch.ops.aten
DEPEND_ON_VALUES = {aten.masked_select.default, aten._unique2.default, aten.unique_dim.default}
"""Operations whose result has a size that only the values decide, beside `nonzero`."""


WITHOUT_FAKE = {aten._fused_sgd_.default, aten._fused_sgd_.tensor_lr}
"""Operations in place that torch cannot pretend; their tensors stay as they are."""


class Wait(NamedTuple):
    """The program waited for the device, or would have on a GPU.

    Attributes:
        kind: ``value`` (read by the host), ``size`` (of a result), or a blocking copy ``to cpu`` or ``to cuda``.
        where: file and function of the project that asked, and those of the library through which it did.
        in_step: whether it was in the execution of optimizer steps.
    """

    kind: str
    where: str
    in_step: bool


class Watch(TorchDispatchMode):
    """Records every wait; values that are read are made up: 1, true, or as many as are asked for.

    Attributes:
        waits: the waits so far.
        operations: number of operations on the device.
    """

    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()
        self.fake = fake
        self.waits: set[Wait] = set()
        self.operations = 0
        self.in_step = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record what waits; execute the rest."""
        named = dict(kwargs or {})
        first = args[0] if args else None
        if func is aten._local_scalar_dense.default and isinstance(first, FakeTensor):
            return self._value(func, first)
        if func is aten.equal.default:
            self._note("value")
            return True
        if func is aten.nonzero.default:
            self._note("size")
            return first.new_zeros(1, first.dim(), dtype=torch.int64)
        if func in WITHOUT_FAKE:
            self.operations += 1
            return None
        if func in DEPEND_ON_VALUES:
            self._note("size")
        if func is aten._to_copy.default and isinstance(first, Tensor):
            goes_to = torch.device(named.get("device") or first.device)
            self._copied(first, goes_to, named.get("non_blocking", False))
            if goes_to.type == "cuda":
                args = (self._without_value(first), *args[1:])
        elif func is aten.copy_.default and isinstance(args[1], Tensor):
            self._copied(args[1], first.device, bool(args[2]) if len(args) > 2 else named.get("non_blocking", False))
        out = func(*args, **named)
        self.operations += any(isinstance(x, Tensor) and x.is_cuda for x in (out if isinstance(out, tuple) else (out,)))
        return out

    def _value(self, func: Any, tensor: FakeTensor) -> Any:
        if tensor.is_cuda:
            self._note("value")
        elif tensor.constant is not None:
            return func(tensor.constant)
        return True if tensor.dtype is torch.bool else (1.0 if tensor.dtype.is_floating_point else 1)

    def _copied(self, source: Tensor, goes_to: torch.device, non_blocking: bool) -> None:
        if source.device.type == goes_to.type:
            return
        # From memory that is not pinned the driver copies at once, whatever was asked for.
        is_free = non_blocking and (goes_to.type == "cpu" or storage_of(source) in pinned)
        if not is_free:
            self._note(f"to {goes_to.type}")

    def _without_value(self, tensor: Tensor) -> FakeTensor:
        if not isinstance(tensor, FakeTensor):
            return self.fake.from_tensor(tensor)
        tensor.constant = None
        return tensor

    def _note(self, kind: str) -> None:
        self.waits.add(Wait(kind, _asked_by(sys._getframe(2)), self.in_step))

    @contextlib.contextmanager
    def steps_of(self, module: type) -> Iterator[None]:
        """While this lasts, the training steps of a class of modules count as steps."""
        take = module.training_step

        @functools.wraps(take)
        def watched(*args: Any, **named: Any) -> Any:
            self.in_step = True
            try:
                return take(*args, **named)
            finally:
                self.in_step = False

        module.training_step = watched
        try:
            yield
        finally:
            module.training_step = take


def _asked_by(frame: FrameType | None) -> str:
    """File and function of the innermost frame of the project, and of another library than torch if it called that."""
    library = ""
    while frame is not None:
        path, function = frame.f_code.co_filename, frame.f_code.co_name
        if function.endswith("comp>"):  # has no frame of its own from Python 3.12 on
            frame = frame.f_back
            continue
        if path.startswith(OURS):
            return f"{Path(path).relative_to(ROOT)}:{function}{library}"
        if not library and "site-packages" in path and "/torch/" not in path:
            library = f" > {path.partition('site-packages/')[2]}:{function}"
        frame = frame.f_back
    return library


def outside_modes(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose tensors are real, although fake ones are made around it."""

    @functools.wraps(function)
    def real(*args: Any, **named: Any) -> Any:
        with _disable_current_modes():
            return function(*args, **named)

    return real


def iterating_outside_modes(make: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """A generator whose items are real tensors, although fake ones are made around it."""

    @functools.wraps(make)
    def real(*args: Any, **named: Any) -> Iterator[Any]:
        items = outside_modes(make)(*args, **named)
        end = object()
        while (item := outside_modes(next)(items, end)) is not end:
            yield item

    return real


def made_on_host(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.tensor` and the like, which copy numbers to a device as `Tensor.to` does."""

    @functools.wraps(make)
    def made(*args: Any, device: Any = None, **named: Any) -> Tensor:
        if device is None or torch.device(device).type != "cuda" or isinstance(args[0], FakeTensor):
            return make(*args, device=device, **named)
        return make(*args, **named).to(device)

    return made


def listed(tensor: FakeTensor) -> Any:
    """`tolist` with made-up numbers: whole numbers count up, so that rows and indices stay different."""
    if tensor.is_cuda and tensor.ndim == 1 and tensor.dtype is torch.int64:
        tensor[0].item()
        return list(range(len(tensor)))
    return _LISTED(tensor)


_LISTED = FakeTensor.tolist
