"""A table of numbers as data: one sample per row of a CSV file."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from suite.training import Data


class Table(Data):
    """Rows of the CSV file that ``source`` names, below its header; every tenth row is held out for validation."""

    def prepare(self):
        return hashlib.sha256(Path(self.source).read_bytes()).hexdigest()

    def open(self):
        rows = torch.from_numpy(np.loadtxt(self.source, np.float32, comments=None, delimiter=",", skiprows=1))
        held_out = torch.arange(len(rows)) % 10 == 0
        self.splits = {"train": rows[~held_out], "val": rows[held_out]}
        self.train_samples, self.val_samples = len(self.splits["train"]), len(self.splits["val"])

    def facts(self):
        return {"columns": self.splits["train"].shape[1]}

    def gather(self, split, indices):
        return self.splits[split][indices]
