"""The CSV export of paper 1's released results gives the paper's numbers; hostile cells are refused."""

import math
import os

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
    assert (gaps["verdict"] == "open").all()  # the released results have one seed
    assert comparison.runs["status"].value_counts().to_dict() == {"finished": 12, "diverged": 2}
    text = format_gap_table(comparison)
    assert "4mer" in text and "-0.3562" in text and "-0.4324" in text


def test_final_loss_is_the_moving_average(tmp_path):
    history = [4.0, 3.0, 2.0]
    runs = load_csv(write(tmp_path / "x.csv", [row("d", 0.1, 4, 0.9, "sgd", history)])).runs
    assert runs["loss"][0] == pytest.approx(0.99 * (0.99 * 4 + 0.01 * 3) + 0.01 * 2)


def test_the_validation_loss_is_the_last_one_that_was_logged(tmp_path):
    measured = ["[2.5, 2.1]", "[2.5, 2.2, nan]", "[2.3, None, 'NaN']", "[]"]
    rows = [f'd,{0.1 * (i + 1)},0,4,0.9,sgd,"[3.0, 2.0]","{history}"' for i, history in enumerate(measured)]
    runs = load_csv(write(tmp_path / "x.csv", rows), "val").runs
    assert runs["loss"].tolist()[:3] == [2.1, 2.2, 2.3] and math.isnan(runs["loss"][3])
    assert runs["status"].tolist() == ["finished"] * 3 + ["missing"]


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
    runs = load_csv(write(tmp_path / "x.csv", rows)).runs
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
    runs = load_csv(path).runs
    assert runs.loc[0, ["task", "seed", "setting"]].tolist() == ["sweep", 42, (("lr", 0.1),)]


def test_momentum_is_named_by_optimizer_and_decay_is_an_axis_where_it_varies(tmp_path):
    rows = [row("d", 0.1, 4, 0.9, "adam", [1.0]), row("d", 0.1, 4, 0.9, "sgd", [1.0], wd=0.001)]
    runs = load_csv(write(tmp_path / "x.csv", rows)).runs
    assert runs["setting"].tolist() == [
        (("beta", 0.9), ("lr", 0.1), ("weight_decay", 0.0)),
        (("lr", 0.1), ("momentum", 0.9), ("weight_decay", 0.001)),
    ]


def test_a_momentum_beside_1_is_not_rounded_to_1(tmp_path):
    (setting,) = load_csv(write(tmp_path / "x.csv", [row("d", 0.1, 4, 0.9999996, "sgd", [1.0])])).runs["setting"]
    assert dict(setting)["momentum"] == 0.9999996


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
        ([], "d,0.1,0,4,0.9,sgd,[1.0],[]", "name them in the file's first line, which is 'd,0.1,0,4,0.9,sgd"),
        ([f"d,0.1,0,{'9' * 400},0.9,sgd,[1.0],[]"], HEADER, "positive whole number in column 'bs' of row 1"),
        ([f"d,0.1,{'9' * 400},4,0.9,adam,[1.0],[]"], HEADER.replace("wd", "seed"), "'seed' of row 1 of .*, got '999"),
        (["d,0.1,0,4,0.9,sgd,[1.0],[],9,9"], HEADER, "well-formed CSV"),
        ([], HEADER, "without any row"),
        (
            ["d,0.1,0,16.5,0.9,sgd,[1.0],[]"],
            HEADER,
            "positive whole number in column 'bs' of row 1 of .*x.csv, got '16.5'",
        ),
        (["d,0.1,0,0,0.9,sgd,[1.0],[]"], HEADER, "'bs' of row 1"),
        (["d,0.1,0,-4,0.9,sgd,[1.0],[]"], HEADER, "'bs' of row 1"),
        (["d,0.1,0,1e30,0.9,sgd,[1.0],[]"], HEADER, "'bs' of row 1"),
        (["d,0.1,0,inf,0.9,sgd,[1.0],[]"], HEADER, "'bs' of row 1"),
        (["", "d,0.1,0,4,0.9,sgd,[1.0],[]", "d,0,0,4,0.9,sgd,[1.0],[]"], HEADER, "'lr' of row 3 of .*, got '0'"),
        (["d,-0.1,0,4,0.9,sgd,[1.0],[]"], HEADER, "positive and finite in column 'lr'"),
        (["d,inf,0,4,0.9,sgd,[1.0],[]"], HEADER, "column 'lr'"),
        (["d,0.1,-1,4,0.9,sgd,[1.0],[]"], HEADER, "not negative in column 'wd'"),
        (["d,0.1,0,4,1.0,sgd,[1.0],[]"], HEADER, "below 1 in column 'mom'"),
        (["d,0.1,0,4,-0.1,adam,[1.0],[]"], HEADER, "column 'mom'"),
        (["d,0.1,0,4,nan,adam,[1.0],[]"], HEADER, "column 'mom'"),
        (["d,0.1,1.5,4,0.9,adam,[1.0],[]"], HEADER.replace("wd", "seed"), "'seed' of row 1 of .*, got '1.5'"),
        (["d,0.1,-1,4,0.9,adam,[1.0],[]"], HEADER.replace("wd", "seed"), "whole number from 0 up in column 'seed'"),
        (["d,0.1,0,4,0.9, ,[1.0],[]"], HEADER, "column 'opt' of row 1 of .*, got an empty cell"),
        (["d,0.1,0.2,4,0.9,sgd,[1.0],[]"], HEADER.replace("wd", "lr"), "every column once .* lr twice"),
    ],
)
def test_malformed_files_are_refused_in_one_sentence(tmp_path, cells, header, message):
    with pytest.raises(ValueError, match=message):
        load_csv(write(tmp_path / "x.csv", cells, header))


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for path in (*(tmp_path / f"{name}.csv" for name in ("none", "pipe", "folder")), "/dev/zero"):
        with pytest.raises(ValueError, match="Expected a readable CSV file, got .*name another"):
            load_csv(path)


def test_a_curve_is_read_again_from_the_row_of_its_run(tmp_path):
    rows = [
        row("d", 0.01 * (i + 1), 4, 0.9, "sgd" if i < 30 else "adam", [4.0, 3.0 + abs(i % 30 - 12) / 100])
        for i in range(60)
    ]
    compared = compare_csv(write(tmp_path / "x.csv", rows))
    assert list(compared.tuned["run_ids"]) == [("13",), ("43",)] and compared.gaps["slowdown"].tolist() == [1.0]


def copied(tmp_path, *more, header=HEADER + ",seed"):
    """A grid of two optimizers, and more rows as (lr, momentum, optimizer, loss, seed) below it."""
    grid = [(lr, "0.9", opt, 2 + abs(i - 1) / 10 + (opt == "adam") / 50, "1") for opt in ("sgd", "adam")
            for i, lr in enumerate(("0.001", "0.01", "0.1"))]  # fmt: skip
    rows = [f"{row('d', lr, 16, mom, opt, [loss] * 50)},{seed}" for lr, mom, opt, loss, seed in (*grid, *more)]
    return compare_csv(write(tmp_path / "x.csv", rows, header))


def test_copies_of_rows_change_no_number_and_are_named(tmp_path):
    once = copied(tmp_path)
    same = [("0.01", "0.9", "sgd", 2.0, "1"), ("1e-2", "0.90", "sgd", 2.0, "1.0"), (".01", "9e-1", "SGD", 2.0, "01")]
    single = ("0.009999999776482582", "0.8999999761581421", "adam", 2.02, "1")  # written in single precision
    twice = copied(tmp_path, *same, single)
    assert once.notes == () and len(twice.runs) == 6 == len(once.runs)
    assert twice.gaps.equals(once.gaps) and twice.tuned.equals(once.tuned)
    assert twice.notes == (
        "4 of 10 rows are copies (equal optimizer, batch size, setting and seed) and no further runs: row 7 of row 2, "
        "row 8 of row 2, row 9 of row 2, row 10 of row 5.",
    )
    assert "4 of 10 rows are copies" in format_gap_table(twice)
    assert copied(tmp_path, same[0]).notes[0].startswith("1 of 7 rows is a copy")


def test_of_rows_that_contradict_each_other_the_longest_counts_whatever_its_loss(tmp_path):
    once, other = copied(tmp_path), copied(tmp_path, ("0.01", "0.9", "sgd", 1.0, "1"))
    assert other.gaps.equals(once.gaps)
    assert other.notes[0].startswith("1 of 7 rows has the setting and seed of another row but other losses, and does")
    assert "row 7 of row 2. The longest history counts" in other.notes[0]
    rows = [row("d", 0.1, 16, 0.9, "sgd", history) for history in ([3.0] * 20, [2.5] * 100, ["NaN"], [2.0] * 100)]
    resumed = load_csv(write(tmp_path / "y.csv", rows))
    assert resumed.runs[["run_id", "loss"]].values.tolist() == [["2", 2.5]]
    assert [note.split(" rows")[0] for note in resumed.notes] == ["1 of 4", "2 of 4"], "the first was only interrupted"


def test_a_doubled_row_does_not_win_alone(tmp_path):
    # One row with another seed, at the worst setting: settings that share no further seed are compared as before.
    more = copied(tmp_path, ("0.1", "0.9", "sgd", 2.1, "2"))
    assert more.gaps["gap"].tolist() == copied(tmp_path).gaps["gap"].tolist() and more.notes == ()


def test_branches_of_a_file_are_compared_by_their_branch_points(tmp_path):
    header = "run_name," + HEADER
    rows = []
    for step, steps in ((60, 40), (9, 91)):
        for opt, best in (("sgd", 2.0), ("adam", 2.0 - step / 1000)):
            for lr in (0.1, 0.3):
                name = f"step{step}_{opt}_lr{lr}".replace(".", "")
                rows.append(f"{name},{row('d', lr, 16, 0, opt, [best + lr - 0.1] * steps)}")
    once = compare_csv(write(tmp_path / "x.csv", rows, header))
    doubled = compare_csv(write(tmp_path / "y.csv", [*rows, rows[1]], header))
    gaps = once.branch_gaps
    assert gaps["after"].tolist() == ["step 9", "step 60"] and gaps["share"].tolist() == [0.09, 0.6]
    assert gaps["gap"].tolist() == pytest.approx([-0.009, -0.06]) and gaps.equals(
        doubled.branch_gaps.assign(task=gaps["task"], panel=gaps["panel"])
    )
    assert "1 of 9 rows is a copy" in doubled.notes[0]
    text = format_gap_table(once)
    assert "From the trunk: " in text and "at step 9, step 60." in text


def test_branch_points_come_in_the_order_of_their_steps(tmp_path):
    rows = [f"step{step}_x,{row('d', 0.1, 16, 0, 'sgd', [2.0] * 9)}" for step in (10, 1, 0)]
    runs = load_csv(write(tmp_path / "x.csv", rows, "run_name," + HEADER)).runs
    assert runs["task"].tolist() == ["d, step 0", "d, step 1", "d, step 10"]


def test_branches_and_other_runs_of_one_file_are_both_shown(tmp_path):
    rows = [f"{name},{row(data, 0.1, 16, 0, opt, [2.0 + (opt == 'sgd')] * 9)}" for opt in ("sgd", "adam")
            for data, name in (("plain", "a"), ("d", "step7_x"))]  # fmt: skip
    text = format_gap_table(compare_csv(write(tmp_path / "x.csv", rows, "run_name," + HEADER)))
    assert "plain: gap = Adam - SGD" in text and "d: branches, gap = Adam - SGD" in text
