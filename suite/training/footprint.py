"""Whether a run's network can be made, and how much memory it takes: counted on torch's meta device, before training.

Every number is a lower bound, so that nothing is refused that would fit: weights and gradients are exact, the state of
the optimizer is that of its rule, activations are what the forward pass keeps for the backward pass, and what cannot be
counted counts as nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from suite.optim import rule_groups
from suite.optim.config import OptimizerConfig
from suite.training.data import Data
from suite.training.memory import available
from suite.training.task import Task

META = torch.device("meta")

_SHARE_OF_SINGLE = {"16": 0.5, "bf16": 0.5, "64": 2.0}
"""First part of a precision -> size of its numbers as a share of those of single precision."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Footprint:
    """Least memory of a run on one device, bytes.

    Attributes:
        weights: of the network, its buffers included.
        gradients: of the weights that are trained; two where the optimizer needs a second one on some steps.
        optimizer: the optimizer's state.
        activations: what one micro-batch's forward pass keeps.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def __str__(self) -> str:
        parts = (f"{name} {_gigabytes(size)}" for name, size in vars(self).items())
        return f"{_gigabytes(self.total)} ({', '.join(parts)})"


def network_on_meta(task: Task, facts: Mapping[str, Any]) -> nn.Module | None:
    """A task's network without numbers; None where its making needs numbers.

    Raises:
        ValueError: no network can be made of these settings.
    """
    try:
        with torch.random.fork_rng(devices=[]), META:
            return task.make_network(dict(facts))
    except (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError) as error:
        if isinstance(error, NotImplementedError) or "meta" in str(error):
            return None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{task.pair_name} has no network of these settings: {reason:.200}; change model.*") from error


def refuse_impossible_network(task: Task, data: Data) -> None:
    """Refuse settings that no network can be made of, before the data are prepared; where the settings tell.

    Raises:
        ValueError: no network can be made of these settings.
    """
    facts = data.facts_ahead()
    if facts is not None:
        network_on_meta(task, facts)


class Counted:
    """The sizes of a task's network, whatever moves it.

    Args:
        task: its network not built yet.
        data: open.

    Raises:
        ValueError: no network can be made of these settings.
    """

    def __init__(self, task: Task, data: Data) -> None:
        network = network_on_meta(task, data.facts())
        self.network = nn.Module() if network is None else network
        self._trained = sum(_bytes(p) for p in self.network.parameters() if p.requires_grad)
        self._weights = sum(map(_bytes, [*self.network.parameters(), *self.network.buffers()]))
        self._kept = 0.0 if network is None else _kept_of_a_sample(task, network, data)

    def footprint(self, optimizer: OptimizerConfig | None, data: Data, trainer: Trainer) -> Footprint:
        """What a run takes on one device.

        Args:
            optimizer: of the run.
            data: of the run, open.
            trainer: of the run.

        Raises:
            ValueError: the optimizer cannot move this network, or the batch cannot be cut over the devices.
        """
        kind, _, mode = str(trainer.precision).partition("-")
        share = _SHARE_OF_SINGLE.get(kind, 1.0)
        held = (share if mode == "true" else 1.0) / (trainer.world_size if _shards(trainer) else 1)
        micro_batch = data.plan(world_size=trainer.world_size).indices(0).shape[1]
        return Footprint(
            weights=int(held * self._weights),
            gradients=int(held * self._trained * (2 if optimizer is not None and optimizer.sampled_every else 1)),
            optimizer=int(held * self.state(optimizer)),
            activations=int(share * micro_batch * self._kept),
        )

    def state(self, optimizer: OptimizerConfig | None) -> int:
        """Bytes of an optimizer's state for this network, in single precision.

        Raises:
            ValueError: the optimizer cannot move this network.
        """
        return optimizer_state(optimizer, self.network) if optimizer is not None and self._trained else 0


def refuse_what_cannot_fit(needed: Footprint, what: str, device: torch.device, *, at_once: int = 1) -> None:
    """Refuse runs that this machine's memory cannot hold.

    Args:
        needed: by one of them.
        what: names it in the message.
        device: where it is to be trained.
        at_once: so many of them share the device.

    Raises:
        ValueError: they need more than is free.
    """
    free = _room(device)
    if not free or needed.total * at_once <= free:
        return
    if needed.total <= free:
        raise ValueError(
            f"{what} takes {needed} at least, {at_once} times at once on {device.type} with {_gigabytes(free)}; "
            f"give --workers {free // needed.total}."
        )
    raise ValueError(
        f"{what} takes {needed} at least, and {device.type} has {_gigabytes(free)}; take a smaller network, lower "
        "data.micro_batch, or train on a larger machine."
    )


def _room(device: torch.device) -> int:
    """Bytes that a run may take, 0 where it cannot be known: on a GPU all, since to ask for the free takes some."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return available(device)


def _shards(trainer: Trainer) -> bool:
    """Whether the devices share the weights; any other strategy's hold them whole."""
    return isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy | DeepSpeedStrategy)


def optimizer_state(config: OptimizerConfig, network: nn.Module) -> int:
    """Bytes of an optimizer's state for a network on the meta device.

    Raises:
        ValueError: the optimizer cannot move this network.
    """
    parameters, total = dict(network.named_parameters()), 0
    for group in rule_groups(config, network):
        moved = [parameters[name] for name in group.names]
        if type(group.config).rule is OptimizerConfig.rule:
            total += _state_of_a_class(group.config, moved)
        else:
            total += sum(_bytes(x) for p in moved for x in group.config.init_state(p.detach()).values())
    return total


def _state_of_a_class(config: OptimizerConfig, parameters: list[nn.Parameter]) -> int:
    """State of an optimizer class of torch or a library, after a step on the meta device; 0 where it takes none."""
    copies = [nn.Parameter(torch.empty_like(p)) for p in parameters]
    try:
        optimizer = config.torch_optimizer([{"params": copies}])
        if optimizer is None:
            return 0
        for copy in copies:
            copy.grad = torch.empty_like(copy)
        optimizer.step()
    except (RuntimeError, TypeError):  # it reads numbers, or wants more than a gradient
        return 0
    state = (x for values in optimizer.state.values() for x in values.values())
    return sum(_bytes(x) for x in state if isinstance(x, Tensor))


def _kept_of_a_sample(task: Task, network: nn.Module, data: Data) -> float:
    """Bytes that the forward pass keeps per sample; 0 where they cannot be counted."""
    samples = min(2, data.train_samples)  # networks with BatchNorm refuse one
    batch = move_data_to_device(data.gather("train", np.arange(samples)), META)
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    task.network = network
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), FusedAttention():
            task.loss(task(batch), batch)
    except Exception:  # it looks at numbers, or calls a kernel that the meta device has not, each in its own way
        return 0.0
    finally:
        task.network = None
    for tensor in [*network.parameters(), *network.buffers()]:
        kept.pop(tensor.untyped_storage()._cdata, None)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / samples


class FusedAttention(TorchFunctionMode):
    """Attention keeps what a fused kernel does; without numbers torch takes its definition, which keeps scores."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace one function, call the others."""
        if func is F.scaled_dot_product_attention:
            return _KeepsInputs.apply(*args[:3])
        return func(*args, **(kwargs or {}))


class _KeepsInputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        device = q.device.type
        dtype = torch.get_autocast_dtype(device) if device != "meta" and torch.is_autocast_enabled(device) else q.dtype
        inputs = [tensor.to(dtype) for tensor in (q, k, v)]
        output = torch.empty_like(inputs[0])
        ctx.save_for_backward(*inputs, output)
        ctx.dtypes = q.dtype, k.dtype, v.dtype
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        """Gradients without numbers."""
        kept = zip(ctx.saved_tensors, ctx.dtypes, strict=False)
        return tuple(torch.empty_like(tensor).to(dtype) for tensor, dtype in kept)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _gigabytes(size: float) -> str:
    return f"{size / 2**30:,.1f} GB" if size >= 2**30 / 10 else f"{size / 2**20:,.1f} MB"
