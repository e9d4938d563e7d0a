# A text of one's own is swept and drawn.
#
# docs/own_task.md:
#   python -m suite prepare --task fineweb/gpt --data.source my.txt --data.tokenizer bpe:512
#   python -m suite sweep mine.yaml
#   python -m suite report mine.yaml

python - <<'PYTHON'
import pathlib

folder = pathlib.Path(pathlib.__file__).parent  # a text that every machine has: the sources of Python's own library
pathlib.Path("my.txt").write_text("\n\n".join(path.read_text() for path in sorted(folder.glob("[a-c]*.py"))))
PYTHON

cat > mine.yaml <<'YAML'
question: "Does Adam or SGD win on my text?"
task: fineweb/gpt
overrides:
  data.source: my.txt
  data.tokenizer: "bpe:512"
  data.seq_len: 32
  data.budget_tokens: 16000
  data.eval_samples: 32
  model.num_layers: 1
  model.num_heads: 2
  model.width: 32
  trainer.precision: 32-true
batch_size: [2, 8]
seeds: [42]
final_loss: val
optimizers:
  sgd:  {lr: {decades: [-1, 0], per_decade: 1}, momentum: [0.9]}
  adam: {lr: {decades: [-3, -2], per_decade: 1}, beta: [0.9]}
YAML

python -m suite prepare --task fineweb/gpt --data.source my.txt --data.tokenizer bpe:512
python -m suite sweep mine.yaml --pack off --compile off
python -m suite gap mine.yaml | tee gap.txt
python -m suite report mine.yaml | tee report.txt

python - <<'PYTHON'
import pathlib
import re

page = pathlib.Path(re.search("Report: (.*)", pathlib.Path("report.txt").read_text())[1]).read_text()
assert "on my.txt" in page and "on FineWeb" not in page and page.count("<figure>") >= 2
rows = re.findall(r"^ *([28]) +(\d\.\d+)\*? +(\d\.\d+)\*?", pathlib.Path("gap.txt").read_text(), re.MULTILINE)
assert [int(size) for size, *_ in rows] == [2, 8], rows
assert all(2 < float(loss) < 6.3 for _, *losses in rows for loss in losses), "a loss above ln 512 is no training"
PYTHON
