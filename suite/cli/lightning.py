"""LightningCLI for the suite: ``fit``, ``validate``, ``test`` and ``predict``, with training that leaves a record."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from jsonargparse import set_parsing_settings
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from suite.cli.arguments import Request
from suite.diagnostics.recorder import recorder_of
from suite.execution.resolver import TRAINER_DEFAULTS, SuiteParser, plain_config
from suite.execution.sentences import of_a_class, of_the_trainer
from suite.execution.settings import settle
from suite.records import Store
from suite.training import Data, OpenRun, Outcome, Task, open_run, run
from suite.training.checkpoint_file import read_weights
from suite.training.footprint import Counted, refuse_impossible_network, refuse_what_cannot_fit
from suite.training.opening import give_seed
from suite.training.predictions import Predictions
from suite.training.progress import StepProgress
from suite.training.retrying import with_memory
from suite.training.run_logs import add_logs, settings_of
from suite.training.strategies import refuse_other_strategies


class SuiteCLI(LightningCLI):
    """Parse one of the four commands and run it.

    Args:
        command: one of them.
        request: the command line, its short options resolved.
        predictions: file for what ``predict`` predicts.

    Attributes:
        command: as it was given.
        request: as it was given.
        outcome: of ``fit``.
        predictions: what ``predict`` has written.
    """

    def __init__(self, command: str, request: Request, *, predictions: Path | None = None) -> None:
        self.command = command
        self.request = request
        self.outcome: Outcome | None = None
        self.predictions = None if predictions is None else Predictions(predictions)
        # The texts of settings, read from the source of every class, take long, and are shown here alone.
        shows_texts = any(word == "-h" or "help" in word or "print_config" in word for word in request.arguments)
        set_parsing_settings(docstring_parse_attribute_docstrings=shows_texts)
        super().__init__(
            Task,
            Data,
            parser_class=SuiteParser,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS | {"enable_progress_bar": command == "fit"},
            seed_everything_default=42,
            auto_configure_optimizers=False,
            args=[command, *request.arguments],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The asked command alone: to look up the settings of all four takes a second."""
        return {self.command: super().subcommands()[self.command]}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the rewritten command line and complete what it says, before Lightning takes the seed from it.

        Lightning's warning that the command line is not ``sys.argv`` is silenced: it is not meant to be.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LightningCLI's args parameter")
            super().parse_arguments(parser, args)
        settle(self.config[self.config["subcommand"]])

    def _parse_ckpt_path(self) -> None:
        """Read no setting and no class from a checkpoint: the command line alone decides what is built."""

    def instantiate_classes(self) -> None:
        """Make task, data and trainer.

        Raises:
            ValueError: one of them refuses its settings.
        """
        with of_a_class():
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer.

        Raises:
            ValueError: this machine has no such devices.
        """
        with of_the_trainer():
            return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Make the trainer, with a progress bar that counts optimizer steps unless another is asked for."""
        asked = config.get("callbacks") or []
        asked = asked if isinstance(asked, list) else [asked]
        if config["enable_progress_bar"] and not any(isinstance(callback, ProgressBar) for callback in asked):
            callbacks = [*callbacks, *([StepProgress()] if self.subcommand == "fit" else [])]
        callbacks = [*callbacks, *([] if self.predictions is None else [self.predictions])]
        return super()._instantiate_trainer({**config, "callbacks": asked}, callbacks)

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand != "fit":
            give_seed(self.model, self.datamodule, self.config[subcommand])
            self._with_checkpoint(subcommand)
            return
        refuse_other_strategies(self.trainer)
        if self.config[subcommand].get("ckpt_path"):
            raise ValueError("fit takes no --ckpt_path: a run goes on from its own checkpoint; leave it out.")
        config = plain_config(self._parser(subcommand), self.config[subcommand])
        refuse_impossible_network(self.model, self.datamodule)
        opened = open_run(self.model, self.datamodule, config, world_size=self.trainer.world_size)
        if self.request.rerun or not Store(self.request.store).settled(opened.run_id):
            self._refuse_what_cannot_fit(opened)
        self.outcome = with_memory(lambda micro_batch: self._train(opened, micro_batch))

    def _train(self, opened: OpenRun, micro_batch: int | None) -> Outcome:
        """Train; with another micro-batch than configured, by a task, data and trainer that are made anew."""
        if micro_batch is not None:
            config = self.config["fit"]
            config.data.init_args.micro_batch = micro_batch
            self.instantiate_classes()
            plain = plain_config(self._parser("fit"), config)
            opened = open_run(self.model, self.datamodule, plain, world_size=self.trainer.world_size)
        store = Store(self.request.store)
        add_logs(self.trainer, [opened], self.request.logger, store)
        to_train = self.request.rerun or not store.settled(opened.run_id)
        for logger in self.trainer.loggers if to_train else ():
            logger.log_hyperparams(settings_of(opened))
        return run(
            opened,
            self.trainer,
            store,
            observe=recorder_of,
            rerun=self.request.rerun,
            keep_checkpoint=self.request.keep_checkpoint,
            checkpoint_seconds=self.request.checkpoint_seconds,
        )

    def _refuse_what_cannot_fit(self, opened: OpenRun) -> None:
        task, data = opened.task, opened.data
        needed = Counted(task, data).footprint(task.optimizer_config, data, self.trainer)
        refuse_what_cannot_fit(needed, task.pair_name, self.trainer.strategy.root_device)

    def _with_checkpoint(self, subcommand: str) -> None:
        config = self.config[subcommand]
        path = Path(config.get("ckpt_path") or "")
        if config.get("weights_only") and path.is_file() and isinstance(problem := read_weights(path), str):
            raise ValueError(f"--ckpt_path {path} {problem}; give a checkpoint that fit --keep_checkpoint has written.")
        try:
            super()._run_subcommand(subcommand)
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            raise ValueError(
                f"--ckpt_path {path} is of another network ({str(error).splitlines()[-1].strip()})"
            ) from error
