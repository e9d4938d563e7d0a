"""Hybrid optimizers: one update rule per group of parameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Self

from torch import Tensor

from suite.fields import ConfigError, nearest, plain, read_value, require
from suite.optim.config import NOT_NEGATIVE, OptimizerConfig
from suite.optim.parsing import describe, parse_part
from suite.optim.registry import list_optimizers
from suite.optim.roles import ROLES

_WRAPPERS = ("_orig_mod.", "module.", "_fsdp_wrapped_module.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hybrid(OptimizerConfig):
    """Different rules for different parameters, each with its own hyperparameters (paper 1, Table 1).

    In YAML every group is a mapping, under any label, beside ``name``::

        name: hybrid
        adam: {on: [head, norm], lr: 1.0e-3, beta: 0.95}
        sgd:  {lr: 0.3, momentum: 0.95}

    ``on`` lists parameter roles (norm, embed, head, bias, hidden; see `suite.optim.parameter_roles`) and patterns of
    parameter names such as ``blocks.*.attention.*``; a label that is itself a role needs no ``on``, and at most one
    group may have neither: it takes all other parameters. A group's rule is its ``name``, or else its label. A sweep
    can use every setting as an axis: ``adam.lr``, ``sgd.momentum``. A group
    whose ``lr`` is 0 does not move.

    Every parameter belongs to exactly one group; a role or pattern that matches no parameter is an error. Whether
    parameters may be sharded depends on the rules.

    Attributes:
        lr: factor on every group's learning rate, which itself has no default.
        groups: the groups by label.
    """

    lr: float = dataclasses.field(default=1.0, metadata=NOT_NEGATIVE)
    groups: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay != "none" or self.undecayed:
            raise ConfigError(
                "hybrid has its weight decay in its groups, got one beside them; set decay in each group."
            )
        if not self.groups:
            raise ConfigError("hybrid needs at least one group, got none; add one such as sgd: {lr: 0.3}.")
        filled = {}
        moving = False
        for label, values in self.groups.items():
            on, config = _read_group(label, values)
            moving |= config.lr > 0
            described = describe(config)
            filled[label] = {"name": described.pop("name"), **({"on": on} if on else {}), **described}
        require(moving, "lr of one of hybrid's groups", "above 0", 0.0)
        object.__setattr__(self, "groups", filled)
        rest = [label for label, values in filled.items() if "on" not in values]
        if len(rest) > 1:
            raise ConfigError(
                f"hybrid may have one group for the rest, got {', '.join(rest)}; give the others on: [...]."
            )

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, name: str) -> Self:
        """Make the config from ``lr`` and one mapping per group, beside ``lr`` or nested in ``groups``.

        Raises:
            ConfigError: a group cannot be read, or a setting is unknown and not a group.
        """
        groups = {label: dict(group) for label, group in (values.get("groups") or {}).items()}
        common = {f.name for f in dataclasses.fields(cls)}
        fields = {}
        for key, value in values.items():
            if key in common:
                if key != "groups":
                    fields[key] = read_value(value, {"lr": float, "weight_decay": float}.get(key, Any), f"{name}.{key}")
            elif isinstance(value, Mapping):
                groups[key] = {**groups.get(key, {}), **value}
            else:
                raise ConfigError(f"{name} has no setting {key!r}{nearest(key, ['lr', *groups])}.")
        return cls(groups=groups, **fields)

    def init_values(self) -> dict[str, Any]:
        """The factor on the learning rates, and the groups."""
        return {"lr": self.lr, "groups": plain(self.groups)}

    def plain_values(self) -> dict[str, Any]:
        """The factor on the learning rates, with the groups beside it."""
        return {"lr": self.lr, **plain(self.groups)}

    @property
    def sampled_every(self) -> int:
        """Steps from one on which a group may need the sampled gradient to the next; 0: no group ever does."""
        return math.gcd(*(_read_group(*group)[1].sampled_every for group in self.groups.items()))

    def hyperparameters(self) -> dict[str, float]:
        """The factor on the learning rates; the other numbers belong to the groups' rules."""
        return {"lr": self.lr}

    def assign(
        self, parameters: Mapping[str, Tensor], roles: Callable[[], Mapping[str, str]]
    ) -> list[tuple[str, OptimizerConfig, list[str]]]:
        """Each group's rule with its parameters.

        Raises:
            ConfigError: a parameter is in two groups or in none, or a group, role or pattern has no parameters.
        """
        owners: dict[str, str] = {}
        rest = None
        for label, values in self.groups.items():
            if "on" not in values:
                rest = label
                continue
            for name in _chosen(values["on"], parameters, roles, label):
                if name in owners:
                    raise ConfigError(
                        f"{name} is in the groups {owners[name]} and {label} of hybrid; change one group's on."
                    )
                owners[name] = label
        left = [name for name in parameters if name not in owners]
        if rest is None and left:
            raise ConfigError(f"hybrid leaves {', '.join(left)} in no group; add a group without on for the rest.")
        if rest is not None and not left:
            raise ConfigError(f"The group {rest} of hybrid is for the rest, but there is none; remove it.")
        owners |= {name: rest for name in left if rest is not None}
        assigned = []
        for label, values in self.groups.items():
            _, config = _read_group(label, values)
            config = dataclasses.replace(config, lr=config.lr * self.lr)
            assigned.append((label, config, [name for name in parameters if owners[name] == label]))
        return assigned


def _read_group(label: str, values: Mapping[str, Any]) -> tuple[list[str], OptimizerConfig]:
    spec = dict(values)
    on = spec.pop("on", [label] if label in ROLES else [])
    if isinstance(on, str):
        on = [entry.strip() for entry in on.strip("[]").split(",")]
    if "name" not in spec and "class_path" not in spec:
        if label not in list_optimizers():
            raise ConfigError(f"The group {label} of hybrid needs a rule, got none; set {label}.name.")
        spec["name"] = label
    try:
        config = parse_part(spec)
    except ConfigError as error:
        raise ConfigError(f"In the group {label} of hybrid: {error}") from error
    if isinstance(config, Hybrid):
        raise ConfigError(
            f"The group {label} of hybrid must be a single rule, got a hybrid; put its groups beside the others."
        )
    return list(on), config


def _chosen(
    on: Iterable[str], parameters: Mapping[str, Tensor], roles: Callable[[], Mapping[str, str]], label: str
) -> list[str]:
    chosen: dict[str, None] = {}
    for entry in on:
        if entry in ROLES:
            matching = [name for name in parameters if roles()[name] == entry]
        else:
            matching = [name for name in parameters if fnmatchcase(bare_name(name), entry) or fnmatchcase(name, entry)]
        if not matching:
            what = "role" if entry in ROLES else "pattern"
            raise ConfigError(
                f"The {what} {entry!r} of the group {label} must match a parameter, got none; change {label}.on."
            )
        chosen.update(dict.fromkeys(matching))
    return list(chosen)


def bare_name(name: str) -> str:
    """A parameter's name without the prefixes that DDP, FSDP and torch.compile insert."""
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper) if wrapper == "module." else name.replace(wrapper, "")
    return name
