"""The versions of the code and of the packages that trained a run."""

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
    """Version of the suite and, in a git checkout, its commit and whether tracked files differ from the commit."""
    root = Path(__file__).resolve().parents[2]
    commit = _git(root, "rev-parse", "HEAD")
    return {
        "version": _version("adam-sgd-gap") or "0+unknown",
        "commit": commit,
        "dirty": None if commit is None else bool(_git(root, "status", "--porcelain", "--untracked-files=no")),
    }


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can change a run's numbers."""
    versions = {name: version for name in _PACKAGES if (version := _version(name)) is not None}
    return {"python": platform.python_version(), **versions}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


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
