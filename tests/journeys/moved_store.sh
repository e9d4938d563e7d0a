# A store is written into one file, moved, read back, and merged with another one; no run is trained twice.
#
# docs/stores.md:
#   python -m suite archive --store runs --to results.parquet
#   python -m suite restore results.parquet --store elsewhere
#   python -m suite restore other_store --store runs

sweep() {
    cat > "$1.yaml" <<YAML
question: "?"
task: toy/quadratic
overrides: {data.budget_steps: 50, data.eval_samples: 4}
batch_size: [$2]
seeds: [1]
optimizers:
  sgd:  {lr: [1.0e-5, 2.0e-5]}
  adam: {lr: [0.01, 0.03], beta: [0.9]}
YAML
}
sweep one 1
sweep two 4
sweep both "1, 4"
python -m suite sweep one.yaml --store runs --pack off --compile off
python -m suite sweep two.yaml --store other_store --pack off --compile off
python -m suite gap one.yaml --store runs > before.txt

python -m suite archive --store runs --to results.parquet
python -m suite restore results.parquet --store elsewhere
python -m suite gap one.yaml --store elsewhere > after.txt
cmp before.txt after.txt

mv elsewhere moved
python -m suite restore other_store --store moved
python -m suite sweep both.yaml --store moved --pack off --compile off | tee both.txt
grep -q "both: 8 runs, 8 in the store, 0 to train" both.txt

python - <<'PYTHON'
import pandas as pd

table = pd.read_parquet("results.parquet")
assert len(table) == 4 and set(table["batch_size"]) == {1} and table["final_ema"].notna().all()
PYTHON
