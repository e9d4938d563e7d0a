"""The local launcher gives each worker one of the GPUs that this process may use, by the name it has here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pretend_worker import planned

from suite.execution.launchers import visible_devices as module
from suite.execution.launchers.local import LocalLauncher
from suite.execution.launchers.visible_devices import visible_devices
from suite.execution.messages import Event, WorkRequest

TWO_GPUS = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-2cfc8a5c-1b9e-4d76-a2a2-5c9ab1a9c5d1)
"""
ONE_CUT = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
  MIG 2g.10gb     Device  1: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-2cfc8a5c-1b9e-4d76-a2a2-5c9ab1a9c5d1)
"""
NAMES_A_WORKER = """
import json, os, sys
for line in sys.stdin:
    print(json.dumps({"kind": "done", "error": os.environ.get("CUDA_VISIBLE_DEVICES", "none")}), flush=True)
"""


@pytest.mark.parametrize(
    ("value", "count", "expected"),
    [
        ("6,7", 2, ("6", "7")),
        ("3", 1, ("3",)),
        (" 5 , 4", 2, ("5", "4")),
        ("0,1,-1,2", 2, ("0", "1")),  # CUDA shows none after a name that names nothing
        ("GPU-5c89,GPU-2cfc", 2, ("GPU-5c89", "GPU-2cfc")),
        ("MIG-c738,MIG-a28a", 1, ("MIG-c738", "MIG-a28a")),  # CUDA shows a process one slice
        ("MIG-GPU-5c89/1/0", 1, ("MIG-GPU-5c89/1/0",)),
        ("-1", 0, ()),
        ("", 0, ()),
        ("NoDevFiles", 0, ()),
    ],
)
def test_devices_keep_the_names_that_they_have_here(value: str, count: int, expected: tuple[str, ...]) -> None:
    assert visible_devices({"CUDA_VISIBLE_DEVICES": value}, count=lambda: count, listing=lambda: "") == expected


def test_without_the_variable_devices_are_all_gpus_or_their_slices() -> None:
    assert visible_devices({}, count=lambda: 2, listing=lambda: TWO_GPUS) == ("0", "1")
    assert visible_devices({}, count=lambda: 2, listing=lambda: "") == ("0", "1")
    assert visible_devices({}, count=lambda: 2, listing=lambda: ONE_CUT) == (
        "MIG-c7384736-a75d-5afc-978f-d2f1294409fd",
        "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d",
        "GPU-2cfc8a5c-1b9e-4d76-a2a2-5c9ab1a9c5d1",
    )


@pytest.mark.parametrize("shown", [True, False])
def test_gpus_are_found_by_any_sign_of_their_driver(
    shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = tmp_path / "nvidiactl"  # what a container or WSL has of it differs
    if shown:
        sign.touch()
    monkeypatch.setattr(module, "_SIGNS", (str(tmp_path / "driver"), str(sign)))
    monkeypatch.setattr(module, "_count", lambda: 2)
    assert visible_devices({}, listing=lambda: "") == (("0", "1") if shown else ())


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        (("6", "7"), ["6", "7", "6", "7"]),
        (("GPU-5c89",), ["GPU-5c89"] * 4),
        (("MIG-c738", "MIG-a28a"), ["MIG-c738", "MIG-a28a", "MIG-c738", "MIG-a28a"]),
        ((), ["8"] * 4),  # a CPU's workers keep what they inherit
    ],
)
def test_every_worker_sees_one_device(
    gpus: tuple[str, ...], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "8")
    answers: list[str] = []

    def on_event(job: object, event: Event) -> list[object]:
        answers.extend([event.error] if event.kind == "done" else [])
        return []

    launcher = LocalLauncher(4, command=[sys.executable, "-c", NAMES_A_WORKER], logs=tmp_path, gpus=gpus)
    jobs = [(planned(number),) for number in range(4)]
    launcher.run(jobs, lambda job: WorkRequest(do="run", configs=[{}]), on_event)  # type: ignore[arg-type]
    launcher.close()
    assert sorted(answers) == sorted(expected)
