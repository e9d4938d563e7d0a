"""One optimizer step of `fit` against a hand-written PyTorch loop with the same network, batches and optimizer.

    python benchmarks/fit_step.py [small] [large]

Prints, per size, the median time per step of both and of the ratio, round by round in one process, the two in turn.
Targets: at most 1.15 for a 0.1M network at batch size 1, at most 1.03 for the 49M one at batch size 8.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.gpt import GPT, GPTSettings
from suite.records import Store
from suite.training import open_run, run
from tasks.fineweb.data import FineWeb
from tasks.fineweb.gpt import FineWebGPT

SIZES = {
    "small": {"net": {"num_layers": 2, "num_heads": 2, "width": 64}, "vocab": "byte", "seq": 64, "batch": 1},
    "large": {"net": {"num_layers": 6, "num_heads": 6, "width": 384}, "vocab": None, "seq": 256, "batch": 8},
}
STEPS = {"small": 600, "large": 3}
ROUNDS = {"small": 7, "large": 3}
PAPER_VOCABULARY = 50_257


class WideVocabulary(FineWeb):
    """Byte tokens, with the vocabulary size of GPT-2: the cost of a step, without its tokenizer."""

    def facts(self) -> dict:
        """The paper's vocabulary size."""
        return {**super().facts(), "vocab_size": PAPER_VOCABULARY}


def by_hand(size: dict, data: FineWeb, steps: int) -> float:
    """Seconds per step of the plain loop."""
    facts = data.facts()
    torch.manual_seed(0)
    network = GPT(GPTSettings(**size["net"]), vocab_size=facts["vocab_size"], max_len=size["seq"])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = np.random.default_rng(0).permutation(data.train_samples)
    begun = time.perf_counter()
    losses = []
    for step in range(steps):
        batch = data.gather("train", order[step * size["batch"] : (step + 1) * size["batch"]])
        logits = network(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.detach())
    torch.stack(losses).tolist()
    return (time.perf_counter() - begun) / steps


def by_fit(size: dict, data: FineWeb, steps: int) -> float:
    """Seconds per step of the suite's training, from the first block to the end of the last."""
    task = FineWebGPT(optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9}, **size["net"])
    data.budget_steps = steps
    trainer = Trainer(
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
    )
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(open_run(task, data, {"seed_everything": 0}), trainer, Store(folder))
    return outcome.record["seconds"]["train"] / steps


def main() -> None:
    """Run the sizes named on the command line, or both."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or list(SIZES):
            size = SIZES[name]
            kind = FineWeb if size["vocab"] else WideVocabulary
            make = lambda kind=kind, size=size: kind(  # noqa: E731
                batch_size=size["batch"],
                source="sample",
                tokenizer="byte",
                seq_len=size["seq"],
                data_dir=folder,
                eval_samples=1,
            )
            rounds = []
            for _ in range(ROUNDS[name] + 1):
                data = make()
                data.ensure_open()
                rounds.append((by_hand(size, data, STEPS[name]), by_fit(size, data, STEPS[name])))
            rounds = rounds[1:]
            hand, fit = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratios = sorted(b / a for a, b in rounds)
            print(
                f"{name}: by hand {1000 * hand:.2f} ms/step, fit {1000 * fit:.2f} ms/step, ratio median "
                f"{statistics.median(ratios):.3f} (from {ratios[0]:.3f} to {ratios[-1]:.3f}, {len(ratios)} rounds)"
            )


if __name__ == "__main__":
    main()
