"""Builds task, data and trainer from a configuration, with one LightningCLI parser for all runs of a process."""

from __future__ import annotations

import copy
import json
import sys
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace, set_loader
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from suite.execution.faults import print_traceback_if_asked
from suite.execution.sentences import of_a_class, of_a_parser, of_the_trainer
from suite.execution.settings import refuse_unkeepable, settle
from suite.fields import ConfigError, one_line, yaml_value
from suite.training import Data, Task

TRAINER_DEFAULTS: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,
}
"""Defaults that differ from Lightning's: the suite writes records and checkpoints itself."""


def load_value(text: str) -> Any:
    """Read a ``--config`` file or a value by the suite's rules for YAML; a word that ends with a colon is a text.

    Raises:
        ConfigError: the text is not YAML, or gives a key twice.
    """
    value = yaml_value(text, "The text")
    is_word = isinstance(value, dict) and len(value) == 1 and text.strip() == f"{next(iter(value))}:"
    return text if is_word else value


set_loader("yaml", load_value, exceptions=(ConfigError,))


class SuiteParser(LightningArgumentParser):
    """The parser of LightningCLI with errors of one sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error as one line and exit with code 2."""
        if ex is not None:
            print_traceback_if_asked(ex)
        print(f"suite: {one_line(of_a_parser(message))}", file=sys.stderr)
        raise SystemExit(2)


class Resolver:
    """Resolves configurations and builds the objects of many runs in one process, with the same results as ``fit``."""

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
        """Resolve LightningCLI arguments to a configuration of plain values.

        Raises:
            SystemExit: the arguments are wrong; the error has been printed.
        """
        config = self.parser.parse_args(arguments)
        settle(config)
        return plain_config(self.parser, config)

    def build(self, config: dict[str, Any]) -> tuple[Task, Data, Trainer]:
        """Build task, data and trainer from a resolved configuration.

        Raises:
            ValueError: one of them refuses its settings.
        """
        objects = self._made(config)
        with of_the_trainer():
            return objects.model, objects.data, Trainer(**objects.trainer)

    def build_data(self, config: dict[str, Any]) -> tuple[Task, Data]:
        """Build task and data from a resolved configuration, without a trainer.

        Raises:
            ValueError: one of them refuses its settings.
        """
        objects = self._made(config)
        return objects.model, objects.data

    def _made(self, config: dict[str, Any]) -> Namespace:
        # Most runs of a sweep differ only in their seed and their optimizer, which the task itself parses. Parsing is
        # slow, so the other settings are parsed again only when they change.
        model = config["model"]
        others = {key: value for key, value in model["init_args"].items() if key != "optimizer"}
        rest = {**config, "model": {**model, "init_args": others}, "seed_everything": None}
        key = json.dumps(rest, sort_keys=True, default=repr)
        with of_a_class():
            if self._parsed_last is None or self._parsed_last[0] != key:
                self._parsed_last = key, self.parser.parse_object(config)
            parsed = copy.deepcopy(self._parsed_last[1])
            parsed.seed_everything = config.get("seed_everything", parsed.seed_everything)
            parsed.model.init_args.optimizer = copy.deepcopy(model["init_args"].get("optimizer"))
            return self.parser.instantiate(parsed)


def plain_config(parser: LightningArgumentParser, config: Any) -> dict[str, Any]:
    """Convert a parsed configuration to plain values, defaults included.

    Raises:
        ValueError: a number is infinite or NaN, or a value is none that a record can keep.
    """
    try:
        values = yaml.safe_load(parser.dump(config, skip_unset=False, skip_validation=True))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"The settings must be plain values that a record can keep, got another: {reason}.") from error
    assert isinstance(values, dict)
    refuse_unkeepable(values)
    return {key: value for key, value in values.items() if key not in ("config", "ckpt_path", "verbose")}
