"""The base class of optimizer configs: hyperparameters with types and ranges, a pure update rule, weight decay."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Self

from suite.fields import ConfigError, check_ranges, plain, read, require, without_beside

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from suite.optim.broadcast import Hyper, Number, State

Decay = Literal["none", "coupled", "decoupled", "independent"]
Role = Literal["norm", "embed", "head", "bias", "hidden"]
Scope = Literal["element", "tensor", "matrix", "global"]

NOT_NEGATIVE = {"at_least": 0}

SAMPLED_GRADIENT = "sampled_gradient"
"""Name in a rule's state of the gradient on drawn labels; see `OptimizerConfig.sampled_every`."""

_ARITHMETIC = frozenset(
    ("rule", "init_state", "hyperparameters", "accumulate", "sketch", "statistic", "finish"),
)

AVERAGE = {"at_least": 0, "below": 1}
"""Range of an averaging coefficient such as a momentum or a beta."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    r"""Description of an update rule; `suite.optim.build` makes the optimizer.

    A subclass is a frozen keyword-only dataclass that defines `rule`, a pure function. Its ``float`` fields are the
    hyperparameters: the rule reads them from ``hyper`` as floats, or as tensors that broadcast over a leading run
    dimension. The rule reads all other fields from ``self``; they are equal in all runs of a pack.

    Every rule supports weight decay :math:`\lambda` by one of three policies:

    ``coupled``
        L2 regularisation: the rule gets the gradient :math:`g + \lambda \theta`.
    ``decoupled``
        :math:`\theta` also moves by :math:`-\eta_t \lambda \theta` (Loshchilov & Hutter 2019).
    ``independent``
        after the step :math:`\theta` is multiplied by :math:`1 - \lambda \eta_t / \eta_{peak}`, whatever the peak
        (paper 1, appendix B.1).

    Attributes:
        lr: peak learning rate; it has no default.
        weight_decay: strength of the weight decay, at least 0; above 0 it needs a policy in ``decay``.
        decay: weight-decay policy: none, coupled, decoupled or independent.
        undecayed: roles whose parameters do not decay, such as ``[norm, bias, embed]``; by default all decay.
    """

    lr: float = dataclasses.field(metadata=NOT_NEGATIVE)
    weight_decay: float = dataclasses.field(default=0.0, metadata=NOT_NEGATIVE)
    decay: Decay = "none"
    undecayed: tuple[Role, ...] = ()

    buffers: ClassVar[tuple[str, ...]] = ()
    """Names of the tensors that the rule keeps from step to step; see `init_state`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "update" in cls.__dict__:
            raise TypeError(f"{cls.__name__} must define rule; update adds the weight decay around it.")
        # Torch's implementation is that of the rule that it was written for.
        if _ARITHMETIC & cls.__dict__.keys() and "torch_optimizer" not in cls.__dict__:
            cls.torch_optimizer = OptimizerConfig.torch_optimizer  # type: ignore[method-assign]

    def __new__(cls, *positional: Any, **settings: Any) -> Self:
        """Refuse what the optimizers of ``torch.optim`` take: a config has names for its settings and no parameters."""
        if positional:
            raise ConfigError(
                f"{cls.__name__} describes an optimizer: {cls.__name__}.optimizer(parameters, lr=...) or "
                f"{cls.__name__}(lr=...).build(parameters) makes one, got an argument without a name."
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self), name="")
        if self.weight_decay > 0 and self.decay == "none":
            raise ConfigError(
                f"weight_decay {self.weight_decay:g} needs a policy, got decay 'none'; set decay to coupled, "
                "decoupled or independent."
            )
        if self.decay == "independent":
            require(self.weight_decay < 1, "weight_decay", "below 1 for independent decay", self.weight_decay)

    @property
    def scope(self) -> Scope:
        """The coordinates on which a coordinate's step may depend, and the shape of the rule's tensors.

        ``element``: on itself alone, any shape. ``tensor``: on its parameter, a vector ``[P]``. ``matrix``: on its
        parameter, ``[rows, columns]`` with the later dimensions joined. ``global``: on all parameters, one vector
        ``[P]``. In a pack of R runs, a run dimension comes first; rules reduce over the last dimensions.
        A rule with a wider scope than ``element`` needs whole parameters: `build` refuses those that FSDP has sharded.
        A class declares its scope as a plain attribute, ``scope = "tensor"``.
        """
        return "element"

    @property
    def sampled_every(self) -> int:
        r"""Every how many steps, the first included, the rule needs the sampled gradient; 0: never.

        It is the gradient of the mean loss on labels that are drawn from the network's own predictions for the batch,
        times :math:`\sqrt{B}` for B terms of the loss: the mean of its square is the diagonal of the Gauss-Newton
        matrix (Liu et al. 2023, algorithm 2). On such a step it is in the rule's ``state`` as ``sampled_gradient``,
        shaped like ``grad``, and on no other; a rule does not return it. Training computes it; other loops give it by
        `suite.optim.RuleOptimizer.keep_sampled_gradient`.
        """
        return 0

    def needs_sampled_gradient(self, step: int) -> bool:
        """Whether a step, 1 for the first, needs the sampled gradient; see `sampled_every`."""
        return self.sampled_every > 0 and (step - 1) % self.sampled_every == 0

    def require_sampled_gradient(self, step: int) -> NoReturn:
        """Refuse a step that lacks the sampled gradient.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"{type(self).__name__} needs the gradient on drawn labels for step {step}, got none; call backward() on "
            "the loss with labels from suite.optim.draw_labels, and then optimizer.keep_sampled_gradient(terms=...), "
            "wherever optimizer.needs_sampled_gradient() is true."
        )

    def init_state(self, param: Tensor) -> State:
        """The state before the first step: tensors shaped like ``param``; by default zeros for each of ``buffers``."""
        import torch

        return {name: torch.zeros_like(param) for name in self.buffers}

    def rule(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step of the rule without weight decay and without side effects; see `update`."""
        raise NotImplementedError(f"{type(self).__name__} defines no update rule")

    def update(self, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int) -> tuple[Tensor, State]:
        """One step, weight decay included, without side effects.

        Args:
            grad: gradient, of the shape that `scope` defines; in a pack of R runs with R in front.
            param: parameter, shaped like ``grad``.
            state: the state that `init_state` or the last step returned, shaped like ``grad``.
            hyper: `hyperparameters` by name (``lr`` already scheduled); floats, or tensors, best in
                float64, that broadcast over ``grad``.
            step: 1 for the first step.

        Returns:
            The step, which has the parameter's shape and is *added* to it, and the new state, in new tensors.
        """
        delta, new = self.rule(decay_gradient(self.decay, grad, param, hyper), param, state, hyper, step)
        return decay_delta(self.decay, delta, param, hyper), new

    def torch_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer | None:
        """Torch's implementation of the same rule, for single runs; None if torch has none."""
        return None

    def assign(
        self, parameters: Mapping[str, Tensor], roles: Callable[[], Mapping[str, str]]
    ) -> list[tuple[str, OptimizerConfig, list[str]]]:
        """Assign every parameter to an update rule.

        Args:
            parameters: the trainable parameters by name.
            roles: returns each parameter's role; raises `ConfigError` if `build` was given no network.

        Returns:
            ``(label, config, parameter names)`` per rule; by default this rule with all parameters.
        """
        return [("", self, list(parameters))]

    def build(self, parameters: Any, **options: Any) -> torch.optim.Optimizer:
        """Make the optimizer: ``SGD(lr=0.3).build(network)``; see `suite.optim.build`."""
        from suite.optim import build

        return build(self, parameters, **options)

    @classmethod
    def optimizer(cls, parameters: Any, lr: float | None = None, **settings: Any) -> torch.optim.Optimizer:
        """Make the optimizer as `torch.optim` makes its own: ``Adam.optimizer(network.parameters(), lr=1e-3)``.

        It stands where a class of ``torch.optim`` stood, such as an argument ``optimizer_cls``.

        Args:
            parameters: see `suite.optim.rule_groups`.
            lr: peak learning rate.
            settings: further fields of this config.
        """
        if lr is not None:
            settings["lr"] = lr
        return cls.from_values(settings, name=cls.__name__).build(parameters)

    def hyperparameters(self) -> dict[str, float]:
        """The numbers that `update` reads from ``hyper``; they may differ between the runs of a pack."""
        hints = typing.get_type_hints(type(self))
        numbers = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if hints[f.name] is float}
        if self.decay == "none":
            del numbers["weight_decay"]
        if self.decay == "independent":
            numbers["peak_lr"] = self.lr
        return numbers

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, name: str) -> Self:
        """Make the config from plain values; error messages call it ``name``.

        Torch's ``betas``, a pair, are ``beta1`` and ``beta2`` where a config has them.

        Raises:
            ConfigError: a field is unknown, missing, or of the wrong type.
        """
        pair = values.get("betas")
        two = {"beta1", "beta2"}
        if isinstance(pair, list | tuple) and len(pair) == 2 and two <= cls.__dataclass_fields__.keys() - values.keys():
            values = {**{key: x for key, x in values.items() if key != "betas"}, "beta1": pair[0], "beta2": pair[1]}
        return read(cls, values, name=name)

    def init_values(self) -> dict[str, Any]:
        """Every field as a plain value, but for fields that count `when_set` and are empty: arguments of the class."""
        values = {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.init}
        return without_beside(type(self), values)

    def plain_values(self) -> dict[str, Any]:
        """Every setting as it is written in YAML beside ``name``; `from_values` reads it back."""
        return self.init_values()


def decay_gradient(policy: Decay, grad: Tensor, param: Tensor, hyper: Hyper) -> Tensor:
    """The gradient that the rule gets: ``grad``, or with ``coupled`` decay ``grad + weight_decay * param``."""
    if policy != "coupled" or _is_zero(hyper["weight_decay"]):
        return grad
    return grad + _rounded(hyper["weight_decay"], param) * param


def decay_delta(policy: Decay, delta: Tensor, param: Tensor, hyper: Hyper) -> Tensor:
    """The rule's step with decoupled or independent decay added.

    Args:
        policy: with ``none`` and ``coupled``, ``delta`` is returned as it is.
        delta: the rule's step, which is added to ``param``.
        param: the parameter before the step.
        hyper: ``lr`` (scheduled), ``weight_decay`` and, for independent decay, ``peak_lr``.
    """
    if policy in ("none", "coupled") or _is_zero(hyper["weight_decay"]):
        return delta
    if policy == "decoupled":
        return delta - _rounded(hyper["lr"] * hyper["weight_decay"], param) * param
    share = hyper["weight_decay"] * _share_of_peak(hyper["lr"], hyper["peak_lr"])
    return delta - _rounded(share, param) * (param + delta)


def _is_zero(weight_decay: Number) -> bool:
    return isinstance(weight_decay, int | float) and weight_decay == 0


def _rounded(number: Number, like: Tensor) -> Number:
    return number if isinstance(number, int | float) else number.to(like.dtype)


def _share_of_peak(lr: Number, peak: Number) -> Number:
    # With a peak learning rate of 0, parameters neither move nor decay.
    if isinstance(peak, int | float):
        return lr / peak if peak > 0 else 0.0
    return lr / peak.clamp(min=1e-38)
