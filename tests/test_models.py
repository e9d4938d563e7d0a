"""The networks: sizes of the papers, first loss, causality."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from models.gcnn import GCNN, GCNNSettings
from models.gpt import GPT, GPTSettings
from models.rotary import Rotary
from models.sinusoidal import sinusoidal_positions
from tasks.fineweb.gcnn import FineWebGCNN

SMALL = GPTSettings(num_layers=2, num_heads=2, width=32)


def test_first_loss_is_exactly_ln_v() -> None:
    network = GPT(SMALL, vocab_size=300, max_len=16)
    tokens = torch.randint(0, 300, (4, 17))
    loss = F.cross_entropy(network(tokens[:, :-1]).flatten(0, 1).double(), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(300), abs=1e-12)


def test_gpt_is_causal() -> None:
    torch.manual_seed(0)
    network = GPT(SMALL, vocab_size=50, max_len=12)
    torch.nn.init.normal_(network.head.weight)
    tokens = torch.randint(0, 50, (1, 12))
    changed = tokens.clone()
    changed[0, 7] = (changed[0, 7] + 1) % 50
    before, after = network(tokens), network(changed)
    assert torch.equal(before[0, :7], after[0, :7])
    assert not torch.allclose(before[0, 7:], after[0, 7:])


def test_post_norm_normalises_the_sums_and_raw_embeddings_have_no_norm() -> None:
    torch.manual_seed(0)
    sizes = {"num_layers": 2, "num_heads": 2, "width": 32}
    usual, post, raw = (
        GPT(GPTSettings(**sizes, **changes), vocab_size=50, max_len=12)
        for changes in ({}, {"post_norm": True}, {"raw_embeddings": True})
    )
    count = [sum(p.numel() for p in network.parameters()) for network in (usual, post, raw)]
    assert count == [count[0], count[0] - 32, count[0] - 32]  # neither the last norm nor EmbedNorm
    tokens = torch.randint(0, 50, (3, 12))
    x = post.embed_norm(post.embed(tokens))
    for block in post.blocks:
        y = x + block.mixer(x)
        y = y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        x = y + block.mlp(y)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.nn.init.normal_(post.head.weight)
    torch.testing.assert_close(post(tokens), x @ post.head.weight.T)
    torch.testing.assert_close(x.square().mean(-1), torch.ones(3, 12))
    seen = []
    raw.blocks[0].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
    raw(tokens)
    assert torch.equal(seen[0], raw.embed(tokens))


def test_gpt_refuses_a_width_that_does_not_divide() -> None:
    with pytest.raises(ValueError, match="divisible by 2 x num_heads"):
        GPT(GPTSettings(num_heads=4, width=36), vocab_size=5, max_len=4)


def test_rotary_makes_products_depend_on_distance_alone() -> None:
    rotary = Rotary(8, 32)
    query, key = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    q = rotary.double()(query.expand(1, 1, 32, 8))[0, 0]
    k = rotary(key.expand(1, 1, 32, 8))[0, 0]
    products = q @ k.T
    for distance in range(-5, 6):
        diagonal = torch.diagonal(products, offset=distance)
        assert torch.allclose(diagonal, diagonal[:1], atol=1e-5)
    assert not torch.allclose(products[0, 0], products[0, 5], atol=1e-3)


def test_rotary_turns_adjacent_pairs_by_hand() -> None:
    x = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]])[None, None]
    y = Rotary(4, 2, theta=100.0)(x)[0, 0, 1]
    expected = [math.cos(1), math.sin(1), -math.sin(0.1), math.cos(0.1)]
    assert torch.allclose(y, torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 0.02, 0.0])
def test_gcnn_adds_positions_of_the_asked_amplitude(scale: float) -> None:
    network = GCNN(GCNNSettings(num_layers=1, width=16, position_scale=scale), vocab_size=11, max_len=8)
    tokens_BT = torch.arange(8)[None]
    positions_TC = network.embedded(tokens_BT)[0] - network.embed(tokens_BT)[0]
    torch.testing.assert_close(positions_TC, scale * sinusoidal_positions(8, 16), rtol=0, atol=1e-7)


@pytest.mark.parametrize("scale", [-1.0, math.inf, math.nan])
def test_gcnn_refuses_an_impossible_amplitude(scale: float) -> None:
    with pytest.raises(ValueError, match=rf"model\.position_scale must be (at least 0|a finite number), got {scale}"):
        FineWebGCNN(position_scale=scale)


def test_the_ends_of_a_decoder_have_the_scales_that_are_asked_for() -> None:
    sizes = {"num_layers": 2, "width": 64, "embedding_std": 0.5, "head_std": 0.1}
    torch.manual_seed(0)
    gpt = GPT(GPTSettings(num_heads=2, position_scale=2.0, **sizes), vocab_size=500, max_len=12)
    gcnn = GCNN(GCNNSettings(position_scale=0.0, raw_embeddings=True, **sizes), vocab_size=500, max_len=12)
    for network in (gpt, gcnn):
        assert abs(network.embed.weight.std() - 0.5) < 0.01 and abs(network.head.weight.std() - 0.1) < 0.002
    tokens = torch.randint(0, 500, (3, 8))
    added = gpt.embedded(tokens) - gpt.embed(tokens)
    torch.testing.assert_close(added, 2 * sinusoidal_positions(12, 64)[:8].expand(3, -1, -1), atol=1e-6, rtol=0)
    assert torch.equal(gcnn.embed_norm(gcnn.embedded(tokens)), gcnn.embed(tokens))
    usual = GPT(GPTSettings(num_layers=2, num_heads=2, width=64), vocab_size=500, max_len=12)
    assert not usual.head.weight.any() and abs(usual.embed.weight.std() - 0.02) < 0.0005
