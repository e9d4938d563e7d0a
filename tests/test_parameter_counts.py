"""Parameters of every network of the papers, counted at the paper's size without allocating them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from models.gated_delta import GDN
from models.gcnn import GCNN
from models.gpt import GPT

LARGE = {"num_layers": 24, "num_heads": 12, "width": 768, "max_len": 1024}


@pytest.mark.parametrize(
    ("make", "millions"),
    [
        pytest.param(lambda: GPT(vocab_size=50_257), "49.2", id="fineweb/gpt"),
        pytest.param(lambda: GPT(vocab_size=50_257, **LARGE), "247.1", id="fineweb/gpt_large"),
        pytest.param(lambda: GCNN(vocab_size=50_257), "53.64", id="fineweb/gcnn"),
        pytest.param(lambda: GPT(vocab_size=5, max_len=1024), "10.63", id="hg38/gpt"),
        pytest.param(lambda: GPT(vocab_size=4**4 + 1, max_len=1024), "10.82", id="hg38/gpt 4-mer"),
        pytest.param(lambda: GPT(vocab_size=4**6 + 1, max_len=1024), "13.77", id="hg38/gpt 6-mer"),
    ],
)
def test_every_network_has_the_papers_parameters(make: Callable[[], nn.Module], millions: str) -> None:
    digits = len(millions.partition(".")[2])
    assert f"{count(make) / 1e6:.{digits}f}" == millions


@pytest.mark.parametrize(("vocab_size", "total"), [(5, 12_451_464), (50_257, 51_045_000)])
def test_gated_delta_net_has_the_parameters_of_its_definition(vocab_size: int, total: int) -> None:
    # The papers print no count. By hand, for width C = 384, 6 heads, key dim 48, value dim 96.
    width, heads, keys, values = 384, 6, 6 * 48, 6 * 96
    projections = width * (2 * keys + 2 * values + 2 * heads) + values * width
    convolutions = 4 * (2 * keys + values)
    decay_and_norm = 2 * heads + 96
    block = projections + convolutions + decay_and_norm + 8 * width**2 + 2 * width
    assert 6 * block + 2 * vocab_size * width + 2 * width == total
    assert count(lambda: GDN(vocab_size=vocab_size)) == total


def count(make: Callable[[], nn.Module]) -> int:
    with torch.device("meta"):
        network = make()
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
