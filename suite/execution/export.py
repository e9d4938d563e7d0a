"""A sweep as shell lines, one per job, for whatever executes shell lines."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from suite.execution.jobs import Job
from suite.execution.launchers.launcher import RequestOf
from suite.records.files import write_text_atomically


def export_commands(file: Path, jobs: Iterable[Job], request: RequestOf, folder: Path) -> None:
    """Write a request file for every job, and a file of commands that do them.

    A command trains what is still missing of its job, goes on from its checkpoint, and may run anywhere that sees this
    folder of the store; it exits with 0 when its runs have results, 75 when it was asked to stop before.

    Args:
        file: one line per job.
        jobs: what is to be done.
        request: what a worker is asked for a job.
        folder: where the requests go.

    Raises:
        ValueError: the files cannot be written.
    """
    lines = []
    try:
        for job in jobs:
            path = (folder / f"{job[0].run_id}-{len(job)}.json").resolve()
            asked = request(job)
            asked = dataclasses.replace(asked, store=str(Path(asked.store).resolve()))
            write_text_atomically(path, asked.to_json())
            words = [sys.executable, "-m", "suite", "worker", "--request", str(path)]
            lines.append(f"cd {shlex.quote(os.getcwd())} && {shlex.join(words)}\n")
        write_text_atomically(file, "".join(lines))
    except OSError as error:
        raise ValueError(f"The commands could not be written to {file} ({error}); give another file.") from error
