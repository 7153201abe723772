# `make demo` and `make test` need nothing but Python 3.11+ and pip: they make .venv, install, and run.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
# Two processes of one thread each: threads of torch, OpenMP and pytest-xdist get in one another's way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

.PHONY: demo test test-all check wheel clean

demo: .venv/installed
	$(BIN)/rvm-bench run --model rvm-demo,pixels --task davis --data demo --out runs/demo

test: .venv/installed-dev
	$(PYTEST) -m "not slow"

test-all: .venv/installed-dev
	$(PYTEST)

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

wheel: .venv/installed-dev
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation -o dist .

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/installed-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e ".[dev]"
	touch $@ .venv/installed

clean:
	rm -rf .venv dist build .pytest_cache .ruff_cache .hypothesis
