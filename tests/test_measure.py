"""From what a few steps cost to packs and compiled steps, on a pretended launcher."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
import yaml

from suite.execution import worker
from suite.execution.faults import Reported
from suite.execution.jobs import Job
from suite.execution.launchers.launcher import OnEvent, RequestOf
from suite.execution.launchers.local import LocalLauncher
from suite.execution.matrix import task_file
from suite.execution.measure import Cost, Measuring
from suite.execution.messages import Event, StepCost, WorkRequest
from suite.execution.resolver import Resolver
from suite.sweep import GroupKey, Plan, RunSpec, read_spec
from suite.training import timing
from suite.training.timing import StepTimer

MEGABYTE = 2.0**20
STEPS = 50_000


class Pretend:
    """Knows nothing but what every launcher has; answers with the figures of ``cost``.

    Args:
        cost: number of runs and whether compiled -> seconds per step of all; infinite: the step fails.
        slots: jobs at a time.
        sharing: jobs that share the memory.
        each: memory of a run, bytes.
        code: exit code of a step that fails.
        device: kind of device.
        holds: runs at once that the device's memory really holds.
    """

    def __init__(
        self,
        cost: Callable[[int, bool], float],
        *,
        slots: int = 1,
        sharing: int = 1,
        each: float = 0.0,
        code: int = 0,
        device: str = "cpu",
        holds: int = 99,
    ) -> None:
        self.code, self.device, self.holds, self.spread = code, device, holds, 0.0
        self.cost, self.slots, self.sharing, self.each = cost, slots, sharing, each
        self.asked: list[tuple[int, bool]] = []
        self.batch_sizes: list[int] = []

    def run(self, jobs: Iterable[Job], request: RequestOf, on_event: OnEvent) -> None:
        waiting = list(jobs)
        while waiting:
            job = waiting.pop(0)
            asked = request(job)
            assert asked.do == "measure" and len(asked.configs) == len(job)
            compiled = asked.steps == "compiled"
            self.asked.append((len(job), compiled))
            if len(job) > 1:
                self.batch_sizes.append(job[0].batch_size)
            seconds = self.cost(len(job), compiled)
            step = StepCost(
                seconds_per_step=seconds, spread=self.spread, setup_seconds=60.0 if compiled else 0.0,
                memory=self.each * len(job), available=100 * MEGABYTE, device=self.device,
            )  # fmt: skip
            short = len(job) > self.holds
            failed = Event("done", ["failed"] * len(job), error="why", code=self.code, short_of_memory=short)
            done = math.isfinite(seconds) and not short
            waiting.extend(on_event(job, Event("done", cost=step) if done else failed))

    def close(self) -> None:
        """Nothing is kept."""


class Configs:
    """Stands for `suite.execution.runs.Runs`."""

    def config(self, run: RunSpec) -> dict[str, Any]:
        return {}

    def cut_as_measured(self, run: Any, micro_batch: int | None) -> None:
        assert micro_batch is None


def costs_of(
    folder: Path,
    launcher: Pretend,
    pack: int | None = None,
    compiled: Literal["off", "on", "auto"] = "auto",
    batch_sizes: tuple[int, ...] = (4,),
) -> dict[GroupKey, Cost]:
    """The costs of groups of 24 runs, of `STEPS` steps each."""
    spec = folder / "s.yaml"
    lrs = {"decades": [-3, 2.5], "per_decade": 2}
    optimizers = {"sgd": {"lr": lrs, "momentum": [0.9, 0.99]}}
    spec.write_text(
        yaml.safe_dump({"question": "?", "task": "fineweb/gpt", "batch_size": [*batch_sizes], "optimizers": optimizers})
    )
    plan = Plan(read_spec(spec), lambda run: (f"{hash(repr(run.settings)):016x}"[-16:], STEPS))
    assert len(plan.runs) == 24 * len(batch_sizes)
    runs: Any = Configs()
    return Measuring(plan=plan, runs=runs, launcher=launcher, pack=pack, compiled=compiled).costs(plan.runs)


def cost_of(folder: Path, launcher: Pretend, compiled: Literal["off", "on", "auto"] = "auto") -> Cost:
    """The cost of the only group."""
    (cost,) = costs_of(folder, launcher, compiled=compiled).values()
    return cost


def test_packs_are_taken_where_they_pay(tmp_path: Path) -> None:
    cheap = cost_of(tmp_path, Pretend(lambda runs, compiled: 1e-3 * (1 + 0.1 * runs)), compiled="off")
    assert (cheap.size, cheap.gain) == (12, pytest.approx(1.1 * 12 / 2.2))
    dear = cost_of(tmp_path, Pretend(lambda runs, compiled: 1e-3 * runs), compiled="off")
    assert (dear.size, dear.gain) == (1, 1.0)


def test_a_gain_is_said_with_the_spread_of_its_measurements(tmp_path: Path) -> None:
    launcher = Pretend(lambda runs, compiled: 1e-3 * (1 + 0.1 * runs))
    launcher.spread = 0.1
    cost = cost_of(tmp_path, launcher, compiled="off")
    assert cost.sentence() == "packs of 12, 6.0 +- 0.8 x as fast as single runs."


@pytest.mark.parametrize(
    ("again", "size", "single", "sentence"),
    [
        (1e-3, 12, 1e-3, "packs of 12, 6.0 x as fast as single runs."),
        (9e-3, 12, 2e-3, "packs of 12, 12.0 x as fast as single runs."),  # disturbed twice: the pack bounds it
        (1e-4, 1, 1e-4, "one run at a time, no faster than single runs."),
    ],
)
def test_a_pack_of_n_is_at_most_n_times_as_fast(
    tmp_path: Path, again: float, size: int, single: float, sentence: str
) -> None:
    singles = iter([1e-2, again])  # the first measurement of a single run is disturbed
    launcher = Pretend(lambda runs, compiled: next(singles) if runs == 1 else 2e-3)
    cost = cost_of(tmp_path, launcher, compiled="off")
    assert (cost.size, cost.single, cost.sentence()) == (size, pytest.approx(single), sentence)
    assert cost.gain <= cost.size


def test_a_gain_of_compilation_says_what_it_is_compared_with(tmp_path: Path) -> None:
    cost = cost_of(tmp_path, Pretend(lambda runs, compiled: runs * (5e-4 if compiled else 1e-3)))
    assert cost.sentence() == "one run at a time, compiled, 2.0 x as fast as single runs without compilation."


@pytest.mark.parametrize(
    ("pack", "tried", "packed"), [(None, [1, 4, 16], [1, 4]), (12, [1, 4, 16, 64], [1, 4, 16, 64])]
)
def test_larger_batches_are_not_tried_where_packs_no_longer_pay(
    tmp_path: Path, pack: int | None, tried: list[int], packed: list[int]
) -> None:
    launcher = Pretend(lambda runs, compiled: 1e-3)
    more = {1: 0.1, 4: 0.4, 16: 1.1, 64: 0.0}  # what a run adds to a pack at a batch size, in single steps

    def seconds(runs: int, compiled: bool) -> float:
        return 1e-3 if runs == 1 else 1e-3 * (1 + (runs - 1) * more[launcher.batch_sizes[-1]])

    launcher.cost = seconds
    costs = costs_of(tmp_path, launcher, pack, "off", batch_sizes=(1, 4, 16, 64))
    assert launcher.batch_sizes == tried
    assert [key.batch_size for key, cost in costs.items() if cost.size > 1] == packed


def test_what_cannot_be_packed_or_compiled_is_trained_singly(tmp_path: Path) -> None:
    launcher = Pretend(lambda runs, compiled: math.inf if runs > 1 or compiled else 0.01)
    cost = cost_of(tmp_path, launcher)
    assert (cost.size, cost.compiled, cost.gain) == (1, False, 1.0)
    assert (12, False) in launcher.asked and (1, True) in launcher.asked


@pytest.mark.parametrize(("sharing", "size"), [(1, 8), (2, 4), (4, 2)])
def test_packs_fit_into_a_share_of_the_memory(tmp_path: Path, sharing: int, size: int) -> None:
    # Of 100 MB packs may have 70, and a run takes 8.
    launcher = Pretend(lambda runs, compiled: 1e-3, slots=sharing, sharing=sharing, each=8 * MEGABYTE)
    cost = cost_of(tmp_path, launcher, compiled="off")
    assert cost.size == size


def test_a_gpu_is_given_as_many_runs_as_there_are_and_its_memory_holds(tmp_path: Path) -> None:
    # The grid has 24 runs of two optimizers. A run takes 2 of 70 MB by its measurement; in truth no more than 5 fit.
    together = Pretend(lambda runs, compiled: 1e-3, each=2 * MEGABYTE, device="cuda")
    assert cost_of(tmp_path, together, compiled="off").size == 24
    cramped = Pretend(lambda runs, compiled: 1e-3, each=2 * MEGABYTE, device="cuda", holds=5)
    assert cost_of(tmp_path, cramped, compiled="off").size == 3
    assert [runs for runs, _ in cramped.asked] == [1, 24, 12, 6, 3]


def test_compilation_must_be_won_back(tmp_path: Path) -> None:
    def seconds(runs: int, compiled: bool) -> float:
        return runs * (5e-4 if compiled else 1e-3)

    long = cost_of(tmp_path, Pretend(seconds))  # 24 x 50,000 steps of 1 ms: 20 minutes, 10 of them won for one
    assert long.compiled and long.setup == 60.0 and long.gain == 2.0
    short = Pretend(seconds, slots=8)
    assert not cost_of(tmp_path, short).compiled  # 150 s per worker: not worth trying
    assert all(not compiled for _, compiled in short.asked)


def test_a_run_that_fails_at_once_stops_the_sweep(tmp_path: Path) -> None:
    with pytest.raises(Reported, match="sgd at batch size 4 fails at once: why") as caught:
        cost_of(tmp_path, Pretend(lambda runs, compiled: math.inf, code=2))
    assert caught.value.fault.code == 2
    with pytest.raises(Reported) as caught:  # a worker that died gives no code
        cost_of(tmp_path, Pretend(lambda runs, compiled: math.inf))
    assert caught.value.fault.code == 1


def test_a_fault_of_the_suite_in_a_pack_is_said_and_packs_are_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for code, said in ((70, ["sgd at batch size 4: packs of 16 are not used: why"]), (2, [])):
        fails = Pretend(lambda runs, compiled: math.inf if runs > 1 else 1e-3, code=code)
        assert cost_of(tmp_path, fails, compiled="off").size == 1
        lines = capsys.readouterr().err.replace("packs of 12", "packs of 16").splitlines()
        measuring = [
            "Measuring steps of 1 group of runs, as single runs.",
            "Measuring steps of 1 group of runs, as packs.",
        ]
        assert lines == [*measuring, *said]


def test_workers_of_one_gpu_share_its_memory(tmp_path: Path) -> None:
    def sharing(workers: int, gpus: int) -> int:
        return LocalLauncher(workers, command=[], logs=tmp_path, gpus=["0"] * gpus).sharing

    assert [sharing(4, 0), sharing(8, 8), sharing(16, 8), sharing(3, 2)] == [4, 1, 2, 2]


def timed(
    monkeypatch: pytest.MonkeyPatch,
    cost: Callable[[int], float],
    *,
    first: int = 2,
    seconds: float = 1.5,
    most: int = 512,
) -> tuple[StepTimer, int]:
    """A timer that has watched a pretended training whose step number ``i`` takes ``cost(i)``, and its last step."""
    clock = [100.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(global_step=0, strategy=strategy, should_stop=False)
    timer = StepTimer(64, first, lambda each: seconds)
    timer.on_train_start(trainer, None)  # type: ignore[arg-type]
    while not trainer.should_stop and trainer.global_step < most:
        block = min(timer.block_steps, most - trainer.global_step)
        clock[0] += sum(cost(trainer.global_step + i) for i in range(block))
        trainer.global_step += block
        timer.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
    return timer, trainer.global_step


@pytest.mark.parametrize(
    ("each", "least", "most"), [(1e-4, 512, 512), (0.01, 100, 152), (0.1, 12, 18), (1.0, 3, 3), (20.0, 3, 3)]
)
def test_slow_steps_are_told_by_few_of_them(
    monkeypatch: pytest.MonkeyPatch, each: float, least: int, most: int
) -> None:
    timer, steps = timed(monkeypatch, lambda step: each)
    assert least <= steps <= most
    assert timer.seconds_per_step == pytest.approx(each) and timer.overhead == pytest.approx(0.0, abs=1e-9)


def test_a_pause_and_the_first_steps_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    timer, _ = timed(
        monkeypatch, lambda step: 0.01 + (7.0 if step == 3 else 0.0) + (0.9 if step == 60 else 0.0), first=4
    )
    assert timer.seconds_per_step == pytest.approx(0.01)
    assert timer.overhead == pytest.approx(7.0)


def test_a_training_that_ends_at_once_has_a_cost_too(monkeypatch: pytest.MonkeyPatch) -> None:
    timer, steps = timed(monkeypatch, lambda step: 0.5, first=4, most=2)
    assert steps == 2 and timer.seconds_per_step == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at least one step"):
        _ = timed(monkeypatch, lambda step: 0.5, most=0)[0].seconds_per_step


@pytest.mark.parametrize("runs", [1, 3])
def test_measuring_stops_a_training_early_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runs: int
) -> None:
    task = ["--config", str(task_file("fineweb/gpt")), "--model.init_args.name=fineweb/gpt"]
    sample = ["--data.source", "sample", "--data.data_dir", str(tmp_path), "--data.tokenizer", "byte"]
    small = ["--model.width", "16", "--model.num_layers", "1", "--model.num_heads", "2", "--data.seq_len", "16"]
    batch = ["--data.batch_size", "4", "--data.budget_steps", "100000", "--trainer.accelerator", "cpu"]
    optimizers = [f"--model.optimizer={{name: sgd, lr: {lr}, momentum: 0.9}}" for lr in (0.1, 0.2, 0.3)]
    resolver = Resolver()
    configs = [resolver.resolve([*task, *sample, *small, *batch, optimizer]) for optimizer in optimizers[:runs]]
    trained: list[dict[str, Any]] = []
    stores: list[Path] = []
    asked = worker.Worker()
    train = {1: asked.train_one_by_one, 3: asked.train_at_once}[runs]

    def watched(request: WorkRequest, watch: Any) -> list[dict[str, Any]]:
        records = train(request, watch)
        trained.extend(records)
        stores.append(Path(request.store))
        return records

    monkeypatch.setattr(asked, train.__name__, watched)
    monkeypatch.setattr(worker, "MOST_STEPS", 100_000)  # minutes, if nothing stopped it
    begun = time.perf_counter()
    cost = asked.measure(WorkRequest(do="measure", configs=configs, seconds=0.2, share=0.03, run_steps=100_000))
    taken = time.perf_counter() - begun
    assert [record["status"] for record in trained] == ["interrupted"] * runs
    steps = trained[0]["steps_done"]
    assert 3 <= steps < 100_000 and 0 < cost.seconds_per_step < 2 * taken / steps
    assert cost.available > 0 and 0 <= cost.setup_seconds < taken
    assert len(stores) == 1 and not stores[0].exists()


def test_a_resolver_builds_many_runs_as_each_by_itself(tmp_path: Path) -> None:
    # It parses what changes between runs of a sweep once; nothing of one run may be found in the next.
    task = ["--config", str(task_file("fineweb/gpt")), "--model.init_args.name=fineweb/gpt"]
    data = ["--data.source", "sample", "--data.data_dir", str(tmp_path), "--data.tokenizer", "byte"]
    base = [*task, *data, "--data.budget_steps", "20", "--trainer.accelerator", "cpu"]
    shared = Resolver()
    changes = [
        ["--model.optimizer", "{name: sgd, lr: 0.1, momentum: 0.9}", "--data.batch_size", "4"],
        ["--model.optimizer", "{name: adam, lr: 0.01, beta: 0.5}", "--data.batch_size", "4", "--seed_everything", "7"],
        ["--model.optimizer", "{name: adam, lr: 0.02, beta: 0.5}", "--data.batch_size", "8"],
        ["--model.optimizer", "{name: adam, lr: 0.02, beta: 0.5}", "--data.batch_size", "8", "--model.width", "24"],
        ["--model.optimizer", "{name: sgd, lr: 0.1, momentum: 0.9}", "--data.batch_size", "4"],
    ]
    for change in changes:
        config = shared.resolve([*base, *change])
        (task_a, data_a), (task_b, data_b) = shared.build_data(config), Resolver().build_data(config)
        assert task_a.optimizer_config == task_b.optimizer_config
        assert (data_a.batch_size, data_a.budget_steps) == (data_b.batch_size, data_b.budget_steps)
        assert vars(task_a).keys() == vars(task_b).keys() and task_a.schedule == task_b.schedule
        assert task_a.width == task_b.width  # type: ignore[attr-defined]
