"""LightningCLI for the suite: its parser, its one-sentence errors, and training that leaves a record."""

from __future__ import annotations

import copy
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from suite.cli.arguments import Request
from suite.cli.sentences import of_a_parser, of_the_trainer, told
from suite.cli.settings import check_seed, refuse_infinite, settle
from suite.records import Store
from suite.training import Data, Outcome, Task, run
from suite.training.checkpoint_file import read_weights

TRAINER_DEFAULTS: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
}
"""What the suite sets otherwise than Lightning: records and checkpoints are its own."""


class SuiteParser(LightningArgumentParser):
    """LightningCLI's parser, with errors in one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error as one line and exit with code 2."""
        if os.environ.get("SUITE_TRACEBACK") and ex is not None:
            raise ex
        print(f"suite: {of_a_parser(message)}", file=sys.stderr)
        raise SystemExit(2)


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
        check_seed(self.config[self.config["subcommand"]].get("seed_everything"))

    def _parse_ckpt_path(self) -> None:
        """Take no setting and no class out of a checkpoint: the command line alone says what is built."""

    def before_instantiate_classes(self) -> None:
        """Refuse settings that cannot be or have their place elsewhere, and settle the precision."""
        settle(self.config[self.subcommand])

    def instantiate_classes(self) -> None:
        """Make task, data and trainer.

        Raises:
            ValueError: one of them refuses its settings.
        """
        with told():
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer.

        Raises:
            ValueError: this machine has no such devices.
        """
        with of_the_trainer():
            return super().instantiate_trainer(**kwargs)

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand != "fit":
            self.model.seed = int(self.config[subcommand].get("seed_everything") or 0)
            self.datamodule.seed = self.datamodule.seed_of_order(self.model.seed)
            self._with_checkpoint(subcommand)
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

    def _with_checkpoint(self, subcommand: str) -> None:
        given = self.config[subcommand]
        path = Path(given.get("ckpt_path") or "")
        if given.get("weights_only") and path.is_file() and isinstance(problem := read_weights(path), str):
            raise ValueError(f"--ckpt_path {path} {problem}; give a checkpoint that fit --keep_checkpoint has written.")
        try:
            super()._run_subcommand(subcommand)
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            raise ValueError(
                f"--ckpt_path {path} is of another network ({str(error).splitlines()[-1].strip()})"
            ) from error


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
        self._parsed_last: tuple[str, Namespace] | None = None

    def resolve(self, arguments: list[str]) -> dict[str, Any]:
        """The plain resolved configuration of LightningCLI arguments.

        Raises:
            SystemExit: the arguments are wrong; the sentence has been printed.
        """
        config = self.parser.parse_args(arguments)
        check_seed(config.get("seed_everything"))
        settle(config)
        return plain(self.parser, config)

    def build(self, config: dict[str, Any]) -> tuple[Task, Data, Trainer]:
        """Task, data and trainer of a resolved configuration.

        Raises:
            ValueError: one of them refuses its settings.
        """
        made = self._made(config)
        with of_the_trainer():
            return made.model, made.data, Trainer(**made.trainer)

    def build_data(self, config: dict[str, Any]) -> tuple[Task, Data]:
        """Task and data of a resolved configuration, without a trainer.

        Raises:
            ValueError: one of them refuses its settings.
        """
        made = self._made(config)
        return made.model, made.data

    def _made(self, config: dict[str, Any]) -> Namespace:
        # The runs of a sweep differ in their optimizers' numbers, which the task reads for itself, and seeds. Parsing
        # takes longer than many a step, so the rest is parsed when it changes.
        model = config["model"]
        others = {key: value for key, value in model.get("init_args", {}).items() if key != "optimizer"}
        rest = {**config, "model": {**model, "init_args": others}, "seed_everything": None}
        key = json.dumps(rest, sort_keys=True, default=repr)
        with told():
            if self._parsed_last is None or self._parsed_last[0] != key:
                self._parsed_last = key, self.parser.parse_object(config)
            parsed = copy.deepcopy(self._parsed_last[1])
            parsed.seed_everything = config.get("seed_everything", parsed.seed_everything)
            if "optimizer" in model.get("init_args", {}):
                parsed.model.init_args.optimizer = copy.deepcopy(model["init_args"]["optimizer"])
            return self.parser.instantiate(parsed)


def plain(parser: LightningArgumentParser, config: Any) -> dict[str, Any]:
    """A parsed configuration as plain values, every default filled in.

    Raises:
        ValueError: a number is infinite or none.
    """
    values = yaml.safe_load(parser.dump(config, skip_unset=False, skip_validation=True))
    assert isinstance(values, dict)
    refuse_infinite(values)
    return {key: value for key, value in values.items() if key not in ("config", "ckpt_path", "verbose")}
