"""The report is one page that loads nothing, escapes every name, and says what it rests on."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from synthetic_records import Planted, run_id_for, write_store

from suite.analysis.comparison import compare_plan
from suite.analysis.figures.style import LOOKS
from suite.analysis.report import Shown, write_report

HOSTILE = '<script>alert("x")</script> & $\\frac{1}$'
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Checker(HTMLParser):
    """Checks that tags nest, and collects the addresses that a browser would load."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.loaded, self.tags, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "srcset", "data", "action")]
        self.loaded += [value for name, value in attrs if name == "href" and tag == "link"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check(path):
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    seeds = {"report_seeds": (7, 8, 9), "noise": 0.004}
    planted = Planted(batch_sizes=(4, 64), steps=400, question=HOSTILE, task="hostile/<b>task</b>", **seeds)
    gone = run_id_for("sgd", 4, 0.03, 0.9)
    store, plan = write_store(folder / "store", planted, leave_out=(gone,))
    plan["task_title"] = plan["source"] = plan["name"] = HOSTILE
    broken = store.run_folder(run_id_for("adam", 4, 0.001, 0.9)) / "record.json"
    broken.write_text("not json")
    return write_report(store, plan, folder / "out", shown=Shown(looks=tuple(LOOKS.values()))).page, broken


def test_page_is_well_formed_and_self_contained(report):
    path, _ = report
    checker = check(path)
    assert checker.loaded and all(address.startswith("data:image/svg+xml;base64,") for address in checker.loaded)
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\((?!#)", page)  # what url(#...) names is in the page
    assert "script" not in checker.tags and "b" not in checker.tags
    assert "&lt;script&gt;" in page


def test_page_says_what_it_rests_on(report):
    path, broken = report
    words = " ".join(check(path).text)
    for part in (
        "The gap passes zero",
        "lr 0.3, momentum 0.95",
        "version 0.1.0, commit 0123abcd with changed files",
        "torch 2.15.0",
        "1 x synthetic processor",
        "synthetic, fingerprint 0123456789abcdef",
        "data.source = sample",
        "python -m suite sweep configs/sweeps/synthetic.yaml",
        "provisional",
        "2 of 108 runs have no result (2 missing)",
        broken.parent.name,
        "2 verdicts, each at 95%",
        "2026-01-02T03:04:05+00:00",
    ):
        assert part in words, part


def test_figures_and_tables_lie_beside_the_page(report):
    folder = report[0].parent
    names = {"gap", "tuned", "steps_to_target", "tuning_cost", "sensitivity", "heatmap", "curves"}
    files = {f"{n}.{k}" for n in names for k in ("png", "svg", "pdf")}
    files |= {f"{n}-{look}.{k}" for n in names for look in ("column", "slide") for k in ("png", "pdf")}
    assert {path.name for path in (folder / "figures").iterdir()} == files
    tables = {f"{n}.csv" for n in ("gap", "tuned", "runs", "tuning_cost", "lr_width")}
    tables |= {"steps_to_target.csv", "critical_batch_size.csv"}
    tables |= {f"{n}.tex" for n in ("gap", "tuned", "lr_width", "steps_to_target")}
    assert (folder / "tables" / "gap.tex").read_text().startswith("% final loss: ema")
    assert {path.name for path in (folder / "tables").iterdir()} == tables
    assert "axis_lr" in (folder / "tables" / "runs.csv").read_text().splitlines()[0]
    links = re.findall(r'href="([^"]+)"', report[0].read_text(encoding="utf-8"))
    inside = [link for link in links if link.startswith("data:")]
    assert len(inside) == 6 + len(names) and all(
        (folder / link).exists() for link in set(links) - set(inside) if link[0] != "#"
    )


def test_nothing_is_bold_on_one_seed(report, tmp_path):
    assert 'class="answer decided"' in report[0].read_text(encoding="utf-8")
    store, plan = write_store(tmp_path / "store", Planted(batch_sizes=(4, 64), steps=50))
    page = write_report(store, plan, tmp_path / "out").page.read_text(encoding="utf-8")
    assert 'class="answer"' in page and "answer decided" not in page
    table = page.split("Gap = Adam")[1].split("</table>")[0]
    assert '<span class="open">open</span>' in table and 'class="sgd"' not in table and 'class="adam"' not in table


def test_a_margin_counts_in_the_report_and_its_tables(tmp_path):
    planted = Planted(batch_sizes=(16,), steps=400, report_seeds=(7, 8, 9), noise=0.004)
    store, plan = write_store(tmp_path / "store", planted)  # the planted gap is 1.0%
    (row,) = compare_plan(store, {**plan, "margin": 5.0}).gaps.to_dict("records")
    assert row["margin"] == 5.0 and row["verdict"] == "better"  # a gap that is not zero is said first
    write_report(store, {**plan, "margin": 5.0}, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "tables" / "gap.csv")
    assert {"verdict", "better", "leans", "margin", "error", "freedom", "p", "together"} <= set(table.columns)
    assert table["verdict"].tolist() == ["better"] and table["better"].tolist() == ["sgd"]


def test_a_table_of_an_earlier_page_does_not_stay_beside_one_without_it(tmp_path):
    store, plan = write_store(tmp_path / "store", Planted(batch_sizes=(4, 64), steps=50))
    tables = tmp_path / "out" / "tables"
    tables.mkdir(parents=True)
    for name in ("collapse.csv", "runs.csv", "mine.csv"):
        (tables / name).write_text("of an earlier page\n")
    page = write_report(store, plan, tmp_path / "out").page.read_text(encoding="utf-8")
    assert not (tables / "collapse.csv").exists() and "tables/collapse.csv" not in page
    assert "run_id" in (tables / "runs.csv").read_text() and (tables / "mine.csv").read_text() == "of an earlier page\n"


def test_a_store_without_results_gives_a_page_that_says_so(tmp_path):
    planted = Planted(batch_sizes=(4,), steps=50)
    _, plan = write_store(tmp_path / "full", planted)
    from suite.records import Store

    path = write_report(Store(tmp_path / "empty"), plan, tmp_path / "out").page
    words = " ".join(check(path).text)
    assert "No batch size has a result for both Adam and SGD yet." in words
    assert "48 of 48 runs have no result (48 missing)" in words


def test_everything_diverged_and_other_optimizers(tmp_path):
    names = {"muon": "momentum", "lion": "beta", "adam": "beta"}
    planted = Planted(
        batch_sizes=(2, 8),
        steps=60,
        seeds=(1, 2),
        lrs={"muon": (0.1, 0.3), "lion": (0.001,), "adam": (0.9, 0.95)},
        best_lr={"muon": 0.3, "lion": 0.001, "adam": 0.003},
        momenta=(0.9,),
        best_momentum=dict.fromkeys(names, 0.9),
        momentum_name=names,
    )
    store, plan = write_store(tmp_path / "store", planted)
    path = write_report(store, plan, tmp_path / "out").page
    words = " ".join(check(path).text)
    assert "both diverged" not in words and "diverged" in words and "Muon" in words and "Lion" in words


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    store, plan = write_store(tmp_path / "store", Planted(batch_sizes=(4,), steps=50))
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="change --out"):
        write_report(store, plan, tmp_path / "file")
