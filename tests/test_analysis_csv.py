"""The CSV export of paper 1's released results gives the paper's numbers; hostile cells are refused."""

import math

import pytest

from suite.analysis.comparison import compare_csv
from suite.analysis.csv_import import load_csv
from suite.analysis.terminal import format_gap_table

HEADER = "data,lr,wd,bs,mom,opt,tr_loss_history,vl_loss_history"


def write(path, rows, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def row(data, lr, bs, mom, opt, history, wd=0):
    return f'{data},{lr},{wd},{bs},{mom},{opt},"{history}","[]"'


def test_published_kmer_results_pin_sign_and_denominator(tmp_path):
    # Paper 1, Appendix A.6, 4-mer and 6-mer, batch size 256: released results.
    rows = []
    for data, adam, sgd in (("4mer", 4.5291, 4.8853), ("6mer", 6.8844, 7.3168)):
        for lr, worse in ((1e-3, 0.3), (3e-3, 0.0), (1e-2, 0.4)):
            rows.append(row(data, lr, 256, 0.95, "adam", [adam + worse] * 50))
            rows.append(row(data, 100 * lr, 256, 0.95, "sgd", [sgd + worse] * 50))
        rows.append(row(data, 10, 256, 0.95, "sgd", [9.0, "NaN"]))
    comparison = compare_csv(write(tmp_path / "kmer.csv", rows))
    gaps = comparison.gaps.set_index("task")
    assert gaps.loc["4mer", "gap"] == pytest.approx(-0.3562, abs=1e-4)
    assert gaps.loc["6mer", "gap"] == pytest.approx(-0.4324, abs=1e-4)
    assert gaps.loc["6mer", "relative_gap"] == pytest.approx(-6.2802, abs=2e-3)  # the losses are rounded
    assert (gaps["better"] == "adam").all()
    assert comparison.runs["status"].value_counts().to_dict() == {"finished": 12, "diverged": 2}
    text = format_gap_table(comparison)
    assert "4mer" in text and "-0.3562" in text and "-0.4324" in text


def test_final_loss_is_the_moving_average(tmp_path):
    history = [4.0, 3.0, 2.0]
    runs = load_csv(write(tmp_path / "x.csv", [row("d", 0.1, 4, 0.9, "sgd", history)]))
    assert runs["loss"][0] == pytest.approx(0.99 * (0.99 * 4 + 0.01 * 3) + 0.01 * 2)


def test_every_state_of_a_history(tmp_path):
    histories = [
        [1.0] * 200,  # finished
        [1.0] * 199,  # one point short: subsampled exports differ by a few
        [1.0] * 100,  # stopped half way
        [1.0] * 5 + ["NaN"],  # logged a loss that was not a number
        "[1.0, 2.0, 'Infinity', 3.0]",
        "[1.0, 2.0, nan]",
        "[1.0, nan, None, " + "2.0, " * 196 + "2.0]",  # steps that logged something else
        "[]",
        "",
    ]
    rows = [row("d", 0.1 * (i + 1), 4, 0.9, "sgd", history) for i, history in enumerate(histories)]
    runs = load_csv(write(tmp_path / "x.csv", rows))
    assert runs["status"].tolist() == [
        "finished",
        "finished",
        "interrupted",
        "diverged",
        "diverged",
        "diverged",
        "finished",
        "missing",
        "missing",
    ]
    assert math.isinf(runs["loss"][3]) and math.isnan(runs["loss"][2])


def test_missing_optional_columns(tmp_path):
    path = write(tmp_path / "sweep.csv", ['0.1,4,sgd,"[1.0, 2.0]"'], "lr,bs,opt,tr_loss_history")
    runs = load_csv(path)
    assert runs.loc[0, ["task", "seed", "setting"]].tolist() == ["sweep", 42, (("lr", 0.1),)]


def test_momentum_is_named_by_optimizer_and_decay_is_an_axis_where_it_varies(tmp_path):
    rows = [row("d", 0.1, 4, 0.9, "adam", [1.0]), row("d", 0.1, 4, 0.9, "sgd", [1.0], wd=0.001)]
    runs = load_csv(write(tmp_path / "x.csv", rows))
    assert runs["setting"].tolist() == [
        (("beta", 0.9), ("lr", 0.1), ("weight_decay", 0.0)),
        (("lr", 0.1), ("momentum", 0.9), ("weight_decay", 0.001)),
    ]


@pytest.mark.parametrize(
    "history",
    ["__import__('os').system('true')", "[1.0, abc]", "[1.0, (2)]", "9" * 10 + "[", "[1,,2]", "{'a': 1}"],
)
def test_hostile_histories_are_refused_and_located(tmp_path, history):
    with pytest.raises(ValueError, match="Row 1, column tr_loss_history"):
        load_csv(write(tmp_path / "x.csv", [row("d", 0.1, 4, 0.9, "sgd", history)]))


@pytest.mark.parametrize(
    ("cells", "header", "message"),
    [
        (["d,abc,0,4,0.9,sgd,[1.0],[]"], HEADER, "column 'lr' of row 1"),
        (["d,0.1,0,,0.9,sgd,[1.0],[]"], HEADER, "column 'bs' of row 1"),
        (["0.1,[1.0]"], "lr,tr_loss_history", "none called opt, bs"),
        (["d,0.1,0,4,0.9,sgd,[1.0],[],9,9"], HEADER, "well-formed CSV"),
        ([], HEADER, "without any row"),
    ],
)
def test_malformed_files_are_refused_in_one_sentence(tmp_path, cells, header, message):
    with pytest.raises(ValueError, match=message):
        load_csv(write(tmp_path / "x.csv", cells, header))


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="change --csv"):
        load_csv(tmp_path / "none.csv")


def test_a_curve_is_read_again_from_the_row_of_its_run(tmp_path):
    rows = [
        row("d", 0.01 * (i + 1), 4, 0.9, "sgd" if i < 30 else "adam", [4.0, 3.0 + abs(i % 30 - 12) / 100])
        for i in range(60)
    ]
    compared = compare_csv(write(tmp_path / "x.csv", rows))
    assert list(compared.tuned["run_ids"]) == [("13",), ("43",)] and compared.gaps["slowdown"].tolist() == [1.0]
