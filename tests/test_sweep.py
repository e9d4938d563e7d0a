"""Grids, plans, and sweeps that are killed."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.execution.execute import Backlog, execute
from suite.execution.jobs import Job
from suite.execution.messages import Event
from suite.fields import ConfigError
from suite.records import Store
from suite.records.tuning import edge
from suite.sweep import Plan, PlannedRun, RunSpec, read_spec
from suite.sweep.grid import Axis, log_value, read_axis

ROOT = Path(__file__).resolve().parents[1]
SPEC: dict[str, Any] = {
    "question": "Does it work?",
    "source": "a test",
    "task": "fineweb/gpt",
    "overrides": {
        "data.source": "sample", "data.tokenizer": "byte", "data.seq_len": 16, "data.budget_steps": 100,
        "data.eval_samples": 4, "model.num_layers": 1, "model.num_heads": 1, "model.width": 8,
        "trainer.accelerator": "cpu", "trainer.precision": "32-true",
    },
    "batch_size": [1, 2],
    "optimizers": {"sgd": {"lr": [0.03, 0.1, 0.3], "momentum": 0.9}, "adam": {"lr": [0.001, 0.01], "beta": 0.9}},
}  # fmt: skip


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**SPEC, **changes}))
    return path


# Grids.


def test_log_grids_nest_exactly() -> None:
    coarse = read_axis("lr", {"decades": [-3, 1]}, 1)
    fine = read_axis("lr", {"decades": [-3, 1], "per_decade": 2}, 1)
    finer = read_axis("lr", {"decades": [-3, 1], "per_decade": 4}, 1)
    assert coarse is not None and fine is not None and finer is not None
    assert set(coarse.values) <= set(fine.values) <= set(finer.values)
    assert coarse.values == (0.001, 0.01, 0.1, 1.0, 10.0) and len(finer.values) == 17


@settings(max_examples=200, deadline=None)
@given(low=st.integers(-20, 20), length=st.integers(1, 8), per_decade=st.integers(1, 6), sides=st.lists(st.booleans()))
def test_extension_keeps_every_old_value(low: int, length: int, per_decade: int, sides: list[bool]) -> None:
    axis = Axis("lr", tuple(log_value(Fraction(k, per_decade)) for k in range(low, low + length + 1)), per_decade)
    grown = axis
    for side in sides[:6]:
        wider = grown.extended("low" if side else "high")
        assert wider is not None and set(grown.values) < set(wider.values)
        assert list(wider.values) == sorted(wider.values) and len(wider.values) == len(grown.values) + 1
        grown = wider
    whole = range(low - 6, low + length + 7)
    assert set(grown.values) <= {log_value(Fraction(k, per_decade)) for k in whole}


def test_lists_extend_by_their_ratio_and_momenta_by_one_minus() -> None:
    assert Axis("lr", (0.25, 0.5, 1.0)).extended("high").values == (0.25, 0.5, 1.0, 2.0)  # type: ignore[union-attr]
    assert Axis("momentum", (0.9, 0.99)).extended("high").values[-1] == pytest.approx(0.999)  # type: ignore[union-attr]
    assert Axis("head.beta1", (0.9, 0.95)).extended("low").values[0] == pytest.approx(0.8)  # type: ignore[union-attr]
    assert Axis("lr", (0.1,)).extended("low") is None and Axis("lr", (0.0, 1.0)).extended("low") is None
    assert edge(0.0, (0.0, 0.5)) is None and edge(0.5, (0.5, 0.8)) == "low"
    assert edge(0.1, (0.1,)) is None and edge("a", ("a", "b")) is None


def test_grids_by_batch_size() -> None:
    table = {"by_batch_size": {1: [0.1, 0.2], 64: {"decades": [0, 1]}}}
    assert read_axis("lr", table, 1).values == (0.1, 0.2)  # type: ignore[union-attr]
    assert read_axis("lr", table, 64).values == (1.0, 10.0)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="no entry for batch size 4"):
        read_axis("lr", table, 4)


# Specs.


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"batchsize": [1]}, "no setting 'batchsize' (did you mean 'batch_size'?)"),
        ({"batch_size": [1, 1]}, "batch_size"),
        ({"batch_size": [0]}, "at least 1"),
        ({"batch_size": "64"}, "batch_size"),
        ({"seeds": [1.5]}, "seeds"),
        ({"optimizers": {}}, "at least one optimizer"),
        ({"optimizers": {"sgd": 0.1}}, "optimizers.sgd"),
        ({"optimizers": {"sgd": {"lr": []}}}, "at least one value"),
        ({"optimizers": {"sgd": {"lr": [0.1, 0.1]}}}, "lists a value twice"),
        ({"optimizers": {"sgd": {"lr": {"decades": [0.25, 1], "per_decade": 2}}}}, "multiples of 1/2"),
        ({"optimizers": {"sgd": {"lr": {"decades": "x"}}}}, "decades must be a list"),
        ({"optimizers": {"sgd": {"lr": {"decades": [0, 1], "per": 2}}}}, "per_decade"),
        ({"optimizers": {"sgd": {"lr": [0.1, 1, 1.0]}}}, "lists a value twice"),
        ({"optimizers": {"sgd": {"lr": {"decades": [0, 1, 2]}}}}, "two exponents"),
        ({"extend_edges": -1}, "at least 0"),
        ({"extend_axes": ["lrr"]}, "extend_axes names 'lrr', which no optimizer has (did you mean 'lr'?)"),
        ({"seeds": [2**32]}, "seeds must be at least 0 and at most 4294967295"),
        ({"name": "x"}, "no setting 'name'"),
        ({"overrides": {"data.batch_size": 8}}, "which batch_size of the sweep sets"),
        ({"overrides": {"seed_everything": 1}}, "which seeds of the sweep sets"),
        ({"overrides": {"model.init_args.optimizer.lr": 1}}, "which optimizers of the sweep sets"),
        ({"overrides": {"data": {"init_args": {"batch_size": 8}}}}, "which batch_size of the sweep sets"),
        ({"overrides": {"model.name": "other"}}, "which task of the sweep sets"),
        ({"overrides": {"config": "other.yaml"}}, "settings of data, model or trainer, got 'config'"),
        ({"overrides": {"print_config": ""}}, "settings of data, model or trainer, got 'print_config'"),
        ({"optimizers": {"sgd": {"name": ["sgd"], "lr": 1}}}, "optimizers.sgd.name must be a text"),
        ({"seeds": list(range(10_001))}, "seeds must list at most 10,000 values, got 10,001"),
        ({"seeds": [10**400]}, "seeds[0] must be a whole number below 2^63"),
        ({"optimizers": {"sgd": {"lr": [[1], [1.0]]}}}, "lists a value twice"),
        ({"optimizers": {"sgd": {"lr": {"decades": ["1/0", 1]}}}}, "decades[0] must be a number, got '1/0'"),
        ({"final_loss": "last"}, "one of ema"),
        ({"overrides": [1]}, "overrides"),
        ({"margin": 0}, "margin must be above 0"),
        ({"optimizers": {"sgd": {"lr": 1, "label": 3}}}, "optimizers.sgd.label must be a text"),
        ({"optimizers": {"sgd": {"lr": 1, "label": "A"}, "adam": {"lr": 1, "label": "A"}}}, "'A' twice"),
    ],
)
def test_every_wrong_spec_is_one_sentence(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_spec(write(tmp_path / "s.yaml", **changes))
    assert part in str(caught.value) and "\n" not in str(caught.value)


WIDE = {"decades": [-300, 300], "per_decade": 100}


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizers": {"sgd": {"lr": WIDE, "momentum": list(range(10_000))}}},
        {"optimizers": {"sgd": {"lr": WIDE}}, "seeds": list(range(5_000))},
        {"optimizers": {str(i): {"lr": WIDE} for i in range(3)}},
        {"panels": {str(i): {} for i in range(2_000)}, "batch_size": list(range(1, 101))},
        {"trunk": {"optimizers": {str(i): {"lr": 1} for i in range(2_000)}, "checkpoints": [0.1, 0.2]}, "panels": {
            str(i): {} for i in range(2_000)
        }},
    ],
    ids=["600 million values", "seeds", "optimizers", "panels", "trunks"],
)  # fmt: skip
def test_a_sweep_that_nobody_could_train_is_refused_at_once(tmp_path: Path, changes: dict[str, Any]) -> None:
    path, begun = write(tmp_path / "s.yaml", **changes), time.perf_counter()
    with pytest.raises(ConfigError, match="may have 150,000 runs, got"):
        read_spec(path)
    assert time.perf_counter() - begun < 10


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "task: fineweb/gpt", "\x00", "!!python/object:os.system {}"])
def test_hostile_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"s\.yaml"):
        read_spec(path)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*SPEC, "lr", "decades", "by_batch_size", "sgd"]) | st.text(max_size=4),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_content_makes_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "s.yaml"
    base = {k: v for k, v in SPEC.items() if k != "question"}
    for document in (content, {**base, **content} if isinstance(content, dict) else {**base, "optimizers": content}):
        path.write_text(yaml.safe_dump(document))
        try:
            read_spec(path)
        except ValueError as error:
            assert "\n" not in str(error)


def test_plan_id_follows_what_is_asked(tmp_path: Path) -> None:
    base = read_spec(write(tmp_path / "s.yaml")).plan_id
    assert read_spec(write(tmp_path / "s.yaml", question="Another?")).plan_id == base
    assert read_spec(write(tmp_path / "s.yaml", seeds=[1])).plan_id != base
    margin = read_spec(write(tmp_path / "s.yaml", margin=0.1))
    assert margin.plan_id == base and margin.margin == 0.1  # what is said of the runs changes, not the runs
    named = {label: {**settings, "label": f"My {label}"} for label, settings in SPEC["optimizers"].items()}
    panels = {"one": {"optimizers": named}, "two": {"batch_size": [3]}}
    spec = read_spec(write(tmp_path / "s.yaml", optimizers=named, panels=panels))
    assert spec.titles == {label: f"My {label}" for label in SPEC["optimizers"]}
    assert all("label" not in settings for part in spec.parts for settings in part.optimizers.values())
    bare = {"one": {"optimizers": SPEC["optimizers"]}, "two": {"batch_size": [3]}}
    assert spec.plan_id == read_spec(write(tmp_path / "s.yaml", panels=bare)).plan_id
    assert read_spec(write(tmp_path / "s.yaml", optimizers=named)).plan_id == base


# Plans and their execution, on a pretended launcher.


def identify(run: RunSpec) -> tuple[str, int]:
    return f"{abs(hash((repr(sorted(run.settings.items())), run.batch_size, run.seed))):016x}"[:16], 10


def identify_diagnosed(run: RunSpec) -> tuple[str, int]:
    run_id, steps = identify(run)
    return (run_id[::-1] if run.diagnosed else run_id), steps


def ask(job: Job) -> Any:
    """No worker is asked."""


class Pretend:
    """Trains by writing the record of a parabola in log lr with its best at ``best``."""

    def __init__(self, store: Store, best: float) -> None:
        self.store, self.best, self.trained = store, best, []  # type: ignore[var-annotated]

    def run(self, jobs: Any, request: Any, on_event: Any) -> None:
        queue = list(jobs)
        while queue:
            (run,) = job = queue.pop(0)
            on_event(job, Event("started"))
            self.trained.append(run.run_id)
            diverged = run.axes["lr"] > 30 * self.best
            loss = 1 + abs(math.log(run.axes["lr"] / self.best))
            record = {
                "run_id": run.run_id, "status": "diverged" if diverged else "finished", "task": "fineweb/gpt",
                "optimizer": run.settings, "batch_size": run.batch_size, "seed": run.seed, "steps": 10,
                "final": {} if diverged else {"ema": loss}, "metrics": {}, "config": {},
            }  # fmt: skip
            self.store.write_record(record, pa.table({"step": [0]}))
            queue += on_event(job, Event("done", [record["status"]]))


@pytest.mark.parametrize(
    ("best", "grown"), [(0.1, ()), (1.0, (0.9, 2.7)), (0.001, (0.009, 0.0027)), (100.0, (0.9, 2.7))]
)
def test_grids_grow_until_the_best_is_inside(tmp_path: Path, best: float, grown: tuple[float, ...]) -> None:
    optimizers = {"sgd": {"lr": [0.03, 0.1, 0.3], "momentum": 0.9}}
    spec = read_spec(write(tmp_path / "s.yaml", optimizers=optimizers, batch_size=[1], extend_edges=2))
    store = Store(tmp_path / "runs")
    plan = Plan(spec, identify)
    launcher = Pretend(store, best)
    added: list[PlannedRun] = []
    failed = execute(Backlog(plan, store, on_growth=added.extend), launcher, ask)
    assert not failed and len(set(launcher.trained)) == len(launcher.trained) == 3 + len(added)
    assert [run.axes["lr"] for run in added] == pytest.approx(grown, rel=0.1)
    assert [run.round for run in added] == list(range(1, len(grown) + 1))
    again = Plan(spec, identify)
    second = Pretend(store, best)
    execute(Backlog(again, store), second, ask)
    assert second.trained == [] and {r.run_id for r in again.runs} == {r.run_id for r in plan.runs}


def test_a_plan_never_forgets_runs(tmp_path: Path) -> None:
    optimizers = {"sgd": {"lr": [0.03, 0.1, 0.3], "momentum": 0.9}}
    spec = read_spec(
        write(
            tmp_path / "s.yaml", optimizers=optimizers, batch_size=[1], extend_edges=2, report_seeds=[7, 8],
            finalists={"settings": 2, "seeds": [5]}, diagnose={"clipping": {}},
        )
    )  # fmt: skip
    store = Store(tmp_path / "runs")
    plan = Plan(spec, identify_diagnosed)
    execute(Backlog(plan, store), Pretend(store, 1.0), ask)
    written = plan.as_record(command="", title="")
    assert {run["seed"] for run in written["runs"]} == {42, 5, 7, 8} and any(
        run["diagnoses"] for run in written["runs"]
    )
    shutil.rmtree(store.run_folder(plan.groups[0].runs[0].run_id))  # of the sweep's own grid
    again = Plan(spec, identify_diagnosed)
    again.remember(json.loads(json.dumps(written["runs"])))
    assert again.as_record(command="", title="") == written
    assert again.groups[0].axes == plan.groups[0].axes and again.groups[0].extensions == plan.groups[0].extensions
    second = Pretend(store, 1.0)
    execute(Backlog(again, store), second, ask)
    assert second.trained == [plan.groups[0].runs[0].run_id]
    assert again.as_record(command="", title="") == written


def test_a_plan_takes_back_no_runs_of_another_sweep(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path / "s.yaml", batch_size=[1]))
    plan = Plan(spec, identify)
    run = plan.runs[0].as_record()
    planned = len(plan.runs)
    plan.remember(
        [
            run,
            {**run, "run_id": "f" * 16},
            {**run, "optimizer": "lion"},
            {**run, "run_id": "0" * 16, "axes": {"lr": -1.0}},
        ]
    )
    assert len(plan.runs) == planned


def test_everything_diverged_grows_downwards(tmp_path: Path) -> None:
    optimizers = {"sgd": {"lr": [10.0, 100.0], "momentum": 0.9}}
    spec = read_spec(write(tmp_path / "s.yaml", optimizers=optimizers, batch_size=[1], extend_edges=1))
    plan = Plan(spec, identify)
    store = Store(tmp_path / "runs")
    execute(Backlog(plan, store), Pretend(store, 1e-3), ask)
    assert plan.groups[0].axes["lr"].values == (1.0, 10.0, 100.0)


# The real thing, killed.


def table_of(store: Store) -> dict[str, tuple[str, float]]:
    return {r["run_id"]: (r["status"], r["final"].get("ema")) for r in store.records()}


def sweep(file: Path, store: Path, data: Path) -> subprocess.Popen[bytes]:
    # A fixed size of packs: a measured one depends on how busy the machine is, and the last digits on the size.
    command = [sys.executable, "-m", "suite", "sweep", str(file), "--store", str(store), "--workers", "1"]
    command += ["--pack", "4", "--compile", "off"]
    return subprocess.Popen(
        [*command, "--data.data_dir", str(data)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep that nobody disturbed: ``s.yaml``, ``data`` and the store ``runs``."""
    folder = tmp_path_factory.mktemp("calm")
    assert sweep(write(folder / "s.yaml"), folder / "runs", folder / "data").wait() == 0
    return folder


def test_killed_sweep_ends_as_an_undisturbed_one(calm: Path, tmp_path: Path) -> None:
    file, data = calm / "s.yaml", calm / "data"
    expected = table_of(Store(calm / "runs"))
    assert len(expected) == 10 and all(status == "finished" for status, _ in expected.values())
    store = Store(tmp_path / "killed")
    process = sweep(file, store.path, data)
    while process.poll() is None and len(table_of(store)) < 2:
        time.sleep(0.05)
    time.sleep(random.Random(0).random())
    process.send_signal(signal.SIGKILL)
    process.wait()
    partial = table_of(store)
    assert len(partial) >= 2 and all(expected[run_id] == result for run_id, result in partial.items())
    assert not store.problems
    assert sweep(file, store.path, data).wait() == 0
    assert table_of(store) == expected
    assert not list(store.path.glob("runs/*/*/lease.json")) and not list(store.path.glob("runs/*/*/*.ckpt"))


def test_a_sweep_draws_its_gap_and_report(calm: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from suite.cli.main import main

    asked = [str(calm / "s.yaml"), "--data.data_dir", str(calm / "data"), "--store"]
    options = [*asked, str(calm / "runs")]
    few = [str(tmp_path / "other"), "--data.max_tokens", "2000"]
    assert main(["sweep", *asked, *few, "--workers", "1", "--dry-run"]) == 0
    assert "10 to train" in (said := capfd.readouterr().out) and "ms/step" in said
    # 100 steps of two samples; 1,980 tokens for training are 123 samples, so 61 steps.
    assert "The budget passes more than once over the training data: 1.64 times; take more" in said
    assert main(["status", *options]) == 0
    assert "10 of 10 runs have a result" in capfd.readouterr().out
    assert main(["gap", *options]) == 0
    assert "SGD" in capfd.readouterr().out
    assert main(["report", *options, "--looks", "page"]) == 0
    page = Path(capfd.readouterr().out.strip().removeprefix("Report: "))
    assert page.is_file() and {".png", ".svg", ".csv"} <= {path.suffix for path in page.parent.rglob("*")}


@pytest.mark.slow
def test_tuned_settings_once_more_and_measured(calm: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from suite.cli.main import main

    runs = str(calm / "runs")
    trained = ["sweep", str(calm / "s.yaml"), "--data.data_dir", str(calm / "data"), "--store", runs, "--workers", "1"]
    assert main([*trained, "--diagnose", "{noise: {times: 1, gradients: 8, batch_sizes: [1, 4]}}"]) == 0
    assert main(trained) == 0  # whoever starts the sweep later need not ask for it again
    (plan,) = (store := Store(runs)).plans()
    again = [run for run in plan["runs"] if run["diagnoses"]]
    assert len(again) == 4 and not [run for run in again if store.diagnostics(run["run_id"]) is None]
    for run in again:
        ends = [store.record(run[which])["final"] for which in ("run_id", "diagnoses")]
        assert ends[0] == pytest.approx(ends[1], rel=1e-5)  # the tuned run was one of a pack
    assert main(["why", str(calm / "s.yaml"), "--store", runs]) == 2  # a sweep with other settings
    capfd.readouterr()
    assert main(["why", "--store", runs]) == 0
    assert "noise scale" in capfd.readouterr().out
