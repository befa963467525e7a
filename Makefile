PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test test-processors install lint clean

demo: .venv/installed  ## a model collapses on digits, is told so, and one remedy mends it: a minute on one core, and a page
	OMP_NUM_THREADS=1 $(BIN)/uncollapse bench demo

test: .venv/tests  ## lint, types, layers, doctests and tests; the numerics once more as on an old processor
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -rs
	$(BIN)/python tests/on_any_processor.py --only sse --threads 1 --unit

test-processors: .venv/tests  ## all tests as on other processors, each with one thread and with two: about an hour and a half
	$(BIN)/python tests/on_any_processor.py

install: .venv/installed  ## make the environment alone

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/tests: .venv/installed
	$(PIP) --editable '.[test]'
	touch $@

clean:  ## remove the environment and caches; runs stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
