"""Another project's training loop with a hybrid optimizer: torch and `suite.optim` are all it needs."""

import torch

from suite.optim import build

network = torch.nn.Sequential(torch.nn.Embedding(50, 32), torch.nn.LayerNorm(32), torch.nn.Linear(32, 50))
spec = {
    "name": "hybrid",
    "adam": {"on": ["head", "norm"], "lr": 1e-2, "beta": 0.95},
    "sgd": {"lr": 0.3, "momentum": 0.9},
}
optimizer = build(spec, network)
for _ in range(100):
    tokens = torch.randint(50, (64,))
    loss = torch.nn.functional.cross_entropy(network(tokens), (tokens * 7) % 50)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, "hybrid.pt")
restored = build(spec, network)
restored.load_state_dict(torch.load("hybrid.pt")["optimizer"])
print(f"loss {loss.item():.4f}, {len(restored.state)} parameters restored")
