# A sweep is watched from another terminal, in a table and on a page, stopped, and taken up again.
#
# docs/watching.md:
#   python -m suite status configs/sweeps/demo.yaml --watch    # a table in the terminal, anew every five seconds
#   python -m suite report configs/sweeps/demo.yaml --watch    # its page, drawn anew as soon as there are new results
#   python -m suite stop   configs/sweeps/demo.yaml            # save the checkpoints and end

cat > long.yaml <<'YAML'
question: "Which optimizer is better on a quadratic?"
task: toy/quadratic
overrides: {data.budget_steps: 3000, data.eval_samples: 4}
batch_size: [1]
seeds: [1]
optimizers:
  sgd:  {lr: 1.0e-5}
  adam: {lr: 0.01, beta: 0.9}
YAML

python -m suite report long.yaml --watch 10 > report.txt &
watching=$!
python -m suite sweep long.yaml --workers 1 --pack off --compile off 2> sweep.txt &
sweeping=$!
until ls runs/runs/*/*/lease.json > /dev/null 2>&1; do sleep 0.2; done
python -m suite status long.yaml | tee status.txt
grep -q "0 of 2 runs have a result" status.txt
python -m suite stop long.yaml
code=0; wait $sweeping || code=$?
[ $code = 143 ]

python -m suite sweep long.yaml --workers 1 --pack off --compile off
wait $watching
grep -q "the page is final" report.txt
page=$(grep -o 'runs/sweeps/.*/index.html' report.txt)
! grep -q "runs have a result" "$page"
python -m suite status long.yaml | grep "2 of 2 runs have a result"
