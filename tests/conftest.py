"""Fixtures that several test files use."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported, here or in a subprocess: networks as small as the tests' take several times as long on more
# threads than one, the more so where several processes wait for the same cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _signals_are_answered_as_before() -> Iterator[None]:
    """No test leaves a handler behind, which would answer the signals of the tests after it; Ray does for SIGTERM."""
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    after = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is not None:
            signal.signal(number, handler)
    assert after == before


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data slices; a test that asks for it is skipped where there are none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data slices are not on this machine (expected beside the checkout, in shared/data)")
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep and a store with all its results; to be copied, not changed."""
    from whole_store import write_sweep

    folder = tmp_path_factory.mktemp("whole")
    write_sweep(folder)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    gc.collect()  # what was mapped from it
    subprocess.run(["umount", "-l", str(folder)], check=True)
