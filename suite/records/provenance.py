"""With which code, packages and machine was a run made?"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "lightning", "torchmetrics", "numpy", "timm", "torch-geometric", "datasets", "flash-attn")


@functools.cache
def code_version() -> dict[str, Any]:
    """Version of the suite and, in a git checkout, its commit and whether files differ from it."""
    try:
        version = importlib.metadata.version("adam-sgd-gap")
    except importlib.metadata.PackageNotFoundError:
        version = "0+unknown"
    root = Path(__file__).resolve().parents[2]
    commit = _git(root, "rev-parse", "HEAD")
    return {
        "version": version,
        "commit": commit,
        "dirty": None if commit is None else bool(_git(root, "status", "--porcelain", "--untracked-files=no")),
    }


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can change a run's numbers."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _git(root: Path, *arguments: str) -> str | None:
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
