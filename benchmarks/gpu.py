"""The first GPU, in one call: everything worth knowing about it in at most eight minutes.

    python benchmarks/gpu.py [--out runs/gpu] [--minutes 8] [--write] [PART ...]
    python benchmarks/gpu.py --tiny     the same on a CPU, with networks of a toy's size, to try the script

Parts, by what they are worth: ``facts`` of the device; ``tasks``: every task at the papers' size in bf16, with its
rate, its share of the device's arithmetic (MFU) and its memory against the plan; ``graphs``: CUDA graphs on and off;
``packs`` of runs; ``sweep``: a small real one with its gap; ``kernels``: flash-attn's and fla's against ours;
``sharing``: whether several packs at a time on one GPU train more than one. Each part is a process with a time limit of
its own, and what it has measured by then is kept: results are written as they come, as ``gpu.json`` and as the tables
of docs/gpu.md (``gpu.md``; ``--write`` puts them into the page). Data are random or embedded, no network is needed, and
nothing beyond the extra `train`; what is not installed is a row that says so.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from page_tables import put

LIMITS = {"facts": 40, "tasks": 200, "graphs": 60, "packs": 90, "sweep": 120, "kernels": 60, "sharing": 90}
"""Part -> seconds that it may take, its imports included."""

POLL_SECONDS = 0.5


def measure(part: str, rows: Path, *, tiny: bool) -> None:
    """Measure a part in this process; a row is a line of JSON."""
    import gpu_parts

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")

    def emit(row: dict[str, Any]) -> None:
        with open(rows, "a", encoding="utf-8") as file:
            file.write(json.dumps({"part": part, **row}) + "\n")

    try:
        getattr(gpu_parts, part)(emit, tiny=tiny)
    except (Exception, SystemExit) as error:
        emit({"not measured": f"{type(error).__name__}: {error}"[:300]})


def measure_within(part: str, rows: Path, seconds: float) -> Iterator[None]:
    """Measure a part in a process that is ended after so many seconds; stops now and then while it works."""
    command = [sys.executable, __file__, "--child", part, "--out", str(rows.parent)]
    with open(rows.parent / f"{part}.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        until, ending = time.monotonic() + seconds, ""
        try:
            while process.poll() is None and not ending:
                time.sleep(POLL_SECONDS)
                ending = f"ended after its {seconds:.0f} s" if time.monotonic() > until else ""
                yield
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode and not ending:
        ending = f"its process ended with code {process.returncode}; see {part}.log"
    if ending:
        with open(rows, "a", encoding="utf-8") as file:
            file.write(json.dumps({"part": part, "not measured": f"the rest: {ending}"}) + "\n")
    yield


def results(rows: Path) -> list[dict[str, Any]]:
    """What has been measured so far."""
    lines = rows.read_text(encoding="utf-8").split("\n")[:-1] if rows.exists() else []  # a last one may be half written
    return [json.loads(line) for line in lines]


def as_tables(measured: list[dict[str, Any]]) -> str:
    """A table per part, in Markdown; its columns are what its rows have."""
    tables = []
    for part in LIMITS:
        rows = [{k: v for k, v in row.items() if k != "part"} for row in measured if row["part"] == part]
        if not rows:
            continue
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines = [f"**{part}**", "", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
        lines += ["| " + " | ".join(_cell(row.get(name)) for name in columns) + " |" for row in rows]
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "/")


def write(rows: Path) -> None:
    """Write what has been measured so far beside the rows."""
    measured = results(rows)
    for name, text in (("gpu.json", json.dumps(measured, indent=1)), ("gpu.md", as_tables(measured))):
        part = rows.with_name(f"{name}.part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(rows.with_name(name))


def main(arguments: list[str] | None = None) -> None:
    """Measure the parts, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(LIMITS)}; default: all")
    parser.add_argument("--out", type=Path, default=Path("runs") / "gpu", help="folder of the results")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--tiny", action="store_true", help="on the CPU, in this process")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/gpu.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = options.out.resolve() / "rows.jsonl"
    if options.child:
        measure(options.child, rows, tiny=False)
        return
    if unknown := set(options.parts) - set(LIMITS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; the parts are {', '.join(LIMITS)}")
    rows.unlink(missing_ok=True)
    until = time.monotonic() + 60 * options.minutes
    for part in options.parts or LIMITS:
        left = max(0.0, min(LIMITS[part], until - time.monotonic()))
        print(f"{part}: {left:.0f} s at most", flush=True)
        if options.tiny:
            measure(part, rows, tiny=True)
            write(rows)
            continue
        for _ in measure_within(part, rows, left):
            write(rows)
    print(as_tables(results(rows)))
    if options.write:
        put("gpu.md", "gpu", as_tables(results(rows)))


if __name__ == "__main__":
    main()
