"""The runs of a sweep as resolved configurations: what identifies them, and what a worker is asked."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from suite.execution.matrix import describe_tasks, task_file
from suite.optim.parsing import resolve

if TYPE_CHECKING:
    from suite.execution.jobs import Job
    from suite.sweep import SweepSpec
    from suite.sweep.panel import Panel
    from suite.training import Data, Task


class Runs:
    """Resolves the runs of one sweep.

    Args:
        spec: the sweep.

    Raises:
        ValueError: unknown task, unknown diagnostic, or an override that the task does not have.
    """

    def __init__(self, spec: SweepSpec) -> None:
        from suite.diagnostics.catalogue import parse
        from suite.execution.resolver import Resolver

        parse(spec.diagnose)
        self.spec = spec
        self.resolver = Resolver()
        self._resolved: dict[str, dict[str, Any]] = {}
        self.bases = {panel.label: self._base(panel) for panel in spec.parts}
        self._data: dict[tuple[str, int], Data] = {}
        self._tasks: dict[str, Task] = {}

    def _base(self, panel: Panel) -> dict[str, Any]:
        arguments = ["--config", str(task_file(panel.task)), f"--model.init_args.name={panel.task}"]
        for name, value in panel.overrides.items():
            text = value if isinstance(value, str) else json.dumps(value)
            arguments.append(f"--{name}={text}")
        key = repr(arguments)
        if key not in self._resolved:
            self._resolved[key] = self.resolver.resolve(arguments)
        return self._resolved[key]

    @property
    def title(self) -> str:
        """What the task is, in a line."""
        known = describe_tasks()
        lines = [known.get(panel.task, panel.task).partition(",")[0].partition(" (")[0] for panel in self.spec.parts]
        return "; ".join(dict.fromkeys(lines))

    def config(
        self,
        optimizer: dict[str, Any],
        batch_size: int,
        seed: int,
        panel: str = "",
        initial: tuple[str, int] | None = None,
        keeps: tuple[int, ...] = (),
        diagnosed: bool = False,
    ) -> dict[str, Any]:
        """The resolved configuration of one run; of a branch, what it starts from, and of a trunk, what it keeps."""
        config = copy.deepcopy(self.bases[panel])
        config["seed_everything"] = seed
        model, data = config["model"]["init_args"], config["data"]["init_args"]
        model["optimizer"] = resolve(optimizer)
        data["batch_size"] = batch_size
        if initial is not None:
            model["initial"] = {"run": initial[0], "step": initial[1]}
            data["start_step"] = initial[1]
        if keeps:
            model["keep_weights_at"] = list(keeps)
        if diagnosed:
            model["diagnostics"] = self.spec.diagnose
        return config

    def identify(
        self,
        optimizer: dict[str, Any],
        batch_size: int,
        seed: int,
        panel: str = "",
        initial: tuple[str, int] | None = None,
        diagnosed: bool = False,
    ) -> tuple[str, int]:
        """Run id and number of steps; prepares the data on first use.

        Raises:
            ValueError: the optimizer's settings or the batch size are impossible.
        """
        from suite.training.opening import run_identity

        config = self.config(optimizer, batch_size, seed, panel, initial, diagnosed=diagnosed)
        data = self._open(config, batch_size, panel)
        run_id, _ = run_identity(config, self._tasks[panel], data)
        return run_id, data.steps

    @property
    def fingerprints(self) -> dict[str, str]:
        """Checksum of the prepared data by panel, of the panels whose runs have been identified."""
        return {panel: data.fingerprint for (panel, _), data in self._data.items()}

    def request(self, job: Job, store: str, do: str = "run") -> dict[str, Any]:
        """What a worker is asked to do with the runs of a job."""
        configs = [
            self.config(
                run.spec, run.batch_size, run.seed, run.panel, run.initial, run.keeps, diagnosed=bool(run.diagnoses)
            )
            for run in job
        ]
        initials = dict.fromkeys(run.initial for run in job if run.initial is not None)
        return {"do": do, "configs": configs, "store": store, "initials": [list(initial) for initial in initials]}

    def _open(self, config: dict[str, Any], batch_size: int, panel: str) -> Data:
        if (panel, batch_size) not in self._data:
            task, data = self.resolver.build_data(config)
            data.ensure_open()
            self._data[panel, batch_size] = data
            self._tasks[panel] = task
        return self._data[panel, batch_size]
