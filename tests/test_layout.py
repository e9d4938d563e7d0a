"""Who may import whom, and the habits of the tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
STDLIB = sys.stdlib_module_names
RULES: dict[str, set[str]] = {
    "suite.optim": {"torch", "suite.optim"},
    "suite.records": {"pyarrow", "suite.records"},
    "suite.theory": {"numpy", "scipy", "suite.theory"},
    "suite.sweep": {"suite.records", "suite.optim", "suite.sweep", "yaml", "ray", "submitit"},
    "suite.analysis": {
        "suite.records", "suite.theory", "suite.analysis",
        "numpy", "scipy", "pandas", "pyarrow", "matplotlib", "markupsafe",
    },
    "suite.training": {
        "suite.optim", "suite.records", "suite.training", "suite.diagnostics",
        "torch", "lightning", "torchmetrics", "numpy", "pyarrow", "tqdm",
    },
    "suite.diagnostics": {
        "suite.optim", "suite.records", "suite.theory", "suite.training", "suite.diagnostics",
        "torch", "lightning", "curvlinops", "numpy", "pyarrow",
    },
    "models": {"torch", "timm", "torch_geometric", "fla", "flash_attn", "models"},
}  # fmt: skip
"""Package -> what its modules may import, beside the standard library."""
SHARED_TASKS = {
    "tasks.text", "tasks.sequences", "tasks.images", "tasks.prepared_folder", "tasks.array_files", "tasks.next_token",
    "tasks.regression",
}  # fmt: skip
"""What every dataset may import of `tasks`, beside its own folder; none of these is a dataset."""


def sources() -> list[Path]:
    return sorted(p for top in ("suite", "tasks", "models") for p in (ROOT / top).rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module or "")
    return found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_every_module_imports_what_its_package_may(path: Path) -> None:
    module = module_of(path)
    package = next((p for p in RULES if module == p or module.startswith(p + ".")), None)
    names = {name for name in imports(path) if name.partition(".")[0] not in STDLIB}
    if package is not None:
        allowed = RULES[package]
        wrong = {n for n in names if not any(n == a or n.startswith(a + ".") for a in allowed)}
        assert not wrong, f"{module} may not import {wrong}"
    if module.startswith("tasks."):
        parts = module.split(".")
        own = SHARED_TASKS | {f"tasks.{parts[1]}"}
        wrong = {n for n in names if n.startswith("tasks.") and not any(n == o or n.startswith(o + ".") for o in own)}
        wrong |= {n for n in names if n.startswith(("suite.sweep", "suite.analysis", "suite.cli"))}
        assert not wrong, f"{module} may not import {wrong}"
    if module.startswith("suite."):
        assert not {n for n in names if n.partition(".")[0] in ("tasks", "models")}, f"{module} knows a dataset"


def test_every_task_has_a_yaml_and_every_yaml_a_task() -> None:
    named = set()
    for path in (ROOT / "configs" / "tasks").glob("*/*.yaml"):
        content = yaml.safe_load(path.read_text())
        module = content["model"]["class_path"].rpartition(".")[0]
        source = ROOT / (module.replace(".", "/") + ".py")
        assert source.is_file() and source.parent.name == path.parent.name
        assert path.stem == source.stem or path.stem.startswith(f"{source.stem}_")
        named.add(source)
        assert content["data"]["class_path"].startswith(f"tasks.{path.parent.name}.data.")
        assert "optimizer" not in content["model"]["init_args"]
    # Beside its architectures a dataset may have modules that its data is made by.
    architectures = {p.stem for top in ("models", "configs/tasks") for p in (ROOT / top).rglob("*") if p.is_file()}
    for path in (ROOT / "tasks").glob("*/*.py"):
        is_dataset = (path.parent / "data.py").exists() and f"tasks.{path.parent.name}" not in SHARED_TASKS
        if is_dataset and path.stem in architectures - {"__init__"}:
            assert path in named


def test_no_file_is_named_for_nothing() -> None:
    assert not [p for p in sources() if p.stem in ("utils", "helpers", "misc", "common")]
    assert not (ROOT / "tests" / "__init__.py").exists()


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import suite.optim; suite.optim.list_optimizers()", {"torch", "lightning"}),
        ("import suite.optim; suite.optim.SGD(lr=0.1)", {"lightning", "timm", "pyarrow", "numpy.testing"}),
        ("import suite.training", {"suite.diagnostics.diagnostic", "curvlinops"}),
        ("import suite.diagnostics.spectra", {"curvlinops"}),
        ("from suite.cli.main import main; main(['diagnose', '--list'])", {"torch", "lightning", "pandas"}),
        ("import suite.records", {"torch", "pandas", "lightning"}),
        ("import suite.cli.launching, suite.cli.commands.status", {"ray", "submitit", "lightning"}),
        ("import suite.analysis.comparison", {"torch", "lightning", "matplotlib"}),
        ("from suite.cli.main import main; main(['--help'])", {"torch", "lightning", "pandas", "pyarrow"}),
        ("from suite.cli.main import main; main(['tasks'])", {"torch", "lightning", "pandas", "pyarrow"}),
        ("from suite.cli.main import main; main(['optimizers'])", {"torch", "lightning", "pandas", "pyarrow"}),
    ],
)
def test_light_things_stay_light(code: str, absent: set[str]) -> None:
    check = f"{code}\nimport sys\nprint('LOADED', *sorted(set(sys.modules) & {absent!r}))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "LOADED"
