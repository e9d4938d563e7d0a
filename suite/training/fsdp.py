"""Fully sharded training: weights, gradients and optimizer state cut over all devices."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard

from suite.training.task import Task


class FullyShardedStrategy(ModelParallelStrategy):
    """Shards a task's network over all devices with FSDP's second form, repeated blocks one by one.

    A block's whole weights are on a device only while it is computed. The losses are those of one device, to rounding;
    the gradient norm that clipping goes by is over all devices. Optimizers that need whole parameters refuse.
    """

    def __init__(self) -> None:
        # Checkpoints are one file, which any number of devices can go on from, and no pickle is in them.
        super().__init__(data_parallel_size="auto", tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Take all devices of all nodes for data: Lightning's ``auto`` would take one per node."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def setup(self, trainer: Trainer) -> None:
        """Shard the network, then let Lightning make its optimizer."""
        task = trainer.lightning_module
        assert isinstance(task, Task) and task.network is not None
        mesh = self.device_mesh["data_parallel"]
        for module in list(task.network.modules()):
            if isinstance(module, nn.ModuleList):
                for block in module:
                    fully_shard(block, mesh=mesh)
        fully_shard(task.network, mesh=mesh)
        super().setup(trainer)
