"""How far a sweep is: the time to go, for runs in packs and runs whose batch size none has had yet."""

from __future__ import annotations

import time

import pytest

from suite.execution.messages import Event
from suite.execution.sweep_progress import SweepProgress
from suite.sweep import GroupKey, PlannedRun


def runs_of(batch_size: int, steps: int) -> tuple[PlannedRun, ...]:
    """Nine runs."""
    return tuple(
        PlannedRun(
            run_id=f"{batch_size}-{number}",
            optimizer="sgd",
            settings={},
            axes={},
            batch_size=batch_size,
            seed=0,
            steps=steps,
        )
        for number in range(9)
    )


def test_time_to_go_from_measured_costs_then_from_what_runs_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    small, large = runs_of(1, 1000), runs_of(64, 15)
    expected = {GroupKey("", "sgd", 1): 0.01, GroupKey("", "sgd", 64): 0.2}
    progress = SweepProgress(total=18, left=[*small, *large], workers=2, expected=expected)
    assert progress.line().endswith("about 58 s to go")  # (90 + 27) / 2
    progress.update(small, Event("started"))
    clock[0] += 9  # of the 90 that the pack will take
    assert progress.line() == "sweep: 0 finished, 9 running, 0 diverged, 9 left of 18; about 54 s to go"
    progress.update(small, Event("done", ["finished"] * 9, seconds=180.0))
    assert progress.line().endswith("about 14 s to go")
    progress.update(large, Event("started"))
    clock[0] += 1000  # longer than expected
    assert progress.line().endswith("about 0 s to go")
    progress.update(large, Event("done", ["finished"] * 9, seconds=1000.0))
    assert progress.line() == "sweep: 18 finished, 0 running, 0 diverged, 0 left of 18; done"


def test_what_is_left_of_a_sweep_that_grows_is_a_lower_bound() -> None:
    expected = {GroupKey("", "sgd", 64): 0.2}
    progress = SweepProgress(total=9, left=list(runs_of(64, 15)), workers=1, expected=expected, grows=True)
    assert progress.line().endswith("; at least 27 s to go, results add runs")


def test_lines_of_a_log_count_what_every_worker_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    first, second = runs_of(1, 1000), runs_of(64, 15)
    progress = SweepProgress(total=18, left=[*first, *second], workers=2)
    progress.update(first[:5], Event("started"))
    progress.update(second[:1], Event("started"))
    capsys.readouterr()
    clock[0] += 60
    progress.update(second[:1], Event("done", ["finished"], seconds=60.0))
    assert capsys.readouterr().err == ""
    progress.update(second[1:2], Event("started"))
    assert capsys.readouterr().err.startswith("sweep: 1 finished, 6 running, 0 diverged, 11 left of 18; ")


def test_batch_sizes_nobody_has_trained_cost_per_step_what_the_nearest_does() -> None:
    small, middle, large = runs_of(1, 1000), runs_of(16, 60), runs_of(64, 15)
    progress = SweepProgress(total=27, left=[*small, *middle, *large], workers=1)
    assert progress.line().endswith("time to go unknown yet")
    progress.update(small, Event("done", ["finished"] * 9, seconds=90.0))
    assert progress.line().endswith("about 7 s to go")  # 0.01 s x 9 x 75
    progress.update(middle, Event("done", ["finished"] * 9, seconds=54.0))
    assert progress.line().endswith("about 14 s to go")  # 0.1 s x 9 x 15


def test_runs_that_had_a_result_are_counted_by_their_status() -> None:
    small, large = runs_of(1, 1000), runs_of(64, 15)
    progress = SweepProgress(total=18, left=list(large), workers=1, settled=["diverged"] * 2 + ["finished"] * 6)
    assert progress.line().startswith("sweep: 6 finished, 0 running, 2 diverged, 9 left of 18")  # one can never start
    progress.add(list(small[:3]), list(small[:1]), ["diverged", "finished"])
    assert progress.line().startswith("sweep: 7 finished, 0 running, 3 diverged, 10 left of 21")
