"""The base class of tasks: a network with its loss and metrics, trained by an optimizer of the shared factory."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, ClassVar, NoReturn

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection

from suite.fields import check_ranges, configurable, require, require_methods
from suite.optim import Clipping, build, draw_labels, evaluation_weights, has_evaluation_weights
from suite.optim.parsing import parse
from suite.optim.registry import name_of
from suite.optim.schedule import parse_schedule
from suite.training.captured_run import CapturedGradients
from suite.training.captured_step import capture_of
from suite.training.mean import Mean
from suite.training.observer import Observer, callback_of
from suite.training.running_statistics import RunningStatistics
from suite.training.sampled_gradient import backward_on_drawn_labels
from suite.training.stopping import is_paused
from suite.training.weights import StartingPoint

Spec = dict[str, Any]


@configurable
class Task(LightningModule):
    """Base class of every dataset-architecture pair.

    A pair defines `make_network`, `inputs` and `loss`, and may add metrics. The base class executes blocks of several
    optimizer steps per Lightning call; losses and gradient norms stay on the device until the block ends.

    Tasks are dataclasses (``kw_only=True, eq=False``: modules are hashed); a pair inherits its network's settings.

    Attributes:
        pair_name: ``<dataset>/<architecture>``.
        optimizer_config: the optimizer config made from ``optimizer``.
        lr_schedule: the schedule made from ``schedule``.
        clipping: the clipping made from ``clip_norm`` and ``clip_coordinate``.
        start: the starting point made from ``initial``.
        kept_steps: ``keep_weights_at``, or empty if it is not set.
    """

    batch_coupled: ClassVar[bool] = False
    """Whether samples of a micro-batch influence each other's gradient (BatchNorm, MixUp)."""

    optimizer: Spec | None = None
    """Plain values of an optimizer config, such as ``{name: sgd, lr: 0.3, momentum: 0.95}``."""

    schedule: Spec | None = None
    """Plain values of a learning-rate schedule; default: paper 1's 10% warm-up and cosine to zero."""

    clip_norm: float | None = dataclasses.field(default=1.0, metadata={"above": 0})
    """Largest global norm of the raw gradient; null: no limit."""

    clip_coordinate: float | None = dataclasses.field(default=None, metadata={"above": 0})
    """Largest magnitude of a coordinate, after the norm was clipped; null: no limit."""

    diagnostics: Spec | None = dataclasses.field(
        default=None,
        metadata={"when_set": "what is measured along the way; what was not asked for is not in the record"},
    )
    """Diagnostics to measure during training, name -> settings, such as ``{clipping: {every: 100}}``; null: none.
    ``python -m suite diagnose --list`` lists them. They do not change the training."""

    name: str | None = None
    """``<dataset>/<architecture>`` as in ``--task``; default: the last two parts of the class's module."""

    cuda_graphs: bool = dataclasses.field(
        default=True, metadata={"beside": "how a GPU is made to take steps; the steps are the same up to rounding"}
    )
    """Whether a GPU may repeat steps from a recording, where that is measured to be faster and its first results are
    those of steps without it."""

    # Not any values: the parser would read a run id of digits as a number.
    initial: dict[str, str | int] | None = dataclasses.field(
        default=None, metadata={"when_set": "earlier runs, made without it, keep their id"}
    )
    """``{run: ID, step: N}``: start from the weights of a finished run in the store after its step N; null: from
    weights drawn by the seed. The optimizer starts anew."""

    keep_weights_at: list[int] | None = dataclasses.field(
        default=None, metadata={"beside": "which weights are kept on the way; the steps are the same"}
    )
    """Steps after which the weights are saved beside the record, so that other runs can start from them."""

    def __post_init__(self) -> None:
        super().__init__()
        require_methods(type(self), Task, "make_network", "inputs", "loss", kind="task that can be trained")
        check_ranges(type(self), vars(self), name="model")
        self.automatic_optimization = False
        is_pair = self.name is None or re.fullmatch(r"[\w.-]{1,60}/[\w.-]{1,60}", self.name)
        require(bool(is_pair), "model.name", "<dataset>/<architecture>, such as fineweb/gpt", self.name)
        self.pair_name = self.name or "/".join(type(self).__module__.split(".")[-2:])
        self.optimizer_config = None if self.optimizer is None else parse(self.optimizer)
        self.lr_schedule = parse_schedule(self.schedule or {"name": "warmup_cosine"})
        self.clipping = Clipping(max_norm=self.clip_norm, max_coordinate=self.clip_coordinate)
        self._samples = self.optimizer_config is not None and self.optimizer_config.sampled_every > 0
        if self._samples and not self.predicts_classes:
            raise ValueError(
                f"{name_of(type(self.optimizer_config))} draws labels from a network's predictions of classes, which "
                f"{self.pair_name} has not; take sophia_ef, which needs the batch's gradient alone."
            )
        self.start = None if self.initial is None else StartingPoint.parse(self.initial)
        self.kept_steps = tuple(self.keep_weights_at or ())
        self.seed = 0
        self.network: nn.Module | None = None
        self.val_metrics: MetricCollection | None = None
        self._evaluation = ExitStack()
        self._captured: CapturedGradients | None = None
        self._clip_unscaled: Callable[[], Tensor] | None = None
        self._unscaled_norm = torch.zeros(())
        self._saved_states: list[Any] = []

    # Methods that a pair defines or overrides.

    def make_network(self, facts: dict[str, Any]) -> nn.Module:
        """Make the network for the ``facts`` of the data (vocabulary, classes, ...)."""
        raise NotImplementedError

    def inputs(self, batch: Any) -> tuple[Any, ...]:
        """The part of a batch that the network takes as arguments."""
        raise NotImplementedError

    def loss(self, outputs: Any, batch: Any) -> tuple[Tensor, int]:
        """The sum of the loss over a batch, 0-d, and its number of terms, which must depend on shapes alone."""
        raise NotImplementedError

    def metrics(self, facts: dict[str, Any]) -> dict[str, Metric]:
        """Metrics of the validation split other than the loss, by name."""
        return {}

    def measure(self, metrics: Mapping[str, Metric], outputs: Any, batch: Any, total: Tensor, count: int) -> None:
        """Update ``metrics`` with one batch."""

    def element_losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The loss and the true class of every prediction in a batch, for the diagnostic `frequency`.

        Returns:
            The losses, and int64 classes of the same shape.

        Raises:
            ValueError: the task predicts no classes.
        """
        self._refuse_classes()

    def element_classes(self, batch: Any) -> Tensor:
        """The true classes of all predictions in a batch, int64.

        Raises:
            ValueError: the task predicts no classes.
        """
        self._refuse_classes()

    def _refuse_classes(self) -> NoReturn:
        raise ValueError(
            f"The diagnostic frequency needs a task that predicts classes, got {self.pair_name}; leave it out of "
            "model.diagnostics."
        )

    @property
    def predicts_classes(self) -> bool:
        """Whether the network's outputs are logits of classes, from which labels can be drawn."""
        return type(self).element_classes is not Task.element_classes

    def sampled_inputs(self, batch: Any, uniforms: Tensor) -> tuple[Any, ...]:
        """What the network takes for `sampled_loss`; as `inputs` unless a task overrides it."""
        return self.inputs(batch)

    def sampled_loss(self, outputs: Any, batch: Any, uniforms: Tensor) -> tuple[Tensor, int]:
        """The loss with labels drawn from the network's own predictions, for rules such as Sophia.

        Args:
            outputs: logits ``[..., K]`` of the predictions that `element_classes` has the true classes of.
            batch: whose other labels do not count, those of MixUp neither.
            uniforms: a number in (0, 1) for every prediction, ``[...]``; see `suite.optim.draw_labels`.

        Returns:
            Cross-entropy in nats, summed, 0-d, and the number of predictions.
        """
        labels = draw_labels(outputs, uniforms)
        total = F.cross_entropy(outputs.flatten(0, -2).float(), labels.flatten(), reduction="sum")
        return total, labels.numel()

    def twice_differentiable(self) -> AbstractContextManager[Any]:
        """A context in which the loss has second derivatives; a task with a fused loss overrides it."""
        return nullcontext()

    # Methods that training calls.

    def configure_model(self) -> None:
        """Build the network unless it is built (Lightning calls this before every entry point)."""
        self.build_network(self.trainer.datamodule.facts())  # type: ignore[attr-defined]

    def build_network(self, facts: dict[str, Any]) -> None:
        """Build the network for the facts of the data, once, with the weights of ``initial`` or of the seed.

        Raises:
            ValueError: the network's settings are impossible, or the weights of ``initial`` do not fit it.
        """
        if self.network is None:
            self.network = self.starting_network(facts)
            self.val_metrics = self.loss_and_metrics(facts)

    def loss_and_metrics(self, facts: dict[str, Any]) -> MetricCollection:
        """The mean loss and the metrics of the validation split, named ``val/...``."""
        return MetricCollection({"loss": Mean(), **self.metrics(facts)}, prefix="val/", compute_groups=False)

    def measure_all(self, metrics: MetricCollection, outputs: Any, batch: Any) -> None:
        """Update `loss_and_metrics` with one batch."""
        total, count = self.loss(outputs, batch)
        metrics["loss"].update(total, count)
        self.measure({k.removeprefix("val/"): m for k, m in metrics.items()}, outputs, batch, total, count)

    def seeded_network(self, seed: int, facts: dict[str, Any]) -> nn.Module:
        """The network with the initial weights of ``seed``; the global random state does not change."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.make_network(facts)

    def starting_network(self, facts: dict[str, Any]) -> nn.Module:
        """The network with the weights of ``initial``, or with those of the run's seed."""
        network = self.seeded_network(self.seed, facts)
        if self.start is not None:
            self.start.load_into(network)
        return network

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer by the shared factory."""
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
        # What the optimizer holds: after an evaluation, FSDP lists gathered copies without gradients as the network's.
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        watching = callback_of(self.trainer, Observer)
        losses, norms, lrs = [], [], []
        for micro_batches in block:
            observer = watching if watching is not None and watching.attends(self.global_step) else None
            lrs.append(float(optimizer.param_groups[0]["lr"]))
            if self._samples:
                self._sample(optimizer.optimizer, micro_batches)
            if self._captured is not None and observer is None:
                loss, norm = self._captured(
                    micro_batches, functools.partial(self._gradients, parameters, micro_batches)
                )
                optimizer.step()
            else:
                loss = self._accumulate(micro_batches)
                norm = self._step(optimizer, functools.partial(self._clip, parameters, observer, micro_batches))
            losses.append(loss)
            norms.append(norm)
            if observer is not None:
                observer.after_update(optimizer.optimizer)
            optimizer.zero_grad()
            self._schedule_lr(optimizer)
            if torch.is_autocast_enabled():
                # Autocast keeps low-precision copies of weights until its outermost context ends, which here spans
                # several steps.
                torch.clear_autocast_cache()
        return {"losses": torch.stack(losses), "grad_norms": torch.stack(norms), "lrs": lrs}

    def _gradients(self, parameters: list[Tensor], micro_batches: list[Any]) -> tuple[Tensor, Tensor]:
        """Leave clipped gradients with the parameters; returns the loss and their norm before."""
        return self._accumulate(micro_batches), self._clip(parameters, None, micro_batches)

    def _clip(self, parameters: list[Tensor], observer: Observer | None, micro_batches: list[Any]) -> Tensor:
        """Clip the gradients that the parameters hold; returns their norm before, 0-d."""
        if observer is not None:
            observer.before_clipping(micro_batches)
        norm = self.clipping([p.grad for p in parameters if p.grad is not None])
        if observer is not None:
            observer.before_update()
        return norm

    def _step(self, optimizer: LightningOptimizer, clip: Callable[[], Tensor]) -> Tensor:
        """Clip the gradients and take the optimizer's step; returns their norm."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            norm = clip()
            optimizer.step()
            return norm
        self._clip_unscaled = clip
        optimizer.step()
        return self._unscaled_norm

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip gradients of a scaled loss (16-mixed), which Lightning has just brought back to their own scale."""
        if self._clip_unscaled is not None:
            if getattr(optimizer, "_step_supports_amp_scaling", False):  # it would do so itself, in its step
                self.trainer.precision_plugin.scaler.unscale_(optimizer)  # type: ignore[attr-defined]
            self._unscaled_norm = self._clip_unscaled()
            self._clip_unscaled = None

    def on_train_start(self) -> None:
        """Set the learning rate of the first step: callbacks see the rate that comes. Look how steps may be taken."""
        optimizer: Any = self.optimizers()
        self._schedule_lr(optimizer)
        if self._samples and getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            raise ValueError(
                f"{name_of(type(self.optimizer_config))} needs a second gradient, which is not taken of scaled losses, "
                "got trainer.precision 16-mixed; set it to bf16-mixed or 32-true."
            )
        capture = capture_of(self.trainer) if self.cuda_graphs else None
        if capture is not None:
            assert self.network is not None
            self._captured = CapturedGradients(
                self.network,
                [p for group in optimizer.param_groups for p in group["params"]],
                lambda batch: self.loss(self(batch), batch),
                self.clipping,
                capture,
                name=self.pair_name,
            )

    @property
    def same_shapes(self) -> bool:
        """Whether batches should come in few shapes, because steps may be repeated from recordings."""
        return self._captured is not None and self._captured.step.wanted

    @property
    def repeated_steps(self) -> int:
        """Steps that were repeated from a recording."""
        return 0 if self._captured is None else self._captured.step.repeated

    def _schedule_lr(self, optimizer: Any) -> None:
        """Set the learning rate of the step that comes, if one does."""
        step, steps = self.global_step, self.trainer.max_steps
        if step < steps:
            rate = self.lr_schedule.rate(step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate.of(group["initial_lr"])

    def _accumulate(self, micro_batches: list[Any]) -> Tensor:
        """Compute the gradient of the mean loss over the micro-batches; returns that loss, detached."""
        share = 1 / len(micro_batches)
        statistics = self._statistics_of_devices()
        mean = torch.zeros((), device=self.device)
        for i, batch in enumerate(micro_batches):
            with self._synchronised(i == len(micro_batches) - 1):
                total, count = self.loss(self(batch), batch)
                loss = total * (share / count)
                self.manual_backward(loss)
            mean += loss.detach()
        if statistics is not None:
            statistics.combine(len(micro_batches))
        return mean

    def _sample(self, optimizer: Any, micro_batches: list[Any]) -> None:
        """Give the optimizer the gradient on drawn labels, where its next step needs it."""
        if optimizer.needs_sampled_gradient():
            terms = backward_on_drawn_labels(
                self,
                micro_batches,
                step=self.global_step,
                rank=self.global_rank,
                backward=self.manual_backward,
                synchronised=self._synchronised,
            )
            optimizer.keep_sampled_gradient(terms=terms * self.trainer.world_size)

    def _statistics_of_devices(self) -> RunningStatistics | None:
        """The running statistics before a step, to be combined after it; None where there is one device."""
        assert self.network is not None
        devices = self.trainer.world_size
        return RunningStatistics(self.network, rank=self.global_rank, world_size=devices) if devices > 1 else None

    def _synchronised(self, last: bool) -> AbstractContextManager[Any]:
        strategy = self.trainer.strategy
        if last or not isinstance(strategy, ParallelStrategy):
            return nullcontext()
        return strategy.block_backward_sync()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the optimizer's evaluation weights are made of, where nothing is trained."""
        if self.trainer.state.fn != "fit":
            self._saved_states = checkpoint.get("optimizer_states") or []

    def on_validation_start(self) -> None:
        """Switch to the evaluation weights of the optimizer that trains, or of the one that left the checkpoint."""
        if self.trainer.state.fn == "fit":
            self._evaluation.enter_context(evaluation_weights(self.optimizers(use_pl_optimizer=False)))  # type: ignore[arg-type]
        elif self._saved_states and self.optimizer_config is not None:
            optimizer = self.configure_optimizers()
            if has_evaluation_weights(optimizer):
                optimizer.load_state_dict(self._saved_states[0])
                self._evaluation.enter_context(evaluation_weights(optimizer))

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics."""
        assert self.val_metrics is not None
        self.val_metrics.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Evaluate one batch of the validation split."""
        assert self.val_metrics is not None
        self.measure_all(self.val_metrics, self(batch), batch)

    def on_validation_epoch_end(self) -> None:
        """Return to the weights that are trained, which callbacks may save; log the metrics of a whole evaluation."""
        assert self.val_metrics is not None
        self._evaluation.close()
        if not is_paused(self.trainer):
            self.log_dict(self.val_metrics.compute(), sync_dist=False)

    # A test is the same as a validation.
    on_test_start = on_predict_start = on_validation_start
    test_step = validation_step
    on_test_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_validation_epoch_end

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """The outputs of the network for a batch."""
        return self(batch)
