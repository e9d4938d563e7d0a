"""Drill: one change at a time in the code; the tests of that code must notice it.

    pip install -e '.[mutation]'
    python tests/drills/mutate.py [suite/sweep/grid.py ...] [--changes 20] [--seed 0]

Each change is made in a copy of the checkout: a comparison, a number, an `and`, a `not`, a loop that is not entered and
the like, those of Cosmic Ray. Places are drawn at random, one change for each; annotations and docstrings are left out.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import glob
import importlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    "suite/sweep/plan.py": ("test_sweep_plan.py", "test_sweep_branching.py", "test_sweep_search.py"),
    "suite/sweep/grid.py": ("test_sweep_grid.py",),
    "suite/records/*.py": ("test_records*.py", "test_faults_records.py", "test_store*.py", "test_training_run.py"),
    "suite/records/archive.py": ("test_records_archive.py",),
    "suite/records/files.py": ("test_records_files.py", "test_records.py", "test_faults_records.py"),
    "suite/records/final_loss.py": ("test_records.py", "test_records_tuning.py"),
    "suite/records/holder.py": ("test_records.py", "test_faults_records.py"),
    "suite/records/identity.py": ("test_records.py", "test_user_code.py"),
    "suite/records/lease.py": ("test_records.py", "test_faults_records.py", "test_lease_lost.py"),
    "suite/records/restore.py": ("test_records_archive.py",),
    "suite/records/schema.py": ("test_records_files.py", "test_records.py"),
    "suite/records/store.py": (
        "test_records.py",
        "test_faults_records.py",
        "test_records_archive.py",
        "test_lease_lost.py",
    ),
    "suite/records/tuning.py": ("test_records_tuning.py", "test_sweep_grid.py", "test_sweep_times.py"),
    "suite/training/batches.py": ("test_batches.py",),
    "suite/optim/*.py": ("test_optim*.py",),
    "suite/optim/broadcast.py": ("test_optim_reference.py", "test_optim_catalogue.py"),
    "suite/optim/clipping.py": ("test_optim_schedule.py", "test_optim_outside.py"),
    "suite/optim/composite.py": ("test_optim_hybrid.py", "test_optim_catalogue.py", "test_optim_outside.py"),
    "suite/optim/config.py": (
        "test_optim_hybrid.py",
        "test_optim_reference.py",
        "test_optim_catalogue.py",
        "test_sophia.py",
    ),
    "suite/optim/factory.py": ("test_optim_hybrid.py", "test_optim_catalogue.py", "test_optim_outside.py"),
    "suite/optim/parsing.py": ("test_optim_hybrid.py", "test_optim_catalogue.py", "test_user_code.py"),
    "suite/optim/pieces.py": ("test_optim_reference.py", "test_optim_catalogue.py"),
    "suite/optim/roles.py": ("test_optim_hybrid.py", "test_optim_outside.py"),
    "suite/optim/rule_optimizer.py": ("test_optim_reference.py", "test_optim_catalogue.py", "test_optim_outside.py"),
    "suite/optim/schedule.py": ("test_optim_schedule.py",),
    "suite/optim/statistic.py": ("test_optim_reference.py", "test_optim_catalogue.py"),
    "suite/optim/trial.py": ("test_optim_trial.py",),
    "suite/optim/rules/*.py": ("test_optim_reference.py", "test_optim_catalogue.py", "test_optim_torch.py"),
    "suite/analysis/gap.py": ("test_analysis_gap.py", "test_analysis_verdict.py"),
    "suite/analysis/tuned.py": ("test_analysis_gap.py", "test_analysis_tuning.py", "test_analysis_verdict.py"),
    "suite/analysis/crossover.py": ("test_analysis_crossover.py",),
    "suite/analysis/csv_import.py": ("test_analysis_csv.py", "test_analysis_export.py"),
}
"""Files of code -> the files of tests that must notice changes in them; of two that name a file, the later."""

HEAVY = (
    "hypothesis",
    "lightning.pytorch",
    "matplotlib.pyplot",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "torchmetrics",
)
_NEED_ARGUMENTS = ("core/VariableReplacer", "core/VariableInserter")


def changes_of(source: str, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Changed sources, one per place and in random order, each with its difference from ``source``."""
    places = defaultdict(list)
    tree = get_ast(source)
    for name in operator_names():
        if name in _NEED_ARGUMENTS:
            continue
        operator, occurrence = get_operator(name)(), 0
        for node in ast_nodes(tree):
            for span in operator.mutation_positions(node):
                places[span].append((operator, occurrence))
                occurrence += 1
    for span in chance.sample(sorted(places), len(places)):
        operator, occurrence = chance.choice(places[span])
        with contextlib.suppress(SyntaxError, AttributeError):  # Cosmic Ray cannot replace an exception `a.b`
            changed = mutate_code(source, operator, occurrence)
            if meaning(changed) != meaning(source):
                lines = difflib.unified_diff(source.splitlines(), changed.splitlines(), lineterm="", n=0)
                yield changed, "\n".join(line for line in lines if re.match(r"[-+](?![-+])|@@", line))


def meaning(source: str) -> str:
    """A source without annotations, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.dump(tree)


def exit_code(tests: list[str], log: Path, seconds: float) -> int:
    """Run tests in a fork of this process, in the working directory; returns pytest's exit code, or -1 if it hangs."""
    import pytest

    child = os.fork()
    if child == 0:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        options = ["-q", "-x", "--no-header", "--tb=short", "-m", "not slow", "-p", "no:cacheprovider"]
        os._exit(pytest.main([*options, *tests]))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, 9)
    os.waitpid(child, 0)
    return -1


def drill(module: str, tests: list[str], *, changes: int, chance: random.Random) -> tuple[int, list[str]]:
    """Change a module of the working directory, one change at a time; returns their number and those not noticed."""
    path, log = Path(module), Path("mutate.log")
    source = path.read_text(encoding="utf-8")
    begun = time.monotonic()
    assert exit_code(tests, log, 1800) == 0, log.read_text()[-3000:]
    seconds, tried, unnoticed = 30 + 5 * (time.monotonic() - begun), 0, []
    for changed, difference in changes_of(source, chance):
        if tried == changes:
            break
        tried += 1
        path.write_text(changed, encoding="utf-8")
        code = exit_code(tests, log, seconds)
        if code == 0:
            unnoticed.append(difference)
            print(f"{module}: not noticed\n{difference}", flush=True)
        assert code not in (3, 4, 5), log.read_text()[-3000:]  # pytest itself failed
    path.write_text(source, encoding="utf-8")
    print(f"{module}: {tried - len(unnoticed)} of {tried} noticed, tests take {(seconds - 30) / 5:.0f} s", flush=True)
    return tried, unnoticed


def copy_checkout(folder: Path) -> None:
    """Copy the files of the checkout that git knows or would take."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["cp", "--parents", "-t", str(folder), *names.stdout.decode().split()], cwd=ROOT, check=True)


def main() -> None:
    """Run the drill and print what was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "modules", nargs="*", help="files to change, below the root; default: all that have tests named"
    )
    parser.add_argument("--changes", type=int, default=20, help="largest number of changes per file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tests = {path: names for pattern, names in TESTS.items() for path in sorted(glob.glob(pattern, root_dir=ROOT))}
    sys.dont_write_bytecode = True
    os.environ.update(PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1")
    for name in HEAVY:
        importlib.import_module(name)
    tried = unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy_checkout(Path(folder))
        os.chdir(folder)
        os.environ["PYTHONPATH"] = folder
        sys.path.insert(0, folder)
        for module in options.modules or tests:
            files = [path for pattern in tests[module] for path in sorted(glob.glob(f"tests/{pattern}"))]
            chance = random.Random(f"{options.seed} {module}")
            count, survivors = drill(module, files, changes=options.changes, chance=chance)
            tried, unnoticed = tried + count, unnoticed + len(survivors)
    print(f"{tried} changes, {tried - unnoticed} noticed ({1 - unnoticed / max(1, tried):.0%}).")


if __name__ == "__main__":
    main()
