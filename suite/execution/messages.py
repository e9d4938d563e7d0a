"""The requests of launchers to workers and the workers' answers, each a line of JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal, Self

from suite.fields import read


class _Message:
    """A dataclass that is sent as a line of JSON."""

    def to_json(self) -> str:
        """The message as a line of JSON, without the line break."""
        return json.dumps(dataclasses.asdict(self))  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a message.

        Raises:
            ValueError: the text is not a message of this class.
        """
        return read(cls, json.loads(text), name=cls.__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkRequest(_Message):
    """A request to train runs, at once if that is possible, or to measure the cost of their steps.

    Attributes:
        do: ``run`` to train the runs, ``measure`` to measure the cost of a step.
        configs: the resolved configuration of each run.
        run_ids: the id of each run; empty for a measurement.
        store: folder of the store for the records.
        steps: how a step is executed; see `suite.packs.pack.run_pack`.
        fingerprint: checksum of the data with which the sweep was planned; a worker refuses other data.
        loggers: logs that every run has for other programs; see `suite.training.run_logs`.
        seconds: approximate wall time that a measurement may take after the first steps.
        share: limit on that time as a share of the time that ``run_steps`` steps of single runs will take.
        run_steps: number of steps, over all runs, of the training that is being estimated.
    """

    do: Literal["run", "measure"]
    configs: list[dict[str, Any]]
    run_ids: list[str] = dataclasses.field(default_factory=list)
    store: str = ""
    steps: Literal["auto", "plain", "recorded", "compiled"] = "auto"
    fingerprint: str | None = None
    loggers: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    share: float = 0.0
    run_steps: int = 0

    @property
    def at_once(self) -> bool:
        """Whether the runs form a pack; only packs have compiled steps, so one compiled run is a pack too."""
        return len(self.configs) > 1 or self.steps == "compiled"

    @property
    def initials(self) -> dict[str, int]:
        """Run id -> step of the weights that the runs start from; empty for a measurement."""
        configs = self.configs if self.do == "run" else []
        starts = [config.get("model", {}).get("init_args", {}).get("initial") for config in configs]
        return {start["run"]: start["step"] for start in starts if start}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepCost:
    """The measured cost of a step of one run, or of several trained at once.

    Attributes:
        seconds_per_step: see `suite.training.timing.StepTimer`.
        spread: see `suite.training.timing.StepTimer`.
        setup_seconds: seconds for making a graph, once per worker.
        memory: bytes that training used beyond those in use before; 0 if unknown.
        available: bytes that were free before; 0 if unknown.
        micro_batch: ``data.micro_batch`` with which the memory sufficed.
        device: kind of the device, ``cpu`` or ``cuda``.
    """

    seconds_per_step: float
    spread: float = 0.0
    setup_seconds: float = 0.0
    memory: float = 0.0
    available: float = 0.0
    micro_batch: int | None = None
    device: str = "cpu"


@dataclasses.dataclass(frozen=True)
class Event(_Message):
    """An event of a job: a worker's answer, or an observation of its launcher.

    Attributes:
        kind: ``started``, ``done`` (with statuses, or a cost), ``held`` (another process trains it) or ``crashed``.
        statuses: status of each run's record, for jobs that were trained.
        seconds: wall time of the training.
        error: the error of failed runs, failed measurements and crashes.
        code: exit code of a command that ends with the error, see `suite.execution.faults`.
        cost: cost of a step, for jobs that were measured.
        short_of_memory: whether the device's memory did not hold a measurement's runs.
    """

    kind: Literal["started", "done", "held", "crashed"]
    statuses: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    error: str = ""
    code: int = 0
    cost: StepCost | None = None
    short_of_memory: bool = False
