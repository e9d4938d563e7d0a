"""The transformer of papers 2 and 3: its layers by hand, its start, its packs, and that it learns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import make_data, make_trainer, run_task, run_tasks
from torch.nn import functional as F

from models.rotary import Rotary
from models.transformer import SwiGLU, Transformer, TransformerSettings
from suite.optim import parameter_roles
from suite.records import Store
from tasks.fineweb.transformer import FineWebTransformer
from tasks.slimpajama.data import SlimPajama

SMALL = {"num_layers": 2, "num_heads": 2, "width": 32}


def small(**settings: Any) -> Transformer:
    torch.manual_seed(0)
    return Transformer(TransformerSettings(**{**SMALL, **settings}), vocab_size=50, max_len=12)


@pytest.mark.parametrize(("width", "hidden"), [(768, 2048), (1024, 2816), (2048, 5632), (32, 256)])
def test_swiglu_is_its_formula(width: int, hidden: int) -> None:
    layer = SwiGLU(width)
    assert layer.fc1.weight.shape == (2 * hidden, width) and layer.fc2.weight.shape == (width, hidden)
    x = torch.randn(3, width)
    a, b = x @ layer.fc1.weight[:hidden].T, x @ layer.fc1.weight[hidden:].T
    torch.testing.assert_close(layer(x), (a * torch.sigmoid(a) * b) @ layer.fc2.weight.T, rtol=1e-4, atol=1e-5)


def test_rotary_leaves_a_share_of_the_features_alone() -> None:
    x = torch.randn(1, 1, 6, 8)
    y = Rotary(8, 6, theta=500_000.0, rotated=2)(x)
    assert torch.equal(y[..., 2:], x[..., 2:])
    for t in range(6):
        turn = torch.tensor([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]])
        torch.testing.assert_close(y[0, 0, t, :2], turn @ x[0, 0, t, :2])
    torch.testing.assert_close(Rotary(8, 6, rotated=8)(x), Rotary(8, 6)(x), rtol=0, atol=0)


def test_weights_start_as_in_the_paper() -> None:
    settings = TransformerSettings(num_layers=8, num_heads=4, width=256)
    network = Transformer(settings, vocab_size=2000, max_len=8)
    into_stream = {f"blocks.{i}.{name}.weight" for i in range(8) for name in ("mixer.out", "mlp.fc2")}
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        else:
            expected = 0.02 / 4 if name in into_stream else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.03), name
            assert abs(parameter.mean().item()) < expected / 30
    assert not [name for name in network.state_dict() if "bias" in name or "embed_norm" in name or "q_norm" in name]
    roles = parameter_roles(network)
    assert roles["head.weight"] == "head" and roles["embed.weight"] == "embed"
    assert set(roles.values()) == {"head", "embed", "norm", "hidden"}


def test_first_loss_is_near_ln_v() -> None:
    network, tokens = small(vocab_multiple=1), torch.randint(0, 50, (8, 13))
    loss = F.cross_entropy(network(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(50), abs=0.05)


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_positions_see_the_past_alone_and_in_order(share: float) -> None:
    network = small(num_layers=1, rotary_share=share).double()
    torch.nn.init.normal_(network.head.weight)
    for block in network.blocks:
        torch.nn.init.normal_(block.mixer.qkv.weight, std=0.3)
    tokens = torch.randint(0, 50, (1, 12))
    changed, swapped = tokens.clone(), tokens.clone()
    changed[0, 7] = (changed[0, 7] + 1) % 50
    swapped[0, :2] = torch.tensor([3, 4])
    tokens[0, :2] = torch.tensor([4, 3])
    changed[0, :2] = tokens[0, :2]
    before = network(tokens)
    assert torch.equal(before[0, :7], network(changed)[0, :7])
    assert not torch.allclose(before[0, 7:], network(changed)[0, 7:])
    # Without positions, the order of two earlier tokens could not reach the last through a single layer of attention.
    assert not torch.allclose(before[0, -1], network(swapped)[0, -1], atol=1e-6)


def test_rows_of_the_vocabulary_come_in_multiples() -> None:
    assert small(vocab_multiple=1).head.out_features == 50
    network = small()
    assert network.head.out_features == network.embed.num_embeddings == 56


@pytest.mark.parametrize("settings", [{"width": 33}, {"rotary_share": 0.1}])
def test_sizes_that_do_not_divide_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^width must be divisible by num_heads and rotary_share"):
        small(**settings)


@pytest.mark.parametrize("share", [0.0, 2.0])
def test_a_share_of_the_features_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match=rf"^model\.rotary_share must be above 0 and at most 1, got {share}\.$"):
        FineWebTransformer(rotary_share=share)


def make_task(optimizer: dict[str, Any]) -> FineWebTransformer:
    return FineWebTransformer(optimizer=optimizer, num_layers=1, num_heads=2, width=32, name="fineweb/transformer_160m")


def config_of(optimizer: dict[str, Any]) -> dict[str, Any]:
    return {"seed_everything": 42, "model": {"init_args": {"optimizer": optimizer}}, "data": {}, "trainer": {}}


def test_a_pack_is_its_single_twins(tmp_path: Path) -> None:
    specs = [{"name": "adam", "lr": lr, "beta": 0.95} for lr in (1e-3, 1e-2)]
    data = make_data(tmp_path, budget_steps=20)
    outcomes = run_tasks(
        [make_task(s) for s in specs], data, make_trainer(),
        configs=[config_of(s) for s in specs], store=Store(tmp_path / "pack"),
    )  # fmt: skip
    for spec, outcome in zip(specs, outcomes, strict=True):
        twin = run_task(
            make_task(spec), make_data(tmp_path, budget_steps=20), make_trainer(),
            config=config_of(spec), store=Store(tmp_path / "single"),
        ).record  # fmt: skip
        assert outcome.record["run_id"] == twin["run_id"]
        assert outcome.record["final"]["ema"] == pytest.approx(twin["final"]["ema"], rel=1e-4)
        assert outcome.record["final"]["val"] == pytest.approx(twin["final"]["val"], rel=1e-3)


@pytest.mark.parametrize(
    "optimizer",
    [{"name": "sgd", "lr": 3.0, "momentum": 0.9, "damped": True}, {"name": "adam", "lr": 1e-2, "beta": 0.95}],
    ids=["sgd", "adam"],
)
def test_it_learns_more_than_the_frequencies_of_bytes(tmp_path: Path, optimizer: dict[str, Any]) -> None:
    data = make_data(tmp_path, budget_steps=200, batch_size=16, eval_samples=64)
    record = run_task(
        make_task(optimizer), data, make_trainer(), config=config_of(optimizer),
        store=Store(tmp_path / "runs"),
    ).record  # fmt: skip
    counts = torch.bincount(data.gather("train", torch.arange(data.train_samples).numpy()).flatten(), minlength=256)
    shares = counts / counts.sum()
    unigram_entropy = -(shares * shares.clamp(min=1e-12).log()).sum().item()
    assert record["final"]["val"] < unigram_entropy - 0.3


def test_slimpajama_keeps_100_million_tokens_for_validation() -> None:
    corpus = SlimPajama(batch_size=256, source="paper", tokenizer="gpt-neox", seq_len=2048, val_share=0.025).corpus()
    assert corpus.source.identity()["dataset"] == "cerebras/SlimPajama-627B"
    assert corpus.max_tokens is not None and round(corpus.max_tokens * corpus.val_share) == 100_000_000


def test_slimpajama_reads_local_text_with_the_papers_tokenizer(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 200)
    data = SlimPajama(
        batch_size=4, source=str(tmp_path / "text.txt"), seq_len=32, val_share=0.1, data_dir=str(tmp_path / "data"),
        tokenizer=f"gpt-neox:{shared_data}/tokenizers/gpt-neox-20b/tokenizer.json", num_workers=1,
    )  # fmt: skip
    data.ensure_open()
    assert data.facts() == {"vocab_size": 50_277, "seq_len": 32}
    with torch.device("meta"):
        assert FineWebTransformer(num_layers=1).make_network(data.facts()).head.out_features == 50_280
