"""LightningCLI for the suite: its parser, its one-sentence errors, and training that leaves a record."""

from __future__ import annotations

import os
import re
import sys
import warnings
from typing import Any, NoReturn

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from suite.cli.arguments import Request
from suite.records import Store
from suite.training import Data, Outcome, Task, run

TRAINER_DEFAULTS: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
}
"""What the suite sets otherwise than Lightning: records and checkpoints are its own."""

OWNED = {
    "max_steps": (-1, "data.budget_steps, data.budget_samples or data.budget_epochs"),
    "max_epochs": (None, "data.budget_epochs"),
    "min_steps": (None, "data.budget_steps"),
    "min_epochs": (None, "data.budget_epochs"),
    "limit_train_batches": (None, "data.budget_samples"),
    "overfit_batches": (0.0, "data.budget_samples and data.budget_epochs"),
    "fast_dev_run": (False, "data.budget_steps"),
    "limit_val_batches": (None, "data.eval_samples"),
    "val_check_interval": (None, "data.eval_every_steps"),
    "check_val_every_n_epoch": (1, "data.eval_every_steps"),
    "accumulate_grad_batches": (1, "data.batch_size and data.micro_batch"),
    "gradient_clip_val": (None, "model.clip_norm"),
    "gradient_clip_algorithm": (None, "model.clip_norm"),
}
"""Trainer settings that would say again what the task or its data say, with their default and who says it instead."""


class SuiteParser(LightningArgumentParser):
    """LightningCLI's parser, with errors in one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error as one line and exit with code 2."""
        if os.environ.get("SUITE_TRACEBACK") and ex is not None:
            raise ex
        print(f"suite: {one_sentence(message)}", file=sys.stderr)
        raise SystemExit(2)


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "NoneType": "null"}


def one_sentence(message: str) -> str:
    """A parser's message over several lines as one sentence: what was expected, what came, what to change."""
    keys = re.findall(r'Parser key "([^"]+)"', message)
    kinds = re.findall(r"Expected an? <class '(\w+)'>", message)
    values = re.findall(r"(?:Given|Got) value: (.*)", message)
    if keys and kinds and values:
        expected = " or ".join(dict.fromkeys(_KINDS.get(kind, kind) for kind in kinds))
        return f"{keys[-1]} must be {expected}, got {values[-1]!r}."
    unknown = re.search(r"Option '([^']+)' is not accepted", message)
    if unknown:
        return f"There is no setting {unknown.group(1)!r} here; --print_config shows those there are."
    return " ".join(message.split()).rstrip(".") + "; see --help."


class SuiteCLI(LightningCLI):
    """``fit``, ``validate``, ``test`` and ``predict``.

    Args:
        command: one of them.
        request: the command line, its short options resolved.
    """

    def __init__(self, command: str, request: Request) -> None:
        self.request = request
        self.outcome: Outcome | None = None
        super().__init__(
            Task,
            Data,
            parser_class=SuiteParser,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=42,
            auto_configure_optimizers=False,
            args=[command, *request.arguments],
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the rewritten command line (Lightning warns that it is not ``sys.argv``; it is not meant to be)."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LightningCLI's args parameter")
            super().parse_arguments(parser, args)

    def before_instantiate_classes(self) -> None:
        """Refuse settings that have their place elsewhere, and settle the precision."""
        settle(self.config[self.subcommand])

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand != "fit":
            self.model.seed = int(self.config[subcommand].get("seed_everything") or 0)
            self.datamodule.seed = self.datamodule.seed_of_order(self.model.seed)
            super()._run_subcommand(subcommand)
            return
        config = plain(self._parser(subcommand), self.config[subcommand])
        self.outcome = run(
            self.model,
            self.datamodule,
            self.trainer,
            name=self.model.name,
            config=config,
            store=Store(self.request.store),
            rerun=self.request.rerun,
            keep_checkpoint=self.request.keep_checkpoint,
            checkpoint_seconds=self.request.checkpoint_seconds,
        )


class Resolver:
    """Resolves configurations and builds runs from them, many in one process; the same results as `SuiteCLI`."""

    def __init__(self) -> None:
        self.parser = SuiteParser()
        self.parser.add_argument("--seed_everything", type=bool | int, default=42)
        self.parser.add_argument("-c", "--config", action="config")
        self.parser.add_lightning_class_args(Trainer, "trainer")
        self.parser.set_defaults({f"trainer.{key}": value for key, value in TRAINER_DEFAULTS.items()})
        self.parser.add_lightning_class_args(Task, "model", subclass_mode=True, required=True)
        self.parser.add_lightning_class_args(Data, "data", subclass_mode=True, required=True)

    def resolve(self, arguments: list[str]) -> dict[str, Any]:
        """The plain resolved configuration of LightningCLI arguments.

        Raises:
            SystemExit: the arguments are wrong; the sentence has been printed.
        """
        config = self.parser.parse_args(arguments)
        settle(config)
        return plain(self.parser, config)

    def build(self, config: dict[str, Any]) -> tuple[Task, Data, Trainer]:
        """Task, data and trainer of a resolved configuration."""
        made = self.parser.instantiate(self.parser.parse_object(config))
        return made.model, made.data, Trainer(**made.trainer)

    def build_data(self, config: dict[str, Any]) -> tuple[Task, Data]:
        """Task and data of a resolved configuration, without a trainer."""
        made = self.parser.instantiate(self.parser.parse_object(config))
        return made.model, made.data


def settle(config: Any) -> None:
    """Check and complete a parsed configuration, in place.

    Raises:
        ValueError: a trainer setting that has its place elsewhere.
    """
    for key, (default, instead) in OWNED.items():
        value = config.trainer.get(key)
        if value != default:
            raise ValueError(f"trainer.{key} is not set directly, got {value}; set {instead}.")
    if config.trainer.get("precision") is None:
        import torch

        on_gpu = torch.cuda.is_available() and config.trainer.get("accelerator") in (None, "auto", "gpu", "cuda")
        config.trainer.precision = "bf16-mixed" if on_gpu else "32-true"


def plain(parser: LightningArgumentParser, config: Any) -> dict[str, Any]:
    """A parsed configuration as plain values, every default filled in."""
    values = yaml.safe_load(parser.dump(config, skip_unset=False, skip_validation=True))
    assert isinstance(values, dict)
    return {key: value for key, value in values.items() if key not in ("config", "ckpt_path", "verbose")}
