"""Which code is the user's own: what belongs neither to the suite nor to Python and what is installed for it."""

from __future__ import annotations

import functools
import os
import sysconfig
import traceback
from pathlib import Path

from suite.fields.names import ConfigError

_ROOT = Path(__file__).resolve().parents[2]

_OTHERS = [
    *(_ROOT / package for package in ("suite", "tasks", "models")),
    *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")),
]


@functools.cache
def is_the_users(file: str) -> bool:
    """Whether a file is there and lies outside the suite with its tasks and models, Python and installed packages."""
    if not os.path.isfile(file):
        return False
    path = Path(os.path.realpath(file) if os.path.islink(file) else _real(*os.path.split(file)))
    return not {"site-packages", "dist-packages"} & set(path.parts) and not any(map(path.is_relative_to, _OTHERS))


_real_folder = functools.cache(os.path.realpath)


def _real(folder: str, name: str) -> str:
    """A file, no link itself, without the links on its way; its folder, which holds many others, is looked up once."""
    return os.path.join(_real_folder(folder), name)


def raised(what: str, error: BaseException) -> ConfigError:
    """What somebody's code has raised as an error of one sentence, with the line in the user's own file.

    Args:
        what: what has raised it, such as a class and its method.
        error: as it was caught.
    """
    words = " ".join(str(error).split()).rstrip(".")
    return ConfigError(f"{what} raises {type(error).__name__}: {words}".rstrip(": ") + f"{users_line(error)}.")


def users_line(error: BaseException) -> str:
    """The last of the user's own lines that an error came through, as `` (file, line N)``; empty without one."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_the_users(frame.filename)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
