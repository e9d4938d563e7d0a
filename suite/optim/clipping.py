"""Gradient clipping, before momentum and without a host synchronisation."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from suite.fields import ConfigError, check_ranges
from suite.optim.broadcast import Number, rounded
from suite.optim.norms import LONG, norm_of, row_norms


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clipping:
    """Clips raw gradients before the optimizer's step: first their global norm, then every coordinate.

    Paper 1 clips the global norm to 1, and paper 4 does not clip. Paper 3 compares no clipping, a clipped global norm,
    and both clips; its coordinate clip comes after momentum, as in the rule ``sgd_coordinate_clip``, not before.

    Attributes:
        max_norm: largest joint Euclidean norm of all gradients; None: no limit.
        max_coordinate: largest magnitude of a coordinate; None: no limit.
    """

    max_norm: float | None = dataclasses.field(default=None, metadata={"above": 0})
    max_coordinate: float | None = dataclasses.field(default=None, metadata={"above": 0})

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self), name="")

    @torch.no_grad()
    def __call__(self, tensors: Tensor | Iterable[Tensor]) -> Tensor:
        """Clip gradients in place.

        Args:
            tensors: as for `clip_global_norm`.

        Returns:
            Their norm before any clipping, a 0-d tensor.
        """
        grads = _gradients(tensors)
        norm = clip_global_norm(grads, self.max_norm)
        if self.max_coordinate is not None and grads:
            torch._foreach_clamp_max_(grads, self.max_coordinate)
            torch._foreach_clamp_min_(grads, -self.max_coordinate)
        return norm


@torch.no_grad()
def clip_global_norm(tensors: Tensor | Iterable[Tensor], max_norm: float | None) -> Tensor:
    """Scale gradients in place so that their joint Euclidean norm is at most ``max_norm``.

    The coefficient is ``min(1, max_norm / (norm + 1e-6))``, as in `torch.nn.utils.clip_grad_norm_`. For gradients that
    FSDP2 has sharded, the norm is taken over all devices.

    Args:
        tensors: all gradients of one run, or one of them; or the parameters that hold them, as in
            ``model.parameters()``; parameters without a gradient are skipped. A leaf that requires a gradient is a
            parameter.
        max_norm: largest norm, at least 0; None: measure the norm and change nothing. If the norm is infinite or NaN,
            the gradients become 0 or NaN, as in torch.

    Returns:
        The norm before clipping, a 0-d tensor on the gradients' device.

    Raises:
        ConfigError: they are neither gradients nor parameters, or are sparse; or ``max_norm`` is negative or NaN.
    """
    grads = _gradients(tensors)
    if max_norm is not None and not max_norm >= 0:
        raise ConfigError(f"max_norm must be at least 0, or None, got {max_norm}.")
    if not grads:
        return torch.zeros(())
    norms = _norms(grads)
    norm = torch.linalg.vector_norm(torch.stack([n.to(norms[0].device) for n in norms]))
    full = getattr(norm, "full_tensor", None)
    norm = norm if full is None else full()
    if max_norm is not None:
        share = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
        for device, there in itertools.groupby(grads, lambda grad: grad.device):
            torch._foreach_mul_(list(there), share.to(device))
    return norm


def _gradients(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """Gradients, taken from the parameters among ``tensors``.

    Raises:
        ConfigError: there is something else among them, or a gradient that is sparse.
    """
    if isinstance(tensors, nn.Module | Mapping | str) or not isinstance(tensors, Iterable):
        raise ConfigError(f"Clipping needs parameters or gradients, got {_kind(tensors)}; give model.parameters().")
    grads = []
    for tensor in [tensors] if isinstance(tensors, Tensor) else tensors:
        if not isinstance(tensor, Tensor):
            raise ConfigError(f"Clipping needs parameters or gradients, got {_kind(tensor)}; give model.parameters().")
        holds_gradient = isinstance(tensor, nn.Parameter) or (tensor.is_leaf and tensor.requires_grad)
        grad = tensor.grad if holds_gradient else tensor
        if grad is not None and grad.layout != torch.strided:
            raise ConfigError("Clipping needs dense gradients, got a sparse one; set sparse=False in the embeddings.")
        if grad is not None:
            grads.append(grad)
    return grads


def _kind(thing: object) -> str:
    return f"a {type(thing).__name__}"


def _norms(grads: Sequence[Tensor]) -> list[Tensor]:
    """Norm of each gradient, 0-d."""
    sharded = any(hasattr(grad, "full_tensor") for grad in grads)
    long = [not sharded and grad.device.type == "cpu" and grad.numel() > LONG for grad in grads]
    others = [grad for grad, is_long in zip(grads, long, strict=True) if not is_long]
    short = iter(torch._foreach_norm(others) if others else ())
    return [norm_of(grad) if is_long else next(short) for grad, is_long in zip(grads, long, strict=True)]


def clip_runs(
    grads: Tensor, max_norm: Number | None, max_coordinate: Number | None = None, *, in_place: bool = False
) -> tuple[Tensor, Tensor]:
    """Clip the gradients of R runs at once, each by its own norm.

    Args:
        grads: one flat gradient per run, ``[R, P]``.
        max_norm: largest norm, a number or ``[R, 1]``; None: no limit.
        max_coordinate: largest magnitude of a coordinate afterwards, a number or ``[R, 1]``; None: no limit.
        in_place: overwrite ``grads``, which saves memory traffic; otherwise ``grads`` does not change.

    Returns:
        The clipped gradients ``[R, P]`` and the norms before clipping ``[R]``.

    Raises:
        ConfigError: ``grads`` are no ``[R, P]``, or a limit is a tensor that is no ``[R, 1]``.
    """
    limits = [limit for limit in (max_norm, max_coordinate) if isinstance(limit, Tensor) and limit.ndim > 0]
    if grads.ndim != 2 or any(limit.shape not in ((1, 1), (len(grads), 1)) for limit in limits):
        got = [list(tensor.shape) for tensor in (grads, *limits)]
        raise ConfigError(f"clip_runs needs gradients [R, P] and limits that are numbers or [R, 1], got {got}.")
    norms = row_norms(grads)
    if max_norm is not None:
        share = (rounded(max_norm, grads) / (norms + 1e-6)).clamp(max=1.0)
        # On a CPU this test needs no synchronisation, and it saves a pass over gradients below the limit.
        if not in_place or grads.device.type != "cpu" or not bool((share >= 1).all()):
            grads = grads.mul_(share) if in_place else grads * share
    if max_coordinate is not None:
        limit = rounded(max_coordinate, grads)
        clamp = torch.clamp_ if in_place else torch.clamp
        grads = clamp(grads, -limit, limit)  # type: ignore[arg-type,operator]
    return grads, norms.squeeze(-1)
