"""What diagnostics found, read from a store: tables by group, figures, correlations with honest uncertainty."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from diagnostic_examples import EXAMPLES
from synthetic_records import Planted, gap_rows, write_store

from suite.analysis.comparison import compare_plan
from suite.analysis.crossover import crossover
from suite.analysis.diagnosed import diagnosed_points, group_gaps, store_diagnostics
from suite.analysis.figures.diagnosed import DIAGNOSTICS
from suite.analysis.rank_correlation import rank_correlation
from suite.analysis.report import write_report
from suite.analysis.why import CORRELATED, crossover_rank, why
from suite.cli.main import main
from suite.records import Diagnosed, Store, StoreError

STEPS = (0, 1, 10, 100, 799)
LAYERS = ("embed.weight", "blocks.0.mixer.qkv.weight", "blocks.0.mlp.fc1.weight", "norm.weight", "head.weight")
PLANTED = Planted(
    batch_sizes=(1, 16, 256),
    lrs={"sgd": (0.1, 0.3, 1.0), "adam": (0.001, 0.003, 0.01)},
    momenta=(0.95, 0.99),
    best_momentum={"sgd": 0.95, "adam": 0.99},
)


def planted_rows(optimizer: str, batch_size: int, level: float) -> list[tuple[int, str, str, str, float]]:
    """Plausible findings of every diagnostic: r rises with the batch size, SGD is worse on the rare classes."""
    rows: list[tuple[int, str, str, str, float]] = []
    slower = 1.0 if optimizer == "adam" else 1.4
    for place, step in enumerate(STEPS):
        fall = math.exp(-place / 2)
        whole = {
            "clipping": {"norm_before": 3 * fall * slower, "norm_after": min(1, 3 * fall), "clipped_share": fall},
            "noise": {"noise_scale": 20 / fall, "trace": 5 * slower, "tail_index": 4 - slower},
            "sharpness": {
                "predicted_change": -fall, "actual_change": -0.9 * fall, "gradient_correlation": -1.2 * fall,
                "directional_sharpness": 0.2 * fall, "direction_sharpness": 30 * fall * slower,
            },
            "smoothness": {
                "r": 8 + 4 * math.log2(batch_size + 1), "threshold": 10.7, "l2": 30.0, "l2_path": 12.0,
                "linf": 30 * (8 + 4 * math.log2(batch_size + 1)), "linf_path": 80.0,
            },
            "spectra": {"js_distance": 0.4 + 0.1 * slower},
        }  # fmt: skip
        groups: dict[str, dict[str, dict[str, float]]] = {
            "clipped_coordinates": {"momentum_share": {name: 0.1 * (i + 1) for i, name in enumerate(LAYERS)}},
            "updates": {
                "rms": {name: 1e-3 * (i + 1) * slower for i, name in enumerate(LAYERS)},
                "ratio": {role: 1e-2 * fall for role in ("norm", "embed", "hidden", "head")},
            },
            "agreement": {
                "sign_agreement": {"adam~sgd": 0.7, "adam~run": 0.8, "sgd~run": 0.6},
                "cosine": {"adam~sgd": 0.3, "adam~run": 0.9, "sgd~run": 0.2},
            },
            "noise": {
                "sign_actual": {"1": 0.1, "4": 0.2, "16": 0.38}, "sign_predicted": {"1": 0.11, "4": 0.21, "16": 0.4},
                "snr": {name: 0.01 * (i + 1) for i, name in enumerate(LAYERS)},
            },
            "frequency": {"loss": {str(g): level + 0.3 * g * slower * (1 + fall) for g in range(1, 11)}},
            "spectra": {
                "js_distance": {name: 0.3 + 0.1 * i for i, name in enumerate(LAYERS)},
                "largest": {name: 10.0 * (i + 1) for i, name in enumerate(LAYERS)},
            },
        }  # fmt: skip
        for diagnostic, values in whole.items():
            rows += [(step, diagnostic, quantity, "", value) for quantity, value in values.items()]
        for diagnostic, quantities in groups.items():
            for quantity, by_group in quantities.items():
                rows += [(step, diagnostic, quantity, group, value) for group, value in by_group.items()]
    return rows


def diagnosed_store(path: Path, planted: Planted = PLANTED) -> tuple[Store, dict[str, Any]]:
    store, plan = write_store(path, planted)
    for planned in plan["runs"]:
        record = store.record(planned["run_id"])
        assert record is not None
        if record["status"] != "finished":
            continue
        rows = planted_rows(planned["optimizer"], planned["batch_size"], record["final"]["ema"] - 1)
        columns = dict(
            zip(("step", "diagnostic", "quantity", "group", "value"), map(list, zip(*rows, strict=True)), strict=True)
        )
        found = Diagnosed(pa.table(columns), sorted(EXAMPLES), 1.0)
        store.write_record(
            {k: v for k, v in record.items() if k != "curves"}, store.curves(record["run_id"]), None, found
        )
    return store, plan


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any]]:
    return diagnosed_store(tmp_path_factory.mktemp("store"))


def test_a_store_keeps_diagnostics_and_carries_them_elsewhere(planted: Any, tmp_path: Path) -> None:
    store, _ = planted
    run_id = next(r["run_id"] for r in store.records() if r["status"] == "finished")
    other = Store(tmp_path)
    files = store.export_record(run_id)
    assert list(files) == ["curves.parquet", "diagnostics.parquet", "record.json"]
    other.import_record(run_id, files)
    assert other.diagnostics(run_id).equals(store.diagnostics(run_id)) and not list(other.foreign_files())
    with pytest.raises(StoreError, match="arrived broken"):
        Store(tmp_path / "b").import_record(run_id, {**files, "diagnostics.parquet": b"something else"})
    (other.run_folder(run_id) / "diagnostics.parquet").write_bytes(b"something else")
    with pytest.raises(StoreError, match="are not those of its record"):
        other.diagnostics(run_id)


def test_the_gap_of_every_frequency_group(planted: Any) -> None:
    store, plan = planted
    comparison = compare_plan(store, plan)
    points = diagnosed_points(comparison.tuned, store_diagnostics(store))
    gaps = group_gaps(points, "adam", "sgd")
    assert len(gaps) == 30 and set(gaps["group"]) == {str(g) for g in range(1, 11)}
    for size, mine in gaps.groupby("batch_size"):
        ordered = mine.assign(place=mine["group"].astype(int)).sort_values("place")["gap"]
        # What SGD loses on each group grows with its rarity, by 0.12 (1 + fall) per group.
        assert np.allclose(np.diff(ordered), -0.12 * (1 + math.exp(-2)), atol=1e-9), size
    assert group_gaps(points, "adam", "muon").empty


def test_every_diagnostic_is_drawn_in_the_report(planted: Any, tmp_path: Path) -> None:
    store, plan = planted
    assert set(DIAGNOSTICS) == set(EXAMPLES)
    page = write_report(store, plan, tmp_path).page.read_text()
    for name, diagnostic in DIAGNOSTICS.items():
        assert (tmp_path / "figures" / f"diagnostic-{name}.png").stat().st_size > 10_000
        assert diagnostic.heading in page
    written = pd.read_csv(tmp_path / "tables" / "diagnostics.csv")
    assert set(written["diagnostic"]) == set(EXAMPLES) and set(written["batch_size"]) == {1, 16, 256}


def test_measures_stand_beside_the_gap(planted: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    store, plan = planted
    found = why([compare_plan(store, plan)], store_diagnostics(store))
    assert found.table["batch_size"].tolist() == [1, 16, 256]
    assert found.table["r"].tolist() == pytest.approx([8 + 4 * math.log2(b + 1) for b in (1, 16, 256)])
    assert (found.table["frequency_gap"] < 0).all() and found.table["tail_index"].tolist() == pytest.approx([2.8] * 3)
    # d is 1234 and d^(1/3) 10.7: r is below it at none of the batch sizes.
    assert set(found.table["regime"]) == {"II"} and found.table["predicted_crossover"].tolist() == [math.inf] * 3
    # r rises with the batch size and the planted gap falls; three pairs can show no more than p = 1/3.
    assert found.with_gap["r"].rho == pytest.approx(-1) and found.with_gap["r"].p > 0.3
    assert set(found.with_crossover) == set(CORRELATED) and math.isnan(found.with_crossover["r"].rho)
    told_to = ["--csv", str(tmp_path / "why.csv"), "--figure", str(tmp_path)]
    assert main(["why", "--store", str(store.path), *told_to]) == 0
    told = capsys.readouterr().out
    assert "JS distance of blocks, at the end" in told and "js_distance" not in told
    assert "noise scale" in told and "correlations were looked at" in told
    assert len(pd.read_csv(tmp_path / "why.csv")) == 3
    assert (tmp_path / "why.png").stat().st_size > 10_000 and "gap" in (tmp_path / "why.svg").read_text()


def test_a_store_without_diagnostics_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, plan = write_store(tmp_path / "plain", PLANTED)
    assert diagnosed_points(compare_plan(store, plan).tuned, store_diagnostics(store)).empty
    assert main(["why", "--store", str(store.path)]) == 2
    assert "No tuned run has diagnostics" in capsys.readouterr().err
    assert main(["why", "--store", str(tmp_path / "none")]) == 2


def test_a_crossover_out_of_range_still_has_a_rank(tmp_path: Path) -> None:
    for number, (crossing, expected) in enumerate(((16.0, 16.0), (1e9, math.inf), (1e-9, 0.0))):
        store, plan = write_store(
            tmp_path / str(number), Planted(crossing=crossing, noise=1e-4, report_seeds=(7, 8, 9))
        )
        (found,) = compare_plan(store, plan).crossovers
        assert crossover_rank(found) == pytest.approx(expected, rel=0.2)


def test_only_verdicts_rank_a_crossover() -> None:
    def rank(gaps: list[float]) -> float:
        return crossover_rank(crossover(gap_rows(gaps, error=0.3)))

    assert rank([3, 1.5, 0.2, -0.2]) == math.inf and rank([0.2, -0.2, -1.5, -3]) == 0
    assert 4 < rank([3, 1.5, -1.5, -3]) < 16
    # No verdict; the other way round; a winner in the middle of the other's range.
    for gaps in ([0.3, -0.3, 0.2, 0.1], [-3, -1.5, 1.5, 3], [-3, -3, 2, -3]):
        assert math.isnan(rank(gaps))


def test_permutations_tell_what_chance_gives() -> None:
    rising = rank_correlation([1, 2, 3, 4, 5, 6], [1, 4, 9, 16, 25, math.inf])
    assert rising.rho == pytest.approx(1) and rising.p == rising.smallest_p == pytest.approx(2 / 720)
    few = rank_correlation([1, 2, 3, 4], [4, 3, 2, 1])
    assert few.rho == pytest.approx(-1) and few.p == pytest.approx(2 / 24) and "no order of 4 pairs" in few.sentence()
    assert math.isnan(rank_correlation([1, 2, math.nan], [1, 2, 3]).rho)
    rng = np.random.default_rng(0)
    chance = [rank_correlation(rng.normal(size=6), rng.normal(size=6)).p for _ in range(200)]
    assert 0.01 < np.mean(np.array(chance) <= 0.05) < 0.1
    # What differs between groups alone counts for nothing inside them.
    x = [1, 2, 3, 11, 12, 13]
    inside = rank_correlation(x, [3, 2, 1, 13, 12, 11], ["a"] * 3 + ["b"] * 3)
    assert inside.rho == pytest.approx(-1) and rank_correlation(x, [3, 2, 1, 13, 12, 11]).rho > 0.4
