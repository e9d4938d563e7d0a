"""Learning-rate schedules: pure functions from step to multiplier of the peak learning rate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from suite.fields import ConfigError, check_ranges, read, require, without_beside
from suite.optim.catalogue import SCHEDULES
from suite.optim.parsing import split_spec
from suite.optim.registry import class_in

SHARE = {"at_least": 0, "at_most": 1}


class Rate(NamedTuple):
    """The learning rate of a step, for any peak: ``multiplier * peak + offset``.

    Attributes:
        multiplier: share of the peak; a float, or a 0-d tensor inside a traced step.
        offset: what is added to it.
    """

    multiplier: Any
    offset: Any = 0.0

    def of(self, peak: Any) -> Any:
        """The learning rate where the peak is ``peak``, a float or tensor."""
        return peak * self.multiplier + self.offset


WHEN_SET = {"when_set": "schedules of the time before this setting keep the ids of their runs"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """Maps a 0-based step of ``total`` steps to a multiplier of the peak learning rate.

    Attributes:
        warmup_share: share of the steps over which the multiplier rises linearly; the first step is already above 0.
        warmup_steps: number of steps of the warm-up, in place of its share (paper 2, section 2.3: 2,000).
        from_zero: whether step i of a warm-up of w steps has i / w and not (i + 1) / w, so that the first step is idle
            (the code of papers 2 and 3).
    """

    warmup_share: float = dataclasses.field(default=0.1, metadata=SHARE)
    warmup_steps: int | None = dataclasses.field(default=None, metadata={"at_least": 1, **WHEN_SET})
    from_zero: bool = dataclasses.field(default=False, metadata=WHEN_SET)

    def __post_init__(self) -> None:
        check_ranges(type(self), vars(self), name="")

    def __call__(self, step: int, total: int) -> float:
        """The multiplier at ``step``; from ``step == total`` on, past the last, it is the schedule's final value."""
        warmup = self.steps_of_warmup(total)
        if step < warmup:
            return (step if self.from_zero else step + 1) / warmup
        return self._after(min(1.0, (step - warmup + self._ahead) / max(1, total - warmup)), warmup / max(1, total))

    def rate(self, step: int, total: int) -> Rate:
        """The learning rate at ``step``."""
        return Rate(self(step, total))

    def steps_of_warmup(self, total: int) -> int:
        """Steps of the warm-up of a run of ``total`` steps, which may end within it."""
        return int(self.warmup_share * total) if self.warmup_steps is None else self.warmup_steps

    def after_warmup(self, progress: float) -> float:
        """Multiplier after the warm-up, at ``progress`` from 0 to 1."""
        raise NotImplementedError

    @property
    def _ahead(self) -> int:
        """Steps by which the phase after the warm-up is ahead."""
        return 0

    def _after(self, progress: float, warmup: float) -> float:
        """Multiplier after a warm-up that took the share ``warmup`` of all steps."""
        return self.after_warmup(progress)


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
class Decaying(Schedule):
    """A schedule that falls to a final learning rate after the warm-up.

    Attributes:
        final_lr: learning rate at the end, the same for every peak, in place of a share of the peak: a multiplier m
            after the warm-up stands for ``m * peak + (1 - m) * final_lr`` (papers 2 and 3: 1e-5).
        reaches_final: whether the last step has the final value already, so that n steps of a line to zero have
            1 - 1/n, ..., 0 and not 1, ..., 1/n (the branches in paper 1's code).
    """

    final_lr: float | None = dataclasses.field(default=None, metadata={"at_least": 0, **WHEN_SET})
    reaches_final: bool = dataclasses.field(default=False, metadata=WHEN_SET)

    def __post_init__(self) -> None:
        super().__post_init__()
        share = getattr(self, "final_share", 0.0)
        require(self.final_lr is None or share == 0, "final_share", "0 where final_lr is set", share)

    def rate(self, step: int, total: int) -> Rate:
        """The learning rate at ``step``, with its part of ``final_lr`` after the warm-up."""
        multiplier = self(step, total)
        falls = self.final_lr is not None and step >= self.steps_of_warmup(total)
        return Rate(multiplier, (self.final_lr or 0.0) * (1 - multiplier) if falls else 0.0)

    @property
    def _ahead(self) -> int:
        return int(self.reaches_final)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupCosine(Decaying):
    """Linear warm-up, then half a cosine to ``final_share`` of the peak (paper 1: 10% warm-up, to zero).

    Attributes:
        final_share: share of the peak at the end.
    """

    final_share: float = dataclasses.field(default=0.0, metadata=SHARE)

    def after_warmup(self, progress: float) -> float:
        """The multiplier on half a cosine, from 1 to ``final_share``."""
        return self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Decaying):
    """Linear warm-up, then a straight line to ``final_share`` of the peak.

    Attributes:
        final_share: share of the peak at the end.
    """

    final_share: float = dataclasses.field(default=0.0, metadata=SHARE)

    def after_warmup(self, progress: float) -> float:
        """The multiplier on a straight line from 1 to ``final_share``."""
        return 1 - (1 - self.final_share) * progress


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(Decaying):
    """Linear warm-up, a constant peak, then a linear cool-down to zero (paper 2, section 2.3; paper 1's branches).

    Attributes:
        cooldown_share: share of all steps that the cool-down takes, or what ``warmup_steps`` leave of them.
    """

    cooldown_share: float = dataclasses.field(default=0.2, metadata=SHARE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_steps is None:
            both = self.warmup_share + self.cooldown_share
            require(both <= 1, "warmup_share + cooldown_share", "at most 1", both)

    def after_warmup(self, progress: float) -> float:
        """The multiplier: 1, then a straight line to zero."""
        return self._after(progress, self.warmup_share)

    def _after(self, progress: float, warmup: float) -> float:
        share = self.cooldown_share / max(1e-12, 1 - (self.warmup_share if self.warmup_steps is None else warmup))
        if self.warmup_steps is not None:
            share = min(1.0, share)
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
    """The ``class_path`` form of a schedule; raises ConfigError as `parse_schedule` does.

    Defaults are included, but for settings that count only where they are set.
    """
    schedule = parse_schedule(spec)
    cls = type(schedule)
    module = "suite.optim" if cls.__module__ == __name__ else cls.__module__
    return {
        "class_path": f"{module}.{cls.__qualname__}",
        "init_args": without_beside(cls, dataclasses.asdict(schedule)),
    }
