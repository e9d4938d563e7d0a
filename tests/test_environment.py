"""Nothing that `make env` installs is missing, so that no test skips for want of it."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def extras_of_env() -> list[str]:
    (extras,) = re.findall(r"^EXTRAS \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return str(extras).split(",")


def requirements(extras: Iterable[str]) -> list[Requirement]:
    """What extras ask for, the project's own extras within them written out."""
    asked = []
    for extra in extras:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
            own = requirement.name == PROJECT["name"]
            asked += requirements(sorted(requirement.extras)) if own else [requirement]
    return asked


def problem_with(requirement: Requirement) -> str | None:
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    fits = requirement.specifier.contains(installed, prereleases=True)
    return None if fits else f"{requirement} is needed, {installed} is installed"


def test_every_library_of_the_environment_is_installed() -> None:
    problems = {problem_with(requirement) for requirement in requirements(extras_of_env())} - {None}
    assert not problems, f"{sorted(map(str, problems))}: `make env` installs what is missing"


def test_every_library_that_a_test_may_skip_for_is_in_an_extra() -> None:
    asked = {canonicalize_name(requirement.name) for requirement in requirements(PROJECT["optional-dependencies"])}
    provided = {name: {canonicalize_name(name) for name in names} for name, names in packages_distributions().items()}
    modules = {name for path in (ROOT / "tests").rglob("test_*.py") for name in skipped_for(path)}
    in_no_extra = {name for name in modules if not provided.get(name, {canonicalize_name(name)}) & asked}
    assert modules and in_no_extra <= {"fla"}, in_no_extra  # flash-linear-attention's, which needs a GPU


def skipped_for(path: Path) -> set[str]:
    """The modules without which tests of a file skip."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    skips = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "importorskip"]
    names = [str(call.args[0].value) for call in skips if isinstance(call.args[0], ast.Constant)]
    return {name.partition(".")[0] for name in names}
