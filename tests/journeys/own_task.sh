# A task of one's own, two files and a recipe outside the checkout, is trained, swept and asked what it predicts.
#
# docs/own_task.md:
#   python -m suite tasks table/mlp
#   python -m suite fit --task table/mlp --optimizer adam --optimizer.lr 1e-2
#   python -m suite sweep sweep.yaml
# docs/stores.md:
#   python -m suite predict 3f2a --out p.parquet             # what it predicts there: sample, prediction, target

cp -r "$CHECKOUT"/examples/table_mlp/. .

python -m suite tasks table/mlp | tee settings.txt
grep -q -- "--model.width" settings.txt
python -m suite fit --task table/mlp --optimizer adam --optimizer.lr 1e-2 --keep_checkpoint | tee fit.txt
python -m suite sweep sweep.yaml --pack off --compile off

run=$(grep -o 'Record: .*' fit.txt | grep -o '[0-9a-f]\{16\}$')
python -m suite predict "$run" --task table/mlp --out p.parquet

python - <<'PYTHON'
import numpy as np
import pandas as pd

from suite.api import load

runs = load("runs").runs
assert len(runs) == 3 and set(runs["task"]) == {"table/mlp"} and (runs["final_ema"] < 0.5).all()
held_out = np.loadtxt("table.csv", delimiter=",", skiprows=1)[::10, -1]
predicted = pd.read_parquet("p.parquet")["prediction"].to_numpy()
assert len(predicted) == len(held_out) and np.corrcoef(predicted, held_out)[0, 1] > 0.9
PYTHON
