"""The parser of commands that are not LightningCLI's."""

from __future__ import annotations

import argparse
from typing import NoReturn

from suite.fields import ConfigError


class Parser(argparse.ArgumentParser):
    """argparse's parser, with errors in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{message[:1].upper()}{message[1:]}; see {self.prog} --help.")
