"""Resolves the runs of a sweep to configurations and computes their ids."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.execution.matrix import describe_tasks, task_file, without_other_budgets
from suite.optim.parsing import parse, resolve

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from suite.sweep import PlannedRun, RunSpec, SweepSpec
    from suite.sweep.panel import Panel
    from suite.training import Data, Task


class Runs:
    """Resolves the runs of one sweep.

    Args:
        spec: the sweep.

    Raises:
        ValueError: the task or a diagnostic is unknown, the task does not have an overridden setting, or a run is to
            take several devices.

    Attributes:
        code: checksums of the user's own modules, of the runs that have been identified.
    """

    def __init__(self, spec: SweepSpec) -> None:
        from suite.diagnostics.catalogue import parse
        from suite.execution.resolver import Resolver

        parse(spec.diagnose)
        self.spec = spec
        self.resolver = Resolver()
        resolve_once = functools.cache(lambda *arguments: self.resolver.resolve(list(arguments)))
        self.bases = {panel.label: resolve_once(*_arguments(panel)) for panel in spec.parts}
        for base in self.bases.values():
            _refuse_shared_runs(base["trainer"])
        self.code: dict[str, str] = {}
        self._micro_batches: dict[tuple[str, int], int] = {}
        self._built: dict[tuple[str, int], tuple[Task, Data]] = {}
        self._opened: dict[tuple[str, int], tuple[Task, Data]] = {}

    @property
    def title(self) -> str:
        """The titles of the sweep's tasks, in one line."""
        lines = describe_tasks()
        titles = []
        for panel in self.spec.parts:
            title = lines.get(panel.task, panel.task).partition(",")[0].partition(" (")[0]
            titles.append(_with_data(title, self.bases[panel.label]["data"]["init_args"].get("source", "paper")))
        return "; ".join(dict.fromkeys(titles))

    def tokens_per_sample(self, panel: str) -> int | None:
        """The number of tokens in a sample of a panel; None for data without tokens."""
        length = self.bases[panel]["data"]["init_args"].get("seq_len")
        return length if isinstance(length, int) else None

    def config(self, run: RunSpec) -> dict[str, Any]:
        """The resolved configuration of one run."""
        config = copy.deepcopy(self.bases[run.panel])
        config["seed_everything"] = run.seed
        model, data = config["model"]["init_args"], config["data"]["init_args"]
        model["optimizer"] = resolve(run.settings)
        data["batch_size"] = run.batch_size
        data["micro_batch"] = self._micro_batches.get((run.panel, run.batch_size), data.get("micro_batch"))
        if run.initial is not None:
            model["initial"] = {"run": run.initial[0], "step": run.initial[1]}
            data["start_step"] = run.initial[1]
        if run.keeps:
            model["keep_weights_at"] = list(run.keeps)
        if run.diagnosed:
            model["diagnostics"] = self.spec.diagnose
        return config

    def cut_as_measured(self, run: RunSpec, micro_batch: int | None) -> None:
        """Have the runs of a panel and batch size trained with the micro-batch that fitted when one was measured."""
        key = run.panel, run.batch_size
        before = self._micro_batches.get(key, self.bases[run.panel]["data"]["init_args"].get("micro_batch"))
        if micro_batch is not None and (before is None or micro_batch < before):
            self._micro_batches[key] = micro_batch

    def accept(self, run: RunSpec) -> None:
        """Refuse a run whose settings cannot be, before any data are read.

        Raises:
            ValueError: the optimizer, the task or the data refuse their settings, or they make no network.
        """
        self._of(run)

    def identify(self, run: RunSpec) -> tuple[str, int]:
        """Compute a run's id and number of steps; prepares the data on first use.

        Raises:
            ValueError: the optimizer's settings or the batch size are impossible.
        """
        from suite.training.opening import run_identity

        config, task, data = self._of(run)
        data.ensure_open()
        self._opened[run.panel, run.batch_size] = task, data
        run_id, identity = run_identity(config, task, data)
        self.code |= identity.get("code") or {}
        return run_id, data.steps

    def refuse_what_cannot_run(self, runs: Iterable[PlannedRun], *, here: bool, at_once: int) -> None:
        """Build the network and the trainer of every group once, and count the memory that its runs take.

        Args:
            runs: those that are to be trained.
            here: whether that is on this machine; devices and memory of another are not known.
            at_once: so many runs share a device.

        Raises:
            ValueError: there are no such networks or devices, or the memory does not suffice.
        """
        from suite.execution.worker import quiet
        from suite.training.footprint import Counted, refuse_what_cannot_fit

        counted: dict[str, Counted] = {}
        quiet()
        trainers: dict[str, Trainer] = {}
        for run in {run.key: run for run in runs}.values():
            task, data = self._opened[run.panel, run.batch_size]
            if run.panel not in counted:
                counted[run.panel] = Counted(task, data)
                if here:
                    trainers[run.panel] = self.resolver.build(self.config(run))[2]
            optimizer, trainer = parse(run.settings), trainers.get(run.panel)
            if trainer is None:
                counted[run.panel].state(optimizer)
                continue
            needed = counted[run.panel].footprint(optimizer, data, trainer)
            where = f"{run.key.label} at batch size {run.batch_size}"
            refuse_what_cannot_fit(needed, where, trainer.strategy.root_device, at_once=at_once)

    def repetition_sentence(self) -> str:
        """Which panels' budgets pass over their data more than once unasked, by the runs identified; empty if none."""
        passes: dict[str, float] = {}
        for (panel, _), (_, data) in self._opened.items():
            if data.is_repeated:
                passes[panel] = max(data.passes, passes.get(panel, 0.0))
        if not passes:
            return ""
        where = ", ".join(f"{number:.2f} times{panel and f' ({panel})'}" for panel, number in passes.items())
        return (
            f"The budget passes more than once over the training data: {where}; take more data or lower it where every "
            "sample is to come once."
        )

    def _of(self, run: RunSpec) -> tuple[dict[str, Any], Task, Data]:
        """Configuration, task and data of a run; the last two are those of its panel and batch size."""
        from suite.training.footprint import refuse_impossible_network

        config = self.config(run)
        key = run.panel, run.batch_size
        if key not in self._built:
            task, data = self.resolver.build_data(config)
            if all(panel != run.panel for panel, _ in self._built):
                refuse_impossible_network(task, data)
            self._built[key] = task, data
        return config, *self._built[key]

    @property
    def fingerprints(self) -> dict[str, str]:
        """Panel label -> checksum of its prepared data, for the panels whose runs have been identified."""
        return {panel: data.fingerprint for (panel, _), (_, data) in self._opened.items()}


def _with_data(title: str, source: object) -> str:
    """A task's title with the name of the data that are trained on, where these are not the task's own."""
    network, on, _ = title.rpartition(" on ")
    if source == "paper" or not on or not isinstance(source, str):
        return title
    return f"{network} on {'the embedded sample' if source == 'sample' else Path(source).name or source}"


def _arguments(panel: Panel) -> list[str]:
    """The command-line arguments for a panel's task and its overrides."""
    settings = {name: value if isinstance(value, str) else json.dumps(value) for name, value in panel.overrides.items()}
    changes = [f"--{name}={text}" for name, text in settings.items()]
    of_data = {name.rpartition(".")[2]: text for name, text in settings.items() if name.startswith("data.")}
    changes = [*without_other_budgets(panel.task, of_data), *changes]
    # Without a number, a trainer takes every GPU that it sees.
    return [
        "--config", str(task_file(panel.task)), f"--model.init_args.name={panel.task}", "--trainer.devices=1", *changes
    ]  # fmt: skip


def _refuse_shared_runs(trainer: Mapping[str, Any]) -> None:
    for key in ("devices", "num_nodes"):
        if str(trainer.get(key)) != "1":
            raise ValueError(
                f"A run of a sweep takes one device, and several runs are trained beside each other; got trainer.{key} "
                f"{trainer.get(key)}: leave it out, or train the run by itself with fit."
            )
