"""``fit``: LightningCLI, with short options and a record."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from suite.cli.arguments import read_request, store_of
from suite.cli.output import keep_to_the_point
from suite.execution.remembered import remember, remembered
from suite.fields import one_line, take_options
from suite.records import Store

SHORT_OPTIONS = """\
short options (before Lightning's own, below):
  --task NAME                  a dataset-architecture pair; see `python -m suite tasks`
  --optimizer NAME             see `python -m suite optimizers`; its settings are --optimizer.lr and so on
  --schedule NAME              learning-rate schedule: warmup_cosine (default), constant, linear, wsd
  --diagnostics A,B            what to measure along the way; see `python -m suite diagnose --list`
  --logger A,B                 logs for other programs, in the store's logs folder: csv, tensorboard, wandb
  --store DIR                  folder of the records (default: ./runs or $SUITE_STORE)
  --rerun                      train again even if there is a record
  --keep_checkpoint            leave the final weights beside the record
  --checkpoint_seconds N       least wall time between checkpoints (default: 60, more where writing one takes seconds)

A first Ctrl-C, SIGTERM or SIGHUP saves a checkpoint after the step and ends with code 130, 143 or 129; trainer.max_time
and callbacks that stop the training do the same with code 143. The same command goes on from there.
"""

ENDED_EARLY = 143
"""Exit code when the trainer's time limit or a callback ended the run: that of SIGTERM, which means the same."""


def main(command: str, arguments: list[str]) -> int:
    """Train a run; returns 0, or `ENDED_EARLY`."""
    if not arguments:
        raise ValueError("fit needs --task NAME (`python -m suite tasks` lists them) or --config FILE; see --help.")
    store, typed = Store(store_of(arguments)), list(arguments)
    if (record := remembered(store, typed)) is not None:
        _print_outcome(record, trained=False, store=store)
        return 0
    request = read_request(arguments)
    if "--help" in arguments or "-h" in arguments:
        print(SHORT_OPTIONS)
        for name in _tasks_of(typed):
            from suite.cli.settings_text import task_text

            print(task_text(name), end="\n\n")
    from suite.cli.lightning import SuiteCLI

    keep_to_the_point()
    cli = SuiteCLI(command, request)
    if cli.outcome is not None and cli.trainer.is_global_zero:
        data = [Path(cli.datamodule.source), cli.datamodule.prepared_root]
        layers = [Path(word) for word in request.arguments if os.path.isfile(word)]
        remember(store, typed, cli.outcome.record["run_id"], settings=layers, data=data)
        if cli.outcome.ended_early:
            print(f"suite: Ended by trainer.max_time or a callback {cli.outcome.ended_early}", file=sys.stderr)
            return ENDED_EARLY
        _print_outcome(cli.outcome.record, trained=cli.outcome.trained, store=store)
    return 0


def _tasks_of(words: list[str]) -> list[str]:
    """The task that a command line names, if it names one."""
    options = take_options(words, names=("task",))[0]
    return [options["task"]] if "task" in options else []


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"


def _print_outcome(record: dict, *, trained: bool, store: Store) -> None:
    if record["status"] == "diverged":
        result = f"diverged at step {record.get('diverged_at')}"
    elif record["final"]:
        final = f"final loss {_number(record['final']['ema'])} (moving average of the train loss)"
        values = [final, *(f"{name} {_number(value)}" for name, value in record["metrics"].items())]
        result = ", ".join(values)
    else:
        result = record["status"]
    verb = "Trained" if trained else "Already trained (--rerun trains again)"
    print(one_line(f"{verb}: {record['task']}, batch size {record['batch_size']}: {result}."))
    folder = store.run_folder(record["run_id"])
    print(f"Record: {folder}")
    if os.path.exists(f"{folder}/final.ckpt"):
        print(f"Checkpoint: {folder}/final.ckpt")
    else:
        how = "--keep_checkpoint leaves" if trained else "--rerun --keep_checkpoint trains again and leaves"
        print(f"Checkpoint: none is kept; {how} the final weights beside the record.")
