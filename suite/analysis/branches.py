"""Branching: gaps between optimizers that go on from one trunk, by how far the trunk had come (paper 1, figure 7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from suite.analysis.words import optimizer_title, pair_text, share_text, verdict_text


@dataclasses.dataclass(frozen=True)
class BranchPoint:
    """Where the runs of one task (a panel of the plan) start.

    Attributes:
        panel: label of the panel that the sweep's YAML has; may be empty.
        trunk: label of the trunk's optimizer; may be empty, where a file does not name it.
        share: share of the trunk's steps after which the runs start.
        step: the step itself, where a file gives nothing else.
    """

    panel: str
    trunk: str
    share: float
    step: int | None = None

    @property
    def after(self) -> str:
        """The share or the step, in words."""
        return share_text(self.share) if self.step is None else f"step {self.step}"

    @property
    def title(self) -> str:
        """The branch point in words: ``ViT, Adam trunk, 25%``."""
        trunk = f"{optimizer_title(self.trunk)} trunk" if self.trunk else ""
        return ", ".join(filter(None, [self.panel, trunk, self.after]))


_AT = ["panel", "trunk", "share", "after"]


def branch_points(plan: Mapping[str, Any]) -> dict[str, BranchPoint]:
    """The branch points of a plan, by the label that their runs have; empty for a sweep without a trunk."""
    return {
        label: BranchPoint(str(branch["of"]), str(branch["optimizer"]), float(branch["share"]))
        for label, panel in (plan.get("panels") or {}).items()
        if (branch := panel.get("branch"))
    }


def branch_gaps(gaps: pd.DataFrame, points: Mapping[str, BranchPoint]) -> pd.DataFrame:
    """The gaps with the branch point of each.

    Args:
        gaps: see `suite.analysis.gap.gap_table`.
        points: see `branch_points`.

    Returns:
        The rows of ``gaps`` at branch points, in their order, with ``panel``, ``trunk``, ``share`` and ``after``
        (the share in words) as first columns.
    """
    gaps = gaps[gaps["task"].isin(list(points))].reset_index(drop=True)
    at = [(*(getattr(points[task], name) for name in _AT),) for task in gaps["task"]]
    return pd.concat([pd.DataFrame(at, columns=_AT, index=gaps.index), gaps], axis=1)


def branch_sentences(gaps: pd.DataFrame) -> list[str]:
    """Who is better at which branch point, a sentence for every trunk, batch size and pair of optimizers.

    Args:
        gaps: see `branch_gaps`.
    """
    several = {name: gaps[name].nunique() > 1 for name in ("panel", "batch_size")}
    pairs = len(gaps[["reference", "challenger"]].drop_duplicates()) > 1
    sentences = []
    keys = ["panel", "trunk", "batch_size", "reference", "challenger"]
    for (panel, trunk, size, reference, challenger), rows in gaps.groupby(keys, sort=False):
        words = [f"From the {optimizer_title(str(trunk))} trunk" if trunk else "From the trunk"]
        words += [f"of {panel}"] if several["panel"] and panel else []
        words += [f"at batch size {size}"] if several["batch_size"] else []
        words += [f"({pair_text(str(reference), str(challenger))})"] if pairs else []
        shares: dict[str, list[str]] = {}
        for _, row in rows.iterrows():
            shares.setdefault(verdict_text(row), []).append(row["after"])
        answers = [f"{outcome} at {', '.join(at)}" for outcome, at in shares.items()]
        sentences.append(f"{' '.join(words)}: {'; '.join(answers)}.")
    return sentences
