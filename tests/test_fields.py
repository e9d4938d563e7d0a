"""The one reader of settings: what it takes, what it refuses, and what it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.fields import (
    ConfigError,
    check_ranges,
    flattened,
    nearest,
    nested,
    option_value,
    plain,
    read,
    read_value,
    read_yaml,
    take_options,
    yaml_value,
)
from suite.fields.yaml_files import MOST_BYTES, MOST_NODES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    share: float = dataclasses.field(default=0.5, metadata={"above": 0, "below": 1})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    lr: float
    steps: int = dataclasses.field(default=1, metadata={"at_least": 1, "at_most": 9})
    name: str = ""
    fast: bool = False
    kind: Literal["a", "b"] = "a"
    roles: tuple[str, ...] = ()
    seeds: list[int] = dataclasses.field(default_factory=list, metadata={"at_least": 0, "different": True, "most": 4})
    wide: int = 0
    table: dict[str, float] = dataclasses.field(default_factory=dict)
    inner: Inner | None = None
    either: int | Literal["auto"] = "auto"


def test_plain_values_become_typed_ones() -> None:
    made = read(
        Settings,
        {
            "lr": "1e-3", "steps": "3", "fast": "True", "kind": "b", "roles": "norm, bias", "seeds": 4,
            "table": {"x": 1}, "inner": {"share": "0.25"}, "either": 7,
        },
        name="s",
    )  # fmt: skip
    assert made == Settings(
        lr=0.001, steps=3, fast=True, kind="b", roles=("norm", "bias"), seeds=[4], table={"x": 1.0},
        inner=Inner(share=0.25), either=7,
    )  # fmt: skip
    assert read(Settings, {"lr": 1, "inner": None, "either": "auto"}, name="s") == Settings(lr=1.0)
    assert read_value(2**62 + 1, int, "n") == 2**62 + 1


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "s needs lr, which has no default; set lr."),
        ({"lr": 1, "stepz": 2}, "s has no setting 'stepz' (did you mean 'steps'?)"),
        ({"lr": 1, 5: 2}, "s has no setting 5"),
        ({"lr": "fast"}, "s.lr must be a number, got 'fast'."),
        ({"lr": True}, "s.lr must be a number, got True."),
        ({"lr": 10**400}, "s.lr must be a number"),
        ({"lr": 1, "steps": 1.5}, "s.steps must be a whole number, got 1.5."),
        ({"lr": 1, "wide": 10**400}, "s.wide must be a whole number below 2^63, got 1000"),
        ({"lr": 1, "wide": "9" * 400}, "s.wide must be a whole number, got '999"),
        ({"lr": 1, "seeds": [1, 2, 3, 4, 5]}, "s.seeds must list at most 4 values, got 5."),
        ({"lr": 1, "steps": "inf"}, "s.steps must be a whole number, got 'inf'."),
        ({"lr": 1, "steps": 0}, "s.steps must be at least 1 and at most 9, got 0."),
        ({"lr": 1, "steps": 10}, "s.steps must be at least 1 and at most 9, got 10."),
        ({"lr": 1, "name": 3}, "s.name must be a text, got 3."),
        ({"lr": 1, "fast": "yes"}, "s.fast must be true or false, got 'yes'."),
        ({"lr": 1, "fast": 1}, "s.fast must be true or false, got 1."),
        ({"lr": 1, "kind": "c"}, "s.kind must be one of a, b, got 'c'."),
        ({"lr": 1, "roles": [1]}, "s.roles[0] must be a text, got 1."),
        ({"lr": 1, "seeds": "4"}, "s.seeds must be a list, got '4'."),
        ({"lr": 1, "seeds": [1, "x"]}, "s.seeds[1] must be a whole number, got 'x'."),
        ({"lr": 1, "seeds": [1, -1]}, "s.seeds must be at least 0, got [1, -1]."),
        ({"lr": 1, "seeds": [1, 2, 1]}, "s.seeds must list different values, got [1, 2, 1]."),
        ({"lr": 1, "table": [1]}, "s.table must be a mapping, got [1]."),
        ({"lr": 1, "table": {1: 1}}, "a key of s.table must be a text, got 1."),
        ({"lr": 1, "table": {"x": "y"}}, "s.table.x must be a number, got 'y'."),
        ({"lr": 1, "inner": 3}, "s.inner must be a mapping with share, got 3."),
        ({"lr": 1, "inner": {"share": 1}}, "s.inner.share must be above 0 and below 1, got 1.0."),
        ({"lr": 1, "inner": {"share": ".nan"}}, "s.inner.share must be a number, got '.nan'."),
        ({"lr": 1, "inner": {"share": "nan"}}, "s.inner.share must be a finite number, got nan."),
        ({"lr": 1, "either": "always"}, "s.either must be one of auto, got 'always'."),
    ],
)
def test_every_wrong_value_is_one_sentence(values: dict[Any, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(Settings, values, name="s")
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    steps: int = dataclasses.field(default=1, metadata={"at_least": 1})
    free: int = 0


def test_numbers_that_nothing_could_hold_are_refused_where_they_are_checked() -> None:
    check_ranges(Checked, {"steps": 2**63 - 1, "free": -(2**62)}, name="s")
    for name in ("steps", "free"):
        with pytest.raises(ConfigError, match=rf"s\.{name} must be a whole number below 2\^63, got 1000"):
            check_ranges(Checked, {name: 10**400}, name="s")


def test_settings_are_plain_again_without_what_is_null() -> None:
    made = Settings(lr=0.1, roles=("norm",), inner=Inner())
    values = plain(made)
    assert values["roles"] == ["norm"] and values["inner"] == {"share": 0.5}
    assert "inner" not in plain(Settings(lr=0.1)) and read(Settings, values, name="s") == made


def test_the_nearest_name_is_told_with_all() -> None:
    assert nearest("momentm", ["lr", "momentum"]) == " (did you mean 'momentum'?); known: lr, momentum"
    assert nearest("qqq", ["lr"]) == "; known: lr"


# Dotted keys.


def test_dotted_keys_are_a_tree_and_back() -> None:
    assert nested({"a.b.c": 1, "a.d": 2, "e": {}}) == {"a": {"b": {"c": 1}, "d": 2}, "e": {}}
    assert flattened({"a": {"b": {"c": 1}, "d": 2}, "e": {}}) == {"a.b.c": 1, "a.d": 2, "e": {}}
    assert nested({"a": 1, "a.b": 2}) == {"a": {"b": 2}}  # the later wins
    before = {"a": {"b": 1, "c": 2}}
    assert nested({"a.b": 3}, into=before) == {"a": {"b": 3, "c": 2}}
    assert before == {"a": {"b": 1, "c": 2}}


NAMES = st.text("abc", min_size=1, max_size=2)


@given(st.recursive(st.integers(), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=9))
def test_every_tree_comes_back_from_its_dotted_keys(tree: Any) -> None:
    tree = tree if isinstance(tree, dict) else {"a": tree}
    assert nested(flattened(tree)) == tree


# YAML.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("yes", "yes"), ("No", "No"), ("010", 10), ("0o10", 8), ("0xff", 255), ("1:30", "1:30"),
        ("1e-3", 0.001), ("1.", 1.0), (".5", 0.5), ("-3", -3), ("1_000", 1000), ("1_", "1_"),
        ("2026-01-01", "2026-01-01"),
        (".inf", float("inf")), ("null", None), ("", None), ("true", True), ("'1'", "1"), ("{on: [a]}", {"on": ["a"]}),
        ("[010, 1e3]", [10, 1000.0]), ("{b: &b {x: 1}, c: {<<: *b, x: 2}}", {"b": {"x": 1}, "c": {"x": 2}}),
    ],
)  # fmt: skip
def test_words_and_numbers_mean_what_people_mean(text: str, value: Any) -> None:
    read_text = yaml_value(text, "it")
    assert read_text == value and type(read_text) is type(value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{a: 1, b: 2, a: 3}", "it gives the key 'a' twice (lines 1 and 1); leave one out."),
        ("a:\n  b: 1\n  b: 1\n", "it gives the key 'b' twice (lines 2 and 3)"),
        ("{1: x, 1.0: y}", "it gives the key 1.0 twice"),
        ("&a [*a]", "it refers to itself"),
        ("{a: &a {b: *a}}", "it refers to itself"),
        ("[", "it is not YAML"),
        ("*nothing", "it is not YAML"),
        ("\x00", "it is not YAML"),
        ("[" * 10_000, "it is not YAML"),
        ("{[1]: 2}", "it is not YAML"),
        ("9" * 10_000, "it has a whole number of 10,000 digits"),
        ("0x" + "f" * 4_000, "it has a whole number of 4,002 digits"),
        ("!!set {a}", "it has a value with the tag"),
        ("!!python/object:os.system {}", "it has a value with the tag"),
    ],
)
def test_every_wrong_document_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yaml_value(text, "it")
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


def test_aliases_count_as_often_as_they_unfold() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(ConfigError, match=f"at most {MOST_NODES:,} values"):
        yaml_value("\n".join(lines), "it")
    assert len(yaml_value("\n".join(lines[:3]), "it")) == 3


def test_a_file_holds_a_mapping_or_says_why_not(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    with pytest.raises(ConfigError, match="There is no file --sources"):
        read_yaml(file, what="--sources")
    with pytest.raises(ConfigError, match="must be a file that can be read"):
        read_yaml(tmp_path)
    for content, sentence in ((b"\xff\xfe", "not UTF-8"), (b"- 1", "must hold a mapping"), (b"1: x", "texts as keys")):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=sentence):
            read_yaml(file)
    file.write_text("a: b\n" + "#" * MOST_BYTES)
    with pytest.raises(ConfigError, match="must be a file of settings"):
        read_yaml(file)
    file.write_text("on: 1\nlr: 1e-3\n")
    assert read_yaml(str(file)) == {"on": 1, "lr": 0.001}


# Options.


def test_options_are_taken_and_the_rest_is_left_in_order() -> None:
    words = ["s.yaml", "--x.a", "1", "--y", "-2", "--z", "--other", "v", "--x.b.c=k=2", "--x", "n", "--x.a=3"]
    taken, left = take_options(words, families=("x",), names=("y",), flags=("z",))
    assert taken == {"x.a": "3", "y": "-2", "z": "true", "x.b.c": "k=2"}
    assert left == ["s.yaml", "--other", "v", "--x", "n"]
    for wrong in (["--x.a"], ["--x.a", "--z"], ["--y"]):
        with pytest.raises(ConfigError, match=f"{wrong[0]} needs a value"):
            take_options(wrong, families=("x",), names=("y",), flags=("z",))


def test_the_value_of_an_option_is_yaml_or_a_text() -> None:
    assert [option_value(text, "--x") for text in ("1e-3", "[a, 010]", "*.weight", "on", "")] == [
        0.001, ["a", 10], "*.weight", "on", None,
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="--x is not YAML"):
        option_value("[1", "--x")
