# Two commands, each of which sets up everything on a machine that has only Python 3.11+ and a package registry.
#   make demo    the laptop sweep on embedded text: gap table, figure, report
#   make test    all quick tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A process per core, at most eight; the tests of a file stay together, because they share what they prepare.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile
EXTRAS ?= language,vision,graph,analysis,diagnostics,optimizers,cluster,loggers,dev

.PHONY: demo results test test-all lint bench gpu env clean

$(VENV)/.installed: pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

env: $(VENV)/.installed

demo: env
	$(BIN)/python -m suite sweep configs/sweeps/demo.yaml
	$(BIN)/python -m suite gap configs/sweeps/demo.yaml
	$(BIN)/python -m suite report configs/sweeps/demo.yaml

# Every question at laptop scale: hours. Runs what is missing; can be killed and started again. On samples, or with
# SOURCES=file.yaml, which has a line per dataset (`hg38: genome.fa.gz`), on your own data. Afterwards
# `python benchmarks/results.py --archive runs NAME` takes a sweep into docs/results.
results: env
	for file in configs/sweeps/laptop_*.yaml configs/sweeps/*/laptop/*.yaml; do \
		$(BIN)/python -m suite sweep $$file $(if $(SOURCES),--sources $(SOURCES)) || exit 1; done
	$(BIN)/python -m suite report

test: env lint
	$(PYTEST) -m 'not slow'

test-all: env lint
	$(PYTEST)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: env
	$(BIN)/python benchmarks/fit_step.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/preparation.py
	$(BIN)/python benchmarks/optimizers.py
	$(BIN)/python benchmarks/images.py
	$(BIN)/python benchmarks/packs.py
	$(BIN)/python benchmarks/starting.py
	$(BIN)/python benchmarks/verdicts.py
	$(BIN)/python benchmarks/search.py --quick

# What the GPU of this machine does, in eight minutes, into docs/gpu.md.
gpu: env
	$(BIN)/python benchmarks/gpu.py --write

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
