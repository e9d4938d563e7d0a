"""Two sides of one question: what is the same is found, what differs is named."""

import dataclasses
import json
import os

import pytest
from synthetic_records import Planted, write_store
from test_analysis_csv import row, write

from suite.analysis.sides_text import format_two_sides
from suite.analysis.terminal import WIDTH
from suite.analysis.two_sides import open_side, same_runs, two_sides
from suite.analysis.words import named, optimizer_title
from suite.cli.main import main

SMALL = {"batch_sizes": (4, 64), "steps": 200, "momenta": (0.95, 0.99)}
REPORTED = {"batch_sizes": (4, 64), "steps": 200, "report_seeds": (7, 8, 9), "noise": 0.004}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sides")
    write_store(folder / "before", Planted(**SMALL))
    write_store(folder / "same", Planted(**SMALL))
    # SGD lost by a change of the code: the crossover moves below every batch size.
    write_store(folder / "reported", Planted(**REPORTED))
    write_store(folder / "after", Planted(**REPORTED, crossing=0.5))
    return folder


def test_a_store_is_the_same_as_its_twin(stores):
    sides = two_sides(open_side(stores / "before"), open_side(stores / "same"))
    assert sides.by_id and len(sides.runs) == 48 and same_runs(sides).all()
    assert (sides.tuned["difference"] == 0).all() and sides.gaps["agree"].all()
    text = format_two_sides(sides, ("before", "same"))
    assert "of those on both, 48 with the same status and final loss" in " ".join(text.split())
    assert "Not the same on both sides" not in text


def test_a_change_that_moves_the_winner_is_named(stores, capsys):
    assert main(["compare", str(stores / "reported"), str(stores / "after")]) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines() if str(stores) not in line) <= WIDTH
    words = " ".join(text.split())
    assert "1 of 2 with a winner on both sides names different ones" in words and "Largest differences" in words
    # 200 steps are too few for the moving average to forget the start; the mean of the last half has forgotten it.
    before, after = (open_side(stores / name, final_loss="mean_last_100") for name in ("reported", "after"))
    sides = two_sides(before, after)
    moved = sides.tuned[sides.tuned["optimizer"] == "sgd"]["difference"]
    expected = [Planted(**REPORTED).gap(b) - Planted(**REPORTED, crossing=0.5).gap(b) for b in (4, 64)]
    assert moved.to_numpy() == pytest.approx(expected, abs=0.001)
    assert sides.tuned[sides.tuned["optimizer"] == "adam"]["difference"].abs().max() == 0


def test_a_verdict_has_the_names_of_the_sweeps_yaml(stores):
    def called(name):
        side = open_side(stores / name)
        return dataclasses.replace(side, titles={"sgd": "Heavy ball"})

    sides = two_sides(called("reported"), called("after"))
    assert "Heavy ball better" in set(sides.gaps["first_said"]) | set(sides.gaps["second_said"])
    assert "SGD" not in format_two_sides(sides, ("before", "after"))


def test_a_name_sends_no_control_characters():
    with named(["sgd"], {"sgd": "\x1b[31mX\u202e"}):
        assert optimizer_title("sgd").isprintable() and "X" in optimizer_title("sgd")


def test_a_store_is_compared_with_a_csv_by_settings(stores, tmp_path):
    planted = Planted(**SMALL)
    rows = []
    for optimizer, lrs in planted.lrs.items():
        for size in planted.batch_sizes:
            for lr in lrs:
                for momentum in planted.momenta:
                    loss = planted.final(optimizer, size, lr, momentum)
                    history = ["NaN"] if loss == float("inf") else [loss] * 200
                    rows.append(row("elsewhere", lr, size, momentum, optimizer, history))
    path = write(tmp_path / "theirs.csv", rows)
    sides = two_sides(open_side(path), open_side(stores / "before"))
    assert not sides.by_id and len(sides.runs) == len(sides.first.runs) == len(sides.second.runs) == 48
    assert (sides.runs["first_status"] == sides.runs["second_status"]).all()
    assert sides.gaps["agree"].all()


def test_what_the_runs_were_not_made_alike_from_is_named(stores, tmp_path):
    store, plan = write_store(tmp_path / "elsewhere", Planted(**SMALL))
    path = store.run_folder(plan["runs"][0]["run_id"]) / "record.json"
    record = json.loads(path.read_text())
    record["data"]["fingerprint"] = "another"
    record["packages"]["torch"] = "3.0"
    path.write_text(json.dumps(record))
    text = format_two_sides(two_sides(open_side(stores / "before"), open_side(store.path)), ("before", "elsewhere"))
    assert "\nNot the same on both sides: data, packages (torch). What differs" in text


def test_sides_that_cannot_be_compared_are_refused(stores, tmp_path):
    with pytest.raises(ValueError, match="one definition of the final loss"):
        two_sides(open_side(stores / "before"), open_side(stores / "same", final_loss="mean_last_100"))
    with pytest.raises(ValueError, match="--sweep"):
        open_side(tmp_path / "nothing")
    with pytest.raises(ValueError, match="nothing|with 0 that fit"):
        open_side(stores / "before", sweep="another")
    write_store(tmp_path / "other", Planted(batch_sizes=(2,), steps=50))
    with pytest.raises(ValueError, match="in common"):
        two_sides(open_side(stores / "before"), open_side(tmp_path / "other"))


def test_of_a_sweep_planned_twice_the_name_means_the_later_plan(tmp_path):
    store, plan = write_store(tmp_path / "grown", Planted(**SMALL))
    earlier = {**plan, "plan_id": "earlier-0", "runs": plan["runs"][::2]}
    store.write_plan(earlier)
    os.utime(store.path / "sweeps" / "earlier-0" / "plan.json", ns=(0, 0))
    assert len(open_side(store.path).runs) == len(open_side(store.path, sweep=plan["name"]).runs) == 48
    assert len(open_side(store.path, sweep="earlier-0").runs) == 24
    store.write_plan({**plan, "plan_id": "second-2", "name": "second"})
    with pytest.raises(ValueError, match=f"2 that fit .it has: second, {plan['name']}.; choose one with --sweep"):
        open_side(store.path)
