# A run and a sweep are logged for TensorBoard, and the log is read back.
#
# docs/watching.md:
#   python -m suite fit --task fineweb/gpt ... --logger tensorboard
#   tensorboard --logdir runs/logs/tensorboard

python -m suite fit --task toy/quadratic --data.batch_size 2 --data.budget_steps 50 --data.eval_samples 4 \
    --data.eval_every_steps 20 --optimizer adam --optimizer.lr 0.01 --logger tensorboard,csv | tee fit.txt

python - <<'PYTHON'
from pathlib import Path

import pandas as pd
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from suite.api import load

(folder,) = Path("runs/logs/tensorboard").iterdir()
events = EventAccumulator(str(folder)).Reload()
(run,) = load("runs").runs["run_id"]
curves = load("runs").curves(run).set_index("step")
losses = {event.step: event.value for event in events.Scalars("train/loss")}
assert list(losses) == list(range(50)) == list(curves.index)
assert abs(pd.Series(losses) / curves["train_loss"] - 1).max() < 1e-6
assert [event.step for event in events.Scalars("val/loss")] == [19, 39, 49]

table = pd.read_csv(f"runs/logs/csv/{folder.name}/metrics.csv", index_col="step")
assert (table["train/loss"] == curves["train_loss"]).all() and table["val/loss"].notna().sum() == 3
PYTHON
