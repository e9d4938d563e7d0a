"""``tasks`` and ``optimizers``: what exists, without loading anything heavy."""

from __future__ import annotations

import dataclasses
import inspect

from suite.cli.parser import Parser
from suite.fields import escaped


def main(command: str, arguments: list[str]) -> int:
    """Print the tasks or the optimizers; ``optimizers NAME`` prints one with its settings."""
    parser = Parser(prog=f"python -m suite {command}", description=f"List the {command}.")
    if command == "optimizers":
        parser.add_argument("name", nargs="?", help="an optimizer: print what it does and its settings")
    options = parser.parse_args(arguments)
    if command == "tasks":
        from suite.execution.matrix import describe_tasks

        print_lines(describe_tasks())
    elif options.name is None:
        from suite.optim import list_optimizers

        print_lines(list_optimizers())
        print("\nAny other optimizer class works by its dotted path, such as torch.optim.NAdam.")
    else:
        _print_optimizer(options.name)
    return 0


def print_lines(lines: dict[str, str]) -> None:
    """Print every name with its line, one below the other."""
    width = max(map(len, lines), default=0)
    for name, line in lines.items():
        print(escaped(f"{name:{width}}  {line}"))


def _print_optimizer(name: str) -> None:
    from suite.optim import config_class

    cls = config_class(name)
    print(inspect.getdoc(cls) or cls.__name__)
    if dataclasses.is_dataclass(cls):
        print("\nSettings:")
        for field in dataclasses.fields(cls):
            if field.default_factory is not dataclasses.MISSING:
                default = f"default {field.default_factory()}"
            elif field.default is not dataclasses.MISSING:
                default = f"default {field.default}"
            else:
                default = "required"
            print(f"  --optimizer.{field.name}  {default}")
