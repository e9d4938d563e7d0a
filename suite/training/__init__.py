"""HOW one run is executed: its task, its data, its optimizer steps, its checkpoints and its record."""

from suite.fields import configurable
from suite.training.batches import BatchPlan
from suite.training.data import Data
from suite.training.mean import Mean
from suite.training.opening import OpenRun, open_run
from suite.training.run import Outcome, run
from suite.training.task import Task

__all__ = ["BatchPlan", "Data", "Mean", "OpenRun", "Outcome", "Task", "configurable", "open_run", "run"]
