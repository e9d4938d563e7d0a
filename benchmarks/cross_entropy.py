"""Peak memory and time of the loss over a large vocabulary: plain, by torch's `linear_cross_entropy`, by our chunks.

    python benchmarks/cross_entropy.py [--batch 16] [--length 1024] [--rounds 3]

Prints, per way, the most memory that loss and gradients of one micro-batch took beyond their inputs, each in a process
of its own (resident memory on a CPU, torch's allocator on a GPU), and the time as a ratio to the plain loss, in turn in
one process. Then what one training step of the 49M GPT takes at 256 x 1024 tokens in bf16: measured where there is a
GPU, else counted over tensors without content. Target: at most 40 GB with chunks.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models import attention, cross_entropy
from models.cross_entropy import summed_cross_entropy
from models.gpt import GPT, GPTSettings
from models.head import chunk_tokens

WIDTH, VOCABULARY = 384, 50_257
PAPER_BATCH, PAPER_LENGTH = 256, 1024
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GB = 1e9

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain(features: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(features, weight).float(), targets, reduction="sum")


def chunked(features: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    chunk = chunk_tokens("auto", PAPER_BATCH * PAPER_LENGTH, VOCABULARY)
    assert chunk is not None
    return summed_cross_entropy(features, weight, targets, chunk_tokens=chunk)


def ours(features: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    available = cross_entropy.torch_applies
    cross_entropy.torch_applies = lambda features, weight: False
    try:
        return chunked(features, weight, targets)
    finally:
        cross_entropy.torch_applies = available


WAYS: dict[str, Loss] = {"plain": plain, "torch's": chunked, "ours": ours}


def problem(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    features = torch.randn(tokens, WIDTH, device=DEVICE, requires_grad=True)
    weight = (0.02 * torch.randn(VOCABULARY, WIDTH, device=DEVICE)).requires_grad_()
    return features, weight, torch.randint(0, VOCABULARY, (tokens,), device=DEVICE)


def resident() -> float:
    """Resident memory now, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak(way: str, tokens: int) -> float:
    """Most memory beyond the inputs, in bytes; of this process, which must not have computed anything large before."""
    features, weight, targets = problem(tokens)
    small = problem(8)
    torch.autograd.grad(WAYS[way](*small), small[:2])  # libraries are loaded
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = resident()
    torch.autograd.grad(WAYS[way](features, weight, targets), (features, weight))
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated() - before
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def seconds(way: str, tokens: int) -> float:
    features, weight, targets = problem(tokens)
    started = time.perf_counter()
    loss = WAYS[way](features, weight, targets)
    torch.autograd.grad(loss, (features, weight))
    loss.item()
    return time.perf_counter() - started


def step_of_the_paper(loss_chunk: str | None) -> float:
    """Peak memory of a training step of the 49M GPT on 256 x 1024 tokens, bf16 autocast, Adam, in bytes; on a GPU."""
    network = GPT(GPTSettings(), vocab_size=VOCABULARY, max_len=PAPER_LENGTH).to(DEVICE)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    tokens, targets = torch.randint(0, VOCABULARY, (2, PAPER_BATCH, PAPER_LENGTH), device=DEVICE).unbind(0)
    torch.cuda.reset_peak_memory_stats()
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        loss = total_of(network(tokens, targets, loss_chunk), targets)
    loss.backward()
    optimizer.step()
    return torch.cuda.max_memory_allocated()


class FlashKernel(torch.autograd.Function):
    """Stands in for a fused attention kernel: keeps what such a kernel keeps, computes nothing."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        y = torch.empty_like(v)
        ctx.save_for_backward(q, k, v, y, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return y


def forward_without_a_gpu(loss_chunk: str | None) -> float:
    """Peak memory of the same step up to the end of its forward pass, from the sizes of tensors that hold nothing."""
    fused, available = attention._fused, cross_entropy.torch_applies
    attention._fused = lambda q, k, v, causal, backend: FlashKernel.apply(q, k, v)
    cross_entropy.torch_applies = lambda features, weight: False
    try:
        with FakeTensorMode():
            with torch.device("cuda"):
                network = GPT(GPTSettings(), vocab_size=VOCABULARY, max_len=PAPER_LENGTH)
                tokens, targets = torch.zeros(2, PAPER_BATCH, PAPER_LENGTH, dtype=torch.long).unbind(0)
            tracker = MemTracker()
            tracker.track_external(network)
            # `torch.autocast` refuses a device that is not there; its rules apply all the same.
            torch.set_autocast_enabled("cuda", True)
            torch.set_autocast_dtype("cuda", torch.bfloat16)
            with tracker:
                total_of(network(tokens, targets, loss_chunk), targets)
            (sizes,) = tracker.get_tracker_snapshot("peak").values()
    finally:
        torch.set_autocast_enabled("cuda", False)
        attention._fused, cross_entropy.torch_applies = fused, available
    states = 12 * sum(p.numel() for p in network.parameters())  # gradients and the two moments of Adam
    return sizes["Total"] + states


def total_of(outputs: Tensor, targets: Tensor) -> Tensor:
    """The summed loss, whichever the network gave."""
    if outputs.ndim == 0:
        return outputs
    return F.cross_entropy(outputs.flatten(0, 1).float(), targets.flatten(), reduction="sum")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    tokens = arguments.batch * arguments.length
    if arguments.peak_of:
        print(peak(arguments.peak_of, tokens))
        return
    ways = [way for way in WAYS if way != "torch's" or cross_entropy.torch_applies(*problem(8)[:2])]
    print(f"{arguments.batch} x {arguments.length} tokens, {VOCABULARY} words, width {WIDTH}, float32, {DEVICE}")
    peaks = {}
    for way in ways:
        command = [sys.executable, *sys.argv, "--peak-of", way]
        peaks[way] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"  {way}: peak {peaks[way] / GB:.2f} GB, {peaks['plain'] / peaks[way]:.1f} times less than plain")
    fewer = max(1, tokens // 8)  # the ratio is that of all
    rounds = [{way: seconds(way, fewer) for way in ways} for _ in range(arguments.rounds + 1)][1:]
    for way in ways[1:]:
        ratios = sorted(r[way] / r["plain"] for r in rounds)
        print(f"  {way}: time {statistics.median(ratios):.2f} of plain's ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    for name, loss_chunk in {"plain": None, "chunks": "auto"}.items():
        if DEVICE == "cuda" and loss_chunk is None:
            continue  # more than any GPU has
        size = (step_of_the_paper if DEVICE == "cuda" else forward_without_a_gpu)(loss_chunk)
        how = "measured" if DEVICE == "cuda" else "counted up to the end of the forward pass"
        print(f"step of the 49M GPT at 256 x 1024 tokens, bf16, {name}: {size / GB:.1f} GB ({how})")


if __name__ == "__main__":
    main()
