"""Settings that a sweep gives as a time in tokens or samples, and the values that they have at a batch size.

``beta2: {half_life_tokens: [1.0e+6, 1.0e+7]}`` stands for the betas whose averages forget half of what they hold in so
many tokens, ``2 ** (-step / half_life)`` with ``step`` the tokens of an optimizer step (paper 4); a half-life of 0 is a
beta of 0.
``weight_decay: {time_scale_tokens: ...}`` stands for the weight decay that would shrink the weights by a factor of e in
so many tokens at the peak learning rate: ``step / (time_scale * lr)`` for decoupled decay (Wang & Aitchison 2024),
``step / time_scale`` for independent decay, which does not depend on the rate.

The time is the axis: tuned, extended, compared and reported as such. A run has the value, rounded to six digits as all
grids are, so that it is the same run as one with the value written by hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from suite.fields import ConfigError, require
from suite.records.tuning import TIMES, is_momentum, is_time, setting_of_axis
from suite.sweep.grid import rounded


def with_times(settings: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's entry with every time under a name of its own: ``beta2.half_life_tokens``.

    Raises:
        ConfigError: a setting is given as a value and as a time.
    """
    named: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in TIMES:
            named |= {f"{name}.{kind}": time for kind, time in value.items()}
        else:
            named[name] = value
    for name in filter(is_time, named):
        twice = [other for other in named if other != name and setting_of_axis(other) == setting_of_axis(name)]
        if twice:
            raise ConfigError(f"{setting_of_axis(name)} may be given once, got {name} and {twice[0]}; leave one out.")
    return named


def settled(settings: Mapping[str, Any], *, batch_size: int, tokens_per_sample: int | None) -> dict[str, Any]:
    """The settings of a run with the values that its times have.

    Args:
        settings: of an optimizer, with dotted names.
        batch_size: samples per optimizer step.
        tokens_per_sample: None for data without tokens.

    Raises:
        ConfigError: a time is no positive number, of a setting that has none, or in tokens where there are none.
    """
    plain = {name: value for name, value in settings.items() if not is_time(name)}
    for name, time in settings.items():
        if not is_time(name):
            continue
        setting, _, kind = name.rpartition(".")
        in_tokens = kind.endswith("tokens")
        if in_tokens and tokens_per_sample is None:
            raise ConfigError(
                f"{name} needs data of tokens, whose samples have a length (data.seq_len), and these have none; give "
                f"{name.removesuffix('tokens')}samples."
            )
        step = float(batch_size * tokens_per_sample) if in_tokens and tokens_per_sample else float(batch_size)
        is_number = isinstance(time, int | float) and not isinstance(time, bool)
        if kind.startswith("half_life"):
            require(is_momentum(setting), name, "a half-life of a momentum or beta", setting)
            require(is_number and time >= 0, name, "a number of tokens or samples from 0 up", time)
            plain[setting] = rounded(2.0 ** (-step / time)) if time else 0.0
        else:
            require(setting.rpartition(".")[2] == "weight_decay", name, "a time scale of weight_decay", setting)
            require(is_number and time > 0, name, "a number of tokens or samples above 0", time)
            plain[setting] = _decay(setting, step / time, settings)
    return plain


def _decay(setting: str, per_step: float, settings: Mapping[str, Any]) -> float:
    """The weight decay by which the weights lose a share per step at the peak learning rate."""
    owner = setting.removesuffix("weight_decay")
    policy = settings.get(f"{owner}decay") or _usual_policy(str(settings.get(f"{owner}name", owner[:-1])))
    if policy == "independent":
        return rounded(per_step)
    if policy == "decoupled":
        rate = settings.get(f"{owner}lr")
        require(isinstance(rate, int | float) and rate > 0, f"{owner}lr", "a rate, for a time scale of decay", rate)
        return rounded(per_step / float(rate))  # type: ignore[arg-type]
    raise ConfigError(
        f"A time scale of {setting} needs decay decoupled or independent, got {policy!r}; set {owner}decay, or give "
        f"{setting} itself."
    )


def _usual_policy(name: str) -> str:
    """The policy of weight decay that an optimizer has unless another is set."""
    from suite.optim import OptimizerConfig
    from suite.optim.registry import config_class

    cls = config_class(name)
    if not (isinstance(cls, type) and issubclass(cls, OptimizerConfig)):
        return "its library's"
    return next((str(field.default) for field in dataclasses.fields(cls) if field.name == "decay"), "none")
