"""Executes a sweep: plans it, measures it, and trains it or exports it as commands."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shlex
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from suite.diagnostics.catalogue import CATALOGUE
from suite.execution.execute import Backlog, execute
from suite.execution.faults import Reported
from suite.execution.jobs import Job
from suite.execution.launchers.launcher import Launcher
from suite.execution.launching import WORKER_COMMAND
from suite.execution.measure import Cost, Measuring, WhenFaster, print_costs, search_cost_sentence
from suite.execution.messages import Event, WorkRequest
from suite.execution.runs import Runs
from suite.execution.sweep_progress import SweepProgress
from suite.execution.trunks import lost_sentences, lost_trunks
from suite.fields import one_line
from suite.records import SETTLED, Store, StoreError
from suite.records.files import make_folder, write_text_atomically
from suite.sweep import GroupKey, Plan, PlannedRun, SweepSpec
from suite.sweep.until import Until


def _remembered_diagnostics(earlier: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """The diagnostics that an earlier call asked for.

    Raises:
        ValueError: one of them is none of the suite's own, and the store alone names its class.
    """
    asked = dict(earlier.get("diagnose") or {})
    for name in asked:
        if name not in CATALOGUE:
            raise ValueError(
                f"The plan in {store.path} asks for the diagnostic {name!r}, and what only a store names is not "
                "imported; name it in --diagnose or under diagnose in the sweep's YAML, or leave it out with "
                "--diagnose ''."
            )
    return asked


def _remembered_until(earlier: Mapping[str, Any]) -> Until | None:
    """Until when an earlier call of the sweep was to go on."""
    kept = earlier.get("until")
    return Until.from_record(kept) if kept else None


class Sweep:
    """A sweep with a store: it finds the runs without a result, and trains or exports them.

    Args:
        spec: the sweep.
        store: the store for the sweep's records and plan.
        command: the command line, saved with the plan.
        diagnose: diagnostics of the tuned settings; None: those of the YAML, or else of an earlier call.
        pack: largest number of runs to train at once; None: decided by a measurement.
        compiled: whether steps are compiled.
        loggers: logs that every run has for other programs; see `suite.training.run_logs`.

    Attributes:
        missing: runs without a result, except those that can never start.
        settled: number of runs that have a result.

    Raises:
        ValueError: a setting is wrong, or the data differ from those of the plan in the store.
    """

    def __init__(
        self,
        spec: SweepSpec,
        store: Store,
        *,
        command: str,
        diagnose: dict[str, Any] | None = None,
        pack: int | None = None,
        compiled: WhenFaster = "auto",
        loggers: Collection[str] = (),
    ) -> None:
        earlier = store.plan(spec.plan_id) or {}
        if diagnose is None:
            diagnose = spec.diagnose or _remembered_diagnostics(earlier, store)
        spec = dataclasses.replace(spec, diagnose=diagnose, until=spec.until or _remembered_until(earlier))
        self.store = store
        self.command = command
        self.pack = pack
        self.compiled = compiled
        self.loggers = list(loggers)
        self.runs = Runs(spec)
        self.plan = Plan(spec, self.runs.identify, self.runs.accept, self.runs.tokens_per_sample)
        self._refuse_other_data(earlier)
        self._name_changed_code(earlier)
        self.plan.remember(earlier.get("runs") or ())
        # What a restored store has results for is planned before anything is counted or measured.
        Backlog(self.plan, store).due()
        missing = self.plan.missing(store)
        self.settled = len(self.plan.runs) - len(missing)
        self.missing = self._without_lost(missing)
        # Both are keyed by the name of the group, as in the plan's record.
        self._packs: dict[str, int] = dict(earlier.get("packs") or {}) if pack is None else {}
        self._compiled: set[str] = set(earlier.get("compiled") or ()) if compiled == "auto" else set()
        self._expected: dict[GroupKey, float] = {}

    def __str__(self) -> str:
        name, count = self.plan.spec.name, len(self.plan.runs)
        return f"{name}: {count} run{'s' * (count != 1)}, {self.settled} in the store, {len(self.missing)} to train."

    def request(self, job: Job) -> WorkRequest:
        """A job's request to a worker, with the data's checksum, so that a worker refuses data that have changed."""
        name = str(job[0].key)
        # A compiled graph serves only packs of the measured size; a smaller pack would need its own compilation.
        measured = name in self._compiled and len(job) == self._packs.get(name, 1)
        return WorkRequest(
            do="run",
            configs=[self.runs.config(run) for run in job],
            run_ids=[run.run_id for run in job],
            store=str(self.store.path),
            steps="compiled" if measured or self.compiled == "on" else "auto",
            fingerprint=self.runs.fingerprints[job[0].panel],
            loggers=self.loggers,
        )

    def estimate(self, launcher: Launcher) -> None:
        """Measure the missing runs and print their estimated cost.

        Raises:
            ValueError: a run cannot be trained.
            Reported: a run fails within its first steps.
        """
        self._refuse_what_cannot_run(launcher)
        missing = [*self.missing, *self._waiting()]
        costs = self._costs(missing, launcher)
        print_costs(costs, missing, launcher.slots)
        for sentence in (search_cost_sentence(self.plan, costs, launcher.slots), self.runs.repetition_sentence()):
            if sentence:
                print(one_line(sentence))

    def start(self, launcher: Launcher) -> None:
        """Measure which packs pay, and write the plan.

        Raises:
            ValueError: a run cannot be trained.
            Reported: a run fails within its first steps.
        """
        self._refuse_what_cannot_run(launcher)
        if self.pack is None:
            unknown = [
                run for run in [*self.missing, *self._waiting()] if str(run.key) not in self._packs and not run.keeps
            ]
            for key, cost in self._costs(unknown, launcher).items():
                self._expected[key] = cost.seconds_per_step
                self._packs[str(key)] = cost.size
                if cost.compiled:
                    self._compiled.add(str(key))
                if cost.size > 1 or cost.compiled:
                    print(one_line(f"{key.label} at batch size {key.batch_size}: {cost.sentence()}"))
        elif self.pack > 1:
            self._packs = {str(group.key): self.pack for group in self.plan.groups}
        self._write_plan()

    def train(self, launcher: Launcher) -> list[str]:
        """Train the missing runs; returns a sentence for every run that failed."""
        spec = self.plan.spec
        progress = SweepProgress(
            total=len(self.plan.runs),
            left=self.missing,
            workers=launcher.slots,
            settled=self._statuses(self.plan.runs),
            expected=self._expected,
            grows=bool(spec.surface or spec.finalists or spec.report_seeds),
        )

        def on_growth(added: list[PlannedRun]) -> None:
            missing = [run for run in added if not self.store.settled(run.run_id)]
            progress.add(added, missing, self._statuses(added))
            self._write_plan()

        def on_event(job: Job, event: Event) -> None:
            progress.update(job, event)
            if event.kind == "done" and any(run.keeps for run in job):
                trainable = {run.run_id for run in self._without_lost(self.missing)}
                progress.drop([run for run in self.missing if run.run_id not in trainable])

        backlog = Backlog(self.plan, self.store, on_growth=on_growth, pack=self._pack_size)
        failed = execute(backlog, launcher, self.request, on_event)
        progress.close()
        if spec.surface is not None:
            self._write_plan()
        for sentence in lost_sentences(self._branching_runs(), self.store):
            print(one_line(sentence))
        return failed

    def report_more(self, points: Collection[tuple[str, int]], look: int) -> bool:
        """Plan the further reporting seeds of a look at the verdicts; returns whether there are any to train.

        Args:
            points: panels and batch sizes that need them.
            look: number of the look, from 1 up.
        """
        spec = self.plan.spec
        before = len(self.plan.runs)
        added = self.plan.report_more(points, spec.looks[look], self.store)
        if spec.until is not None and len(self.plan.runs) > spec.until.most_runs:
            for group in self.plan.groups:
                group.runs = [run for run in group.runs if run not in added]
            print(
                f"{len(points)} verdicts are open; {len(added)} more reporting runs would make {before + len(added)}, "
                f"above until.most_runs of {spec.until.most_runs}."
            )
            return False
        self.missing = self._without_lost(self.plan.missing(self.store))
        self._write_plan()
        if added:
            print(f"{len(points)} verdicts are open: {len(added)} reporting runs are added.")
        return bool(self.missing)

    def _statuses(self, runs: list[PlannedRun]) -> list[str]:
        """The statuses of the runs that have a result."""
        to_train = {run.run_id for run in self.missing}
        records = (self.store.record(run.run_id) for run in runs if run.run_id not in to_train)
        return [record["status"] for record in records if record is not None and record["status"] in SETTLED]

    def export(self, file: Path) -> None:
        """Write a shell command for every job that is due, to be executed by any other tool.

        A command trains the runs of its job that have no result, from their checkpoint if there is one, on any machine
        that sees the store at the same path. Its exit code is 0 if the runs have results, 75 if it was stopped before.

        Args:
            file: file for the commands, one per line; their requests are written to the store.

        Raises:
            ValueError: the files cannot be written.
        """
        backlog = Backlog(self.plan, self.store, on_growth=lambda added: self._write_plan(), pack=self._pack_size)
        jobs = backlog.jobs(backlog.due())
        folder, lines = self.store.path.resolve() / "sweeps" / self.plan.spec.plan_id / "requests", []
        try:
            for job in jobs:
                path = folder / f"{job[0].run_id}-{len(job)}.json"
                request = dataclasses.replace(self.request(job), store=str(self.store.path.resolve()))
                make_folder(folder, self.store.path.resolve())
                text = request.to_json()
                write_text_atomically(path, text)
                # Others may be able to write into the store; the lines lie where the user has put them.
                checksum = hashlib.sha256(text.encode()).hexdigest()
                line = shlex.join([*WORKER_COMMAND, "--request", str(path), "--sha256", checksum])
                lines.append(f"cd {shlex.quote(os.getcwd())} && {line}\n")
            write_text_atomically(file, "".join(lines))
        except OSError as error:
            raise ValueError(f"The commands could not be written to {file} ({error}); give another file.") from error
        then = "whether a grid is to grow"
        if any(run.keeps for job in jobs for run in job):
            then = "their branches, and " + then
        print(f"{len(jobs)} commands in {file}; when they are done, the same command tells {then}.")

    def _refuse_what_cannot_run(self, launcher: Launcher) -> None:
        """Refuse, before the first run is trained, what is known to fail.

        Raises:
            ValueError: there is no such network or device, or not the memory for it.
            StoreError: the weights that runs are to start from are not there.
        """
        for config in self.runs.bases.values():
            if self.missing and (start := config["model"]["init_args"].get("initial")):
                self.store.weights(start["run"], start["step"])
        at_once = min(launcher.sharing, len(self.missing))
        self.runs.refuse_what_cannot_run(self.missing, here=launcher.here, at_once=at_once)

    def _write_plan(self) -> None:
        record = self.plan.as_record(command=self.command, title=self.runs.title)
        measured = {"packs": self._packs, "compiled": sorted(self._compiled)}
        self.store.write_plan({**record, **measured, "fingerprints": self.runs.fingerprints, "code": self.runs.code})

    def _pack_size(self, key: GroupKey) -> int:
        return self._packs.get(str(key), 1)

    def _costs(self, runs: list[PlannedRun], launcher: Launcher) -> dict[GroupKey, Cost]:
        measuring = Measuring(
            plan=self.plan.foreseen(), runs=self.runs, launcher=launcher, pack=self.pack, compiled=self.compiled
        )
        return measuring.costs(runs)

    def _waiting(self) -> list[PlannedRun]:
        """The first runs of the searches that wait for others."""
        begun = {group.key for group in self.plan.groups if group.runs}
        return [run for group in self.plan.foreseen().groups if group.key not in begun for run in group.runs]

    def _branching_runs(self) -> list[dict[str, Any]]:
        return [run.as_record() for run in self.plan.runs if run.keeps or run.initial]

    def _without_lost(self, runs: list[PlannedRun]) -> list[PlannedRun]:
        """The runs without branches of diverged trunks; branches of a failed trunk stay, as it is trained again."""
        statuses = lost_trunks(self._branching_runs(), self.store)
        lost = {run_id for run_id, status in statuses.items() if status == "diverged"}
        return [run for run in runs if run.initial is None or run.initial[0] not in lost]

    def _name_changed_code(self, earlier: dict[str, Any]) -> None:
        code = earlier.get("code") or {}
        changed = sorted(name for name, checksum in self.runs.code.items() if code.get(name, checksum) != checksum)
        if changed:
            print(
                f"{', '.join(changed)} changed since this sweep was started in {self.store.path}: code is part of a "
                "run, so the runs that it is part of are trained anew; the records made with the earlier code stay."
            )

    def _refuse_other_data(self, earlier: dict[str, Any]) -> None:
        now = self.runs.fingerprints
        for panel, then in (earlier.get("fingerprints") or {}).items():
            if panel in now and now[panel] != then:
                raise ValueError(
                    f"The data of {earlier.get('task')} changed since this sweep was started in {self.store.path}: its "
                    f"plan was made with data {then}, now there is data {now[panel]}; bring the earlier data back, or "
                    "give another --store for the new data."
                )


@contextlib.contextmanager
def leaving_nothing_if_refused(store: Store, plan_id: str) -> Iterator[None]:
    """Remove the workers' logs with all folders made for them, where a sweep was refused or only estimated.

    A folder with a plan stays as it is.
    """
    folder = store.path / "sweeps" / plan_id
    new = [path for path in (folder, *folder.parents) if not path.exists()]

    def remove() -> None:
        if new and not (folder / "plan.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            for path in new[1:]:
                with contextlib.suppress(OSError):  # another sweep has begun in it
                    path.rmdir()

    try:
        yield
    except (ValueError, StoreError, Reported):
        remove()
        raise
    remove()
