# The results of a sweep in pandas: runs, curves, verdicts.
#
# docs/python.md:
#   from suite.api import load
#   demo.gaps[["batch_size", "relative_gap", "relative_uncertainty", "verdict", "better"]]

cat > demo.yaml <<'YAML'
question: "Which optimizer is better on a quadratic?"
task: toy/quadratic
overrides: {data.budget_steps: 100, data.eval_samples: 4}
batch_size: [1, 4]
seeds: [1]
report_seeds: [2, 3, 4]
optimizers:
  sgd:  {lr: [1.0e-5, 2.0e-5]}
  adam: {lr: [0.01, 0.03], beta: [0.9]}
YAML
python -m suite sweep demo.yaml --pack off --compile off

python - <<'PYTHON'
from suite.api import load

results = load("runs")
demo = results.sweep("demo")
table = demo.gaps[["batch_size", "relative_gap", "relative_uncertainty", "verdict", "better"]]
print(table)
assert table["batch_size"].tolist() == [1, 4] and set(table["better"].dropna()) <= {"sgd", "adam"}

runs = results.runs
assert len(runs) == 2 * (2 + 2 + 2 * 3) and set(runs["status"]) == {"finished"}
best = runs[runs["optimizer"] == "adam"].nsmallest(1, "final_ema").iloc[0]
curve = results.curves(best["run_id"])
assert len(curve) == 100
ema = curve["train_loss"].ewm(alpha=0.01, adjust=False).mean().iloc[-1]
assert abs(ema - best["final_ema"]) <= 1e-9 * abs(ema)
print(runs.groupby(["optimizer", "batch_size"])["final_ema"].min().unstack())
PYTHON
