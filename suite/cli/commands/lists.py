"""``tasks`` and ``optimizers``: what exists, without loading anything heavy, and what one of them takes."""

from __future__ import annotations

import dataclasses
import inspect

from suite.cli.parser import Parser
from suite.fields import escaped


def main(command: str, arguments: list[str]) -> int:
    """Print the tasks or the optimizers; with a name one of them with its settings."""
    parser = Parser(prog=f"python -m suite {command}", description=f"List the {command}.")
    parser.add_argument("name", nargs="?", help=f"one of the {command}: print what it is and its settings")
    options = parser.parse_args(arguments)
    if command == "tasks" and options.name is not None:
        from suite.cli.settings_text import task_text

        print(task_text(options.name))
    elif command == "tasks":
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
    from suite.optim.registry import config_class, spelled

    cls = config_class(spelled(name))
    doc = inspect.getdoc(cls) or cls.__name__
    if not dataclasses.is_dataclass(cls):
        print(doc)
        return
    from suite.cli.settings_text import options_text
    from suite.fields import described

    print(doc.partition("\nAttributes:\n")[0].rstrip())
    print(f"\nSettings:\n{options_text(described(cls), prefix='--optimizer.')}")
