"""docs/results: what is said there is in the archives beside it, and a text that contradicts them is refused."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import result_archives
import results
from law_tables import law_tables
from result_texts import answer_of, filled, judged

from suite.analysis.words import verdict_text
from suite.api import load

GAPS = pd.DataFrame(
    {
        "task": ["a/b", "a/b", "a/b"],
        "batch_size": [1, 16, 64],
        "reference": "adam",
        "challenger": "sgd",
        "relative_gap": [3.04, -0.2, -1.26],
        "reference_loss": [4.0, 3.9, 3.8],
        "challenger_loss": [3.9, 3.9, 3.9],
        "verdict": ["better", "open", "better"],
        "better": ["sgd", None, "adam"],
        "leans": [None, None, None],
        "margin": 0.5,
    }
)
ANSWER = {"title": "t", "claim": "paper 1: SGD first", "judgement": "agrees"}


def test_documents_are_those_of_the_archives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["results.py", "--check"])
    assert results.main() == 0, capsys.readouterr().out


def test_a_text_takes_its_numbers_from_the_table() -> None:
    text = filled("Ahead by {gap 1} of {loss 1}: {verdict 1}; {verdict 16} at 16, {gap 64}.", GAPS)
    assert text == "Ahead by +3.0% of 4.000: SGD better; open at 16, \N{MINUS SIGN}1.3%."
    with pytest.raises(ValueError, match="should be a mark"):
        filled("SGD is ahead by 3.0%.", GAPS)
    with pytest.raises(ValueError, match="should mean one gap of the table, but means 0"):
        filled("{gap 4}", GAPS)
    with pytest.raises(ValueError, match="but means 3"):
        filled("{gap a/b}", GAPS)
    panels = pd.concat([GAPS.assign(task="tokens 1000"), GAPS.assign(task="tokens 10", relative_gap=7.0)])
    assert filled("{gap tokens 1000 16} and {gap tokens 10 16 sgd}", panels) == "\N{MINUS SIGN}0.2% and +7.0%"


def test_a_judgement_rests_on_verdicts() -> None:
    rests_on = {"1": "SGD better", "64": "Adam better"}
    assert judged({**ANSWER, "rests_on": rests_on, "because": "By {gap 1}."}, GAPS) == (
        "Agrees (paper 1: SGD first). By +3.0%."
    )
    assert judged({"title": "t"}, GAPS) == ""
    with pytest.raises(ValueError, match="'SGD better' at 64; it is 'Adam better' now"):
        judged({**ANSWER, "rests_on": {"64": "SGD better"}}, GAPS)
    with pytest.raises(ValueError, match="'open' at 16 carries no judgement but open"):
        judged({**ANSWER, "rests_on": {"16": "open"}}, GAPS)
    with pytest.raises(ValueError, match="should name the verdicts"):
        judged(ANSWER, GAPS)
    with pytest.raises(ValueError, match="should be one of agrees"):
        judged({**ANSWER, "judgement": "proves"}, GAPS)
    assert judged({**ANSWER, "judgement": "open"}, GAPS) == "Open (paper 1: SGD first)."


def test_a_page_may_show_the_gaps_of_one_panel() -> None:
    two = pd.concat([GAPS, GAPS.assign(task="other")])
    assert len(results.shown_gaps(two, ANSWER)) == 6
    assert set(results.shown_gaps(two, {**ANSWER, "rows_of": "other"})["task"]) == {"other"}
    with pytest.raises(ValueError, match="t: rows_of should name a task or panel of the gaps, got 'third'"):
        results.shown_gaps(two, {**ANSWER, "rows_of": "third"})


def test_a_page_may_show_tables_of_laws() -> None:
    explained = {
        "batch_size": 4, "panels": 8, "gap_at_first": 1.5, "explained_by_effects": 0.75,
        "explained_with_interactions": 0.9, "noise_share": 0.05,
    }  # fmt: skip
    effect = {"batch_size": 4, "effect_of": "norm off", "effect": -2.0, "low": -3.0, "high": -1.0, "p": 0.01}
    effect |= {"corrected": True, "share_of_gap": math.nan, "share_low": math.nan, "share_high": math.nan}
    pairs = [{"task": "a", "reference": "adam", "challenger": challenger} for challenger in ("sgd", "muon")]
    critical = {"optimizer": "sgd", "stops_from": 4, "stops_at": 16, "power": 0.74, "fits": True, "critical": 24.7}
    critical |= {"critical_low": 19.2, "critical_high": math.inf}
    made = SimpleNamespace(
        explained=pd.DataFrame([{**pairs[0], **explained}]),
        effects=pd.DataFrame([{**pair, **effect} for pair in pairs]),
        critical_batch_sizes=pd.DataFrame([{"task": task, **critical} for task in ("a", "b")]),
        tuned_laws=pd.DataFrame(),
    )
    lines = law_tables(made, ["explained", "effects", "critical"])  # type: ignore[arg-type]
    assert "| SGD against Adam | 4 | 8 | +1.50 % | 75 % | 90 % | 5 % |" in lines
    assert "| pair | batch size | panels | fitted gap at the first values |" in lines[0]
    muon = "| Muon against Adam | 4 | norm off | -2.00 % | -3.00 to -1.00 | towards Adam | \N{EN DASH} |"
    assert muon.replace("-", "\N{MINUS SIGN}") in lines
    assert "| b | SGD | 4 and 16 | 0.74 | 24.7 | 19.2 to \N{INFINITY} |" in lines
    lines = law_tables(made, ["explained", "critical"], "b")  # type: ignore[arg-type]
    assert [line for line in lines if "SGD" in line] == [
        "| SGD against Adam | 4 | 8 | +1.50 % | 75 % | 90 % | 5 % |",  # a table of a family, in which no panel stands
        "| SGD | 4 and 16 | 0.74 | 24.7 | 19.2 to \N{INFINITY} |",
    ]
    critical |= {"task": "a", "critical_low": math.nan, "critical_high": math.nan}
    made.critical_batch_sizes = pd.DataFrame([critical])
    dashes = "| SGD | 4 and 16 | 0.74 | - | - |".replace("-", "\N{EN DASH}")
    assert dashes in law_tables(made, ["critical"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'tuned_laws' has no row"):
        law_tables(made, ["tuned_laws"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="should be one of critical, tuned_laws"):
        law_tables(made, ["laws"])  # type: ignore[arg-type]


def test_answers_are_led_by_what_tells_them_apart() -> None:
    rows = [("a", "sgd", "No."), ("a", "muon", "Yes."), ("b", "sgd", "No."), ("b", "muon", "No.")]
    made = SimpleNamespace(crossovers=pd.DataFrame(rows, columns=["task", "challenger", "answer"]))
    assert answer_of(made) == "a, SGD: No. a, Muon: Yes. b, SGD: No. b, Muon: No."  # type: ignore[arg-type]
    assert answer_of(made, "a") == "SGD: No. Muon: Yes."  # type: ignore[arg-type]
    assert answer_of(made, "b") == "No."  # type: ignore[arg-type]
    many = pd.DataFrame([(task, "sgd", f"{task}.") for task in "abcdefg"], columns=["task", "challenger", "answer"])
    gaps = pd.concat([GAPS.assign(task=task) for task in "abcdefgh"])
    made = SimpleNamespace(crossovers=many, gaps=gaps)
    said = "Of 21 gaps: SGD is better in 7, Adam is better in 7, 7 are open."
    assert answer_of(made) == said  # type: ignore[arg-type]
    gaps = pd.DataFrame({"task": "a", "verdict": ["leans", "level", "open", "open"], "better": None})
    made = SimpleNamespace(crossovers=many, gaps=gaps)
    assert answer_of(made) == "Of 4 gaps: 2 are open, 1 leans, 1 is level."  # type: ignore[arg-type]


def test_seeds_needed_stand_where_a_verdict_is_not_decided() -> None:
    gaps = GAPS.assign(relative_uncertainty=0.9, relative_measured=1.0, seeds=3, seeds_needed=[2.0, math.inf, 25.0])
    gaps = gaps.assign(reference_setting=[()] * 3, challenger_setting=[()] * 3)
    cells = [line.split(" | ")[4:7] for line in results.gap_table(gaps)[2:]]
    assert cells == [
        ["SGD better", "3", "\N{EN DASH}"],
        ["open", "3", "over 1000"],
        ["Adam better", "3", "\N{EN DASH}"],
    ]


def test_the_grid_beside_a_search_has_the_same_verdicts() -> None:
    """README, docs/search.md and the page say so."""
    verdicts = []
    for name in ("runs", "grid"):
        archive = load(result_archives.folder_of("laptop_fineweb_gpt") / f"{name}.parquet")
        (sweep,) = archive.sweeps["name"]
        verdicts.append({row["batch_size"]: verdict_text(row) for row in archive.sweep(sweep).gaps.to_dict("records")})
    assert verdicts[0] == verdicts[1] and len(verdicts[0]) == 5


def test_a_figure_of_one_panel_has_the_name_of_its_file_in_the_report() -> None:
    there = SimpleNamespace(
        runs=pd.DataFrame({"task": ["tokens 1e+06", "Zipf"]}),
        figure=lambda name, task=None: (name, task),
    )
    assert result_archives.figure_named(there, "tuned-1-tokens-1e-06") == ("tuned", "tokens 1e+06")
    assert result_archives.figure_named(there, "tuned_laws-2-zipf") == ("tuned_laws", "Zipf")
    assert result_archives.figure_named(there, "retrained-1") == ("retrained-1", None)
