"""``fit``, ``validate``, ``test``, ``predict``: LightningCLI, with short options and a record."""

from __future__ import annotations

from suite.cli.arguments import read_request

SHORT_OPTIONS = """\
short options (before Lightning's own, below):
  --task NAME                  a dataset-architecture pair; see `python -m suite tasks`
  --optimizer NAME             see `python -m suite optimizers`; its settings are --optimizer.lr and so on
  --schedule NAME              learning-rate schedule: warmup_cosine (default), constant, linear, wsd
  --diagnostics A,B            what to measure along the way; see `python -m suite diagnose --list`
  --store DIR                  folder of the records (default: ./runs or $SUITE_STORE)
  --rerun                      train again even if there is a record
  --keep_checkpoint            leave the final weights beside the record
  --checkpoint_seconds N       least wall time between checkpoints (default 60)
"""


def main(command: str, arguments: list[str]) -> int:
    """Run one of Lightning's four entry points."""
    if command != "fit" and not any(a.startswith("--weights_only") for a in arguments):
        arguments = [*arguments, "--weights_only=true"]  # a checkpoint from elsewhere runs no code
    request = read_request(arguments)
    if "--help" in arguments or "-h" in arguments:
        print(SHORT_OPTIONS)
    from suite.cli.lightning import SuiteCLI

    cli = SuiteCLI(command, request)
    if cli.outcome is not None and cli.trainer.is_global_zero:
        _print_outcome(cli.outcome.record, cli.outcome.trained, request.store)
    return 0


def _print_outcome(record: dict, trained: bool, store: str) -> None:
    if record["status"] == "diverged":
        result = f"diverged at step {record['diverged_at']}"
    elif record["final"]:
        final = f"final loss {record['final']['ema']:.4f} (moving average of the train loss)"
        values = [final, *(f"{name} {value:.4f}" for name, value in record["metrics"].items())]
        result = ", ".join(values)
    else:
        result = record["status"]
    verb = "Trained" if trained else "Already trained (--rerun trains again)"
    print(f"{verb}: {record['task']}, batch size {record['batch_size']}: {result}.")
    print(f"Record: {store}/runs/{record['run_id'][:2]}/{record['run_id']}")
