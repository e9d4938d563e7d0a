"""Tables in LaTeX: decimals, intervals, and bold type that a verdict supports."""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest
from synthetic_records import gap_rows

from suite.analysis.report.latex import HEAD, gap_latex, latex_text, lr_width_latex, steps_latex, tuned_latex


def gaps(values: list[float], error: float = 0.05) -> pd.DataFrame:
    rows = gap_rows(values, error=error)
    return rows.assign(reference_loss=3.0, challenger_loss=[3.0 - value for value in values])


def body(text: str) -> list[list[str]]:
    """The cells of a table's rows."""
    assert text.startswith(HEAD + "\\begin{tabular}{") and text.endswith("\\bottomrule\n\\end{tabular}\n")
    between = text.split("\\midrule\n")[1].split("\\bottomrule")[0]
    return [[cell.strip() for cell in line.removesuffix(" \\\\").split(" & ")] for line in between.splitlines()]


def test_the_better_loss_is_bold_only_with_a_verdict() -> None:
    first, second, third = body(gap_latex(gaps([2.0, 0.45, -2.0], 0.3)))
    assert first == ["1", "$3.00$", r"\textbf{1.00}", "$+2.00$", "[$+1.37$, $+2.63$]", "$+2.00$", "SGD better"]
    assert second[1:3] == ["$3.00$", "$2.55$"] and second[-1] == "leans SGD"
    assert third[1:3] == [r"\textbf{3.00}", "$5.00$"] and third[-1] == "Adam better"
    assert len({len(re.findall(r"\.(\d+)", cell)[0]) for row in (first, second, third) for cell in row[1:4]}) == 1


@pytest.mark.parametrize(("error", "decimals"), [(0.5, 2), (0.05, 2), (0.004, 4), (1e-9, 6)])
def test_decimals_follow_the_uncertainty(error: float, decimals: int) -> None:
    ((_, loss, *_),) = body(gap_latex(gaps([0.0], error)))
    assert len(loss.strip("$").split(".")[1]) == decimals


def test_what_is_not_known_is_a_dash_and_what_diverged_says_so() -> None:
    rows = gaps([1.0, math.inf])
    rows.loc[0, ["uncertainty", "relative_gap"]] = math.nan
    rows.loc[1, "reference_loss"], rows.loc[1, "uncertainty"] = math.inf, math.nan
    rows.at[0, "reference_edges"] = (("lr", "largest"),)
    first, second = body(gap_latex(rows))
    assert first[1] == r"$3.0000$$^\ast$" and first[4:6] == ["--", "--"]
    assert second[1] == "diverged" and second[3] == r"$+\infty$" and second[4] == "--"


def test_several_pairs_and_tasks_are_named() -> None:
    two = pd.concat([gaps([1.0]), gaps([-1.0]).assign(challenger="my_own", task="a & b")], ignore_index=True)
    text = gap_latex(two)
    assert "task & batch size & reference & challenger & reference's loss & challenger's loss" in text
    assert r"a \& b" in text and "my own" in text and "my_own" not in text


def test_settings_have_columns_and_text_cannot_be_a_command() -> None:
    tuned = pd.DataFrame(
        {
            "task": "t", "batch_size": [4, 4], "optimizer": ["sgd", "adam"], "seeds": 3,
            "setting": [(("lr", 0.3), ("momentum", 0.9)), (("beta", 0.95), ("lr", 0.003))],
            "loss": [3.21987, 3.0], "uncertainty": [0.0123, math.nan], "edges": [(("lr", "largest"),), ()],
        }
    )  # fmt: skip
    text = tuned_latex(tuned)
    assert "batch size & optimizer & learning rate & beta & momentum & tuned loss & seeds" in text
    assert body(text) == [
        ["4", "SGD", "0.3", "--", "0.9", r"$3.220 \pm 0.012^\ast$", "3"],
        ["4", "Adam", "0.003", "0.95", "--", "$3.000$", "3"],
    ]
    assert latex_text(r"\input{x} 5% $a_b$ ~^#<>") == (
        r"\textbackslash{}input\{x\} 5\% \$a\_b\$ \textasciitilde{}\textasciicircum{}\#\textless{}\textgreater{}"
    )
    widths = pd.DataFrame(
        {"task": "t", "batch_size": [4], "optimizer": "sgd", "percent": 2.0, "low": 0.1, "high": 1.0, "width": 1.0,
         "open": "high"}
    )  # fmt: skip
    assert body(lr_width_latex(widths)) == [["4", "SGD", "0.1", "1", r"$\geq 1.00$"]]


def test_steps_to_a_target_are_bold_where_an_optimizer_is_sooner() -> None:
    shared = {"task": "t", "batch_size": 4, "target": 3.25, "samples": 2400, "tokens": math.nan, "sooner": "sgd"}
    rows = [
        {**shared, "optimizer": "adam", "steps": 900, "steps_low": 850.0, "steps_high": 950.0, "outcome": "reached"},
        {**shared, "optimizer": "sgd", "steps": 600, "steps_low": 550.0, "steps_high": 650.0, "outcome": "reached"},
        {**shared, "optimizer": "lion", "steps": math.nan, "steps_low": math.nan, "steps_high": math.nan,
         "outcome": "not reached"},
    ]  # fmt: skip
    adam, sgd, lion = body(steps_latex(pd.DataFrame(rows)))
    assert adam[2:4] == ["$3.25$", "900"] and sgd[3] == r"\textbf{600}" and "550" in sgd[4] and sgd[5] == "2,400"
    assert lion[3] == "not reached" and lion[5:] == ["--", "--"]
