"""How fast a run was stands in its record and in what `fit` shows; its model FLOPs are those of a count by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_runs
import torch
from lightning.pytorch import Trainer
from small_runs import make_data, make_task, train

from suite.records import Store
from suite.training import throughput as module
from suite.training.progress import StepProgress
from suite.training.throughput import device_peak, forward_flops, training_flops

WIDTH, LENGTH, VOCABULARY = 16, 32, 256
BY_HAND = 2 * LENGTH * 12 * WIDTH**2 + 2 * 2 * LENGTH**2 * WIDTH + 2 * LENGTH * WIDTH * VOCABULARY
"""FLOPs of a forward pass per sample: a block's matrices, scores and their values, the head; none for the embedding."""


def test_flops_are_those_of_a_count_by_hand() -> None:
    task, facts = make_task(), {"vocab_size": VOCABULARY, "seq_len": LENGTH}
    before = torch.get_rng_state()
    assert forward_flops(task, facts, torch.zeros(3, LENGTH + 1, dtype=torch.int64)) == 3 * BY_HAND
    assert task.network is None and torch.equal(before, torch.get_rng_state())


def test_flops_are_counted_once_per_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(tmp_path)
    data.ensure_open()
    monkeypatch.setattr(module, "_counted", {})
    assert training_flops(make_task(), data) == 3 * BY_HAND
    monkeypatch.setattr(module, "forward_flops", None)  # another optimizer takes the same
    assert training_flops(make_task({"name": "adam", "lr": 1.0}), data) == 3 * BY_HAND
    assert training_flops(make_task(clip_norm=None), data) == 3 * BY_HAND


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16-mixed", 312e12),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "bf16-mixed", 312e12 * 3 / 7),
        ("NVIDIA H100 80GB HBM3", "16-mixed", 989e12),
        ("NVIDIA H100 PCIe", "bf16-mixed", 756e12),
        ("NVIDIA H200", "bf16-mixed", 989e12),
        ("NVIDIA H200 NVL", "bf16-mixed", 835e12),
        ("NVIDIA GB200", "bf16-mixed", 2500e12),
        ("NVIDIA A100-SXM4-40GB MIG 1c.3g.20gb", "bf16-mixed", 312e12 / 7),
        ("NVIDIA A30 MIG 1g.6gb", "bf16-mixed", 165e12 / 4),
        ("NVIDIA L4", "bf16-mixed", 121e12),
        ("NVIDIA L40S", "bf16-mixed", 362e12),
        ("NVIDIA A10G", "bf16-mixed", 70e12),
        ("NVIDIA GeForce RTX 3090 Ti", "bf16-mixed", 80e12),
        ("Tesla V100-SXM2-32GB", "16-mixed", 125e12),
        ("Tesla V100-SXM2-32GB", "bf16-mixed", None),
        ("NVIDIA A10", "bf16-mixed", 125e12),
        ("NVIDIA H100 80GB HBM3", "32-true", None),
        ("Somebody's accelerator", "bf16-mixed", None),
    ],
)
def test_a_device_has_the_peak_of_its_name(
    name: str, precision: str, peak: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert device_peak(torch.device("cuda"), precision) == peak
    assert device_peak(torch.device("cpu"), precision) is None


def test_the_record_says_how_fast_the_run_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record: dict[str, Any] = train(Store(tmp_path / "cpu"), make_data(tmp_path, budget_steps=5)).record
    speed, seconds = record["throughput"], record["seconds"]["train"]
    assert speed["samples_per_second"] == pytest.approx(5 * 4 / seconds)
    assert speed["tokens_per_second"] == pytest.approx(5 * 4 * LENGTH / seconds)
    assert speed["mfu"] is None  # what a CPU can do is not known
    monkeypatch.setattr(module, "device_peak", lambda device, precision: 1e9)
    record = train(Store(tmp_path / "known"), make_data(tmp_path, budget_steps=5)).record
    speed, seconds = record["throughput"], record["seconds"]["train"]
    assert speed["model_flops_per_sample"] == 3 * BY_HAND
    assert speed["mfu"] == pytest.approx(5 * 4 * 3 * BY_HAND / seconds / 1e9)


def test_fit_shows_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "device_peak", lambda device, precision: 1e9)
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(callbacks=[StepProgress()], **settings)
    monkeypatch.setattr(small_runs, "make_trainer", lambda: trainer)
    train(Store(tmp_path / "runs"), make_data(tmp_path, budget_steps=5))
    said = capsys.readouterr().err
    assert " tokens/s, MFU " in said and "passes" not in said


def test_fit_says_at_once_that_data_are_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(callbacks=[StepProgress()], **settings)
    monkeypatch.setattr(small_runs, "make_trainer", lambda: trainer)
    data = make_data(tmp_path, budget_steps=15, max_tokens=1400, val_share=0.1)  # 39 samples, so 9 steps
    train(Store(tmp_path / "runs"), data)
    assert "fit: the budget passes 1.67 times over the 39 training samples; take more data" in capsys.readouterr().err
