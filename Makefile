# Two commands on a fresh machine: `make demo` and `make test`. Both make the environment first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env demo test lint peers clean

env: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: env
	$(BIN)/carrara demo

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# The programs that benchmarks/ measures Carrara beside; LLaMA-Factory asks for older libraries than the others.
PEERS := benchmarks/peers
INTO := -m pip install --quiet --disable-pip-version-check

peers:
	$(PYTHON) -m venv $(PEERS)/.venv
	$(PEERS)/.venv/bin/python $(INTO) -c constraints.txt torch
	$(PEERS)/.venv/bin/python $(INTO) -c constraints.txt -r $(PEERS)/requirements.txt
	$(PYTHON) -m venv $(PEERS)/.venv-llamafactory
	$(PEERS)/.venv-llamafactory/bin/python $(INTO) -r $(PEERS)/requirements-llamafactory.txt
	$(PEERS)/.venv-llamafactory/bin/python $(INTO) --no-deps llamafactory==0.9.5

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache
