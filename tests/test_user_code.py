"""The user's own code is part of a run: edited, it makes another run, and the record of the earlier one stays."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_packs import config_of
from small_runs import make_data, make_task, make_trainer, run_task

from suite.execution.messages import WorkRequest
from suite.execution.worker import _refuse_other_code
from suite.optim.parsing import named_classes
from suite.records import Store, changed_code, user_code
from tasks.fineweb.data import FineWeb
from tasks.fineweb.gpt import FineWebGPT

RULE = """
import dataclasses
import torch
from suite.optim import OptimizerConfig
from somebodys_factors import FACTOR
import somebodys_package.inner

@dataclasses.dataclass(frozen=True, kw_only=True)
class Base(OptimizerConfig):
    def rule(self, grad, param, state, hyper, step):
        import somebodys_lazy
        return -hyper["lr"] * FACTOR * torch.sign(grad), {}
"""
FILES = {
    "somebodys_base.py": RULE,
    "somebodys_rule.py": "from somebodys_base import Base\n\nclass Mine(Base):\n    pass\n",
    "somebodys_factors.py": "FACTOR = 1.0\n",
    "somebodys_lazy.py": "",
    "somebodys_package/__init__.py": "",
    "somebodys_package/inner.py": "from . import sibling\nfrom .sibling import x as y\n",
    "somebodys_package/sibling.py": "x = 1\n",
    "somebodys_unused.py": "",
}
COUNTED = sorted(
    name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in FILES if "unused" not in name
)


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("somebodys_")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def mine() -> type:
    forget()
    return importlib.import_module("somebodys_rule").Mine  # type: ignore[no-any-return]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's files, in a folder that is searched for modules; compiled copies would be as old as a second."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path  # type: ignore[misc]
    forget()


def test_what_the_suite_and_libraries_bring_does_not_count() -> None:
    import torch

    assert user_code((FineWebGPT, FineWeb, torch.optim.SGD, dict)) == {}


def test_bases_helpers_packages_and_lazy_imports_count(folder: Path) -> None:
    assert sorted(user_code((mine(),))) == COUNTED


@pytest.mark.parametrize("name", FILES)
def test_an_edit_of_any_file_that_counts_changes_that_modules_checksum(folder: Path, name: str) -> None:
    before = user_code((mine(),))
    (folder / name).write_text(FILES[name] + "# a comment counts\n")
    if name != "somebodys_lazy.py":  # what this process has imported is as it was
        assert user_code((sys.modules["somebodys_rule"].Mine,)) == before
    after = user_code((mine(),))
    changed = [module for module in before if before[module] != after[module]]
    module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert changed == ([module] if module in COUNTED else [])
    # Where the files lie does not count.
    (folder / name).write_text(FILES[name])
    assert user_code((mine(),)) == before


def test_a_class_without_a_file_counts_with_what_python_compiled(tmp_path: Path) -> None:
    code = """
import sys
from suite.records import user_code
FACTOR = {factor}
def helper(x): return {helper}
class Base:
    def rule(self, x): return helper(x) * FACTOR
class Mine(Base):
    size = {size}
print(user_code((Mine,)))
"""
    outputs = []
    for factor, helper, size in [(1, "x", 1), (1, "x", 1), (2, "x", 1), (1, "x + 1", 1), (1, "x", 2)]:
        text = code.format(factor=factor, helper=helper, size=size)
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1] and len(set(outputs)) == 4 and all("__main__" in output for output in outputs)


def test_classes_are_found_wherever_a_spec_names_them(folder: Path) -> None:
    spec = {
        "class_path": "suite.optim.Hybrid",
        "init_args": {"lr": 1.0, "groups": {"a": {"name": "somebodys_rule.Mine", "lr": 0.1}, "b": {"name": "sgd"}}},
    }
    external = {"class_path": "suite.optim.External", "init_args": {"path": "somebodys_rule.Mine", "lr": 0.1}}
    for named in (spec, external, {"somebodys_rule.Mine": {}}, [{"name": "somebodys_rule.Mine"}]):
        assert [cls.__qualname__ for cls in named_classes(named)] == ["Mine"]
    assert list(named_classes({"name": "sgd", "momentum": 0.9, "path": "weights.pt", "x": {"name": ".y"}})) == []


def test_identities_that_differ_in_code_alone_are_told_apart() -> None:
    base: dict[str, Any] = {"model": {"a": 1}, "code": {"m": "1", "n": "2"}}
    assert changed_code(base, {**base, "code": {"m": "1", "n": "3"}}) == ["n"]
    assert changed_code({"model": {"a": 1}}, base) == ["m", "n"]
    assert changed_code(base, base) == [] and changed_code({"model": {"a": 2}, "code": {}}, base) == []


def test_edited_code_makes_another_run_and_the_earlier_record_is_named(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, data = Store(tmp_path / "runs"), make_data(tmp_path, budget_steps=3)
    spec = {"name": "somebodys_rule.Mine", "lr": 1e-3}

    def train() -> Any:
        mine()
        config = config_of(spec, data, {})
        return run_task(
            make_task(spec), make_data(tmp_path, budget_steps=3), make_trainer(), config=config, store=store
        )

    first = train()
    assert first.trained and not train().trained and not caplog.records
    (folder / "somebodys_factors.py").write_text("FACTOR = 0.0\n")
    second = train()
    assert second.trained and second.record["run_id"] != first.record["run_id"]
    assert first.record["run_id"] in caplog.text and "somebodys_factors" in caplog.text
    assert store.record(first.record["run_id"]) == first.record
    (folder / "somebodys_factors.py").write_text(FILES["somebodys_factors.py"])
    assert train().record["run_id"] == first.record["run_id"]


def test_a_worker_refuses_code_that_the_sweep_was_not_planned_with() -> None:
    request = WorkRequest(do="run", configs=[{}, {}], run_ids=["a", "b"])
    _refuse_other_code(request, ["a"])
    _refuse_other_code(WorkRequest(do="measure", configs=[{}]), ["x"])
    with pytest.raises(ValueError, match="changed while the sweep ran"):
        _refuse_other_code(request, ["a", "c"])
