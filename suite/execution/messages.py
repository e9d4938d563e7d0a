"""Requests of launchers to workers, and their answers: one line of JSON each."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal, Self

from suite.fields import read


class _Message:
    """A dataclass that travels as a line of JSON."""

    def to_json(self) -> str:
        """The message as a line."""
        return json.dumps(dataclasses.asdict(self))  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a message.

        Raises:
            ValueError: the text is none of this kind.
        """
        return read(cls, json.loads(text), name=cls.__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkRequest(_Message):
    """Runs to train, or to measure; several are trained at once where that is possible.

    Attributes:
        do: ``run``, or ``measure`` to learn what a step costs.
        configs: the resolved configuration of each run.
        run_ids: their identities; empty for a measurement.
        store: where the records go.
        steps: how a step is executed; see `suite.packs.pack.run_pack`.
        fingerprint: checksum of the data that the sweep was planned with; a worker refuses other data.
        seconds: wall time that measuring may take after the first steps, about.
        share: of what ``run_steps`` steps of single runs will take, that measuring may take.
        run_steps: steps of all runs that the measurement stands for.
    """

    do: Literal["run", "measure"]
    configs: list[dict[str, Any]]
    run_ids: list[str] = dataclasses.field(default_factory=list)
    store: str = ""
    steps: Literal["auto", "plain", "recorded", "compiled"] = "auto"
    fingerprint: str | None = None
    seconds: float = 0.0
    share: float = 0.0
    run_steps: int = 0

    @property
    def at_once(self) -> bool:
        """Whether its runs are a pack; a compiled step is that of a pack, be it of one run."""
        return len(self.configs) > 1 or self.steps == "compiled"

    @property
    def initials(self) -> dict[str, int]:
        """Runs whose weights must be there, and the step of those weights; none for a measurement."""
        configs = self.configs if self.do == "run" else []
        starts = [config.get("model", {}).get("init_args", {}).get("initial") for config in configs]
        return {start["run"]: start["step"] for start in starts if start}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepCost:
    """What a step was measured to cost, of one run or of several trained at once.

    Attributes:
        seconds_per_step: see `suite.training.timing.StepTimer`.
        setup_seconds: of making a graph, once per worker.
        memory: bytes above what the process had before.
        available: bytes that were free.
    """

    seconds_per_step: float
    setup_seconds: float = 0.0
    memory: float = 0.0
    available: float = 0.0


@dataclasses.dataclass(frozen=True)
class Event(_Message):
    """What happened to a job: a worker's answer, or what its launcher saw.

    Attributes:
        kind: ``started``, ``done`` (with statuses, or a cost), ``held`` (another process trains it) or ``crashed``.
        statuses: of the runs' records, for jobs that were trained.
        seconds: wall time that they took.
        error: what went wrong, for ``failed`` runs, measurements without a cost, and crashes.
        cost: of a step, for jobs that were measured.
    """

    kind: Literal["started", "done", "held", "crashed"]
    statuses: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    error: str = ""
    cost: StepCost | None = None
