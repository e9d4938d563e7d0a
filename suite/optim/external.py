"""A config for any `torch.optim.Optimizer` class of torch or of another library, named by its dotted path."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, Self

import torch

from suite.fields import ConfigError, field_types, nearest, plain, raised, read_value, users_line
from suite.optim.catalogue import LIBRARY
from suite.optim.config import OptimizerConfig
from suite.optim.registry import config_class

_PLAIN = (bool, int, float, str, type(None))


@dataclasses.dataclass(frozen=True, kw_only=True)
class External(OptimizerConfig):
    """An optimizer class of torch or another library, such as ``torch.optim.NAdam``, or its short name.

    Weight decay is the argument ``weight_decay`` of the class; ``undecayed`` works if the class has that argument.
    Whether the optimizer works on parameters that are sharded over devices depends on the class.

    Attributes:
        path: dotted path of the class, or its short name (``soap``).
        arguments: the class's arguments except the parameters and ``lr``; omitted ones take the class's defaults.
    """

    path: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay != "none":
            raise ConfigError(
                f"{self.path} brings its own weight decay, got decay {self.decay!r}; set weight_decay alone."
            )
        signature = arguments_of(self._target())
        for key in self.arguments:
            if key not in signature:
                raise ConfigError(f"{self.path} has no setting {key!r}{nearest(key, ['lr', *signature])}.")
        if self.undecayed and "weight_decay" not in signature:
            raise ConfigError(
                f"{self.path} has no weight decay, got undecayed {list(self.undecayed)}; leave undecayed out."
            )
        filled = {key: plain(value) for key, value in signature.items() if _is_plain(value)}
        filled |= LIBRARY[self.path].presets if self.path in LIBRARY else {}
        typed = {key: _like_default(v, signature[key], f"{self.path}.{key}") for key, v in self.arguments.items()}
        object.__setattr__(self, "arguments", filled | plain(typed))
        # Only the class can check its ranges, so it is built once here, before anything is trained.
        self._try()

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, name: str) -> Self:
        """Make the config from ``path``, ``lr`` and the class's arguments, nested in ``arguments`` or beside it.

        Raises:
            ConfigError: the path is not an optimizer class, ``lr`` is missing, the class does not have an argument, or
                it does not accept a value.
        """
        path = str(values.get("path", name))
        if "lr" not in values:
            raise ConfigError(f"{path} needs lr, which has no default; set lr.")
        names = {"lr", "decay", "undecayed"}
        arguments = dict(values.get("arguments") or {})
        arguments |= {key: value for key, value in values.items() if key not in names | {"path", "arguments"}}
        types = field_types(cls)
        fields = {key: read_value(values[key], types[key], f"{path}.{key}") for key in names if key in values}
        return cls(path=path, arguments=arguments, **fields)

    def init_values(self) -> dict[str, Any]:
        """The path, the learning rate and every argument."""
        values = {"path": self.path, "lr": self.lr, "arguments": plain(self.arguments)}
        return values | ({"undecayed": list(self.undecayed)} if self.undecayed else {})

    def plain_values(self) -> dict[str, Any]:
        """``{"name": path, "lr": ..., argument: value, ...}``."""
        values = self.init_values()
        return {"name": values.pop("path"), "lr": values.pop("lr"), **values.pop("arguments"), **values}

    def hyperparameters(self) -> dict[str, float]:
        """The learning rate alone; the class keeps its other numbers to itself."""
        return {"lr": self.lr}

    def torch_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make the optimizer.

        Raises:
            ConfigError: the class does not accept these arguments.
        """
        signature = arguments_of(self._target())
        # A default is not passed, because its conversion to a plain value may have changed it.
        arguments = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in self.arguments.items()
            if key in signature and plain(signature[key]) != value
        }
        try:
            made: torch.optim.Optimizer = self._target()(groups, lr=self.lr, **arguments)
        except (TypeError, ValueError) as error:
            words = str(error).rstrip(".")
            raise ConfigError(f"{self.path} does not take these settings: {words}{users_line(error)}.") from error
        except Exception as error:
            raise raised(f"{self.path}.__init__", error) from error
        if not {"param_groups", "state", "defaults"} <= vars(made).keys():
            raise ConfigError(f"{self.path}.__init__ must call super().__init__(params, defaults), and it does not.")
        return made

    def _try(self) -> None:
        """Make the optimizer for a small parameter and, the first time, take a step.

        Raises:
            ConfigError: the class does not take these arguments, or no step with a dense gradient alone.
        """
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            parameter = torch.zeros(2, 2, requires_grad=True)
            optimizer = self.torch_optimizer([{"params": [parameter]}])
            if type(optimizer) in _stepped:
                return
            parameter.grad = torch.ones(2, 2)
            try:
                optimizer.step()
            except Exception as error:
                if not any(word in str(error).lower() for word in ("cuda", "gpu", "triton")):  # fine where there is one
                    raise raised(f"A step of {self.path}", error) from error
            if parameter.shape != (2, 2):
                raise ConfigError(
                    f"A step of {self.path} must change a parameter in place, got the shape {list(parameter.shape)} "
                    "from [2, 2]."
                )
        _stepped.add(type(optimizer))

    def _target(self) -> Any:
        target = config_class(self.path)
        if not issubclass(target, torch.optim.Optimizer):
            raise ConfigError(f"The class path {self.path!r} must name a torch optimizer or an optimizer config.")
        if inspect.isabstract(target) or target.step is torch.optim.Optimizer.step:
            raise ConfigError(f"{self.path} is an abstract class, without a step; name one that derives from it.")
        needed = [p for p in list(inspect.signature(target.step).parameters.values())[1:] if _is_needed(p)]
        if needed:
            raise ConfigError(
                f"{self.path}.step needs {needed[0].name}, which a training of the suite has not to give; name an "
                "optimizer that steps with gradients alone."
            )
        return target


def arguments_of(target: type) -> dict[str, Any]:
    """The arguments of an optimizer class except the parameters and ``lr``, with their defaults.

    If a class accepts ``**kwargs``, the arguments of its base classes are included.
    """
    arguments: dict[str, Any] = {}
    for cls in target.__mro__:
        if cls is torch.optim.Optimizer or "__init__" not in cls.__dict__:
            continue
        parameters = list(inspect.signature(cls.__init__).parameters.values())[2:]  # type: ignore[misc]
        for p in parameters:
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name != "lr":
                arguments.setdefault(p.name, p.default)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return arguments


_stepped: set[type] = set()
"""Classes that have been seen to take a step."""


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_KEYWORD,
        parameter.VAR_POSITIONAL,
    )


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN or (isinstance(value, tuple | list) and all(type(item) in _PLAIN for item in value))


def _like_default(value: Any, default: Any, where: str) -> Any:
    if isinstance(default, bool):
        return read_value(value, bool, where)
    if isinstance(default, int | float):
        return read_value(value, float if isinstance(default, float) else type(default), where)
    if isinstance(default, tuple) and isinstance(value, list | tuple) and len(default) == len(value):
        return tuple(_like_default(v, d, where) for v, d in zip(value, default, strict=True))
    return value
