"""A small MLP on a table of numbers, by squared error."""

import dataclasses

from torch import nn

from suite.training import Task, configurable


@configurable
class TableMLP(Task):
    """Predicts the last column of a table from the others."""

    width: int = dataclasses.field(default=32, metadata={"at_least": 1})
    """Hidden features of the network."""

    def make_network(self, facts):
        return nn.Sequential(nn.Linear(facts["columns"] - 1, self.width), nn.ReLU(), nn.Linear(self.width, 1))

    def inputs(self, batch):
        return (batch[:, :-1],)

    def loss(self, outputs, batch):
        return (outputs[:, 0] - batch[:, -1]).square().sum(), len(batch)
