# The optimizer factory alone, in a training loop that knows nothing of the suite.
#
# docs/optimizers.md:
#   optimizer = build(SGD(lr=0.3, momentum=0.95), network)  # a config
#   optimizer = SGD.optimizer(network.parameters(), lr=0.3)  # as torch.optim.SGD is called

cat > loop.py <<'PYTHON'
import torch

from suite.optim import SGD, build, clip_global_norm

torch.manual_seed(0)
inputs = torch.randn(256, 8)
targets = inputs.sum(1, keepdim=True)
network = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))


def train(optimizer, steps=200):
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        batch = torch.arange(step * 16, step * 16 + 16) % 256
        loss = torch.nn.functional.mse_loss(network(inputs[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        clip_global_norm(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return loss.item()


optimizer = build(SGD(lr=0.03, momentum=0.95), network)  # a config
assert isinstance(optimizer, torch.optim.Optimizer)
first = train(optimizer)
torch.save(optimizer.state_dict(), "optimizer.pt")
optimizer.load_state_dict(torch.load("optimizer.pt"))
optimizer = SGD.optimizer(network.parameters(), lr=0.01)  # as torch.optim.SGD is called
second = train(optimizer)
hybrid = build({"name": "hybrid", "adam": {"on": ["head"], "lr": 1e-3, "beta": 0.9}, "sgd": {"lr": 0.01}}, network)
third = train(hybrid)
print(f"{first:.4f} {second:.4f} {third:.4f}")
assert max(first, second, third) < 0.3
PYTHON
python loop.py
python -c "import sys, suite.optim, torch; assert not {'lightning', 'timm', 'pandas'} & set(sys.modules)"
