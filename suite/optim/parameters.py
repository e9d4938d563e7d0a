"""What an optimizer is given: a network, named parameters, parameters alone, or groups of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from suite.fields import ConfigError
from suite.optim.config import OptimizerConfig
from suite.optim.parsing import describe, parse_part
from suite.optim.registry import name_of

Parameters = nn.Module | Iterable[tuple[str, Tensor]] | Iterable[Tensor] | Iterable[Mapping[str, Any]]
"""A module, named parameters, parameters alone, or groups as `torch.optim` takes them."""

_EXPECTED = "An optimizer needs a module, model.named_parameters() or model.parameters()"


@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """A group of parameters as `torch.optim` takes it.

    Attributes:
        label: its ``name``, or empty.
        config: the optimizer's config with the group's own settings.
        names: names of its trainable parameters.
    """

    label: str
    config: OptimizerConfig
    names: list[str]


def read_parameters(
    config: OptimizerConfig, parameters: Parameters
) -> tuple[dict[str, Tensor], nn.Module | None, list[ParameterGroup]]:
    """The trainable parameters by name, the network if there is one, and the groups if these are given."""
    if isinstance(parameters, nn.Module):
        return _trainable(parameters.named_parameters()), parameters, []
    if isinstance(parameters, Tensor | Mapping):
        raise ConfigError(f"{_EXPECTED}, got a {type(parameters).__name__}; put it in a list of pairs (name, tensor).")
    items: list[Any] = list(parameters)
    if not any(isinstance(item, Mapping) for item in items):
        return _trainable(_pairs(items)), None, []
    if type(config).assign is not OptimizerConfig.assign:
        raise ConfigError(f"{name_of(type(config))} makes its own groups; give it the module itself.")
    groups: list[ParameterGroup] = []
    pairs: list[tuple[str, Tensor]] = []
    for number, item in enumerate(items):
        if not isinstance(item, Mapping) or "params" not in item:
            raise ConfigError(f"Group {number} of the parameters must be a mapping with params, got {item!r:.80}.")
        params = [item["params"]] if isinstance(item["params"], Tensor) else item["params"]
        members = list(_pairs(params, first=len(pairs)))
        settings = {key: value for key, value in item.items() if key not in ("params", "name")}
        part = parse_part({**describe(config), **settings}) if settings else config
        names = [name for name, tensor in members if tensor.requires_grad]
        if names:
            groups.append(ParameterGroup(str(item.get("name", "")), part, names))
        pairs += members
    named = _trainable(pairs, once=True)
    return named, None, groups


def _trainable(pairs: Iterable[tuple[str, Tensor]], *, once: bool = False) -> dict[str, Tensor]:
    """Parameters that require a gradient, tied ones counted once; with ``once`` none may come twice."""
    named: dict[str, Tensor] = {}
    names: dict[int, str] = {}
    for name, parameter in pairs:
        if name in named:
            raise ConfigError(f"Parameters need different names, got {name!r} twice.")
        if not parameter.requires_grad:
            continue
        if once and id(parameter) in names:
            raise ConfigError(
                f"Every parameter belongs to one group, but {names[id(parameter)]} and {name} are one tensor: tied "
                "weights, or the same parameter twice; leave one out."
            )
        if id(parameter) not in names:
            names[id(parameter)] = name
            named[name] = parameter
    if not named:
        raise ConfigError("An optimizer needs at least one parameter that requires a gradient, got none.")
    return named


def tied(network: nn.Module | None) -> str:
    """Which weights of a network are tied, for an error about names; empty where none are."""
    if network is None:
        return ""
    first: dict[int, str] = {}
    tied = [
        f"{name} is {first[id(parameter)]}"
        for name, parameter in network.named_parameters(remove_duplicate=False)
        if first.setdefault(id(parameter), name) != name
    ]
    return f" Tied weights count once, under their first name: {', '.join(tied)}." if tied else ""


def _pairs(
    parameters: Iterable[tuple[str, Tensor]] | Iterable[Tensor] | Iterable[Mapping[str, Any]], first: int = 0
) -> Iterator[tuple[str, Tensor]]:
    """Named parameters; those without a name are named by their number, from ``first`` on."""
    for number, item in enumerate(parameters, first):
        pair = (str(number), item) if isinstance(item, Tensor) else item
        if not isinstance(pair, tuple | list) or list(map(_is_tensor, pair)) != [False, True]:
            raise ConfigError(f"{_EXPECTED}, got a {type(item).__name__} among them.")
        yield str(pair[0]), pair[1]


def _is_tensor(thing: object) -> bool:
    return isinstance(thing, Tensor)
