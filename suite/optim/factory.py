"""The factory: it makes a `torch.optim.Optimizer` from a config and a network's parameters."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from suite.fields import ConfigError
from suite.optim.composite import CompositeOptimizer, takes_closure
from suite.optim.config import OptimizerConfig
from suite.optim.parameters import ParameterGroup, Parameters, read_parameters, tied
from suite.optim.parsing import parse
from suite.optim.roles import parameter_roles
from suite.optim.rule_optimizer import RuleOptimizer
from suite.optim.sharding import is_sharded


@dataclasses.dataclass(frozen=True)
class RuleGroup:
    """Parameters that one rule updates with the same hyperparameters.

    Attributes:
        config: the rule.
        label: the group's label in a hybrid, or empty; ``undecayed`` is appended for parameters that do not decay.
        names: names of the parameters.
        hyper: the rule's hyperparameters; ``weight_decay`` is 0 for parameters that do not decay.
        decays: whether weight decay, if there is any, applies to these parameters.
    """

    config: OptimizerConfig
    label: str
    names: tuple[str, ...]
    hyper: dict[str, float]
    decays: bool = True


def rule_groups(config: OptimizerConfig | Mapping[str, Any], parameters: Parameters) -> list[RuleGroup]:
    """Group the parameters by update rule and hyperparameters, as `build` does, for callers that apply the rules.

    Configs that differ in float fields alone have the same groups with different numbers.

    Args:
        config: an optimizer config, or its plain values.
        parameters: a module, named parameters, parameters alone, or a list of mappings with ``params`` and the settings
            in which a group differs from ``config``; parameters that require no gradient are left out, tied ones
            counted once.

    Raises:
        ConfigError: there is no trainable parameter, a parameter is in no group or in two, a group has no parameters,
            or the config needs roles and no module is given.
    """
    return _rule_groups(parse(config), *read_parameters(parse(config), parameters))


def _rule_groups(
    config: OptimizerConfig, named: Mapping[str, Tensor], network: nn.Module | None, given_groups: list[ParameterGroup]
) -> list[RuleGroup]:
    def roles() -> Mapping[str, str]:
        if network is None:
            raise ConfigError(
                "Parameter roles need the network, got named parameters alone; pass the module or use name patterns."
            )
        return parameter_roles(network)

    groups = []
    try:
        assigned = config.assign(named, roles)
    except ConfigError as error:
        raise ConfigError(f"{error}{tied(network)}") from error
    for label, part, names in [(g.label, g.config, g.names) for g in given_groups] or assigned:
        resting = {name for name in names if part.undecayed and roles()[name] in part.undecayed}
        hyper = part.hyperparameters()
        decayed = tuple(name for name in names if name not in resting)
        if decayed:
            groups.append(RuleGroup(part, label, decayed, hyper))
        if resting:
            numbers = {**hyper, "weight_decay": 0.0} if "weight_decay" in hyper else hyper
            undecayed = tuple(name for name in names if name in resting)
            groups.append(RuleGroup(part, f"{label}/undecayed".lstrip("/"), undecayed, numbers, decays=False))
    _claim_once(named, groups)
    return groups


def build(
    config: OptimizerConfig | Mapping[str, Any] | str,
    parameters: Parameters,
    *,
    implementation: Literal["auto", "rule", "torch"] = "auto",
    compiled: bool | None = None,
    **settings: Any,
) -> torch.optim.Optimizer:
    """Make the optimizer that a config describes.

    Args:
        config: an optimizer config, its plain values, or its name.
        parameters: see `rule_groups`.
        implementation: ``torch`` for torch's implementation, ``rule`` for the suite's pure rule, ``auto`` for torch's
            if it has one and the suite's otherwise.
        compiled: whether to fuse rules with torch.compile; None: for large networks, if a compiler is installed.
        settings: of an optimizer that is given by its name, such as ``build("adam", network, lr=1e-3)``.

    Returns:
        An optimizer that works with schedulers, ``state_dict`` and AMP. ``initial_lr`` of every group is the peak.

    Raises:
        ConfigError: as in `rule_groups`; torch has no implementation; or the rule needs whole parameters and FSDP has
            sharded them.
    """
    config = _read_config(config, settings)
    named, network, given_groups = read_parameters(config, parameters)
    by_config: dict[int, list[RuleGroup]] = {}
    for group in _rule_groups(config, named, network, given_groups):
        by_config.setdefault(id(group.config), []).append(group)
    parts = [_part(groups, named, implementation, compiled) for groups in by_config.values()]
    is_whole = len(parts) == 1 and takes_closure(parts[0].step)
    optimizer = parts[0] if is_whole else CompositeOptimizer(parts)
    for param_group in optimizer.param_groups:
        param_group.setdefault("initial_lr", param_group["lr"])
    return optimizer


def _read_config(config: Any, settings: Mapping[str, Any]) -> OptimizerConfig:
    if isinstance(config, str):
        return parse({"name": config, **settings})
    if not isinstance(config, OptimizerConfig | Mapping):
        what = config.__name__ if isinstance(config, type) else f"a {type(config).__name__}"
        raise ConfigError(
            f"build takes an optimizer first (a name such as 'adam', a config such as Adam(lr=1e-3), or its plain "
            f"values) and then the parameters, got {what} first."
        )
    if settings:
        raise ConfigError(
            f"Settings go with the name of an optimizer, got {next(iter(settings))} beside a config; put it there."
        )
    return parse(config)


@contextmanager
def evaluation_weights(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let the network have the optimizer's evaluation weights inside the ``with`` block.

    A schedule-free optimizer evaluates other weights than it trains; its ``eval()`` and ``train()`` exchange them.
    For other optimizers the block changes nothing.

    Raises:
        ConfigError: it is no optimizer; a network has ``eval()`` and ``train()`` too.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(f"evaluation_weights needs an optimizer, got a {type(optimizer).__name__}.")
    switching = _switching(optimizer)
    for part in switching:
        part.eval()
    try:
        yield
    finally:
        for part in switching:
            part.train()


def has_evaluation_weights(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer evaluates other weights than it trains; see `evaluation_weights`."""
    return bool(_switching(optimizer))


def _switching(optimizer: torch.optim.Optimizer) -> list[Any]:
    parts = getattr(optimizer, "parts", [optimizer])
    return [part for part in parts if callable(getattr(part, "eval", None)) and callable(getattr(part, "train", None))]


def _part(
    groups: list[RuleGroup],
    named: Mapping[str, Tensor],
    implementation: Literal["auto", "rule", "torch"],
    compiled: bool | None,
) -> torch.optim.Optimizer:
    config = groups[0].config
    _refuse_sharded(config, groups, named)
    if implementation != "rule" or type(config).rule is OptimizerConfig.rule:
        resting = {"weight_decay": 0.0}
        optimizer = config.torch_optimizer([_param_group(g, named, **({} if g.decays else resting)) for g in groups])
        if optimizer is not None:
            return optimizer
    if implementation == "torch":
        raise ConfigError(f"{type(config).__name__} has no implementation in torch; use implementation='rule'.")
    return RuleOptimizer(
        [_param_group(group, named, names=list(group.names), **group.hyper) for group in groups],
        config,
        compiled=compiled,
    )


def _param_group(group: RuleGroup, named: Mapping[str, Tensor], **more: Any) -> dict[str, Any]:
    label = {"name": group.label} if group.label else {}
    return {"params": [named[name] for name in group.names], **label, **more}


def _refuse_sharded(config: OptimizerConfig, groups: list[RuleGroup], named: Mapping[str, Tensor]) -> None:
    if config.scope == "element":
        return
    for name in (name for group in groups for name in group.names):
        if is_sharded(named[name]):
            raise ConfigError(
                f"{type(config).__name__} needs whole parameters, but {name} is sharded over devices; use "
                "DistributedDataParallel, or an optimizer that works on single coordinates."
            )


def _claim_once(named: Mapping[str, Tensor], groups: list[RuleGroup]) -> None:
    claims = Counter(name for group in groups for name in group.names)
    wrong = [name for name in named if claims[name] != 1]
    if wrong:
        raise ConfigError(f"Every parameter belongs to exactly one group; not so: {', '.join(wrong)}.")
