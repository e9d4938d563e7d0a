"""Parameter roles (norm, embed, head, bias, hidden), decided by module type and position, never by name."""

from __future__ import annotations

from typing import TypeGuard, get_args

import torch
from torch import nn

from suite.fields import ConfigError
from suite.optim.config import Role

ROLES = get_args(Role)

_NORMS = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._NormBase,
)


def parameter_roles(network: nn.Module) -> dict[str, str]:
    """The role of every trainable parameter, by the module that holds it. The first rule that applies decides.

    Parameters of a normalisation layer are ``norm``; those of an `nn.Embedding` are ``embed``; other parameters with
    at most one dimension are ``bias``; the weight of the last linear or convolution layer in definition order is
    ``head``; the joint projections of `nn.MultiheadAttention` are ``hidden``; a parameter held by the network or by a
    module with submodules (positions, class tokens) is ``embed``; all others are ``hidden``. A tied parameter has the
    role of its first occurrence.

    Returns:
        Parameter name (as in ``named_parameters``) -> one of ``ROLES``.

    Raises:
        ConfigError: it is no module.
    """
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"Roles are those of a network's parameters, got a {type(network).__name__}; give the module."
        )
    names = [name for name, p in network.named_parameters() if p.requires_grad]
    # A last layer whose weight is tied to an embedding still is the head, so that no earlier layer becomes it.
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
    # The norms of some libraries (timm's LayerNorm2d, fla's fused RMSNorm) share no base class with torch's. A module
    # with an epsilon whose parameters are all one-dimensional is taken for a norm.
    parameters = list(module.parameters(recurse=False))
    has_epsilon = any(hasattr(module, name) for name in ("eps", "variance_epsilon"))
    return bool(parameters) and has_epsilon and all(p.ndim == 1 for p in parameters)
