"""Resolves the runs of a sweep to configurations and computes their ids."""

from __future__ import annotations

import copy
import functools
import json
from typing import TYPE_CHECKING, Any

from suite.execution.matrix import describe_tasks, task_file
from suite.optim.parsing import resolve

if TYPE_CHECKING:
    from suite.sweep import RunSpec, SweepSpec
    from suite.sweep.panel import Panel
    from suite.training import Data, Task


class Runs:
    """Resolves the runs of one sweep.

    Args:
        spec: the sweep.

    Raises:
        ValueError: the task or a diagnostic is unknown, or the task does not have an overridden setting.

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
        self.code: dict[str, str] = {}
        self._opened: dict[tuple[str, int], tuple[Task, Data]] = {}

    @property
    def title(self) -> str:
        """The titles of the sweep's tasks, in one line."""
        lines = describe_tasks()
        titles = [lines.get(panel.task, panel.task).partition(",")[0].partition(" (")[0] for panel in self.spec.parts]
        return "; ".join(dict.fromkeys(titles))

    def config(self, run: RunSpec) -> dict[str, Any]:
        """The resolved configuration of one run."""
        config = copy.deepcopy(self.bases[run.panel])
        config["seed_everything"] = run.seed
        model, data = config["model"]["init_args"], config["data"]["init_args"]
        model["optimizer"] = resolve(run.settings)
        data["batch_size"] = run.batch_size
        if run.initial is not None:
            model["initial"] = {"run": run.initial[0], "step": run.initial[1]}
            data["start_step"] = run.initial[1]
        if run.keeps:
            model["keep_weights_at"] = list(run.keeps)
        if run.diagnosed:
            model["diagnostics"] = self.spec.diagnose
        return config

    def identify(self, run: RunSpec) -> tuple[str, int]:
        """Compute a run's id and number of steps; prepares the data on first use.

        Raises:
            ValueError: the optimizer's settings or the batch size are impossible.
        """
        from suite.training.opening import run_identity

        config = self.config(run)
        key = run.panel, run.batch_size
        if key not in self._opened:
            self._opened[key] = self.resolver.build_data(config)
        task, data = self._opened[key]
        data.ensure_open()
        run_id, identity = run_identity(config, task, data)
        self.code |= identity.get("code") or {}
        return run_id, data.steps

    @property
    def fingerprints(self) -> dict[str, str]:
        """Panel label -> checksum of its prepared data, for the panels whose runs have been identified."""
        return {panel: data.fingerprint for (panel, _), (_, data) in self._opened.items()}


def _arguments(panel: Panel) -> list[str]:
    """The command-line arguments for a panel's task and its overrides."""
    settings = {name: value if isinstance(value, str) else json.dumps(value) for name, value in panel.overrides.items()}
    changes = [f"--{name}={text}" for name, text in settings.items()]
    return ["--config", str(task_file(panel.task)), f"--model.init_args.name={panel.task}", *changes]
