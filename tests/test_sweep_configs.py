"""The sweep files of the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.execution.matrix import task_file
from suite.execution.runs import Runs
from suite.fields import read_yaml
from suite.optim.parsing import resolve
from suite.sweep import Plan, RunSpec, read_spec

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "configs" / "sweeps").rglob("*.yaml"))
ON_SAMPLES = [path for path in FILES if path.parent.name in ("laptop", "sweeps")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT / "configs" / "sweeps").with_suffix(""))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_sweep_has_runs_a_question_and_a_source(path: Path) -> None:
    spec = read_spec(path)
    panels = {panel.label: panel for panel in spec.parts}
    resolved: dict[str, str] = {}
    for panel in panels.values():
        task_file(panel.task)

    def identify(run: RunSpec) -> tuple[str, int]:
        # The same settings come at every batch size and in every panel; resolving them is most of this test's time.
        text, panel = repr(run.settings), panels[run.panel]
        if text not in resolved:
            resolved[text] = repr(resolve(run.settings))
        return f"{panel.task}{panel.overrides}{resolved[text]}{run.batch_size}{run.seed}{run.initial}", 100

    for panel in panels.values():
        settings = read_yaml(str(task_file(panel.task)))["data"]["init_args"]
        micro_batch = panel.overrides.get("data.micro_batch", settings["micro_batch"])
        assert all(size % min(size, micro_batch) == 0 for size in panel.batch_size), panel.label
    runs = Plan(spec, identify).runs
    assert len({run.run_id for run in runs}) == len(runs) > 0
    assert spec.question and spec.source


@pytest.mark.parametrize("path", ON_SAMPLES, ids=name)
def test_every_panel_of_a_laptop_sweep_can_be_trained(
    path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prepared)
    spec = read_spec(path)
    runs = Runs(spec)
    for panel in spec.parts:
        for batch_size in {min(panel.batch_size), max(panel.batch_size)}:
            settings = {"name": "sgd", "lr": 0.1}
            run = RunSpec(settings=settings, batch_size=batch_size, seed=0, panel=panel.label)
            _, steps = runs.identify(run)
            assert steps > 0
