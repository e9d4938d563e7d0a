"""Which of Lightning's strategies train as a record says; the others are refused, for their numbers would be wrong."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from suite.training.fsdp import FullyShardedStrategy

_SHARDED = "suite.training.fsdp.FullyShardedStrategy"


def refuse_other_strategies(trainer: Trainer) -> None:
    """Refuse a trainer that would leave no record, or one of a training that is not the configured one.

    Raises:
        ValueError: its strategy is none of one device, ``ddp`` and `suite.training.fsdp.FullyShardedStrategy`.
    """
    strategy = trainer.strategy
    if isinstance(strategy.launcher, _MultiProcessingLauncher):
        raise ValueError(
            "trainer.strategy must start a process per device before the training, as ddp does, got one that starts "
            "them within it (ddp_spawn, ddp_fork, ddp_notebook), and their curves would be lost; set it to ddp."
        )
    if isinstance(strategy, FSDPStrategy):
        raise ValueError(
            "trainer.strategy fsdp joins parameters to flat ones, by which optimizers cannot tell layers apart, and "
            f"clips by no norm over the devices; set it to {_SHARDED}."
        )
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy | FullyShardedStrategy):
        raise ValueError(
            f"trainer.strategy must be auto, ddp or {_SHARDED}, got {type(strategy).__name__}, under which gradients "
            "would not be clipped as configured; set it to one of these."
        )
