# An optimizer of one's own is compared with Adam and looked at in a figure.
#
# README.md:
#   `--optimizer my_optimizer.Mine --optimizer.lr 0.1` trains with it, and in a sweep
#     mine: {name: my_optimizer.Mine, lr: {decades: [-2, 0], per_decade: 2}, momentum: [0.9, 0.99]}

cat > my_optimizer.py <<'PYTHON'
import dataclasses

import torch

from suite.optim import OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine(OptimizerConfig):
    """Momentum, then a bounded step: -lr * tanh(m / scale)."""

    momentum: float = 0.9
    scale: float = 1.0

    buffers = ("m",)  # kept from step to step, zeros at first

    def rule(self, grad, param, state, hyper, step):
        m = hyper["momentum"] * state["m"] + (1 - hyper["momentum"]) * grad
        return -hyper["lr"] * torch.tanh(m / hyper["scale"]), {"m": m}
PYTHON

cat > mine.yaml <<'YAML'
question: "Does a bounded step beat Adam?"
task: toy/zipf_lm
overrides: {data.budget_steps: 60, data.eval_samples: 8}
batch_size: [4]
seeds: [1, 2]
optimizers:
  mine: {name: my_optimizer.Mine, label: "Bounded", lr: {decades: [-2, 0], per_decade: 1}, momentum: [0.9]}
  adam: {lr: {decades: [-4, -2], per_decade: 1}, beta: [0.9]}
YAML

python -m suite fit --task toy/zipf_lm --data.batch_size 4 --data.budget_steps 60 --data.eval_samples 8 \
    --optimizer my_optimizer.Mine --optimizer.lr 0.1
python -m suite sweep mine.yaml
python -m suite gap mine.yaml | tee gap.txt
grep -q "Bounded" gap.txt

python - <<'PYTHON'
from suite.api import load

sweep = load("runs").sweep("mine")
assert set(sweep.runs["optimizer"]) == {"mine", "adam"} and len(sweep.runs) == 2 * 3 * 2
assert (sweep.runs["status"] == "finished").all()
# The run that fit trained is of the same setting, seed aside: no two records say the same run.
assert len(load("runs").runs) == len(sweep.runs) + 1
assert "Bounded" in str(sweep.figure("tuned").axes[0].get_legend_handles_labels()) + str(
    [text.get_text() for axes in sweep.figure("tuned").axes for text in axes.texts]
)
PYTHON
