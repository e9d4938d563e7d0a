"""WHICH update rule: frozen configs, pure rules, and the factory that makes a `torch.optim.Optimizer` of them.

The package needs torch only, so that any project can use it::

    from suite.optim import SGD, build

    optimizer = build(SGD(lr=0.3, momentum=0.95), network)

Each name is imported on first use, so that reading the catalogue does not import torch.
"""

# ruff: noqa: F401
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suite.fields import ConfigError
    from suite.optim.clipping import Clipping, clip_global_norm, clip_runs
    from suite.optim.composite import CompositeOptimizer
    from suite.optim.config import OptimizerConfig
    from suite.optim.drawn_labels import draw_labels
    from suite.optim.external import External
    from suite.optim.factory import RuleGroup, build, evaluation_weights, has_evaluation_weights, rule_groups
    from suite.optim.parsing import describe, parse
    from suite.optim.registry import config_class, list_optimizers, register
    from suite.optim.roles import ROLES, parameter_roles
    from suite.optim.rule_optimizer import RuleOptimizer
    from suite.optim.rules.adafactor import AdafactorBeta2
    from suite.optim.rules.adam import Adam, AdamW
    from suite.optim.rules.adavar import AdaVar
    from suite.optim.rules.ademamix import AdEMAMix
    from suite.optim.rules.adopt import ADOPT
    from suite.optim.rules.clipped_sgd import SGDCoordinateClip, SGDQuantileClip
    from suite.optim.rules.grafted import Grafted
    from suite.optim.rules.hybrid import Hybrid
    from suite.optim.rules.mars import MARS
    from suite.optim.rules.muon import Muon
    from suite.optim.rules.nsgd import NSGD
    from suite.optim.rules.rmsprop import RMSprop
    from suite.optim.rules.scion import Scion
    from suite.optim.rules.sgd import SGD
    from suite.optim.rules.sign import EMASign, SignSGD, Signum
    from suite.optim.rules.sophia import Sophia
    from suite.optim.rules.sophia_ef import SophiaEF
    from suite.optim.schedule import Constant, Linear, Schedule, WarmupCosine, WarmupStableDecay
    from suite.optim.statistic import StatisticConfig

_HOME = {
    "suite.fields": "ConfigError",
    "suite.optim.clipping": "Clipping clip_global_norm clip_runs",
    "suite.optim.composite": "CompositeOptimizer",
    "suite.optim.config": "OptimizerConfig",
    "suite.optim.drawn_labels": "draw_labels",
    "suite.optim.external": "External",
    "suite.optim.factory": "RuleGroup build evaluation_weights has_evaluation_weights rule_groups",
    "suite.optim.parsing": "describe parse",
    "suite.optim.registry": "config_class list_optimizers register",
    "suite.optim.roles": "ROLES parameter_roles",
    "suite.optim.rule_optimizer": "RuleOptimizer",
    "suite.optim.rules.adafactor": "AdafactorBeta2",
    "suite.optim.rules.adam": "Adam AdamW",
    "suite.optim.rules.adavar": "AdaVar",
    "suite.optim.rules.ademamix": "AdEMAMix",
    "suite.optim.rules.adopt": "ADOPT",
    "suite.optim.rules.clipped_sgd": "SGDCoordinateClip SGDQuantileClip",
    "suite.optim.rules.grafted": "Grafted",
    "suite.optim.rules.hybrid": "Hybrid",
    "suite.optim.rules.mars": "MARS",
    "suite.optim.rules.muon": "Muon",
    "suite.optim.rules.nsgd": "NSGD",
    "suite.optim.rules.rmsprop": "RMSprop",
    "suite.optim.rules.scion": "Scion",
    "suite.optim.rules.sgd": "SGD",
    "suite.optim.rules.sign": "EMASign SignSGD Signum",
    "suite.optim.rules.sophia": "Sophia",
    "suite.optim.rules.sophia_ef": "SophiaEF",
    "suite.optim.schedule": "Constant Linear Schedule WarmupCosine WarmupStableDecay",
    "suite.optim.statistic": "StatisticConfig",
}
"""Module -> the names that are imported from it."""

_MODULES = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'suite.optim' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
