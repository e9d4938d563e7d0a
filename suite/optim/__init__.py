"""WHICH update rule: frozen configs, pure rules, and the factory that makes a `torch.optim.Optimizer` of them.

Torch only, so that any project can use it::

    from suite.optim import SGD, build

    optimizer = build(SGD(lr=0.3, momentum=0.95), network)

Names are resolved on first use, so that reading the catalogue does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.optim.clipping import clip_global_norm
    from suite.optim.config import ConfigError, OptimizerConfig
    from suite.optim.external import External
    from suite.optim.factory import build, evaluation_weights, rule_groups
    from suite.optim.registry import config_class, describe, list_optimizers, parse, register
    from suite.optim.roles import ROLES, parameter_roles
    from suite.optim.rules.adam import Adam
    from suite.optim.rules.sgd import SGD
    from suite.optim.schedule import Constant, Linear, Schedule, WarmupCosine, WarmupStableDecay

_HOME = {
    "Adam": "rules.adam",
    "ConfigError": "config",
    "Constant": "schedule",
    "External": "external",
    "Linear": "schedule",
    "OptimizerConfig": "config",
    "ROLES": "roles",
    "SGD": "rules.sgd",
    "Schedule": "schedule",
    "WarmupCosine": "schedule",
    "WarmupStableDecay": "schedule",
    "build": "factory",
    "clip_global_norm": "clipping",
    "config_class": "registry",
    "describe": "registry",
    "evaluation_weights": "factory",
    "list_optimizers": "registry",
    "parameter_roles": "roles",
    "parse": "registry",
    "register": "registry",
    "rule_groups": "factory",
}

__all__ = [
    "ROLES",
    "SGD",
    "Adam",
    "ConfigError",
    "Constant",
    "External",
    "Linear",
    "OptimizerConfig",
    "Schedule",
    "WarmupCosine",
    "WarmupStableDecay",
    "build",
    "clip_global_norm",
    "config_class",
    "describe",
    "evaluation_weights",
    "list_optimizers",
    "parameter_roles",
    "parse",
    "register",
    "rule_groups",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'suite.optim' has no attribute {name!r}")
    return getattr(importlib.import_module(f"suite.optim.{_HOME[name]}"), name)
