"""Performance profiles over tasks, against factors computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from law_records import write_laws
from synthetic_records import Planted, write_store
from test_analysis_laws import GRIDS, turning
from test_analysis_report import check

from suite.analysis.profile import factors_of, profile, profile_sentences, scores
from suite.analysis.report import drawings, write_index
from suite.api import load


def steps_of(task: str, times: dict[str, float], size: int = 8) -> pd.DataFrame:
    outcomes = ["reached" if math.isfinite(time) else "not reached" for time in times.values()]
    known = [time if math.isfinite(time) else math.nan for time in times.values()]
    return pd.DataFrame(
        {"task": task, "optimizer": list(times), "batch_size": size, "target": float(ord(task[0])) + size / 7,
         "outcome": outcomes, "steps": known,
         "seconds": [2 * time for time in known]}
    )  # fmt: skip


def test_profile_and_score_by_hand() -> None:
    tables = {
        "one": steps_of("a", {"adam": 100.0, "sgd": 200.0}),
        "two": steps_of("b", {"adam": 150.0, "sgd": 100.0}),
        "three": steps_of("c", {"adam": 100.0, "sgd": math.inf}),
        "four": steps_of("d", {"adam": math.inf, "sgd": math.inf}),
    }
    factors = factors_of(tables)
    assert factors["adam"].tolist() == [1, 1.5, 1] and factors["sgd"].tolist() == [2, 1, math.inf]
    shares = profile(factors)
    assert shares.index.tolist() == [1, 1.5, 2, 4]
    assert shares["sgd"].tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    scored = scores(factors).set_index("optimizer")
    # The area below the steps of a profile, over [1, 4].
    areas = {x: float(np.sum(np.diff(shares.index) * shares[x].to_numpy()[:-1])) / 3 for x in shares}
    assert scored["score"].to_dict() == pytest.approx(areas)
    assert scored["low"].isna().all() and scored.loc["sgd", "reference"] == "adam" and scored.loc["sgd", "tasks"] == 3
    assert "SGD and Adam: open, with fewer than 5 tasks." in profile_sentences(scores(factors))


def test_workloads_lack_no_optimizer() -> None:
    both = steps_of("a", {"adam": 1.0, "sgd": 2.0})
    third = steps_of("c", {"adam": 1.0, "sgd": 2.0})
    tables = {"one": both, "two": steps_of("b", {"adam": 1.0, "muon": 2.0}), "three": third, "again": both}
    assert len(factors_of(tables)) == 2  # Muon is on one of four, and one and again are the same
    assert list(factors_of(tables, ["adam", "muon"])["muon"]) == [2]
    assert factors_of({}).empty and scores(factors_of({})).empty
    with pytest.raises(ValueError, match="No workload has lion; there are: adam, sgd, muon"):
        factors_of(tables, ["adam", "lion"])
    with pytest.raises(ValueError, match="steps, seconds, got 'hours'"):
        factors_of(tables, by="hours")  # type: ignore[arg-type]


def test_intervals_come_from_tasks() -> None:
    def tables(tasks: int, sizes: int) -> dict[str, pd.DataFrame]:
        frames = [
            steps_of(str(task), {"adam": 1.0, "sgd": 1.2 + 0.3 * (task % 3)}, 2**power)
            for task in range(tasks) for power in range(sizes)
        ]  # fmt: skip
        return {"sweep": pd.concat(frames)}

    few, copied = (scores(factors_of(tables(6, sizes))).set_index("optimizer").loc["sgd"] for sizes in (1, 9))
    assert few["ahead"] == "adam" and few["difference_high"] < 0
    # Nine batch sizes that say the same are no nine tasks.
    assert (few["low"], few["high"]) == pytest.approx((copied["low"], copied["high"]))
    assert few["low"] < few["score"] < few["high"]


def test_the_index_and_python_have_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "drawings_of", lambda *args: {})
    store, _ = write_laws(
        tmp_path / "runs", turning(0.5), panels={"1e5": {}, "4e5": {}}, grids=GRIDS, batch_sizes=(4, 16),
        report_seeds=(2, 3),
    )  # fmt: skip
    write_store(
        store.path, Planted(batch_sizes=(4,), momenta=(0.95,), best_momentum={"sgd": 0.95, "adam": 0.95}, steps=50)
    )
    page, _ = write_index(store, tmp_path / "out")
    words = " ".join(check(page).text)
    assert "Over all tasks" in words and "Score over" in words
    assert (tmp_path / "out" / "figures" / "profile.svg").exists()
    scored = load(store.path).performance_profile()
    assert set(scored["optimizer"]) == {"adam", "sgd"} and scored["tasks"].tolist() == [3, 3]
    assert scored.attrs["profile"].index[0] == 1 and len(scored.attrs["factors"]) == scored["workloads"][0]
    assert len(load(store.path).performance_profile(["laws"], by="seconds").attrs["factors"]) == 4
