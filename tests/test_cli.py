"""The command line: short options, plain LightningCLI underneath, every mistake answered in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from small_runs import ARGUMENTS

from suite.cli.main import COMMANDS, main
from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]
SGD = ["--optimizer", "sgd", "--optimizer.lr", "0.3"]
RUN = ["--data.batch_size", "4", "--data.budget_steps", "6"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return ["--data.data_dir", str(tmp_path_factory.mktemp("data"))]


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    output, errors = capsys.readouterr()
    return code, output, errors


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["fti"], ["no command 'fti'", "did you mean 'fit'?"]),
        (["fit", "--task", "fineweb/gtp", *SGD], ["no task 'fineweb/gtp'", "did you mean 'fineweb/gpt'"]),
        (["fit", *ARGUMENTS, "--optimizer", "sdg", "--optimizer.lr", "1"], ["no optimizer 'sdg'", "'sgd'?"]),
        (["fit", *ARGUMENTS, "--optimizer", "sgd"], ["sgd needs lr"]),
        (["fit", *ARGUMENTS], ["fit needs an optimizer", "--optimizer"]),
        (["fit", *ARGUMENTS, "--optimizer.lr", "1"], ["--optimizer.lr needs --optimizer"]),
        (["fit", *ARGUMENTS, *SGD, "--optimizer.momentm", "0.9"], ["no setting 'momentm'", "did you mean 'momentum'"]),
        (["fit", *ARGUMENTS, *SGD, "--optimizer.beta", "0.9"], ["sgd has no setting 'beta'"]),
        (["fit", *ARGUMENTS, "--optimizer", "sgd", "--optimizer.lr", "1e-3x"], ["lr must be a number", "'1e-3x'"]),
        (["fit", *ARGUMENTS, "--optimizer", "sgd", "--optimizer.lr", "-1"], ["lr must be", "-1"]),
        (["fit", *ARGUMENTS, *SGD, "--optimizer.momentum", "1.5"], ["momentum must be", "1.5"]),
        (["fit", *ARGUMENTS, *SGD, "--schedule", "cosin"], ["no schedule 'cosin'"]),
        (["fit", *ARGUMENTS, *SGD, "--data.bach_size", "4"], ["bach_size"]),
        (["fit", *ARGUMENTS, *SGD, "--data.batch_size", "four"], ["batch_size", "four"]),
        (["fit", *ARGUMENTS, *SGD, "--data.batch_size", "0"], ["data.batch_size must be at least 1, got 0"]),
        (["fit", *ARGUMENTS, *SGD, "--data.batch_size", "7", "--data.micro_batch", "4"], ["micro_batch 4, devices 1"]),
        (["fit", *ARGUMENTS, *SGD, "--data.batch_size", "10000000"], ["batch_size must not exceed"]),
        (["fit", *ARGUMENTS, *SGD, "--data.source", "nowhere.txt"], ["nowhere.txt"]),
        (["fit", *ARGUMENTS, *SGD, "--trainer.max_steps", "5"], ["trainer.max_steps", "data.budget_steps"]),
        (["fit", *ARGUMENTS, *SGD, "--trainer.gradient_clip_val", "5"], ["gradient_clip_val", "model.clip_norm"]),
        (["fit", *ARGUMENTS, *SGD, "--model.width", "15"], ["width must be divisible"]),
        (["fit", *ARGUMENTS, *SGD, "--config", "no.yaml"], ["no.yaml"]),
        (["fit", *ARGUMENTS, "--optimizer"], ["--optimizer needs a value"]),
        (["fit", *ARGUMENTS, "--optimzer", "sgd", "--optimizer.lr", "1"], ["is --optimzer a slip?"]),
        (["sweep", "no.yaml"], ["no sweep file no.yaml"]),
        (["status", str(ROOT / "configs/sweeps/demo.yaml")], ["has no plan", "python -m suite sweep"]),
        (["gap"], ["gap takes a sweep's YAML or --csv"]),
        (["gap", "--csv", "x.csv", "--margin", "-1"], ["--margin takes a percentage above 0", "got -1"]),
        (["gap", str(ROOT / "configs/sweeps/demo.yaml"), "--margin", "1"], ["of a CSV alone", "in its YAML"]),
    ],
    ids=lambda value: " ".join(value[-3:]) if isinstance(value, list) else None,
)  # fmt: skip
def test_every_mistake_is_one_sentence(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str], data_dir: list[str]
) -> None:
    if arguments[0] == "fit":
        arguments = [*arguments, *data_dir]
    if "--data.batch_size" not in arguments and arguments[0] == "fit":
        arguments = [*arguments, *RUN]
    code, _, errors = call(arguments, capsys)
    assert code == 2
    said = [line for line in errors.splitlines() if line.startswith("suite: ")]
    assert len(said) == 1 and "Traceback" not in errors
    for part in parts:
        assert part in said[0]
    assert not Path("runs").exists()


def test_yaml_text_where_a_number_belongs(capsys: pytest.CaptureFixture[str], data_dir: list[str]) -> None:
    layer = {"model": {"init_args": {"optimizer": {"class_path": "suite.optim.SGD", "init_args": {"lr": "1e-3x"}}}}}
    Path("layer.yaml").write_text(yaml.safe_dump(layer))
    code, _, errors = call(["fit", *ARGUMENTS, *RUN, *data_dir, "--config", "layer.yaml"], capsys)
    assert code == 2 and "lr must be a number, got '1e-3x'" in errors


def test_names_go_in_any_case_and_a_printed_config_needs_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = call(
        ["fit", "--task", "fineweb/gpt", "--optimizer=Adam", "--print_config", "--data.batch_size=2"], capsys
    )
    optimizer = yaml.safe_load(printed)["model"]["init_args"]["optimizer"]
    assert code == 0 and optimizer["class_path"] == "suite.optim.Adam" and optimizer["init_args"]["lr"] is None
    code, _, errors = call(["fit", *ARGUMENTS, *RUN, "--optimizer", "ADAM"], capsys)
    assert code == 2 and "adam needs lr" in errors
    code, _, errors = call(["fit", *ARGUMENTS, *RUN, "--schedule", "WSD", "--schedule.warmup_share", "2"], capsys)
    assert code == 2 and "warmup_share must be at least 0 and at most 1, got 2" in errors
    code, printed, _ = call(["optimizers", "AdEMAMix"], capsys)
    assert code == 0 and "--optimizer.beta3" in printed


def test_without_a_task_it_is_said_where_tasks_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = call(["fit"], capsys)
    assert code == 2 and "fit needs --task NAME" in errors
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("suite.execution.matrix.config_roots", lambda: [])
    for arguments in (["tasks"], ["tasks", "fineweb/gpt"], ["fit", "--task", "fineweb/gpt"]):
        code, printed, errors = call(arguments, capsys)
        assert code == 2 and not printed and "run this in a checkout" in errors


@pytest.mark.parametrize("given", [["--data.budget_steps", "5"], ["--data.init_args.budget_epochs=2"], []])
def test_a_budget_takes_the_place_of_the_recipes(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--task", "fineweb/transformer_160m", "--optimizer", "sgd", "--optimizer.lr", "1"]
    code, printed, _ = call([*words, *given, "--print_config"], capsys)
    data = yaml.safe_load(printed)["data"]["init_args"]
    budgets = {name for name, value in data.items() if name.startswith("budget_") and value is not None}
    assert code == 0 and budgets == ({given[0].split(".")[-1].partition("=")[0]} if given else {"budget_tokens"})


def test_printed_config_is_plain_lightning_and_runs(capsys: pytest.CaptureFixture[str], data_dir: list[str]) -> None:
    arguments = ["fit", *ARGUMENTS, *RUN, *data_dir, *SGD, "--optimizer.momentum", "0.9"]
    code, printed, _ = call([*arguments, "--print_config"], capsys)
    config = yaml.safe_load(printed)
    assert code == 0
    assert config["model"]["init_args"]["optimizer"]["class_path"] == "suite.optim.SGD"
    assert config["model"]["init_args"]["optimizer"]["init_args"]["momentum"] == 0.9
    assert set(config) >= {"seed_everything", "trainer", "model", "data"}
    Path("resolved.yaml").write_text(printed)
    assert call([*arguments, "--store", "first"], capsys)[0] == 0
    assert call(["fit", "--config", "resolved.yaml", "--store", "second"], capsys)[0] == 0
    (first,), (second,) = list(Store("first").records()), list(Store("second").records())
    assert first["run_id"] == second["run_id"] and first["final"] == second["final"]
    code, output, _ = call(["fit", "--config", "resolved.yaml", "--store", "second"], capsys)
    assert code == 0 and "Already trained" in output
    layered = ["fit", "--config", "resolved.yaml", "--optimizer.lr", "0.1", "--store", "second"]
    assert call(layered, capsys)[0] == 0
    assert sorted(r["optimizer"]["lr"] for r in Store("second").records()) == [0.1, 0.3]


def test_a_fitted_run_is_the_same_run_in_a_sweep(
    capsys: pytest.CaptureFixture[str], data_dir: list[str], tmp_path: Path
) -> None:
    words = [*ARGUMENTS, *data_dir, "--data.batch_size", "2", "--data.budget_steps", "3"]
    assert call(["fit", *words, *SGD, "--store", str(tmp_path / "runs")], capsys)[0] == 0
    given = dict(zip(words[::2], words[1::2], strict=True))
    overrides = {name[2:]: value for name, value in given.items() if name not in ("--task", "--data.batch_size")}
    sweep = {"question": "Same?", "task": "fineweb/gpt", "overrides": overrides, "batch_size": [2], "seeds": [42],
             "optimizers": {"sgd": {"lr": 0.3}}}  # fmt: skip
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(sweep))
    code, output, errors = call(["sweep", str(file), "--store", str(tmp_path / "runs"), "--workers", "1"], capsys)
    assert code == 0 and "1 run, 1 in the store, 0 to train" in output, errors


def test_checkpoint_can_be_validated(capsys: pytest.CaptureFixture[str], data_dir: list[str]) -> None:
    arguments = [*ARGUMENTS, *RUN, *data_dir, *SGD]
    assert call(["fit", *arguments, "--keep_checkpoint"], capsys)[0] == 0
    (record,) = Store("runs").records()
    checkpoint = Store("runs").run_folder(record["run_id"]) / "final.ckpt"
    for command in ("validate", "test"):
        code, output, _ = call([command, *arguments, "--ckpt_path", str(checkpoint)], capsys)
        assert code == 0 and str(record["metrics"]["val/loss"])[:7] in output
    assert call(["predict", *arguments, "--ckpt_path", str(checkpoint)], capsys)[0] == 0


def test_any_torch_optimizer_works_by_its_path(capsys: pytest.CaptureFixture[str], data_dir: list[str]) -> None:
    optimizer = ["--optimizer", "torch.optim.NAdam", "--optimizer.lr", "1e-2", "--optimizer.momentum_decay", "0.01"]
    assert call(["fit", *ARGUMENTS, *RUN, *data_dir, *optimizer], capsys)[0] == 0
    (record,) = Store("runs").records()
    assert record["optimizer"]["name"] == "torch.optim.NAdam" and record["optimizer"]["momentum_decay"] == 0.01


def test_every_command_has_a_module_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        code, output, _ = call([command, "--help"], capsys)
        assert code == 0 and "usage" in output


def test_prepare_says_what_it_prepared(capsys: pytest.CaptureFixture[str], data_dir: list[str]) -> None:
    code, output, _ = call(["prepare", *ARGUMENTS, *RUN, *data_dir], capsys)
    assert code == 0 and "training" in output and "vocab_size 256" in output


def test_every_task_config_is_accepted_by_the_real_parser(capsys: pytest.CaptureFixture[str]) -> None:
    from suite.execution.matrix import task_files

    for name in task_files():
        code, printed, errors = call(["fit", "--task", name, *SGD, "--print_config"], capsys)
        assert code == 0, errors
        assert yaml.safe_load(printed)["model"]["init_args"]["name"] == name


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "hardware").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_hardware_config_is_accepted(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fit", "--task", "fineweb/gpt", *SGD, "--config", str(path), "--print_config"]
    code, printed, errors = call(arguments, capsys)
    assert code == 0, errors
    wanted = yaml.safe_load(path.read_text())
    assert set(wanted) == {"trainer"} and wanted["trainer"].items() <= yaml.safe_load(printed)["trainer"].items()
