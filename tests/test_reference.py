"""Pages of reference are made of the fields and the parsers, and say what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from suite.cli.commands.reference import commands_page, sweep_page
from suite.cli.main import COMMANDS, main
from suite.execution.matrix import task_files
from suite.fields import described, read_yaml
from suite.fields.described import kind_in_words
from suite.optim.registry import import_class
from suite.sweep.grid import FORMS, fixed_value, read_axis
from suite.sweep.spec import SweepSettings
from suite.sweep.time_scales import with_times

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_page_of_sweeps_is_that_of_the_fields() -> None:
    made = sweep_page()
    assert (DOCS / "sweep_yaml.md").read_text(encoding="utf-8") == made, "python -m suite reference sweep writes it"
    rows = set(re.findall(r"^\| `(\w+)` \|", made, re.MULTILINE))
    parts = [SweepSettings, *(part for setting in described(SweepSettings) for part in setting.parts)]
    assert {setting.name for part in parts for setting in described(part)} <= rows
    assert all(setting.doc for part in parts for setting in described(part))


def test_the_example_of_the_page_is_a_sweep(tmp_path: Path) -> None:
    from suite.sweep import read_spec

    (tmp_path / "s.yaml").write_text(re.findall(r"```yaml\n(.*?)```", sweep_page(), re.DOTALL)[0])
    assert set(read_spec(tmp_path / "s.yaml").optimizers) == {"sgd", "adam"}


def test_the_page_of_commands_has_every_command_and_option() -> None:
    def options(page: str) -> dict[str, set[str]]:
        sections = re.split(r"^## (\w+)\n", page, flags=re.MULTILINE)[1:]
        return {
            name: set(re.findall(r"--[a-z][\w-]*", text))
            for name, text in zip(sections[::2], sections[1::2], strict=True)
        }

    made = options(commands_page())
    assert made == options((DOCS / "commands.md").read_text(encoding="utf-8")), "python -m suite reference commands"
    assert made.keys() == COMMANDS.keys()
    assert {"--watch", "--looks"} <= made["report"] and "--logger" in made["fit"] & made["sweep"]


VALUES = [None, (0.1, 0.3, 1.0), (0.01, 0.1, 1.0), (0.1, 0.316228, 1.0), (0.1, 0.3)]
VALUES += [(1e5, 1e6), (1e5, 1e6), ("none", "decoupled"), None]


@pytest.mark.parametrize(("form", "values"), list(zip([form for form, _ in FORMS], VALUES, strict=True)))
def test_every_form_of_a_value_is_read_as_the_page_says(form: str, values: tuple[object, ...] | None) -> None:
    value = yaml.safe_load(form)
    ((name, inner),) = with_times({"beta": value}).items()
    axis = read_axis(name, inner, 1)
    assert (None if axis is None else axis.values) == values
    if values is None:
        assert fixed_value(value) in (0.1, ["norm", "bias"])


@pytest.mark.parametrize("task", ["toy/quadratic", "fineweb/gpt", "zinc/gat"])
def test_a_task_tells_every_setting_with_the_value_of_its_recipe(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", task]) == 0
    text, recipe = capsys.readouterr().out, read_yaml(task_files()[task])
    for part in ("model", "data"):
        for setting in described(import_class(recipe[part]["class_path"])):
            assert setting.doc, setting.name
            value = re.search(rf"^  --{part}\.{setting.name}  (.*)$", text, re.MULTILINE)
            assert value is not None, setting.name
            if setting.name in recipe[part]["init_args"]:
                assert yaml.safe_load(value[1]) == recipe[part]["init_args"][setting.name]
    assert main(["tasks", "fineweb/gtp"]) == 2
    assert "did you mean 'fineweb/gpt'" in capsys.readouterr().err


def test_the_help_of_fit_tells_the_settings_of_its_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--task", "toy/quadratic", "--help"])
    text = capsys.readouterr().out
    assert "--data.noise " in text and "--logger A,B" in text and "--trainer.max_time" in text


def test_kinds_are_told_in_words() -> None:
    words = {
        list[int]: "list of whole numbers", float | None: "number, or null", dict[str, float]: "mapping to numbers",
        tuple[str, ...]: "list of texts", bool: "true or false",
    }  # fmt: skip
    assert {kind: kind_in_words(kind) for kind in words} == words
