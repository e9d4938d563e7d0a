"""Does a rule broadcast? One from outside the suite is tried once, on a few numbers, before it moves any parameter."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from suite.fields import ConfigError, raised
from suite.optim.broadcast import Hyper, State
from suite.optim.config import SAMPLED_GRADIENT, OptimizerConfig, Scope
from suite.optim.statistic import StatisticConfig

_SHAPES: dict[Scope, list[tuple[int, ...]]] = {
    "element": [(24,)],
    "tensor": [(24,), (1,)],
    "matrix": [(4, 6), (6, 4)],
    "global": [(24,)],
}

_CUT = 7
"""Coordinates of the first of a vector's two parts."""

_STEPS = (1, 2, 3, 5, 10, 100, 101, 1000, 10_000)
"""Steps that are tried, beside those around the whole numbers of a config: it may do something every so many."""

_SMALL_AT, _SMALL = (2, 100), 1e-4
"""Steps at which parameters are small, and how small."""

_tried: dict[Any, bool] = {}


def try_rule(config: OptimizerConfig) -> bool:
    """Try a rule once: two runs at once against each alone, and what it may see in parts against the whole.

    The rules of the suite are not tried: tests do that.

    Returns:
        Whether the rule draws random numbers: such runs are trained one by one.

    Raises:
        ConfigError: the rule gives other numbers to runs that are trained at once, or to parameters that are cut or
            joined; it raises an error, or has side effects; or there is no rule.
    """
    cls = type(config)
    if cls.__module__.startswith(("suite.optim.rules.", "suite.optim.external")):
        return False
    fixed = {name: value for name, value in vars(config).items() if not isinstance(value, float)}
    key = cls, repr(fixed)
    if key not in _tried:
        _tried[key] = _drawn_in_trial(config)
    return _tried[key]


def _drawn_in_trial(config: OptimizerConfig) -> bool:
    cls = type(config)
    if cls.rule is OptimizerConfig.rule:
        if cls.torch_optimizer is OptimizerConfig.torch_optimizer and cls.assign is OptimizerConfig.assign:
            raise ConfigError(f"{cls.__qualname__} defines no update rule; give it a method rule.")
        return False
    if config.scope not in _SHAPES:
        scopes = ", ".join(_SHAPES)
        raise ConfigError(f"{cls.__qualname__}.scope must be one of {scopes}, got {config.scope!r}.")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        exact = _Trial(config, torch.float64)
        try:
            exact.run()
        except _Raised:  # perhaps for numbers that are not in single precision
            coarse = _Trial(config, torch.float32, tolerance=1e-3)
            coarse.run()
            return coarse.draws
        _Trial(config, torch.float32, tolerance=math.inf).run()
        return exact.draws


class _Raised(ConfigError):
    """The rule raises an error."""


class _Trial:
    """A rule, a precision, and the numbers that it is tried with.

    Args:
        config: the rule.
        dtype: of gradients and parameters.
        tolerance: relative difference from which two steps are different; infinite: none are.
    """

    def __init__(self, config: OptimizerConfig, dtype: torch.dtype, tolerance: float = 1e-6) -> None:
        self.config = config
        self.dtype = dtype
        self.tolerance = tolerance
        self.compares = math.isfinite(tolerance)
        self.draws = False
        code = getattr(type(config).rule, "__code__", None)
        location = f" ({Path(code.co_filename).name}, line {code.co_firstlineno})" if code else ""
        self.who = f"{type(config).__qualname__}.rule{location}"
        self.cuttable = config.scope == "element" or isinstance(config, StatisticConfig)

    def run(self) -> None:
        """Try everything."""
        shapes = _SHAPES[self.config.scope]
        for shape in shapes:
            self._try_starts(shape)
            for episode in range(3 if self.compares else 1):
                self._try_steps(shape, episode, self.config)
        for field, other in _with_another_number(self.config) if self.compares else ():
            # A number at its edge may be one that the rule cannot do with, and nobody has asked for it.
            at_edge = contextlib.suppress(_Raised) if getattr(other, field) == 0 else contextlib.nullcontext()
            with at_edge:
                self._try_steps(shapes[0], 0, other, field)

    def _try_starts(self, shape: tuple[int, ...]) -> None:
        param = _normal((2, *shape), 7, self.dtype)
        both = self._start(param)
        for row in (0, 1):
            alone = self._start(param[row])
            if not self._are_close(_row(both, row), alone):
                raise ConfigError(
                    f"{type(self.config).__qualname__}.init_state starts two runs at once, {list(param.shape)}, "
                    "otherwise than each alone; let every coordinate of the state depend on its own coordinate of "
                    "param, as in torch.zeros_like(param)."
                )
            natural = param[row].reshape(4, -1) if param[row].numel() > 4 else param[row]
            parts = [param[row][:_CUT], param[row][_CUT:]] if self.config.scope == "element" else [natural]
            joined = _joined([self._start(part) for part in parts])
            if not self._are_close({name: value.reshape(-1) for name, value in alone.items()}, joined):
                raise ConfigError(
                    f"{type(self.config).__qualname__}.init_state starts a parameter otherwise in parts than as a "
                    "whole; let every coordinate of the state depend on its own coordinate of param, as in "
                    "torch.zeros_like(param)."
                )

    def _start(self, param: Tensor) -> State:
        what = f"{type(self.config).__qualname__}.init_state"
        try:
            state = self.config.init_state(param.clone())
        except Exception as error:
            raise _Raised(str(raised(what, error))) from error
        for name, value in state.items():
            if not isinstance(value, Tensor) or value.shape != param.shape:
                got = list(value.shape) if isinstance(value, Tensor) else repr(value)
                raise ConfigError(
                    f"{what} must give tensors shaped like param, {list(param.shape)}, got {name} {got}; write "
                    f"torch.zeros_like(param)."
                )
        return state

    def _try_steps(
        self, shape: tuple[int, ...], episode: int, other: OptimizerConfig, field: str | None = None
    ) -> None:
        """Some steps of two runs, whose configs differ in ``field`` alone, at once, alone and in parts."""
        configs = (self.config, other)
        generator = torch.Generator().manual_seed(episode)
        ones = [1] * len(shape)
        numbers = [config.hyperparameters() for config in configs]
        both = {k: torch.tensor([n[k] for n in numbers], dtype=torch.float64).reshape(2, *ones) for k in numbers[0]}
        state = self._start(_normal((2, *shape), 7, self.dtype))
        whole = {x for x in vars(self.config).values() if type(x) is int and 1 < x <= _STEPS[-1]}
        for step in sorted({*_STEPS, *(x + off for x in whole for off in (-1, 0, 1))}):
            grad = _gradients(shape, episode, step, generator).to(self.dtype)
            if self.config.needs_sampled_gradient(step):
                state = {**state, SAMPLED_GRADIENT: _gradients(shape, episode, step, generator).to(self.dtype)}
            param = _normal((2, *shape), step, self.dtype) * (_SMALL if step in _SMALL_AT else 1.0)
            alone = [
                self._step(config, grad[row], param[row], _row(state, row), hyper, step)
                for row, (config, hyper) in enumerate(zip(configs, numbers, strict=True))
            ]
            if field is None and self.compares:
                self._require_pure(grad[0], param[0], _row(state, 0), alone[0], step)
            delta, new = self._step(self.config, grad, param, state, both, step, at_once=True)
            for row in (0, 1):
                if not self._are_close(_outcome((delta[row], _row(new, row))), _outcome(alone[row])):
                    raise ConfigError(self._not_alike(field))
                if self.cuttable and self.compares:
                    parts = self._parts(configs[row], grad[row], param[row], _row(state, row), numbers[row], step)
                    if not self._are_close(_outcome(parts), _outcome(alone[row])):
                        raise ConfigError(self._not_in_parts())
            state = {name: torch.stack([new[name] for _, new in alone]) for name in _kept(state)}

    def _step(
        self,
        config: OptimizerConfig,
        grad: Tensor,
        param: Tensor,
        state: State,
        hyper: Hyper,
        step: int,
        at_once: bool = False,
    ) -> tuple[Tensor, State]:
        """One step on copies; it must be shaped like the parameter, and so must the new state."""
        copies = grad.clone(), param.clone(), {name: value.clone() for name, value in state.items()}
        try:
            with self._drawing(grad):
                delta, new = config.rule(*copies, hyper, step)
            shapes = {"the step": delta.shape, **{f"state {name!r}": new[name].shape for name in _kept(state)}}
            more = new.keys() - state.keys()
        except ConfigError:
            raise
        except Exception as error:
            sentence = str(raised(self.who, error))
            if at_once:
                sentence = (
                    f"{sentence[:-1]}, for two runs at once, whose hyperparameters are tensors "
                    f"{[2] + [1] * (grad.ndim - 1)} in float64; write torch.where instead of if, torch's functions "
                    "instead of math's, and rounded(hyper['lr'], grad) of suite.optim.broadcast where one precision "
                    "is asked for."
                )
            raise _Raised(sentence) from error
        for name, got in shapes.items():
            if got != grad.shape:
                raise ConfigError(
                    f"{self.who} must give {name} in the shape of the gradient, {list(grad.shape)}, got {list(got)}."
                )
        if more:
            raise ConfigError(
                f"{self.who} returns the state {sorted(more)}, which nothing keeps; name it in buffers, as in "
                f"buffers = {(*state, *sorted(more))!r}."
            )
        for name, before, after in (("grad", grad, copies[0]), ("param", param, copies[1])):
            if not torch.equal(before, after):
                raise ConfigError(
                    f"{self.who} changes {name} in place; work on a new tensor, and return what is to be added to the "
                    "parameter."
                )
        return delta, new

    def _parts(
        self, config: OptimizerConfig, grad: Tensor, param: Tensor, state: State, hyper: Hyper, step: int
    ) -> tuple[Tensor, State]:
        """The step of a vector, part by part."""
        cuts = [slice(0, _CUT), slice(_CUT, None)] if grad.numel() > _CUT else [slice(None)]
        of_part = [(grad[cut], param[cut], {name: value[cut] for name, value in state.items()}) for cut in cuts]
        if not isinstance(config, StatisticConfig):
            steps = [self._step(config, *part, hyper, step) for part in of_part]
            return torch.cat([delta for delta, _ in steps]), _joined([new for _, new in steps])
        states = [config.accumulate(*part, hyper, step) for part in of_part]
        sketches = [
            config.sketch(part, offset=cut.start or 0, total=grad.numel())
            for cut, part in zip(cuts, states, strict=True)
        ]
        statistic = config.statistic(torch.cat(sketches), hyper)
        return torch.cat([config.finish(part, statistic, hyper) for part in states]), _joined(states)

    def _require_pure(self, grad: Tensor, param: Tensor, state: State, before: tuple[Tensor, State], step: int) -> None:
        """The same arguments must give the same step, but for what torch draws."""
        again = self._step(self.config, grad, param, state, self.config.hyperparameters(), step)
        if not self._are_close(_outcome(again), _outcome(before)):
            raise ConfigError(
                f"{self.who} gives another step when it is asked again; keep what it needs from step to step in "
                "buffers, and draw random numbers with torch, as in torch.rand_like(grad)."
            )

    @contextlib.contextmanager
    def _drawing(self, grad: Tensor) -> Iterator[None]:
        """What torch draws is one number, so that runs and parts can be compared; notes that there was something."""
        with _Draws() as drawn:
            yield
        self.draws |= bool(drawn.sizes)
        if self.config.scope == "element" and drawn.sizes and min(drawn.sizes) < grad.numel():
            raise ConfigError(
                f"{self.who} draws one random number for several coordinates, which are cut and joined as memory asks; "
                "write torch.rand_like(grad), or declare what it looks at in the class, as in scope = 'tensor'."
            )

    def _are_close(self, one: State, two: State) -> bool:
        def close(a: Tensor, b: Tensor) -> bool:
            a, b = a.double(), b.double()
            finite = b[b.isfinite()].abs()
            least = 1e-3 * self.tolerance * float(finite.max()) if finite.numel() else 0.0
            return torch.allclose(a, b, rtol=self.tolerance, atol=least, equal_nan=True)

        return not self.compares or all(close(one[name], two[name]) for name in two)

    def _not_alike(self, field: str | None) -> str:
        if field is not None:
            return (
                f"{self.who} does not take {field} for each run: in a pack every run has its own; use "
                f"hyper[{field!r}] as it is, one number per run in a tensor, and not self.{field}."
            )
        last = "grad.norm(dim=(-2, -1), keepdim=True)" if self.config.scope == "matrix" else _REDUCE
        scope = _DECLARE if self.config.scope == "element" else ""
        return (
            f"{self.who} makes another step of two runs at once, one per row, than of each alone; {scope}reduce over "
            f"the last dimensions alone, as in {last}, and write torch.where instead of if."
        )

    def _not_in_parts(self) -> str:
        if isinstance(self.config, StatisticConfig):
            return (
                f"{type(self.config).__qualname__} makes another step in parts than as a whole; accumulate and finish "
                "may look at one coordinate at a time, and sketch and statistic must give one number however the "
                "parameters are cut."
            )
        return (
            f"{self.who} has the scope element, which is one coordinate at a time, but makes another step of a part "
            f"than of the whole; {_DECLARE}reduce over the last dimensions, as in {_REDUCE}."
        )


_REDUCE = "grad.norm(dim=-1, keepdim=True)"

_DECLARE = (
    "declare what it looks at in the class, scope = 'tensor' (one parameter), 'matrix' (one matrix) or 'global' (the "
    "network), and "
)


class _Draws(TorchDispatchMode):
    """Replaces what torch draws by one number; ``sizes`` are the numbers of elements that were drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        drawn = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags and isinstance(drawn, Tensor):
            self.sizes.append(drawn.numel())
            drawn.fill_(1.0 if "bernoulli" in str(func) or not drawn.is_floating_point() else 0.37)
        return drawn


def _with_another_number(config: OptimizerConfig) -> Iterator[tuple[str, OptimizerConfig]]:
    """The config with one number halved, or zero: in turn each that may differ between runs trained at once."""
    hints = typing.get_type_hints(type(config))
    others = type(config).hyperparameters is not OptimizerConfig.hyperparameters
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        varies = hints[field.name] is float or (others and float in get_args(hints[field.name]))
        if not varies or not isinstance(value, float | int) or field.name == "weight_decay":
            continue
        for number in {0.5 * value or 0.25, 0.0 if field.name != "lr" else 0.5 * value} - {value}:
            with contextlib.suppress(ValueError):
                other = dataclasses.replace(config, **{field.name: float(number)})  # type: ignore[arg-type]
                if other.hyperparameters().keys() == config.hyperparameters().keys():
                    yield field.name, other


def _gradients(shape: tuple[int, ...], episode: int, step: int, generator: torch.Generator) -> Tensor:
    """Gradients ``[2, *shape]``: at first all alike, then of all sizes and signs, by run and by part."""
    size = math.prod(shape)
    flat = torch.randn(2, size, generator=generator, dtype=torch.float64)
    if episode:
        blocks = [min(_CUT, size), size - min(_CUT, size)]
        scale = 10 ** (7 * torch.rand(2, 2, generator=generator, dtype=torch.float64) - 4)
        flat = flat * scale.repeat_interleave(torch.tensor(blocks), dim=1)
    if episode == 2:
        flat = torch.stack([flat[0].abs(), -flat[1].abs()]) * (1 if step % 2 else -1)
        flat = torch.where(torch.rand(2, size, generator=generator) < 0.2, 0.0, flat) if step % 3 == 0 else flat
    return flat.reshape(2, *shape)


def _normal(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _kept(state: State) -> list[str]:
    """The names of what a rule keeps: all but the sampled gradient, which is there for a step alone."""
    return [name for name in state if name != SAMPLED_GRADIENT]


def _row(state: State, row: int) -> State:
    return {name: value[row] for name, value in state.items()}


def _joined(states: list[State]) -> State:
    return {name: torch.cat([state[name].reshape(-1) for state in states]) for name in states[0]}


def _outcome(step: tuple[Tensor, State]) -> State:
    delta, new = step
    return {"": delta, **new}
