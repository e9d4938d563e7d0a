"""A task: one network, its loss and its metrics, stepped by the shared optimizer factory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, ClassVar, NoReturn

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection

from suite.optim import Clipping, build, evaluation_weights
from suite.optim.registry import parse
from suite.optim.schedule import parse_schedule
from suite.training.observer import Observer, callback_of
from suite.training.weights import StartingPoint

Spec = dict[str, Any]


class Task(LightningModule):
    """Base class of every dataset-architecture pair.

    A pair gives `make_network`, `inputs` and `loss`, and may add metrics. The base class executes blocks of optimizer
    steps: several per Lightning call, losses and gradient norms left on the device until the block ends.

    Args:
        optimizer: plain values of an optimizer config, such as ``{name: sgd, lr: 0.3, momentum: 0.95}``.
        schedule: plain values of a learning-rate schedule; default: paper 1's 10% warm-up and cosine to zero.
        clip_norm: largest global norm of the raw gradient; null: no limit.
        clip_coordinate: largest magnitude of a coordinate, after the norm was clipped; null: no limit.
        diagnostics: what is measured along the way, name -> settings, such as ``{clipping: {every: 100}}``; null:
            nothing. They are listed by ``python -m suite diagnose --list`` and change nothing of the training.
        name: ``<dataset>/<architecture>`` as in ``--task``; default: from the place of the class in ``tasks/``.
        initial: ``{run: ID, step: N}``: the weights to start from, those of a finished run of the store after its step
            N; null: weights drawn by the seed. The optimizer starts anew.
        keep_weights_at: steps after which the weights are kept beside the record, for other runs to start from.
    """

    batch_coupled: ClassVar[bool] = False
    """Whether samples of a micro-batch influence each other's gradient (BatchNorm, MixUp)."""

    def __init__(
        self,
        *,
        optimizer: Spec | None = None,
        schedule: Spec | None = None,
        clip_norm: float | None = 1.0,
        clip_coordinate: float | None = None,
        diagnostics: Spec | None = None,
        name: str | None = None,
        initial: Spec | None = None,
        keep_weights_at: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.name = name or "/".join(type(self).__module__.split(".")[-2:])
        self.optimizer_config = None if optimizer is None else parse(optimizer)
        self.schedule = parse_schedule(schedule or {"name": "warmup_cosine"})
        for setting, limit in {"clip_norm": clip_norm, "clip_coordinate": clip_coordinate}.items():
            if limit is not None and not 0 < limit < float("inf"):
                raise ValueError(f"model.{setting} must be a number above 0, or null for no limit, got {limit}.")
        self.clipping = Clipping(max_norm=clip_norm, max_coordinate=clip_coordinate)
        self.start = None if initial is None else StartingPoint.parse(initial)
        self.keep_weights_at = tuple(keep_weights_at or ())
        self.diagnostics = diagnostics or {}
        self.seed = 0
        self.network: nn.Module | None = None
        self.val_metrics: MetricCollection | None = None
        self._evaluation = ExitStack()

    # What a pair gives.

    def make_network(self, facts: dict[str, Any]) -> nn.Module:
        """The network, for data of which ``facts`` are known (vocabulary, classes, ...)."""
        raise NotImplementedError

    def inputs(self, batch: Any) -> tuple[Any, ...]:
        """What of a batch the network sees."""
        raise NotImplementedError

    def loss(self, outputs: Any, batch: Any) -> tuple[Tensor, int]:
        """Sum of the loss over a batch and the number that it is a sum over, which shapes alone decide."""
        raise NotImplementedError

    def metrics(self, facts: dict[str, Any]) -> dict[str, Metric]:
        """Metrics of the validation split beside the loss, by name."""
        return {}

    def measure(self, metrics: Mapping[str, Metric], outputs: Any, batch: Any, total: Tensor, count: int) -> None:
        """Update ``metrics`` with one batch."""

    def element_losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Loss of every single prediction in a batch, and the class that was to be predicted, for `frequency`.

        Returns:
            The losses, and int64 classes of the same shape.

        Raises:
            ValueError: the task predicts no classes.
        """
        self._refuse_classes()

    def element_classes(self, batch: Any) -> Tensor:
        """The classes that are to be predicted in a batch, int64.

        Raises:
            ValueError: the task predicts no classes.
        """
        self._refuse_classes()

    def _refuse_classes(self) -> NoReturn:
        raise ValueError(
            f"The diagnostic frequency needs a task that predicts classes, got {self.name}; leave it out of "
            "model.diagnostics."
        )

    def twice_differentiable(self) -> AbstractContextManager[Any]:
        """While this lasts the loss has second derivatives; a task that takes it in another way overrides this."""
        return nullcontext()

    # What the suite makes of it.

    def configure_model(self) -> None:
        """Build the network, unless `run` has (Lightning calls this before every entry point)."""
        self.build_network(self.trainer.datamodule.facts())  # type: ignore[attr-defined]

    def build_network(self, facts: dict[str, Any]) -> None:
        """Build the network for the data's facts, once; its weights are those of ``initial``, or the seed's alone.

        Raises:
            ValueError: the settings make no network.
        """
        if self.network is None:
            self.network = self.starting_network(facts)
            self.val_metrics = MetricCollection(
                {"loss": MeanMetric(), **self.metrics(facts)}, prefix="val/", compute_groups=False
            )

    def seeded_network(self, seed: int, facts: dict[str, Any]) -> nn.Module:
        """The network with the initial weights of ``seed``; the global random state is left as it was."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.make_network(facts)

    def starting_network(self, facts: dict[str, Any]) -> nn.Module:
        """The network with the weights that this run starts from."""
        network = self.seeded_network(self.seed, facts)
        if self.start is not None:
            self.start.load_into(network)
        return network

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer, from the shared factory."""
        assert self.optimizer_config is not None
        assert self.network is not None
        return build(self.optimizer_config, self.network)

    def forward(self, batch: Any) -> Any:
        """Outputs of the network for a batch."""
        assert self.network is not None
        return self.network(*self.inputs(batch))

    def training_step(self, block: list[list[Any]], block_idx: int) -> dict[str, Any]:
        """Execute a block of optimizer steps.

        Args:
            block: one list of micro-batches per step.
            block_idx: number of the block.

        Returns:
            ``losses`` and ``grad_norms`` (before clipping), device tensors ``[steps]``, and ``lrs``, a list.
        """
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        parameters = [p for p in self.parameters() if p.requires_grad]
        losses, norms, lrs = [], [], []
        watching = callback_of(self.trainer, Observer)
        for micro_batches in block:
            observer = watching if watching is not None and watching.attends(self.global_step) else None
            lrs.append(self._schedule_lr(optimizer))
            losses.append(self._accumulate(micro_batches))
            if observer is not None:
                observer.before_clipping(micro_batches)
            norms.append(self.clipping([p.grad for p in parameters if p.grad is not None]))
            if observer is not None:
                observer.before_update()
            optimizer.step()
            if observer is not None:
                observer.after_update(optimizer.optimizer)
            optimizer.zero_grad()
            if torch.is_autocast_enabled():
                # Autocast keeps low-precision copies of weights until its outermost context ends, which here spans
                # several steps.
                torch.clear_autocast_cache()
        return {"losses": torch.stack(losses), "grad_norms": torch.stack(norms), "lrs": lrs}

    def _schedule_lr(self, optimizer: LightningOptimizer) -> float:
        multiplier = self.schedule(self.global_step, self.trainer.max_steps)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * multiplier
        return float(optimizer.param_groups[0]["lr"])

    def _accumulate(self, micro_batches: list[Any]) -> Tensor:
        """Gradient of the mean loss over the micro-batches; returns that loss, detached."""
        share = 1 / len(micro_batches)
        mean = torch.zeros((), device=self.device)
        for i, batch in enumerate(micro_batches):
            with self._synchronised(i == len(micro_batches) - 1):
                total, count = self.loss(self(batch), batch)
                loss = total * (share / count)
                self.manual_backward(loss)
            mean += loss.detach()
        return mean

    def _synchronised(self, last: bool) -> AbstractContextManager[Any]:
        strategy = self.trainer.strategy
        if last or not isinstance(strategy, ParallelStrategy):
            return nullcontext()
        return strategy.block_backward_sync()

    def on_validation_start(self) -> None:
        """Evaluate at the weights that the optimizer means to be evaluated at."""
        if self.trainer.state.fn == "fit":
            self._evaluation.enter_context(evaluation_weights(self.optimizers(use_pl_optimizer=False)))  # type: ignore[arg-type]

    def on_validation_end(self) -> None:
        """Go back to the weights that are trained."""
        self._evaluation.close()

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation."""
        assert self.val_metrics is not None
        self.val_metrics.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Measure one batch of the validation split."""
        assert self.val_metrics is not None
        outputs = self(batch)
        total, count = self.loss(outputs, batch)
        self.val_metrics["loss"].update(total / count, weight=count)
        self.measure({k.removeprefix("val/"): m for k, m in self.val_metrics.items()}, outputs, batch, total, count)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the evaluation."""
        assert self.val_metrics is not None
        self.log_dict(self.val_metrics.compute(), sync_dist=False)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """As in validation."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_start(self) -> None:
        """As in validation."""
        self.on_validation_epoch_start()

    def on_test_epoch_end(self) -> None:
        """As in validation."""
        self.on_validation_epoch_end()

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """Outputs of the network."""
        return self(batch)
