"""``reference``: every form of a sweep's YAML and every command, as pages made of the fields and the parsers."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import textwrap
from collections.abc import Iterator

from suite.cli.parser import Parser
from suite.fields import Described, described

COLUMNS = 100
"""Width of the options in the page of commands."""

_SWEEP = """\
# Every form of a sweep's YAML

<!-- made by: python -m suite reference sweep > docs/sweep_yaml.md -->

`task`, `batch_size` and `optimizers` are all that a sweep needs; every other setting has a default. A misspelt one is
refused with the nearest name. What each means for plans and runs is told in [design.md](design.md), for verdicts in
[analysis.md](analysis.md), for the search in [search.md](search.md).

```yaml
question: "Which optimizer is better, and where does it change?"
task: fineweb/gpt                 # python -m suite tasks
batch_size: [1, 16, 256]
seeds: [42]                       # these choose the settings
report_seeds: [43, 44, 45]        # these are compared
overrides: {data.budget_tokens: 2.0e6, model.width: 128}   # python -m suite tasks fineweb/gpt
optimizers:
  sgd:  {lr: {decades: [-2, 1], per_decade: 2}, momentum: [0.9, 0.99]}
  adam: {lr: {decades: [-4, -1], per_decade: 2}, beta: [0.9, 0.99]}   # python -m suite optimizers adam
extend_edges: 2
```

## The sweep

"""

_OPTIMIZERS = """\
## An optimizer

`optimizers` maps a label to settings. The label is the optimizer's name unless `name` gives another one, so that one
optimizer may stand there several times: `adam_fixed: {name: adam, lr: [0.001], beta1: 0.9, beta2: 0.999}`. `name` takes
a dotted class path too. `label` is what figures and tables call it. The settings are those of `python -m suite
optimizers NAME`; inner ones have dotted names (`adam.lr` of a hybrid). The value of each is one of:

| value | means |
|---|---|
"""

_COMMANDS = """\
# Every command

<!-- made by: python -m suite reference commands > docs/commands.md -->

`python -m suite COMMAND --help` prints the same. `--debug` with any command shows where an error comes from. The exit
code is 0, 1 when the work failed, 2 when the request was wrong, 70 when the suite itself failed, and 128 and its number
when a signal ended the command.
"""

_WITH_OPTIONS_OF_THEIR_OWN = {"theory": [["fit"]]}
"""Command -> first words with which it has other options."""

_TITLES = {"PanelSettings": "a panel", "SurfaceSearch": "search", "Finalists": "finalists", "Until": "until"}


def main(command: str, arguments: list[str]) -> int:
    """Print a page, in Markdown."""
    parser = Parser(prog="python -m suite reference", description="Print a page of reference, in Markdown.")
    parser.add_argument("subject", choices=("sweep", "commands"), help="what the page is about")
    options = parser.parse_args(arguments)
    print(sweep_page() if options.subject == "sweep" else commands_page(), end="")
    return 0


def sweep_page() -> str:
    """Every setting of a sweep's YAML, by what it is a part of."""
    from suite.records import FINAL_LOSSES
    from suite.sweep.grid import FORMS
    from suite.sweep.spec import SweepSettings

    pages = [_SWEEP, _table(described(SweepSettings))]
    forms = "".join(f"| `{form}` | {meaning} |\n" for form, meaning in FORMS)
    pages.append(f"\n{_OPTIMIZERS}{forms}")
    losses = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in FINAL_LOSSES.items())
    head = "| `final_loss` | the loss by which settings are chosen and compared |\n|---|---|\n"
    pages.append(f"\n## Final losses\n\n{head}{losses}")
    for part in _parts(SweepSettings, done=[]):
        title = _TITLES.get(part.__name__, part.__name__.lower())
        summary = (part.__doc__ or "").partition("\n")[0]
        pages.append(f"\n## {title.capitalize()}\n\n{_plain(summary)}\n\n{_table(described(part))}")
    return "".join(pages)


def _parts(cls: type, done: list[type]) -> Iterator[type]:
    """The dataclasses that the settings of a dataclass are made of, each once."""
    for setting in described(cls):
        for part in setting.parts:
            if part not in done:
                done.append(part)
                yield part
                yield from _parts(part, done)


def _table(settings: list[Described]) -> str:
    head = "| setting | takes | default | |\n|---|---|---|---|\n"
    cells = ([f"`{s.name}`", s.kind, f"`{s.default}`" if s.default else "required", _plain(s.doc)] for s in settings)
    return head + "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)


def _plain(doc: str) -> str:
    return doc.replace("``", "`")


def commands_page() -> str:
    """Every command with its options."""
    from suite.cli.main import COMMANDS

    pages = [_COMMANDS]
    for name, (_, line) in COMMANDS.items():
        pages.append(f"\n## {name}\n\n{line[:1].upper()}{line[1:]}.\n\n```text\n{_help_of(name)}\n```\n")
    return "".join(pages)


def _help_of(command: str) -> str:
    """What ``--help`` prints, of Lightning's commands without Lightning's own options."""
    from suite.cli.commands import evaluate, train
    from suite.cli.main import COMMANDS

    if command == "fit":
        usage = "usage: python -m suite fit --task NAME --optimizer NAME --optimizer.lr VALUE [options]"
        return f"{usage}\n\n{_own(train.SHORT_OPTIONS)}"
    if COMMANDS[command][0] == "evaluate":
        return _own(evaluate.usage(command))
    called = importlib.import_module(f"suite.cli.commands.{COMMANDS[command][0]}").main
    said, before = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(COLUMNS)
    try:
        for words in ([], *_WITH_OPTIONS_OF_THEIR_OWN.get(command, ())):
            with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
                called(command, [*words, "--help"])
            said.write("\n")
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
    return said.getvalue().rstrip()


def _own(text: str) -> str:
    more = (
        "Beside them: --config FILE, --data.* and --model.* (python -m suite tasks NAME tells them), --trainer.* "
        "(Lightning's)."
    )
    return re.sub(r" ?\(before Lightning's own, below\)", "", text).rstrip() + "\n\n" + textwrap.fill(more, COLUMNS)
