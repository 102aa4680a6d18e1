# `make demo` and `make test` set up everything that they need in .venv and in the user's cache folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test lint format bench clean

help:
	@echo "make demo    watch a table's deep store go out of sync and come back, on an embedded Pinot and a live Airflow"
	@echo "make test    run all tests"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make bench   run the benchmarks; results go to build/benchmarks.json"
	@echo "make setup   only install what the others need"

setup: $(VENV)/.installed
	@$(BIN)/python -m pinot_sandbox setup

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "Python's venv module is missing: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@echo "Installing Airflow and the other packages into $(VENV) (about two minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --use-pep517 --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/python -m pinot_sandbox demo

test: setup
	@$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	@$(BIN)/python -m tests.benchmarks.run

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache
