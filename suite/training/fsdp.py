"""Fully sharded training: weights, gradients and optimizer state are divided over all devices."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard

from suite.training.task import Task


class FullyShardedStrategy(ModelParallelStrategy):
    """Shards a task's network over all devices with FSDP2, each repeated block by itself.

    A device holds a block's whole weights only while it computes the block. The losses are those of one device, up to
    rounding; clipping uses the gradient norm over all devices. Optimizers that need whole parameters raise an error.
    """

    def __init__(self) -> None:
        # A checkpoint is one file without pickled code, from which any number of devices can resume.
        super().__init__(data_parallel_size="auto", tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Use all devices of all nodes for data parallelism; Lightning's ``auto`` would use one per node."""
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
