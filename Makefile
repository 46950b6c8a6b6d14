PYTHON ?= python3
BIN = .venv/bin

.PHONY: train test lint format bench cuda chaos corrupt faults fuzz clean

train: .venv/installed  ## Install, then train the apparel network on images drawn for it
	$(BIN)/shapecalc train specs/apparel.yaml

test: lint  ## Lint, types and tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed .bench/installed  ## Timings on the photographs of DATA; run it with nothing else running
	$(BIN)/python benchmarks/show.py
	.bench/bin/python benchmarks/training.py $(DATA)
	.bench/bin/python benchmarks/starting.py $(DATA)
	.bench/bin/python benchmarks/scaling.py $(DATA)
	.bench/bin/python benchmarks/profile_epoch.py $(DATA)

cuda: .venv/installed  ## What needs a GPU: its tests, memory as counted, timings on the photographs of DATA
	$(BIN)/python -m pytest tests/training/test_cuda.py
	$(BIN)/python benchmarks/memory_cuda.py
	$(BIN)/python benchmarks/training_cuda.py $(DATA)

chaos: .venv/installed  ## Training killed 200 times, written to benchmarks/results; about half an hour on 2 cores
	$(BIN)/python benchmarks/chaos.py

corrupt: .venv/installed  ## Training on 1,000 corrupt pictures, written to benchmarks/results
	$(BIN)/python benchmarks/corrupt.py

faults: .venv/installed  ## Each fault of training made to happen, written to benchmarks/results
	$(BIN)/python benchmarks/faults.py

fuzz: .venv/installed  ## Millions of random cases, written to benchmarks/results; about an hour on 2 cores
	$(BIN)/python benchmarks/fuzz.py

.bench/installed: pyproject.toml
	$(PYTHON) -m venv .bench
	.bench/bin/python -m pip install --quiet --upgrade pip
	.bench/bin/python -m pip install --quiet --editable . lightning fastai keras
	touch $@

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo 'Installing into .venv; PyTorch takes a minute or two'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m compileall -q shapecalc
	touch $@

clean:
	rm -rf .venv .bench
