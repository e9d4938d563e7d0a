"""docs/results: what is said there is in the archives beside it, and a text that contradicts them is refused."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
import results
from result_texts import filled, judged

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


def test_the_grid_beside_a_search_has_the_same_verdicts() -> None:
    """README, docs/search.md and the page say so."""
    verdicts = []
    for name in ("runs", "grid"):
        archive = load(results.folder_of("laptop_fineweb_gpt") / f"{name}.parquet")
        (sweep,) = archive.sweeps["name"]
        verdicts.append({row["batch_size"]: verdict_text(row) for row in archive.sweep(sweep).gaps.to_dict("records")})
    assert verdicts[0] == verdicts[1] and len(verdicts[0]) == 5
