"""Forked workers: their environment and streams are theirs, their ends are told, none hangs without the server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from suite.execution.launchers.forks import ForkServer
from suite.records import Store

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are forked on Linux")

SCRIPT = """
import os, signal, sys, time
from suite.execution import worker
from suite.execution.launchers import forks

def pretend(command, arguments):
    for line in sys.stdin:
        if line == "leave\\n":
            return 7
        print("to the log", file=sys.stderr, flush=True)
        print(os.environ["WHO"], os.getppid(), line.strip(), flush=True)
    return 75

forks._NEEDED = ("torch",)
worker.main = pretend
server = forks.ForkServer.start([])
environment = {**os.environ, "OMP_NUM_THREADS": "1"}
with open("log", "w") as log:
    first, second, third = (server.spawn({**environment, "WHO": who}, log) for who in "abc")

def said(process, word):
    process.stdin.write(word + "\\n")
    process.stdin.flush()
    return process.stdout.readline().split()

assert said(first, "hello") == ["a", str(os.getpid()), "hello"]
assert said(second, "there") == ["b", str(os.getpid()), "there"]
assert first.poll() is None and len({first.pid, second.pid, os.getpid()}) == 3
first.stdin.write("leave\\n")
first.stdin.flush()
assert first.wait(20) == 7 == first.poll()
second.kill()
assert second.wait(20) == -signal.SIGKILL and second.stdout.readline() == ""
os.kill(server._pid, signal.SIGINT)  # as a terminal does
assert said(third, "again")[0] == "c"
third.stdin.close()
assert third.wait(20) == 75
try:
    server.spawn({**environment, "WHO": "d"}, None).wait(0.1)
except TimeoutError:
    pass
os.kill(server._pid, signal.SIGKILL)
assert server.spawn(environment, None) is None
server.close()
server.close()
print("all is well")
"""


def test_forked_workers_are_children_with_streams_and_environment_of_their_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert done.stdout == "all is well\n", done.stderr
    assert (tmp_path / "log").read_text().count("to the log") == 3


def test_a_process_with_threads_forks_nothing() -> None:
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    try:
        assert ForkServer.start([]) is None
    finally:
        waiting.set()
        thread.join()


def test_a_sweep_imports_once_and_goes_on_without_its_server(tmp_path: Path) -> None:
    """The server is killed before the first worker: workers are then started by their command."""
    sweep = {
        "question": "?", "source": "a test", "task": "toy/quadratic", "overrides": {"data.budget_steps": 4},
        "batch_size": [1], "seeds": [1], "optimizers": {"sgd": {"lr": [0.01, 0.02]}},
    }  # fmt: skip
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(sweep))
    killing = """
import os, signal, sys
from suite.execution.launchers import forks, worker_process
start = forks.ForkServer.start
def start_and_kill(tasks):
    server = start(tasks)
    os.kill(server._pid, signal.SIGKILL)
    return server
if sys.argv.pop(1) == "kill":
    forks.ForkServer.start = start_and_kill
commands = []
popen = worker_process.subprocess.Popen
def counted(command, *args, **kwargs):
    commands.extend(word for word in command if word == "worker")
    return popen(command, *args, **kwargs)
worker_process.subprocess.Popen = counted
from suite.cli.main import main
code = main(sys.argv[1:])
print("commands", len(commands))
sys.exit(code)
"""
    root = str(Path(__file__).resolve().parents[1])
    for how, commands in (("leave", 0), ("kill", 1)):
        arguments = ["sweep", "s.yaml", "--store", how, "--workers", "1", "--pack", "off"]
        done = subprocess.run(
            [sys.executable, "-c", killing, how, *arguments], capture_output=True, text=True, timeout=300,
            cwd=tmp_path, check=False, env={**os.environ, "PYTHONPATH": root},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert re.search(f"commands {commands}\n", done.stdout), done.stdout
    results = [[(r["run_id"], r["final"]) for r in Store(tmp_path / how).records()] for how in ("leave", "kill")]
    assert results[0] == results[1] and len(results[0]) == 2
