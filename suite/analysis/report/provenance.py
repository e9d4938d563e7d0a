"""Where the numbers come from: what was asked, what was run, on what, with which code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from suite.analysis.report.page import Markup, bullets, definitions, element, text
from suite.analysis.table import STATUSES

_MOST_NAMED = 20


def provenance(runs: pd.DataFrame, plan: Mapping[str, Any], problems: Sequence[tuple[str, str]], root: Path) -> Markup:
    """The provenance of a plan's runs as definitions, and the files of the store that could not be used.

    Args:
        runs: see `suite.analysis.table.load_runs`.
        plan: see `suite.records.Store.plan`.
        problems: files set aside, with reasons; see `suite.records.Store`.
        root: folder of the store, which the files are named from.
    """
    recorded = runs[runs["status"] != "missing"]
    overrides = ", ".join(f"{key} = {value}" for key, value in (plan.get("overrides") or {}).items())
    hours = {part: recorded[f"{part}_seconds"].sum() / 3600 for part in ("total", "train", "eval", "log")}
    pairs: list[tuple[str, object]] = [
        ("task", plan["task"]),
        ("source", plan.get("source")),
        ("changed from the task's values", overrides or "nothing"),
        ("sweep", element("code", plan.get("file") or plan["name"])),
        ("command", element("code", plan["command"]) if plan.get("command") else None),
        ("plan", plan["plan_id"]),
        ("runs", _status_text(runs)),
        ("added by edge extension", _extension_text(runs, plan)),
        ("parameters of the network", "; ".join(f"{int(n):,}" for n in recorded["parameters"].dropna().unique())),
        ("data", "; ".join(_data_text(recorded))),
        ("code", _counted(map(code_text, recorded.to_dict("records")))),
        ("packages", _counted(_packages_text(recorded["packages"]))),
        ("devices", _counted(recorded["device"].dropna())),
        ("hosts", _counted(recorded["host"].dropna())),
        ("between", _dates(recorded)),
        ("hours", _hours_text(hours)),
    ]
    return Markup(definitions(pairs) + _problems(problems, root))


def provenance_caveats(runs: pd.DataFrame) -> list[str]:
    """Caveats about the origin of the runs, one sentence each."""
    recorded = runs[runs["status"] != "missing"]
    notes = []
    versions = recorded[["version", "commit"]].drop_duplicates()
    if len(versions) > 1:
        notes.append(f"The runs come from {len(versions)} versions of the code; see the provenance.")
    dirty = sum(flag is True for flag in recorded["dirty"])
    if dirty:
        notes.append(f"{dirty} of {len(recorded)} runs were made with files that differ from the recorded commit.")
    if (recorded.groupby("task")["data_fingerprint"].nunique() > 1).any():
        notes.append("The runs were not all made on the same data: there are several fingerprints in the provenance.")
    return notes


def code_text(run: Mapping[str, Any]) -> str:
    """Code version of one run: version, commit, and whether files differed from it."""
    commit = f", commit {str(run['commit'])[:12]}" if isinstance(run["commit"], str) else ", not from a git checkout"
    return f"version {run['version']}{commit}{' with changed files' if run['dirty'] is True else ''}"


def _status_text(runs: pd.DataFrame) -> str:
    counts = runs["status"].value_counts()
    parts = [f"{counts[status]} {status}" for status in STATUSES if counts.get(status, 0)]
    return f"{len(runs)}: {', '.join(parts)}" if parts else "none"


def _extension_text(runs: pd.DataFrame, plan: Mapping[str, Any]) -> str:
    added = runs[runs["round"] > 0]
    allowed = plan.get("extend_edges")
    limit = f" (at most {allowed} times along {', '.join(plan.get('extend_axes') or ['no axis'])})" if allowed else ""
    return f"{len(added)} runs in {added['round'].nunique()} rounds{limit}"


def _data_text(recorded: pd.DataFrame) -> Iterable[str]:
    data = recorded[["data_name", "data_fingerprint"]].dropna(how="all").drop_duplicates()
    for name, fingerprint in data.itertuples(index=False):
        yield f"{name}, fingerprint {str(fingerprint)[:16]}"


def _packages_text(packages: pd.Series) -> Iterable[str]:
    for written in packages.dropna():
        yield ", ".join(f"{name} {version}" for name, version in json.loads(written).items())


def _dates(recorded: pd.DataFrame) -> str:
    started, ended = recorded["started"].dropna(), recorded["ended"].dropna()
    return f"{started.min()} and {ended.max()}" if len(started) and len(ended) else ""


def _hours_text(hours: Mapping[str, float]) -> str:
    parts = ", ".join(f"{part} {hours[part]:.2f}" for part in ("train", "eval", "log"))
    return f"{hours['total']:.2f} in all runs together ({parts})"


def _counted(items: Iterable[str]) -> Markup | str:
    counts = Counter(items).most_common()
    if len(counts) < 2:
        return counts[0][0] if counts else ""
    lines = [f"{item} ({count} runs)" for item, count in counts[:_MOST_NAMED]]
    return Markup("<br>".join(map(text, lines)))


def _problems(problems: Sequence[tuple[str, str]], root: Path) -> Markup:
    named = dict.fromkeys((path.removeprefix(f"{root}/"), reason) for path, reason in problems)
    if not named:
        return Markup("")
    items: list[object] = [Markup(element("code", path) + text(f": {reason}")) for path, reason in named]
    more = [f"and {len(items) - _MOST_NAMED} more"] if len(items) > _MOST_NAMED else []
    return Markup(element("h3", "Files of the store that could not be used") + bullets(items[:_MOST_NAMED] + more))
