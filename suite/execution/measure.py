"""Measures the cost of a step, to estimate a sweep and to decide where packs and compiled steps pay."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from suite.execution.faults import SUITE_FAILED, WORK_FAILED, Fault, Reported
from suite.execution.jobs import MAX_PACK, Job, jobs_of, pays
from suite.execution.launchers.launcher import Launcher
from suite.execution.messages import Event, StepCost, WorkRequest
from suite.execution.runs import Runs
from suite.execution.sweep_progress import duration
from suite.fields import one_line
from suite.sweep import Group, GroupKey, Plan, PlannedRun
from suite.sweep.surface_search import CHANCE

MEASURE_SECONDS = 1.5
"""Approximate wall time, in seconds, of the measurement of one job after its first steps."""

MEASURE_SHARE = 0.015
"""Largest duration of the measurement of one job, as a share of its group's training time run by run."""

COMPILE_FROM = 180.0
"""Seconds of training per worker from which a compiled step is tried; compilation takes a minute on slow cores, once
per worker."""

MEMORY_SHARE = 0.7
"""Share of the free memory that packs may use."""

WhenFaster = Literal["off", "on", "auto"]
"""Whether steps are compiled graphs; ``auto``: if they are faster in a measurement, compilation included."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """The measured cost of a group's runs, in the fastest way of training that was found.

    Attributes:
        single: seconds per step of one run whose steps are not compiled.
        job: the runs that were trained at once in the measurement.
        step: measured cost of a step of that job.
        single_spread: half the distance between the quartiles of ``single``, as a share of it.
        compiled: whether the whole step is one compiled graph.
    """

    single: float
    job: Job
    step: StepCost
    compiled: bool = False
    single_spread: float = 0.0

    @property
    def size(self) -> int:
        """Number of runs trained at once."""
        return len(self.job)

    @property
    def setup(self) -> float:
        """Seconds of compilation, once per worker."""
        return self.step.setup_seconds if self.compiled else 0.0

    @property
    def seconds_per_step(self) -> float:
        """Seconds per step and run, in this way of training."""
        return self.step.seconds_per_step / self.size

    @property
    def gain(self) -> float:
        """Speed-up over single runs whose steps are not compiled."""
        return self.single / self.seconds_per_step

    @property
    def gain_spread(self) -> float:
        """How far the quartiles of the measured blocks put the gain up and down."""
        return self.gain * math.hypot(self.single_spread, self.step.spread)

    def sentence(self) -> str:
        """How the runs are trained, and what it gains."""
        how = f"packs of {self.size}" if self.size > 1 else "one run at a time"
        than = "single runs without compilation" if self.compiled else "single runs"
        spread = f" +- {self.gain_spread:.1f}" if self.gain_spread >= 0.05 else ""
        gain = f"{self.gain:.1f}{spread} x as fast as {than}" if self.gain > 1 else f"no faster than {than}"
        return f"{how}{', compiled' if self.compiled else ''}, {gain}."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measuring:
    """Measures the cost per step of a plan's runs, and finds the fastest way to train them.

    Packs are tried from the smallest batch size up. Once a pack does not pay, larger batch sizes are not tried, because
    packs gain less there, and their runs are trained one by one.

    Attributes:
        plan: the plan.
        runs: resolves the plan's runs to configurations.
        launcher: executes the measurements.
        pack: largest number of runs to train at once; None: decided by the measurement.
        compiled: whether steps are compiled.
    """

    plan: Plan
    runs: Runs
    launcher: Launcher
    pack: int | None
    compiled: WhenFaster

    def costs(self, missing: Sequence[PlannedRun]) -> dict[GroupKey, Cost]:
        """Measure the costs of the groups of the missing runs.

        Raises:
            Reported: a run fails within its first steps.
        """
        costs_as = {group.key: _costs_as(group) for group in self.plan.groups}
        first: dict[object, GroupKey] = {}
        for run in missing:
            first.setdefault(costs_as[run.key], run.key)
        costs = self._costs([run for run in missing if first[costs_as[run.key]] == run.key])
        return {run.key: costs[first[costs_as[run.key]]] for run in missing}

    def _costs(self, missing: Sequence[PlannedRun]) -> dict[GroupKey, Cost]:
        steps: Counter[GroupKey] = Counter()
        singles: dict[GroupKey, Job] = {}
        for run in missing:
            steps[run.key] += run.steps
            singles.setdefault(run.key, (run,))
        measured = {job[0].key: (job, step) for job, step in self._measured(singles.values(), steps)}
        costs = {
            key: Cost(step.seconds_per_step, job, step, single_spread=step.spread)
            for key, (job, step) in measured.items()
        }
        self._try_packs(missing, costs, steps)
        self._measure_singles_again(singles, costs, steps)
        if self.compiled != "off":
            self._try_compiled(costs, steps)
        return costs

    def _try_packs(
        self, missing: Sequence[PlannedRun], costs: dict[GroupKey, Cost], steps: Mapping[GroupKey, int]
    ) -> None:
        """Replace single runs in ``costs`` by packs where packs pay."""
        packs: dict[GroupKey, Job] = {}
        for job in jobs_of(self.plan, missing, lambda key: self._room(costs[key].step)):
            if len(job) > max(1, len(packs.get(job[0].key, ()))):
                packs[job[0].key] = job
        smallest = {key[:2]: packs[key] for key in sorted(packs, reverse=True)}

        def after(job: Job, step: StepCost) -> list[Job]:
            key = job[0].key
            single, spread = costs[key].single, costs[key].single_spread
            if self.pack is None and not pays(single, step.seconds_per_step, len(job)):
                return []
            costs[key] = Cost(single, job, step, single_spread=spread)
            return [packs[k] for k in sorted(packs) if k[:2] == key[:2] and k.batch_size > key.batch_size][:1]

        self._measured(smallest.values(), steps, after)

    def _measure_singles_again(
        self, singles: Mapping[GroupKey, Job], costs: dict[GroupKey, Cost], steps: Mapping[GroupKey, int]
    ) -> None:
        """Measure single runs again where a step of a pack was faster: something else kept the machine busy then.

        A step of a pack does all that a step of one run does, so that it bounds the single run's cost as well.
        """
        doubtful = [singles[key] for key, cost in costs.items() if cost.gain > cost.size]
        for job, step in self._measured(doubtful, steps):
            key = job[0].key
            pack = costs[key]
            single = min(pack.single, step.seconds_per_step, pack.step.seconds_per_step)
            kept = self.pack is not None or pays(single, pack.step.seconds_per_step, pack.size)
            alone = Cost(single, job, step, single_spread=step.spread)
            costs[key] = dataclasses.replace(pack, single=single, single_spread=step.spread) if kept else alone

    def _room(self, single: StepCost) -> int:
        """Largest number of runs in a pack that fits into a worker's share of the memory."""
        most = self.pack or MAX_PACK.get(single.device, MAX_PACK["cpu"])
        if not single.memory:
            return most
        share = MEMORY_SHARE * single.available / self.launcher.sharing
        return max(1, min(most, int(share / single.memory)))

    def _try_compiled(self, costs: dict[GroupKey, Cost], steps: Mapping[GroupKey, int]) -> None:
        """Put compiled steps into ``costs`` where they save time over all steps of a worker, compilation included."""
        always = self.compiled == "on"

        def seconds(key: GroupKey, cost: Cost) -> float:
            return steps[key] / self.launcher.slots * cost.seconds_per_step + cost.setup

        jobs = [cost.job for key, cost in costs.items() if always or seconds(key, cost) > COMPILE_FROM]
        for job, step in self._measured(jobs, steps, compiled=True):
            key = job[0].key
            faster = dataclasses.replace(costs[key], job=job, step=step, compiled=True)
            if always or seconds(key, faster) < seconds(key, costs[key]):
                costs[key] = faster

    def _measured(
        self,
        jobs: Iterable[Job],
        steps: Mapping[GroupKey, int],
        after: Callable[[Job, StepCost], list[Job]] = lambda job, step: [],
        *,
        compiled: bool = False,
    ) -> list[tuple[Job, StepCost]]:
        """Measure jobs; returns them with their costs. ``after`` returns further jobs to measure.

        Jobs that cannot be packed or compiled are left out.
        """
        measured: list[tuple[Job, StepCost]] = []

        def request(job: Job) -> WorkRequest:
            return WorkRequest(
                do="measure", configs=[self.runs.config(run) for run in job], steps="compiled" if compiled else "auto",
                seconds=MEASURE_SECONDS, share=MEASURE_SHARE, run_steps=steps[job[0].key],
            )  # fmt: skip

        def on_event(job: Job, event: Event) -> list[Job]:
            if event.cost is not None:
                self.runs.cut_as_measured(job[0], event.cost.micro_batch)
                measured.append((job, event.cost))
                return after(job, event.cost)
            if event.kind == "started":
                return []
            what = f"{job[0].key.optimizer} at batch size {job[0].key.batch_size}"
            if len(job) == 1 and not compiled:
                why = event.error or "its worker was stopped"
                raise Reported(Fault(f"{what} fails at once: {why}", event.code or WORK_FAILED))
            if event.short_of_memory and len(job) > 2 and not compiled:
                return [job[: len(job) // 2]]
            if event.code == SUITE_FAILED:
                how = f"packs of {len(job)}{', compiled' if compiled else ''}"
                print(one_line(f"{what}: {how} are not used: {event.error}"), file=sys.stderr)
            return []

        if jobs := list(jobs):
            kinds = sorted({"single runs" if len(job) == 1 else "packs" for job in jobs}, reverse=True)
            what = f"{len(jobs)} {'groups' if len(jobs) > 1 else 'group'} of runs, as {' and '.join(kinds)}"
            how = ", compiled: up to a minute each on slow cores" if compiled else ""
            print(f"Measuring steps of {what}{how}.", file=sys.stderr, flush=True)
            self.launcher.run(jobs, request, on_event)
        return measured


def _costs_as(group: Group) -> object:
    """A key that groups of equal cost share: the branch points of a panel differ in their starting weights alone."""
    branch = group.panel.branch
    return group.key if branch is None else (branch.of, *group.key[1:])


def print_costs(costs: Mapping[GroupKey, Cost], missing: Sequence[PlannedRun], workers: int) -> None:
    """Print a table of the measured costs, and the estimated duration of a sweep."""
    print(
        f"{'optimizer':12} {'batch size':>10} {'runs':>5} {'steps each':>10} {'ms/step':>8} {'pack':>5} "
        f"{'compiled':>8} {'memory':>8} {'cost':>9}"
    )
    total = 0.0
    for key, cost in costs.items():
        steps = [run.steps for run in missing if run.key == key]
        seconds = sum(steps) * cost.seconds_per_step + cost.setup * workers
        total += seconds
        rate = 1000 * cost.seconds_per_step
        print(
            f"{one_line(key.label):12} {key.batch_size:>10} {len(steps):>5} {steps[0]:>10} {rate:>8.2f} {cost.size:>5} "
            f"{'yes' if cost.compiled else 'no':>8} {cost.step.memory / 2**20:>5.0f} MB {duration(seconds):>9}"
        )
    print(
        f"About {duration(total / workers)} with {workers} worker{'s' * (workers != 1)} ({duration(total)} of "
        "training, measured on a few steps each; ms/step is per run, of those trained at once), without extensions of "
        "grids."
    )


def search_cost_sentence(plan: Plan, costs: Mapping[GroupKey, Cost], workers: int) -> str:
    """How many runs a search takes at most, and what they and the whole grid would cost; empty without a search."""
    if plan.spec.surface is None:
        return ""
    most = grid = 0
    seconds = {"most": 0.0, "grid": 0.0}
    for group in plan.foreseen().groups:
        at_most, whole = plan.most_runs(group), plan.grid_runs(group)
        most, grid = most + at_most, grid + whole
        if group.key in costs and group.runs:
            each = group.runs[0].steps * costs[group.key].seconds_per_step / workers
            seconds["most"] += at_most * each
            seconds["grid"] += whole * each
    rule = plan.spec.surface
    return (
        f"A search: it ends when an untried setting is better by {rule.precision:g}% with a chance below {CHANCE:.0%}, "
        f"at most after {most} runs ({duration(seconds['most'])}); the whole grid has {grid} "
        f"({duration(seconds['grid'])}). Reporting seeds come after."
    )
