"""WHICH runs to do: the sweep's YAML, its grids, and the plan of what is missing."""

from suite.sweep.group import Group
from suite.sweep.plan import Plan
from suite.sweep.planned_run import GroupKey, PlannedRun, RunSpec
from suite.sweep.spec import SweepSpec, read_spec

__all__ = ["Group", "GroupKey", "Plan", "PlannedRun", "RunSpec", "SweepSpec", "read_spec"]
