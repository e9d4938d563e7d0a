"""What each parameter is for: norm, embed, head, bias or hidden, read from module types and positions, never names."""

from __future__ import annotations

from typing import TypeGuard, get_args

import torch
from torch import nn

from suite.optim.config import Role

ROLES = get_args(Role)

_NORMS = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._NormBase,
)


def parameter_roles(network: nn.Module) -> dict[str, str]:
    """Role of every trainable parameter, by the module that owns it.

    A parameter of a normalisation layer is ``norm``; of an `nn.Embedding`, or a parameter that a module holds bare
    (positions, class tokens), ``embed``; the weight of the last linear or convolution layer in definition order is
    ``head``; other parameters with one dimension are ``bias``; the rest, and the joint projections of
    `nn.MultiheadAttention`, which it holds bare, is ``hidden``. A tied parameter keeps the role of its first place.

    Returns:
        Parameter name (as in ``named_parameters``) -> one of ``ROLES``.
    """
    names = [name for name, p in network.named_parameters() if p.requires_grad]
    # Also a layer whose weight is tied to an embedding is the head: then no other layer may pass for it.
    layers = [module for module in network.modules() if _is_layer(module) and module.weight.requires_grad]
    head_owner = layers[-1] if layers else None
    return {name: _role(name, head_owner, network) for name in names}


def _is_layer(module: nn.Module) -> TypeGuard[nn.Linear | nn.modules.conv._ConvNd]:
    return isinstance(module, nn.Linear | nn.modules.conv._ConvNd)


def _role(name: str, head_owner: nn.Module | None, network: nn.Module) -> str:
    path, _, attribute = name.rpartition(".")
    owner = network.get_submodule(path)
    parameter: torch.Tensor = getattr(owner, attribute)
    if isinstance(owner, _NORMS) or _acts_as_norm(owner):
        return "norm"
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        return "embed"
    if parameter.ndim <= 1:
        return "bias"
    if owner is head_owner:
        return "head"
    if isinstance(owner, nn.MultiheadAttention):
        return "hidden"
    if next(iter(owner.children()), None) is not None or owner is network:
        return "embed"
    return "hidden"


def _acts_as_norm(module: nn.Module) -> bool:
    # Libraries bring norms of their own (timm's LayerNorm2d, fla's fused RMSNorm) that share no base class with
    # torch's: a leaf whose parameters are all one-dimensional, with an epsilon, is one.
    parameters = list(module.parameters(recurse=False))
    has_epsilon = any(hasattr(module, name) for name in ("eps", "variance_epsilon"))
    return bool(parameters) and has_epsilon and all(p.ndim == 1 for p in parameters)
