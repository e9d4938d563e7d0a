"""Several panels in one report, published values beside ours, an index over a store, intervals of the crossover."""

import os
import re
import signal

import numpy as np
import pytest
from synthetic_records import Planted, write_store
from test_analysis_crossover import gap_rows
from test_analysis_csv import HEADER, row, write
from test_analysis_report import check

from suite.analysis.comparison import compare_plan
from suite.analysis.crossover import crossover
from suite.analysis.crossover_interval import crossover_intervals, monotone_zeros
from suite.analysis.csv_import import load_csv
from suite.analysis.figures.gap import gap_figure
from suite.analysis.figures.style import save, style
from suite.analysis.published import published_gaps, published_losses
from suite.analysis.report import index, sections, write_index, write_report
from suite.analysis.report.sections import gap_section
from suite.analysis.theory_fit import theory_fit
from suite.analysis.words import interval_text
from suite.cli.main import main
from suite.records import Store

PUBLISHED = [
    {"panel": "small", "batch_size": 4, "losses": {"adam": 4.0, "sgd": 3.9}, "source": "table 7"},
    {"panel": "large", "batch_size": 999, "relative_gap": -3.0, "source": "read off figure 8"},
    {"panel": "large", "batch_size": 64, "perplexities": {"adam": 20.0, "sgd": 22.0, "lion": 21.0}, "source": "text"},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two panels in one plan, and a second plan."""
    folder = tmp_path_factory.mktemp("panels")
    shape = {"batch_sizes": (4, 64), "steps": 200, "noise": 0.004}
    kept, plan = write_store(folder, Planted(**shape, report_seeds=(7, 8, 9)))
    _, other = write_store(
        folder,
        Planted(
            **shape, momenta=(0.95, 0.99), task="other/net", level=2.0, lrs={"sgd": (0.2, 0.4), "adam": (0.002, 0.004)}
        ),
    )
    panels = [{**run, "panel": label} for label, part in (("small", plan), ("large", other)) for run in part["runs"]]
    kept.write_plan({**plan, "plan_id": "panels-1", "task": "a, b", "runs": panels, "published": PUBLISHED})
    kept.write_plan({**plan, "plan_id": "plain-2", "question": "And a second?"})
    (folder / "sweeps" / "synthetic-1a2b3c4d" / "plan.json").unlink()
    return kept


def test_every_panel_is_compared_by_itself_and_drawn(store, tmp_path):
    comparison = compare_plan(store, store.plan("panels-1"))
    assert list(comparison.gaps["task"].unique()) == ["small", "large"]
    assert [found.task for found in comparison.crossovers] == ["small", "large"]
    part = comparison.of_task("large")
    assert set(part.runs["task"]) == {"large"} and len(part.published) == 2
    page = write_report(store, store.plan("panels-1"), tmp_path).page
    words = " ".join(check(page).text)
    for said in ("small: The gap", "large: ", "Beside the paper", "read off figure 8", "What tuning costs"):
        assert said in words, said
    assert {"panels.svg", "gap-1-small.svg", "gap-2-large.svg"} <= {p.name for p in (tmp_path / "figures").iterdir()}
    ids = re.findall(r' id="([^"]+)"', page.read_text())
    assert len(ids) == len(set(ids)) > 0  # figures in one document do not share names


@pytest.mark.parametrize("most", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_many_answers_follow_the_first_figure(store, tmp_path, monkeypatch, most):
    monkeypatch.setattr(sections, "MOST_FIRST", most)
    page = write_report(store, store.plan("panels-1"), tmp_path).page.read_text()
    assert (page.index("<svg") < page.index("The gap passes zero")) == (most < 2)


def test_points_show_their_settings(store, tmp_path):
    with style():
        comparison = compare_plan(store, store.plan("plain-2"))
        _, svg, _ = save(gap_figure(comparison.gaps, comparison.crossovers, ["adam", "sgd"]), tmp_path, "gap")
    text = svg.read_text()
    assert re.search(r"<title>batch size 4: gap [^<]*\nAdam [^<]*\(lr 0.003, beta 0.99\)\nSGD [^<]*</title>", text)
    assert "<title>batch size 64" in text and "tip: " not in text
    assert 'title="lr 0.3, momentum 0.95"' in gap_section(comparison)


def test_published_values_stand_beside_ours_at_the_same_point(store):
    comparison = compare_plan(store, store.plan("panels-1"))
    table = published_gaps(comparison.published, comparison.gaps)
    first, unmatched, sgd, lion = (entry for _, entry in table.iterrows())
    ours = comparison.gaps[(comparison.gaps["task"] == "small") & (comparison.gaps["batch_size"] == 4)].iloc[0]
    assert first["published_gap"] == pytest.approx(0.1) and first["published_relative_gap"] == pytest.approx(2.5)
    assert first["gap"] == ours["gap"] and first["better"] == ours["better"]
    assert np.isnan(unmatched["gap"]) and unmatched["published_relative_gap"] == -3.0
    assert sgd["published_gap"] == pytest.approx(np.log(20 / 22)) and not np.isnan(sgd["gap"])
    assert lion["challenger"] == "lion" and np.isnan(lion["gap"])


def test_a_published_gap_without_a_batch_size_stands_beside_our_only_one():
    entry = [{"relative_gap": 7.0, "source": "text"}]
    (_, alone), *_ = published_gaps(entry, gap_rows([3.0], [64]).assign(better="sgd")).iterrows()
    assert alone["gap"] == 3.0 and alone["own_batch_size"] == 64 and np.isnan(alone["batch_size"])
    (_, one_of_two), *_ = published_gaps(entry, gap_rows([3.0, 1.0], [4, 64]).assign(better="sgd")).iterrows()
    assert np.isnan(one_of_two["gap"]) and np.isnan(one_of_two["own_batch_size"])


def test_published_losses_stand_beside_ours_of_the_same_optimizer(store):
    alone = {"panel": "large", "batch_size": 64, "perplexities": {"adam": 20.0}, "source": "a run by itself"}
    plan = {**store.plan("panels-1"), "published": [PUBLISHED[0], alone]}
    comparison = compare_plan(store, plan)
    assert comparison.published_gaps["challenger"].tolist() == ["sgd"], "one loss makes no gap"
    found = published_losses(comparison.published, comparison.tuned)
    assert found[["optimizer", "published_loss"]].values.tolist() == [
        ["adam", 4.0], ["sgd", 3.9], ["adam", pytest.approx(np.log(20))]
    ]  # fmt: skip
    tuned = comparison.tuned[comparison.tuned["batch_size"] == 64].set_index(["task", "optimizer"])
    assert found["loss"].iloc[2] == tuned.loc[("large", "adam"), "loss"] and found["own_batch_size"].iloc[2] == 64
    words = re.sub("<[^>]+>", " ", sections.published_section(comparison))
    assert re.search(r"64\s+Adam\s+2\.996\s+2\.\d{4}\s+a run by itself", words)
    (entry,) = published_losses([{"losses": {"adam": 1.0}, "source": "x"}], comparison.tuned).to_dict("records")
    assert entry["task"] == "" and np.isnan(entry["loss"]), "two panels, and neither is said"


def test_an_index_leads_to_every_question_of_a_store(tmp_path, capsys):
    lrs = {"sgd": (0.1, 0.3), "adam": (0.003,)}
    store, plan = write_store(tmp_path / "store", Planted(batch_sizes=(4,), steps=30, momenta=(0.95, 0.99), lrs=lrs))
    store.write_plan({**plan, "plan_id": "second-2", "name": "second", "question": "And a second?"})
    earlier = store.path / "sweeps" / "second-1" / "plan.json"
    store.write_plan({**plan, "plan_id": "second-1", "name": "second", "question": "What was asked before?"})
    os.utime(earlier, ns=(0, 0))
    assert main(["report", "--store", str(store.path), "--out", str(tmp_path)]) == 0
    page = tmp_path / "index.html"
    printed = capsys.readouterr().out
    assert f"Index: {page}" in printed and "left out: 1 earlier plan of these sweeps" in printed
    assert all(address.startswith("data:") for address in check(page).loaded)
    links = set(re.findall(r'href="([^"]+)"', page.read_text()))
    assert links == {"second-2/index.html", "synthetic-1a2b3c4d/index.html"}
    assert all((tmp_path / link).exists() for link in links)
    assert "And a second?" in page.read_text() and "What was asked before?" not in page.read_text()
    with pytest.raises(ValueError, match="run a sweep"):
        write_index(Store(tmp_path / "empty"), tmp_path / "none")


def test_pages_drawn_side_by_side_are_those_drawn_alone(tmp_path, monkeypatch):
    lrs = {"sgd": (0.1, 0.3), "adam": (0.003,)}
    store, plan = write_store(tmp_path / "store", Planted(batch_sizes=(4,), steps=30, momenta=(0.95, 0.99), lrs=lrs))
    names = ["a", "b"]
    for name in names:
        store.write_plan({**plan, "plan_id": name, "name": name, "question": f"Question {name}?"})
    store.write_plan({**plan, "plan_id": "d", "name": "d", "runs": []})
    _, alone = write_index(store, tmp_path / "alone")
    monkeypatch.setattr(index, "write_report", None)  # not called in this process, and spawned ones have their own
    _, together = write_index(store, tmp_path / "together", workers=2)
    assert alone == together and len(alone) == 1 and alone[0].startswith("d: ")
    written = [sorted(p.relative_to(folder) for p in folder.rglob("*.*")) for folder in out_folders(tmp_path)]
    assert written[0] == written[1]
    for name in [*names, plan["plan_id"]]:
        pages = [(folder / name / "index.html").read_text() for folder in out_folders(tmp_path)]
        assert pages[0] == pages[1]
    first, second = ((folder / "index.html").read_text() for folder in out_folders(tmp_path))
    assert first == second and first.index("Question a?") < first.index("Question b?")


def out_folders(folder):
    return folder / "alone", folder / "together"


def test_a_killed_process_that_draws_ends_in_one_sentence(tmp_path, monkeypatch):
    store, plan = write_store(tmp_path / "store", Planted(batch_sizes=(4,), steps=30, momenta=(0.95, 0.99)))
    store.write_plan({**plan, "plan_id": "second-2", "name": "second"})
    monkeypatch.setattr(index, "_report_or_reason", die)
    with pytest.raises(ValueError, match=r"2 processes to draw the pages, one of them was killed.*are kept"):
        write_index(store, tmp_path / "out", workers=2)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_crossover_intervals_cover_the_planted_crossing():
    rng, hits = np.random.default_rng(0), []
    sizes = [1, 4, 16, 64, 256]
    for _ in range(300):
        gaps = 2.0 - 0.5 * np.log2(sizes) + 0.2 * rng.standard_t(20, 5)  # zero at 16
        found = crossover(gap_rows(list(gaps), sizes, error=0.2))
        if found.claimed and found.line_interval is not None:
            hits.append([low <= 16 <= high for low, high in (found.line_interval, found.interpolated_interval)])
    assert len(hits) > 200
    assert (np.mean(hits, axis=0) > 0.91).all() and (np.mean(hits, axis=0) < 0.99).all()  # standard error 1.3%


def test_a_convex_gap_is_not_read_off_a_line():
    rng, sizes, hits = np.random.default_rng(0), [1, 4, 16, 64, 256], []
    truth = np.array([9.0, 3.0, 0.3, -0.6, -0.9])  # zero between 16 and 64
    for _ in range(100):
        found = crossover(gap_rows(list(truth + 0.1 * rng.standard_t(20, 5)), sizes, error=0.1))
        assert found.line is None and found.claimed
        low, high = found.interpolated_interval
        zero = 2 ** (4 + 2 / 3)
        hits.append(low <= zero <= high and (found.low, found.high) in ((16, 64), (4, 64)))
    assert np.mean(hits) > 0.88


def test_open_and_missing_intervals_are_said():
    rows = gap_rows([3.0, 2.9, 2.85])
    of_line, of_fit = crossover_intervals(rows, falling=True)
    assert of_line[1] == np.inf and of_fit == (np.inf, np.inf)
    assert interval_text(of_fit) == "95% interval above the range"
    assert crossover_intervals(rows.assign(relative_error=np.nan), falling=True) == (None, None)
    zeros = monotone_zeros(np.array([0.0, 2.0]), np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]]), falling=True)
    assert zeros.tolist() == [1.0, np.inf, -np.inf]


def test_validation_losses_and_branch_columns_of_an_export(tmp_path):
    header = HEADER.replace("tr_loss", "cool_ratio,tr_loss")
    rows = ['d,0.1,0,4,0.9,sgd,1.0,"[2.0, 1.0]","[\'NaN\', 1.5]"', 'd,0.1,0,4,0.9,sgd,0.5,"[2.0, 1.0]","[]"']
    runs = load_csv(write(tmp_path / "x.csv", rows, header), "val").runs
    assert runs["loss"].tolist()[0] == 1.5 and runs["status"].tolist() == ["finished", "missing"]
    assert dict(runs["setting"][1])["cool_ratio"] == 0.5
    with pytest.raises(ValueError, match="vl_loss_history"):
        load_csv(write(tmp_path / "y.csv", ['0.1,4,sgd,"[1.0]"'], "lr,bs,opt,tr_loss_history"), "val")
    with pytest.raises(ValueError, match="column 'bs' of row 1"):
        load_csv(write(tmp_path / "z.csv", [row("d", 0.1, "NaN", 0.9, "sgd", [1.0])]))


def test_the_theory_is_fitted_to_the_pair_that_it_is_about():
    sizes = np.array([1, 4, 16, 64, 256])
    rows = gap_rows(list(0.1 + 0.2 / np.sqrt(sizes) - 0.002 * sizes), list(sizes), error=0.01)
    fit = theory_fit(rows)
    assert fit.model.c1 == pytest.approx(0.2, rel=0.05) and fit.crossover == pytest.approx(fit.model.crossover())
    assert theory_fit(rows[:3]) is None and theory_fit(rows.assign(challenger="lion")) is None


def test_an_index_keeps_the_pages_that_are_still_true(tmp_path):
    lrs = {"sgd": (0.1, 0.3), "adam": (0.003,)}
    store, plan = write_store(tmp_path / "store", Planted(batch_sizes=(4,), steps=30, momenta=(0.95, 0.99), lrs=lrs))
    store.write_plan({**plan, "plan_id": "second-2", "name": "second", "runs": plan["runs"][1:]})
    store.write_plan({**plan, "plan_id": "third-3", "name": "third", "question": "And a third?"})
    out = tmp_path / "out"
    write_index(store, out)
    pages = {name: out / name / "index.html" for name in ("synthetic-1a2b3c4d", "second-2", "third-3")}
    whole = {name: page.read_text() for name, page in pages.items()}
    written = {name: page.stat().st_mtime_ns for name, page in pages.items()}
    store.write_plan({**plan, "plan_id": "third-3", "name": "third", "question": "Another?"})
    record = store.run_folder(plan["runs"][0]["run_id"]) / "record.json"
    record.unlink()
    write_index(store, out)
    assert pages["second-2"].stat().st_mtime_ns == written["second-2"], (
        "neither its plan nor one of its runs has changed"
    )
    assert "Another?" in pages["third-3"].read_text(), "its plan has changed"
    assert "1 missing" in pages["synthetic-1a2b3c4d"].read_text(), "one of its runs has gone"
    pages["second-2"].write_text("another's")
    write_index(store, out)
    assert pages["second-2"].read_text() == whole["second-2"], "not the page that was written"
    (out / "second-2" / "made_from.txt").unlink()
    write_index(store, out)
    assert pages["second-2"].stat().st_mtime_ns > written["second-2"], "not known to be whole"
