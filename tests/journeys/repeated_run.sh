# One run: found, looked at, repeated with the same numbers, its network measured, dropped and brought back.
#
# docs/stores.md:
#   python -m suite runs                                     # a line per run, lowest final loss first
#   python -m suite show 3f2a                                # settings, outcome, curve, how to repeat it
#   python -m suite rerun 3f2a                               # train it again
#   python -m suite validate 3f2a                            # its network on the validation split, measured again

python -m suite fit --task toy/quadratic --data.batch_size 2 --data.budget_steps 200 --data.eval_samples 4 \
    --optimizer adam --optimizer.lr 0.03 --keep_checkpoint
python -m suite runs | tee runs.txt
run=$(grep -o '^[0-9a-f]\{16\}' runs.txt | head -1)
python -m suite show "${run:0:6}" | tee show.txt
grep -q "lr 0.03" show.txt && grep -q "200 steps" show.txt

cp "runs/runs/${run:0:2}/$run/record.json" before.json
python -m suite validate "${run:0:6}" | tee validate.txt
python -m suite rerun "${run:0:6}"
python -m suite show "$run" --config > run.yaml
grep -q "name: toy/quadratic" run.yaml
python -m suite drop "$run" && ! python -m suite show "$run" 2> /dev/null
python -m suite drop --back "$run"

python - "$run" <<'PYTHON'
import json
import re
import sys
from pathlib import Path

run = sys.argv[1]
before, after = (json.loads(Path(p).read_text()) for p in ("before.json", f"runs/runs/{run[:2]}/{run}/record.json"))
assert before["final"] == after["final"] and before["curves"]["sha256"] == after["curves"]["sha256"]
assert before["ended"] < after["ended"]
measured = float(re.search(r"val/loss\W+([\d.e+-]+)", Path("validate.txt").read_text())[1])
assert abs(measured / before["metrics"]["val/loss"] - 1) < 1e-6
PYTHON
