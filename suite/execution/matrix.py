"""Finds the tasks: the files ``configs/tasks/<dataset>/<architecture>.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from suite.fields import nearest, read_yaml


def config_roots() -> list[Path]:
    """The folders that hold ``configs/``: the working directory and the checkout of this code, if they do."""
    roots = [Path.cwd(), Path(__file__).resolve().parents[2]]
    return [root for i, root in enumerate(roots) if root not in roots[:i] and (root / "configs").is_dir()]


def task_files() -> dict[str, Path]:
    """Task name -> its YAML file; a task in the working directory hides one of the same name in the checkout."""
    files: dict[str, Path] = {}
    for root in config_roots():
        for path in sorted((root / "configs" / "tasks").glob("*/*.yaml")):
            files.setdefault(f"{path.parent.name}/{path.stem}", path)
    return dict(sorted(files.items()))


def task_file(name: str) -> Path:
    """The YAML file of a task.

    Raises:
        ValueError: there is no such task; the message gives the nearest name and all known ones.
    """
    files = task_files()
    require_tasks(files)
    if name not in files:
        raise ValueError(f"There is no task {name!r}{nearest(name, files)}.")
    return files[name]


def require_tasks(files: Mapping[str, Path]) -> None:
    """Refuse to go on without any task.

    Raises:
        ValueError: there is none.
    """
    if not files:
        raise ValueError(
            "There is no task here: they are files configs/tasks/<dataset>/<architecture>.yaml of a checkout or of the "
            "working directory; run this in a checkout, or write one of your own (docs/own_task.md)."
        )


def task_name(typed: str) -> str:
    """A task's name as it is, of one that was typed in any case; one that no task has stays as it was typed."""
    names = task_files()
    return typed if typed in names else next((n for n in names if n.casefold() == typed.casefold()), typed)


def describe_tasks() -> dict[str, str]:
    """Task name -> the first comment line of its YAML.

    Raises:
        ValueError: there is none.
    """
    lines, files = {}, task_files()
    require_tasks(files)
    for name, path in files.items():
        with open(path, encoding="utf-8") as file:
            lines[name] = file.readline().lstrip("# ").strip()
    return lines


def without_other_budgets(task: str, settings: Mapping[str, str]) -> list[str]:
    """Arguments that take the recipe's budget away where another kind of budget is given.

    Args:
        task: name of the task.
        settings: given settings of the data, by their name after ``data.``, as text.
    """
    budgets = [name for name, text in settings.items() if name.startswith("budget_") and text != "null"]
    data = read_yaml(task_file(task), what="The task").get("data") or {}
    recipes = [name for name in data.get("init_args") or {} if name.startswith("budget_")]
    return [f"--data.init_args.{name}=null" for name in recipes if budgets and name not in settings]
