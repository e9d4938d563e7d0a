"""The last guard of the command line: whose fault an error is, in a sentence, and where the suite's tracebacks lie."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from suite.cli.commands import lists
from suite.cli.commands.sweep import _answers
from suite.cli.main import main
from suite.execution.faults import fault_of, needs
from suite.execution.sentences import of_a_parser
from suite.records import Store

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("SUITE_TRACEBACK", "")  # as it is put back, whatever --debug made of it


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code, and what was said on standard error."""
    capsys.readouterr()
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err


def raising(error: BaseException) -> Any:
    def command(*_: Any) -> int:
        raise error

    return command


def test_a_fault_of_the_suite_asks_for_a_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lists, "print_lines", {}.__getitem__)  # a mapping from lines is no key
    code, said = call(["tasks"], capsys)
    (file,) = tmp_path.glob("suite-failed-*.txt")
    assert code == 70 and "Traceback" not in said and len(said.splitlines()) == 1
    assert said.startswith("suite: The suite itself has failed (TypeError: unhashable")
    assert "suite/cli/commands/lists.py line" in said and f"please report it, with {file}" in said
    report = file.read_text()
    assert "command: tasks" in report and "Traceback" in report and "lists.py" in report and "python: 3" in report
    code, said = call(["tasks", "--debug"], capsys)
    assert code == 70 and "Traceback" in said


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ValueError("lr is 3\nnot 4"), 2, "suite: lr is 3 not 4"),
        (MemoryError(), 2, "suite: The memory ran out"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 2, "suite: The memory ran out"),
        (IsADirectoryError(21, "Is a directory", "runs"), 2, "suite: The file runs cannot be used: Is a directory."),
        (OSError(36, "File name too long", "x" * 9), 2, "suite: The file xxxxxxxxx cannot be used"),
        (OSError(28, "No space left on device"), 1, "suite: The file cannot be used: No space left on device."),
        (ValueError("\x1b[31mred\udcff"), 2, "suite: \\x1b[31mred\\udcff"),
        (KeyboardInterrupt(), 130, "suite: Ended by SIGINT; the same command goes on"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_fault_of_the_user_is_one_sentence(
    error: BaseException, code: int, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "print_lines", raising(error))
    got, said = call(["tasks"], capsys)
    assert got == code and said.startswith(sentence) and len(said.splitlines()) == 1
    assert not list(Path().glob("suite-failed-*"))


def test_a_reader_that_has_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "suite", "optimizers"]
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment, text=True)
    os.close(writer)
    assert done.returncode == 141 and done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sweep"], "The following arguments are required: file; see python -m suite sweep --help."),
        (["sweep", "s.yaml", "--workers", "x"], "Argument --workers: invalid int value: 'x'"),
        (["sweep", "s.yaml", "--workers", str(10**9)], "--workers must be from 1 to 10,000"),
        (["sweep", "s.yaml", "--pack", "\u00b2"], "--pack must be off, auto or a number of runs"),
        (["gap", "s.yaml", "--final-loss", "x"], "Argument --final-loss: invalid choice: 'x'"),
        (["theory", "nothing"], "invalid choice: 'nothing'"),
        (["compare", "a"], "required: second"),
        (["why", "--nothing"], "Unrecognized arguments: --nothing"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"task": "toy/quadratic", "batch_size": [1], "optimizers": {"sgd": {"lr": 1e-6}}}
    Path("s.yaml").write_text(yaml.safe_dump({**asked, "overrides": {"data.budget_steps": 2}}))
    code, said = call(arguments, capsys)
    assert code == 2 and said.startswith("suite: ") and sentence in said and len(said.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["s.yaml"]


def test_the_users_own_code_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine_that_fails.py").write_text("def fail():\n    return {}['nothing']\n")
    monkeypatch.syspath_prepend(".")
    import mine_that_fails  # type: ignore[import-not-found]

    with pytest.raises(KeyError) as caught:
        mine_that_fails.fail()
    fault = fault_of(caught.value)
    assert fault.code == 2 and "mine_that_fails.py line 2 raised KeyError: 'nothing'; that code is" in fault.sentence


@pytest.mark.parametrize(
    ("missing", "extra"),
    [("pyarrow.parquet", "train,analysis"), ("pandas", "analysis"), ("rdkit.Chem", "graph"), ("timm", "vision")],
)
def test_a_missing_package_is_named_with_what_installs_it(missing: str, extra: str) -> None:
    fault = fault_of(ModuleNotFoundError("No module", name=missing))
    package = missing.partition(".")[0]
    assert fault.code == 2 and f"needs the package {package}, which is not installed: pip install" in fault.sentence
    assert f"'adam-sgd-gap[{extra}]'" in fault.sentence
    assert fault_of(ModuleNotFoundError("No module", name="suite.nothing")).code == 70, "a module of the suite's own"


def test_an_error_without_a_place_is_the_suites() -> None:
    fault = fault_of(KeyError("x"))
    assert fault.code == 70 and "KeyError: 'x'" in fault.sentence


def test_a_fault_without_the_libraries_is_still_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "suite.records.provenance", None)  # importing it fails
    assert fault_of(KeyError("x")).code == 70
    (file,) = tmp_path.glob("suite-failed-*.txt")
    assert "suite: unknown (" in file.read_text() and "KeyError: 'x'" in file.read_text()


def test_code_of_the_users_that_exits_ends_no_command_without_a_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine_that_exits.py").write_text("import sys\n\n\ndef leave(*_):\n    sys.exit(0)\n")
    monkeypatch.syspath_prepend(".")
    import mine_that_exits  # type: ignore[import-not-found]

    monkeypatch.setattr(lists, "print_lines", mine_that_exits.leave)
    code, said = call(["tasks"], capsys)
    assert code == 2 and said.startswith("suite: Code that this command calls has ended it by SystemExit: 0 (mine_that")
    assert "mine_that_exits.py, line 5" in said and len(said.splitlines()) == 1
    assert call(["fit", "--nothing"], capsys)[0] == 2 and call(["--help"], capsys)[0] == 0


@pytest.mark.parametrize(("package", "extra"), [("torch_geometric", "graph"), ("timm", "vision")])
def test_a_package_that_a_task_misses_is_named_when_it_is_parsed(package: str, extra: str) -> None:
    said = (
        'Parser key "model":\n  Does not validate against any of the Union subtypes\n  Errors:\n'
        f"    - Problem with given class_path 'tasks.zinc.gat.ZincGAT':\n      No module named '{package}'\n"
        "    - Expected a <class 'NoneType'>\n  Given value: {'class_path': 'tasks.zinc.gat.ZincGAT'}"
    )
    assert of_a_parser(said) == needs(package) and f"pip install 'adam-sgd-gap[{extra}]'" in needs(package)
    assert of_a_parser(said.replace(package, "tasks.zinc.gatt")).startswith("model must be a mapping")


def test_a_machine_that_only_trains_ends_a_sweep_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec: Any = SimpleNamespace(looks=(1,))
    for name in ("suite.analysis.comparison", "suite.analysis.terminal"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert _answers(spec, Store(tmp_path)) == needs("pandas", "What the runs say") + "\n"


def test_a_sweep_until_there_is_a_verdict_misses_what_it_needs_before_it_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"task": "toy/quadratic", "batch_size": [1], "question": "?", "report_seeds": [2, 3], "margin": 0.5}
    optimizers = {"sgd": {"lr": 1e-6}, "adam": {"lr": 1e-6}}
    Path("s.yaml").write_text(yaml.safe_dump({**asked, "optimizers": optimizers, "until": {"precision": 0.5}}))
    monkeypatch.delitem(sys.modules, "suite.analysis.until", raising=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    code, said = call(["sweep", "s.yaml"], capsys)
    assert code == 2 and "needs the package pandas" in said
    assert [path.name for path in Path().iterdir()] == ["s.yaml"]


DECODES_NOTHING = """
import sys
import suite.training  # torchmetrics imports Pillow where it finds torchvision
sys.modules.update(dict.fromkeys(("PIL", "simplejpeg", "timm", "rdkit", "torch_geometric")))
import tasks.imagenet21k.data, tasks.imagenet21k.resnet20, tasks.imagenet21k.vit, tasks.imagenet1k_lt.simple_vit
import tasks.zinc.data, tasks.zinc.grit
"""


def test_networks_of_plain_torch_need_nothing_that_reads_images_or_molecules() -> None:
    subprocess.run([sys.executable, "-c", DECODES_NOTHING], check=True, cwd=ROOT)
