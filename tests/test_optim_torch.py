"""The rules against torch's own optimizers on a small GPT."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.optim import build


class SmallGPT(nn.Module):
    """A decoder with one block: enough for every kind of parameter.

    Its keys have no bias: softmax does not see one, so that rounding alone would move it, by other amounts every time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(13, 16)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, bias=False, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 13, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], dtype=x.dtype)
        x = x + self.attention(self.norm(x), self.norm(x), self.norm(x), attn_mask=mask, need_weights=False)[0]
        return self.head(x + self.mlp(x))


def gpt() -> SmallGPT:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return SmallGPT().double()


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int, *, start: int = 0) -> Tensor:
    for step in range(start, start + steps):
        tokens = torch.randint(13, (4, 9), generator=torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(network(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (1 - step / 400)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in network.parameters()])


PAIRS: dict[str, tuple[dict[str, Any], Callable[[Any], torch.optim.Optimizer]]] = {
    "sgd": ({"name": "sgd", "lr": 0.3}, lambda p: torch.optim.SGD(p, 0.3)),
    "heavy ball": ({"name": "sgd", "lr": 0.1, "momentum": 0.9}, lambda p: torch.optim.SGD(p, 0.1, 0.9)),
    "damped": (
        {"name": "sgd", "lr": 0.5, "momentum": 0.9, "damped": True},
        lambda p: torch.optim.SGD(p, 0.5, 0.9, dampening=0.9),
    ),
    "nesterov": (
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
        lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True),
    ),
    "sgd coupled": (
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "decay": "coupled"},
        lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.01),
    ),
    "adam tied": (
        {"name": "adam", "lr": 3e-3, "beta": 0.95},
        lambda p: torch.optim.Adam(p, 3e-3, (0.95, 0.95)),
    ),
    "adam": (
        {"name": "adam", "lr": 3e-3, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6},
        lambda p: torch.optim.Adam(p, 3e-3, (0.8, 0.99), 1e-6),
    ),
    "adam coupled": (
        {"name": "adam", "lr": 3e-3, "weight_decay": 0.01, "decay": "coupled"},
        lambda p: torch.optim.Adam(p, 3e-3, weight_decay=0.01),
    ),
    "adamw": (
        {"name": "adamw", "lr": 3e-3, "weight_decay": 0.1},
        lambda p: torch.optim.AdamW(p, 3e-3, weight_decay=0.1),
    ),
    "rmsprop": (
        {"name": "rmsprop", "lr": 3e-3, "beta2": 0.95},
        lambda p: torch.optim.Adam(p, 3e-3, (0.0, 0.95)),
    ),
    "rmsprop uncorrected": (
        {"name": "rmsprop", "lr": 3e-3, "beta2": 0.95, "bias_correction": False},
        lambda p: torch.optim.RMSprop(p, 3e-3, 0.95),
    ),
}


@functools.cache
def torchs_weights(pair: str) -> Tensor:
    network = gpt()
    optimizer = PAIRS[pair][1](network.parameters())
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return train(network, optimizer, 200)


@pytest.mark.parametrize(
    ("pair", "implementation"),
    [*((pair, "rule") for pair in PAIRS), ("sgd coupled", "auto"), ("adamw", "auto"), ("rmsprop uncorrected", "auto")],
)
def test_rule_equals_torch_over_200_steps_with_a_resume(pair: str, implementation: Any) -> None:
    spec, _ = PAIRS[pair]
    expected = torchs_weights(pair)
    network = gpt()
    first = build(spec, network, implementation=implementation)
    train(network, first, 120)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = build(spec, network, implementation=implementation)
    second.load_state_dict(torch.load(file, weights_only=False))
    found = train(network, second, 80, start=120)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("scale", ["original", "match_rms_adamw"])
def test_muon_equals_torch(scale: str) -> None:
    results = []
    for implementation in ("rule", "torch"):
        network = gpt()
        spec = {
            "name": "muon",
            "lr": 0.002,
            "scale": scale,
            "adam": {"lr": 1e-3},
            "weight_decay": 0.1,
            "decay": "decoupled",
        }
        optimizer = build(spec, network, implementation=implementation)
        results.append(train(network, optimizer, 200))
    reference = gpt()
    hidden = [p for n, p in reference.named_parameters() if p.ndim == 2 and "embedding" not in n and "head" not in n]
    rest = [p for p in reference.parameters() if not any(p is h for h in hidden)]
    muon = torch.optim.Muon(hidden, lr=0.002, weight_decay=0.1, adjust_lr_fn=scale)
    adam = torch.optim.Adam(rest, lr=1e-3)
    for step in range(200):
        tokens = torch.randint(13, (4, 9), generator=torch.Generator().manual_seed(step))
        reference.zero_grad()
        nn.functional.cross_entropy(reference(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
        for part, lr in ((muon, 0.002), (adam, 1e-3)):
            part.param_groups[0]["lr"] = lr * (1 - step / 400)
            part.step()
    expected = torch.cat([p.detach().flatten() for p in reference.parameters()])
    torch.testing.assert_close(results[1], expected, rtol=1e-10, atol=1e-11)
    # Both round to bfloat16 inside; an ulp there is 0.4% of a step.
    torch.testing.assert_close(results[0], expected, rtol=1e-3, atol=1e-3)
