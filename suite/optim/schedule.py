"""Learning-rate schedules: pure functions from step to multiplier of the peak learning rate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from suite.fields import ConfigError, check_ranges, read, require
from suite.optim.catalogue import SCHEDULES
from suite.optim.parsing import split_spec
from suite.optim.registry import class_in

SHARE = {"at_least": 0, "at_most": 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """Maps a 0-based step of ``total`` steps to a multiplier of the peak learning rate.

    Attributes:
        warmup_share: share of the steps over which the multiplier rises linearly; the first step is already above 0.
    """

    warmup_share: float = dataclasses.field(default=0.1, metadata=SHARE)

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self), name="")

    def __call__(self, step: int, total: int) -> float:
        """The multiplier at ``step``; from ``step == total`` on, past the last, it is the schedule's final value."""
        warmup = int(self.warmup_share * total)
        if step < warmup:
            return (step + 1) / warmup
        return self.after_warmup(min(1.0, (step - warmup) / max(1, total - warmup)))

    def after_warmup(self, progress: float) -> float:
        """Multiplier after the warm-up, at ``progress`` from 0 to 1."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The peak learning rate at every step after the warm-up.

    Attributes:
        warmup_share: share of the steps in a linear warm-up; 0 by default.
    """

    warmup_share: float = dataclasses.field(default=0.0, metadata=SHARE)

    def after_warmup(self, progress: float) -> float:
        """The multiplier, 1 at any progress."""
        return 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupCosine(Schedule):
    """Linear warm-up, then half a cosine to ``final_share`` of the peak (paper 1: 10% warm-up, to zero).

    Attributes:
        final_share: share of the peak at the end.
    """

    final_share: float = dataclasses.field(default=0.0, metadata=SHARE)

    def after_warmup(self, progress: float) -> float:
        """The multiplier on half a cosine, from 1 to ``final_share``."""
        return self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """Linear warm-up, then a straight line to ``final_share`` of the peak.

    Attributes:
        final_share: share of the peak at the end.
    """

    final_share: float = dataclasses.field(default=0.0, metadata=SHARE)

    def after_warmup(self, progress: float) -> float:
        """The multiplier on a straight line from 1 to ``final_share``."""
        return 1 - (1 - self.final_share) * progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(Schedule):
    """Linear warm-up, a constant peak, then a linear cool-down to zero (paper 2, section 2.3; paper 1's branches).

    Attributes:
        cooldown_share: share of all steps that the cool-down takes.
    """

    cooldown_share: float = dataclasses.field(default=0.2, metadata=SHARE)

    def __post_init__(self) -> None:
        super().__post_init__()
        both = self.warmup_share + self.cooldown_share
        require(both <= 1, "warmup_share + cooldown_share", "at most 1", both)

    def after_warmup(self, progress: float) -> float:
        """The multiplier: 1, then a straight line to zero."""
        share = self.cooldown_share / max(1e-12, 1 - self.warmup_share)
        return 1.0 if progress <= 1 - share else max(0.0, (1 - progress) / share)


def parse_schedule(spec: Mapping[str, Any] | Schedule) -> Schedule:
    """Make a schedule from plain values, in either form that `suite.optim.parse` reads.

    Raises:
        ConfigError: the schedule is unknown; or a field is unknown or of the wrong type.
    """
    if isinstance(spec, Schedule):
        return spec
    name, values = split_spec(spec, "schedule")
    cls = class_in(SCHEDULES, name, "schedule")
    if not issubclass(cls, Schedule):
        raise ConfigError(f"The class path {name!r} must name a Schedule.")
    return read(cls, values, name=name)


def resolve_schedule(spec: Mapping[str, Any] | Schedule) -> dict[str, Any]:
    """The ``class_path`` form of a schedule, defaults included; raises ConfigError as `parse_schedule` does."""
    schedule = parse_schedule(spec)
    cls = type(schedule)
    module = "suite.optim" if cls.__module__ == __name__ else cls.__module__
    return {"class_path": f"{module}.{cls.__qualname__}", "init_args": dataclasses.asdict(schedule)}
