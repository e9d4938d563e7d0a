"""Who may import whom, and the habits of the tree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
STDLIB = sys.stdlib_module_names
RULES: dict[str, set[str]] = {
    "suite.fields": {"yaml", "suite.fields"},
    "suite.optim": {"torch", "suite.fields", "suite.optim"},
    "suite.records": {"numpy", "pyarrow", "suite.fields", "suite.records"},
    "suite.theory": {"numpy", "scipy", "suite.theory"},
    "suite.surface": {"suite.records", "suite.surface", "numpy", "scipy", "sklearn"},
    "suite.sweep": {
        "suite.records", "suite.optim", "suite.fields", "suite.surface", "suite.sweep", "numpy", "scipy",
    },
    "suite.analysis": {
        "suite.fields", "suite.records", "suite.theory", "suite.surface", "suite.analysis",
        "numpy", "scipy", "pandas", "pyarrow", "matplotlib", "markupsafe",
    },
    "suite.api": {"suite.records", "suite.analysis", "pandas", "matplotlib", "pyarrow"},
    "suite.training": {
        "suite.optim", "suite.records", "suite.fields", "suite.training",
        "torch", "lightning", "torchmetrics", "numpy", "pyarrow", "tqdm", "wandb",
    },
    "suite.packs": {
        "suite.optim", "suite.records", "suite.fields", "suite.training", "suite.packs",
        "torch", "lightning", "torchmetrics", "numpy", "pyarrow",
    },
    "suite.diagnostics": {
        "suite.optim", "suite.records", "suite.fields", "suite.theory", "suite.training", "suite.packs",
        "suite.diagnostics", "torch", "lightning", "curvlinops", "numpy", "pyarrow",
    },
    "suite.execution": {
        "suite.fields", "suite.optim", "suite.records", "suite.training", "suite.packs", "suite.diagnostics",
        "suite.sweep", "suite.execution",
        "lightning", "jsonargparse", "torch", "yaml", "ray", "submitit",
    },
    "models": {"torch", "timm", "torch_geometric", "fla", "flash_attn", "models"},
}  # fmt: skip
"""Package -> what its modules may import, beside the standard library."""


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


def names_imported(path: Path) -> set[str]:
    """As `imports`, with what is taken from a module: `from a import b` is `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
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
        mine = {"tasks.kinds", f"tasks.{module.split('.')[1]}"}
        wrong = {n for n in names if n.startswith("tasks.") and not any(n == o or n.startswith(o + ".") for o in mine)}
        wrong |= {n for n in names if n.startswith(("suite.sweep", "suite.analysis", "suite.cli", "suite.execution"))}
        assert not wrong, f"{module} may not import {wrong}"
    if module.startswith("suite."):
        assert not {n for n in names if n.partition(".")[0] in ("tasks", "models")}, f"{module} knows a dataset"


def circle_in(arrows: dict[str, set[str]]) -> list[str]:
    """Names along a circle of arrows; empty where there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(arrows.get(name, ())):
            if found := walk(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := walk(name, []))), [])


def test_a_circle_is_found() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}}) == []


def test_no_file_and_no_folder_imports_in_a_circle() -> None:
    modules = {module_of(path): path for path in sources()}
    files: dict[str, set[str]] = {}
    folders: dict[str, set[str]] = {}
    for module, path in modules.items():
        folder = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for name in names_imported(path):
            # `from a.b import c` names the module a.b.c or something in a.b.
            target = name if name in modules else name.rpartition(".")[0]
            if target not in modules or target == module:
                continue
            of_target = target if modules[target].name == "__init__.py" else target.rpartition(".")[0]
            if path.name != "__init__.py" and modules[target].name != "__init__.py":
                files.setdefault(module, set()).add(target)
            # Folders below one another are one room with a room within.
            if not f"{folder}.".startswith(f"{of_target}.") and not f"{of_target}.".startswith(f"{folder}."):
                folders.setdefault(folder, set()).add(of_target)
    assert circle_in(files) == []
    assert circle_in(folders) == []


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
        is_dataset = (path.parent / "data.py").exists()
        if is_dataset and path.stem in architectures - {"__init__"}:
            assert path in named


MOST_LINES, MOST_PARAMETERS = 60, 7


def test_no_function_is_long_or_takes_many_parameters() -> None:
    wrong = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            parameters = [argument for argument in taken if argument.arg not in ("self", "cls")]
            if lines > MOST_LINES:
                wrong.append(f"{path.relative_to(ROOT)}: {node.name} has {lines} lines")
            if len(parameters) > MOST_PARAMETERS:
                wrong.append(f"{path.relative_to(ROOT)}: {node.name} takes {len(parameters)} parameters")
    assert not wrong, "\n".join(wrong)


def words_of(path: Path) -> set[str]:
    """Every name in a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for attribute in ("name", "id", "attr", "value"):
            found |= {word for word in [getattr(node, attribute, None)] if isinstance(word, str)}
    return found


def exists(dotted: str) -> bool:
    """Whether a dotted path leads to a package, a module or a name in one."""
    folder, parts = ROOT, dotted.split(".")
    for place, part in enumerate(parts):
        if (folder / part).is_dir():
            folder = folder / part
            continue
        module = folder / f"{part}.py"
        if module.is_file():
            return set(parts[place + 1 :]) <= words_of(module)
        return part in words_of(folder / "__init__.py")  # what a package passes on
    return True


def test_every_module_that_a_text_names_exists() -> None:
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *sources(), *(ROOT / "benchmarks").glob("*.py")]
    named = {
        (str(path.relative_to(ROOT)), dotted)
        for path in texts
        for dotted in re.findall(r"`((?:suite|tasks|models)(?:\.[A-Za-z_]\w*)+)`", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 100
    others = {"suite.optimizers"}  # a group of entry points
    assert not {(path, dotted) for path, dotted in named if dotted not in others and not exists(dotted)}


def test_no_file_is_named_for_nothing() -> None:
    assert not [p for p in sources() if p.stem in ("utils", "helpers", "misc", "common")]
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_no_variable_is_named_for_nothing() -> None:
    """Names that fit everything say nothing of what they hold."""
    vague = {"told", "found", "place", "own", "known", "mine", "given"}
    assigned = {
        (str(path.relative_to(ROOT)), node.id if isinstance(node, ast.Name) else node.arg)
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    }
    assert not {(path, name) for path, name in assigned if name in vague}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import suite.optim; suite.optim.list_optimizers()", {"torch", "lightning"}),
        ("import suite.optim; suite.optim.SGD(lr=0.1)", {"lightning", "timm", "pyarrow", "numpy.testing"}),
        ("import suite.training", {"suite.diagnostics", "suite.packs", "curvlinops"}),
        ("import suite.diagnostics.spectra", {"curvlinops"}),
        ("from suite.cli.main import main; main(['diagnose', '--list'])", {"torch", "lightning", "pandas"}),
        ("import suite.records", {"torch", "pandas", "lightning"}),
        ("import suite.execution.launching, suite.cli.commands.status", {"ray", "submitit", "lightning"}),
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
