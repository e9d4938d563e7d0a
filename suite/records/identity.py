"""A run's id: the hash of all settings that can change its numbers. Two runs with equal ids are the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def run_id_of(identity: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The id of the run that has this identity.

    Args:
        identity: nested plain values; the order of keys does not matter.

    Returns:
        The run id (16 hexadecimal digits) and the identity as JSON keeps it.

    Raises:
        ValueError: the identity contains a value that JSON cannot represent, such as a NaN.
    """
    try:
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"A run's configuration must be plain finite values, got {error}.") from error
    return hashlib.sha256(text.encode()).hexdigest()[:16], json.loads(text)


def changed_code(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Modules of the user's that differ between two identities which are equal in everything else; empty otherwise."""
    if any(before.get(key) != now.get(key) for key in (before.keys() | now.keys()) - {"code"}):
        return []
    code, other = now.get("code") or {}, before.get("code") or {}
    return sorted(name for name in code.keys() | other.keys() if code.get(name) != other.get(name))


def contradiction(record: Mapping[str, Any]) -> str | None:
    """Why a record cannot be of the run whose id it has; None: it says nothing else.

    Args:
        record: with the ``identity`` that the id is the hash of; nothing is said of one without it.
    """
    identity = record.get("identity")
    if not isinstance(identity, Mapping) or not identity:
        return None
    try:
        run_id, _ = run_id_of(identity)
    except ValueError:
        run_id = ""
    if run_id != record["run_id"]:
        return f"is of run {record['run_id']}, but what it says was trained is another"
    config = record.get("config") or {}
    settings = {part: _arguments(identity, part) for part in ("model", "data")}
    stated = {
        "seed": (record.get("seed"), identity.get("seed_everything")),
        "config.seed_everything": (config.get("seed_everything"), identity.get("seed_everything")),
        "batch_size": (record.get("batch_size"), settings["data"].get("batch_size")),
        **{
            f"optimizer.{name}": ((record.get("optimizer") or {}).get(name), value)
            for name, value in _arguments(settings["model"], "optimizer").items()
        },
        **{
            f"config.{part}.{name}": (_arguments(config, part).get(name), value)
            for part, arguments in settings.items()
            for name, value in arguments.items()
        },
    }
    wrong = next((name for name, (says, was) in stated.items() if None not in (says, was) and says != was), None)
    return None if wrong is None else f"says {stated[wrong][0]!r:.80} for {wrong}, its run had {stated[wrong][1]!r:.80}"


def _arguments(values: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    of_part = values.get(part)
    arguments = of_part.get("init_args") if isinstance(of_part, Mapping) else None
    return arguments if isinstance(arguments, Mapping) else {}
