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
    from suite.fields import ConfigError
    from suite.optim.clipping import Clipping, clip_global_norm, clip_runs
    from suite.optim.composite import CompositeOptimizer
    from suite.optim.config import OptimizerConfig
    from suite.optim.external import External
    from suite.optim.factory import RuleGroup, build, evaluation_weights, rule_groups
    from suite.optim.parsing import describe, parse
    from suite.optim.registry import config_class, list_optimizers, register
    from suite.optim.roles import ROLES, parameter_roles
    from suite.optim.rule_optimizer import RuleOptimizer
    from suite.optim.rules.adam import Adam, AdamW
    from suite.optim.rules.adavar import AdaVar
    from suite.optim.rules.clipped_sgd import SGDCoordinateClip, SGDQuantileClip
    from suite.optim.rules.grafted import Grafted
    from suite.optim.rules.hybrid import Hybrid
    from suite.optim.rules.muon import Muon
    from suite.optim.rules.nsgd import NSGD
    from suite.optim.rules.rmsprop import RMSprop
    from suite.optim.rules.sgd import SGD
    from suite.optim.rules.sign import EMASign, SignSGD, Signum
    from suite.optim.schedule import Constant, Linear, Schedule, WarmupCosine, WarmupStableDecay
    from suite.optim.statistic import StatisticConfig

_HOME = {
    "AdaVar": "rules.adavar",
    "Adam": "rules.adam",
    "AdamW": "rules.adam",
    "Clipping": "clipping",
    "CompositeOptimizer": "composite",
    "ConfigError": "config",
    "Constant": "schedule",
    "EMASign": "rules.sign",
    "External": "external",
    "Grafted": "rules.grafted",
    "Hybrid": "rules.hybrid",
    "Linear": "schedule",
    "Muon": "rules.muon",
    "NSGD": "rules.nsgd",
    "OptimizerConfig": "config",
    "RMSprop": "rules.rmsprop",
    "ROLES": "roles",
    "RuleGroup": "factory",
    "RuleOptimizer": "rule_optimizer",
    "SGD": "rules.sgd",
    "SGDCoordinateClip": "rules.clipped_sgd",
    "SGDQuantileClip": "rules.clipped_sgd",
    "Schedule": "schedule",
    "SignSGD": "rules.sign",
    "Signum": "rules.sign",
    "StatisticConfig": "statistic",
    "WarmupCosine": "schedule",
    "WarmupStableDecay": "schedule",
    "build": "factory",
    "clip_global_norm": "clipping",
    "clip_runs": "clipping",
    "config_class": "registry",
    "describe": "parsing",
    "evaluation_weights": "factory",
    "list_optimizers": "registry",
    "parameter_roles": "roles",
    "parse": "parsing",
    "register": "registry",
    "rule_groups": "factory",
}

__all__ = [
    "NSGD",
    "ROLES",
    "SGD",
    "AdaVar",
    "Adam",
    "AdamW",
    "Clipping",
    "CompositeOptimizer",
    "ConfigError",
    "Constant",
    "EMASign",
    "External",
    "Grafted",
    "Hybrid",
    "Linear",
    "Muon",
    "OptimizerConfig",
    "RMSprop",
    "RuleGroup",
    "RuleOptimizer",
    "SGDCoordinateClip",
    "SGDQuantileClip",
    "Schedule",
    "SignSGD",
    "Signum",
    "StatisticConfig",
    "WarmupCosine",
    "WarmupStableDecay",
    "build",
    "clip_global_norm",
    "clip_runs",
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
