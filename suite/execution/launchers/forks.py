"""Workers that are forked from one process that has imported once, so that each starts at once.

Importing Lightning takes seconds, and every worker would do it anew. Here the command imports what workers need, then
forks a server before it has done anything else. The server has no threads and has touched no device; a worker is a fork
of it. The worker's parent exits at once, so that the worker becomes a child of the command, which can wait for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from typing import IO, NoReturn

from suite.execution.matrix import task_file
from suite.fields import read_yaml

SPAWN_SECONDS = 20.0
"""What the server is given to fork a worker; then workers are started as commands."""

_NEEDED = ("suite.execution.resolver", "suite.packs.pack", "suite.diagnostics.pack_recorder")
_PR_SET_CHILD_SUBREAPER = 36
_LENGTH = struct.Struct("<Q")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class ForkedProcess:
    """A forked worker, with the part of `subprocess.Popen` that a launcher needs.

    Args:
        pid: a child of this process.
        stdin: text stream to its standard input.
        stdout: text stream from its standard output.
    """

    def __init__(self, pid: int, stdin: IO[str], stdout: IO[str]) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        with self._lock:
            if self._code is None:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:  # somebody else has waited for it
                    pid, status = self.pid, 0
                if pid:
                    self._code = os.waitstatus_to_exitcode(status)
            return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends; returns its exit code.

        Raises:
            TimeoutError: it has not ended within ``timeout`` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        pause = 0.001
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() >= until:
                raise TimeoutError
            time.sleep(pause)
            pause = min(0.05, 2 * pause)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it at once."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Forks workers; see the module.

    Args:
        connection: to the server's process.
        pid: of the server's process.
    """

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._connection = connection
        self._pid = pid
        self._lives = True

    @classmethod
    def start(cls, tasks: Iterable[str]) -> ForkServer | None:
        """Import what workers of some tasks need, and fork the server.

        Args:
            tasks: names of tasks, whose modules are imported too.

        Returns:
            None where a fork is not safe: on another system than Linux, or when this process has threads.
        """
        if not sys.platform.startswith("linux") or threading.active_count() > 1:
            return None
        try:
            _import(tasks)
            if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
                return None
        except (OSError, ValueError, ImportError):  # the command says it better, when it needs the task
            return None
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            ours.close()
            _serve(theirs)
        theirs.close()
        ours.settimeout(SPAWN_SECONDS)
        return cls(ours, pid)

    def spawn(self, environment: Mapping[str, str], errors: IO[str] | None) -> ForkedProcess | None:
        """Fork a worker.

        Args:
            environment: its whole environment.
            errors: for its standard error; None: that of this process.

        Returns:
            None when the server is gone or does not answer; no worker is forked from then on.
        """
        if not self._lives:
            return None
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        handed = [theirs_in, theirs_out, 2 if errors is None else errors.fileno()]
        try:
            message = json.dumps(dict(environment)).encode()
            socket.send_fds(self._connection, [_LENGTH.pack(len(message))], handed)
            self._connection.sendall(message)
            pid = _LENGTH.unpack(_received(self._connection, _LENGTH.size))[0]
        except OSError:
            self._lives = False
            os.close(ours_in)
            os.close(ours_out)
            return None
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        stdin, stdout = os.fdopen(ours_in, "w", encoding="utf-8"), os.fdopen(ours_out, encoding="utf-8")
        return ForkedProcess(pid, stdin, stdout)

    def close(self) -> None:
        """End the server; its workers live on."""
        if self._connection.fileno() < 0:
            return
        self._lives = False
        self._connection.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _import(tasks: Iterable[str]) -> None:
    for name in _NEEDED:
        importlib.import_module(name)
    for task in tasks:
        described = read_yaml(task_file(task), what="The task")
        for part in ("model", "data"):
            importlib.import_module(str(described[part]["class_path"]).rpartition(".")[0])


def _serve(connection: socket.socket) -> NoReturn:
    """Fork a worker for every message, until the command closes the connection or is gone."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # those of a terminal go to all its processes; workers answer them
    while True:
        try:
            start, streams, _, _ = socket.recv_fds(connection, _LENGTH.size, 3)
            if len(start) < _LENGTH.size:
                os._exit(0)
            environment = json.loads(_received(connection, _LENGTH.unpack(start)[0]))
        except (OSError, ValueError):
            os._exit(0)
        parent = os.fork()
        if not parent:
            if os.fork():
                os._exit(0)
            _work(connection, streams, environment)
        os.waitpid(parent, 0)
        for stream in streams:
            os.close(stream)


def _work(connection: socket.socket, streams: list[int], environment: dict[str, str]) -> NoReturn:
    """Be a worker on these streams, and end with its exit code."""
    code = 1
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for stream, standard in zip(streams, range(3), strict=True):
            os.dup2(stream, standard)
            os.close(stream)
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False, buffering=1)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
        os.environ.clear()
        os.environ.update(environment)
        connection.sendall(_LENGTH.pack(os.getpid()))
        connection.close()
        import torch

        from suite.execution import worker

        torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "0")) or torch.get_num_threads())
        code = worker.main("worker", [])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _received(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = connection.recv(min(size - len(content), 2**20))
        if not part:
            raise OSError("the other side is gone")
        content += part
    return content
