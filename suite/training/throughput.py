"""How fast a training is: samples or tokens per second, and the share of the device's arithmetic that they take."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from suite.training.data import Data
from suite.training.footprint import network_on_meta
from suite.training.task import Task

PEAKS = {
    "GB300": 2500e12, "B300": 2250e12, "GB200": 2500e12, "B200": 2250e12, "H200 NVL": 835e12, "H200": 989e12,
    "GH200": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H800 PCIe": 756e12, "H800": 989e12,
    "H20": 148e12, "A100": 312e12, "A800": 312e12, "A40": 150e12, "A30": 165e12, "A10G": 70e12, "A10": 125e12,
    "L40S": 362e12, "L40": 181e12, "L4": 121e12, "RTX 4090 D": 147e12, "RTX 4090": 165e12, "RTX 3090 Ti": 80e12,
    "RTX 3090": 71e12, "A6000": 155e12,
}  # fmt: skip
"""Part of a device's name -> FLOP per second in bf16 or fp16 with fp32 sums, dense: half of what NVIDIA's sheets say
with sparsity. The first that the name has counts. Sheets: Blackwell "GB200 NVL72", "HGX B200", "HGX B300"; Hopper "H100
Tensor Core GPU Datasheet", "H200 Tensor Core GPU Datasheet" (NVL: 1,671 with sparsity); Ampere "A100 Tensor Core GPU
Datasheet" and those of the A10, A30, A40; Ada "L4", "L40" and "L40S" datasheets; GeForce and RTX: the architecture
whitepapers of GA102 and Ada (Tensor TFLOPS with FP32 accumulate). Not held against a sheet: A10G, RTX 3090, A6000."""

FP16_PEAKS = {"V100-SXM2": 125e12, "V100-PCIE": 112e12, "V100S-PCIE": 130e12, "T4": 65e12}
"""The same of devices that are fast in fp16 alone: NVIDIA's datasheets "Tesla V100" and "T4 Tensor Core GPU"."""

SLICES = {"A30": 4}
"""Part of a device's name -> compute slices of a GPU that is cut (NVIDIA's "MIG User Guide"); others have 7."""

BACKWARD = 2
"""FLOPs of a backward pass, as a multiple of those of the forward pass."""

_OF_NO_NETWORK = ("optimizer", "schedule", "clip_norm", "clip_coordinate", "diagnostics", "initial", "keep_weights_at")

_counted: dict[str, float | None] = {}
"""Network with its data's sizes, as text -> model FLOPs per sample."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput:
    """What a second of a training takes.

    Attributes:
        samples_per_second: over all devices.
        tokens_per_second: the same for sequences; None for what has no tokens.
        model_flops_per_sample: of the forward and the backward pass's products of matrices and convolutions, without
            what is computed twice, but with the second gradient that a rule such as Sophia needs on some steps; None
            where no share of a device's can be told.
        mfu: model FLOPs utilisation, their share of what the devices can do in bf16; None where that is not known.
    """

    samples_per_second: float
    tokens_per_second: float | None
    model_flops_per_sample: float | None
    mfu: float | None

    def __str__(self) -> str:
        rate, unit = self.samples_per_second, "samples"
        if self.tokens_per_second is not None:
            rate, unit = self.tokens_per_second, "tokens"
        text = f"{rate:,.0f} {unit}/s" if rate >= 100 else f"{rate:.3g} {unit}/s"
        return text if self.mfu is None else f"{text}, MFU {self.mfu:.1%}"


def throughput(task: Task, data: Data, trainer: Trainer, *, samples: int, seconds: float) -> Throughput | None:
    """The throughput of a training; None where nothing was trained.

    Args:
        task: of the run.
        data: of the run, open.
        trainer: of the run.
        samples: trained in this time, over all devices.
        seconds: of training alone.
    """
    if samples <= 0 or seconds <= 0:
        return None
    rate, flops = samples / seconds, None
    peak = device_peak(trainer.strategy.root_device, str(trainer.precision))
    if peak is not None:
        flops = training_flops(task, data)
    length = data.facts().get("seq_len")
    return Throughput(
        samples_per_second=rate,
        tokens_per_second=rate * length if isinstance(length, int) else None,
        model_flops_per_sample=flops,
        mfu=rate * flops / (peak * trainer.world_size) if flops and peak else None,
    )


def training_flops(task: Task, data: Data) -> float | None:
    """Model FLOPs per sample of a training, see `Throughput`, counted once per network; None where they cannot be.

    Args:
        task: of the run; its network need not be built.
        data: of the run, open.
    """
    settings = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}
    for name in _OF_NO_NETWORK:
        settings.pop(name, None)
    key = json.dumps([type(task).__qualname__, settings, data.facts()], sort_keys=True, default=repr)
    if key not in _counted:
        samples = min(2, data.train_samples)  # networks with BatchNorm refuse one
        try:
            forward = forward_flops(task, data.facts(), data.gather("train", np.arange(samples)))
            _counted[key] = (1 + BACKWARD) * forward / samples
        except Exception:  # it looks at numbers, or calls what fake tensors have not, each in its own way
            _counted[key] = None
    flops, config = _counted[key], task.optimizer_config
    passes = 1 + 1 / config.sampled_every if config is not None and config.sampled_every else 1
    return None if flops is None else flops * passes


def forward_flops(task: Task, facts: dict[str, Any], batch: Any) -> float:
    """FLOPs of products of matrices and convolutions in a forward pass, over all of a batch.

    Embedding tables are looked up, which takes none.

    Args:
        task: its network is not touched.
        facts: sizes of the data, of which the network is made.
        batch: as the data give it.

    Raises:
        ValueError: the network cannot be made without numbers.
    """
    network = network_on_meta(task, facts)
    if network is None:
        raise ValueError(f"The network of {task.pair_name} is made of numbers, so its FLOPs cannot be counted.")
    fake, counter = FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False)
    without_numbers, before = tree_map_only(Tensor, fake.from_tensor, batch), task.network
    try:
        with fake, torch.no_grad(), torch.random.fork_rng(devices=[]), sdpa_kernel(SDPBackend.MATH):
            task.network = network.to_empty(device="cpu")
            with counter:
                task.loss(task(without_numbers), without_numbers)
    finally:
        task.network = before
    return float(counter.get_total_flops())


def device_peak(device: torch.device, precision: str) -> float | None:
    """FLOP per second that a device does at most in a precision of 16 bits; None where it is not known.

    Args:
        device: of the training; of a GPU that is cut into slices, one of them.
        precision: the trainer's.
    """
    if device.type != "cuda" or not precision.startswith(("bf16", "16")):
        return None
    name = torch.cuda.get_device_name(device)
    peak = _by_name(PEAKS if precision.startswith("bf16") else PEAKS | FP16_PEAKS, name)
    cut = re.search(r"MIG (?:(\d)c\.)?(\d)g", name)  # a part of a slice's compute, or all of it
    return peak * int(cut[1] or cut[2]) / (_by_name(SLICES, name) or 7) if peak and cut else peak


def _by_name(table: dict[str, Any], name: str) -> Any:
    return next((value for part, value in table.items() if re.search(rf"\b{part}\b", name)), None)
