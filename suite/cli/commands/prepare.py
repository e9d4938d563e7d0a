"""``prepare``: fetches and prepares a task's data, so that runs find it ready."""

from __future__ import annotations

import os

from suite.cli.arguments import read_request

HELP = """\
usage: python -m suite prepare --task NAME [--data.source SOURCE] [--data.FIELD VALUE ...]

Fetch and prepare a task's data once: resumable after a kill, checksummed. --data.source is `paper` (the task's
default), `sample`, or the path of files in the same raw format. All of the task's data settings can be given.
"""


def main(command: str, arguments: list[str]) -> int:
    """Prepare the data of one task."""
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(HELP)
        return 0
    request = read_request(arguments)
    from suite.execution.resolver import Resolver
    from suite.execution.worker import quiet

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    quiet()
    resolver = Resolver()
    config = resolver.resolve(request.arguments)
    _, data = resolver.build_data(config)
    fingerprint = data.ensure_open()
    print(f"Prepared {config['data']['class_path'].split('.')[-1]} ({config['data']['init_args']['source']}):")
    print(f"  {data.train_samples:,} training and {data.val_samples:,} validation samples")
    print(f"  {', '.join(f'{name} {value}' for name, value in data.facts().items())}")
    print(f"  fingerprint {fingerprint}")
    return 0
