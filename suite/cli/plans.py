"""The plan that a sweep's YAML has in a store."""

from __future__ import annotations

from typing import Any

from suite.records import Store
from suite.sweep import read_spec


def plan_of(file: str, store: Store) -> dict[str, Any]:
    """The plan of the sweep in ``file``.

    Raises:
        ValueError: the sweep was not started with this content in this store.
    """
    spec = read_spec(file)
    plan = store.plan(spec.plan_id)
    if plan is None:
        raise ValueError(
            f"The store {store.path} has no plan for {file} as it is now; run `python -m suite sweep {file} --store "
            f"{store.path}` first (it trains only what is missing)."
        )
    return plan
