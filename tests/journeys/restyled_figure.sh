# A figure is restyled, by options of the command and in Python, and its table goes into a paper.
#
# docs/analysis.md:
#   | `--width 6.75`, `--font-size 10` | inches and points of the page's figures; everything else follows the type |
# docs/python.md:
#   figure.axes[0].set_title("Adam minus SGD")

cat > demo.yaml <<'YAML'
question: "Which optimizer is better on a quadratic?"
task: toy/quadratic
overrides: {data.budget_steps: 50, data.eval_samples: 4}
batch_size: [1, 4]
seeds: [1, 2]
optimizers:
  sgd:  {label: "Heavy ball", lr: [1.0e-5, 2.0e-5]}
  adam: {lr: [0.01, 0.03], beta: [0.9]}
YAML
python -m suite sweep demo.yaml --pack off --compile off
python -m suite report demo.yaml --out drawn --looks page,column --width 4 --font-size 10

python - <<'PYTHON'
import pathlib
import re

from suite.api import Look, load

svg = pathlib.Path("drawn/figures/gap.svg").read_text()
assert re.search(r'width="288(\.0+)?pt"', svg), "four inches are 288 points"
assert pathlib.Path("drawn/figures/gap-column.pdf").read_bytes().startswith(b"%PDF")
tex = pathlib.Path("drawn/tables/gap.tex").read_text()
assert r"\toprule" in tex and "Heavy ball" in pathlib.Path("drawn/tables/tuned.tex").read_text()

figure = load("runs").sweep("demo").figure("gap", look=Look(width=3.5))
figure.axes[0].set_title("Adam minus SGD")
figure.savefig("gap.pdf")
figure.savefig("gap.png", dpi=150)
assert figure.get_figwidth() == 3.5 and pathlib.Path("gap.pdf").stat().st_size > 5000
PYTHON
