# `make demo` and `make test` set up everything that they need in .venv and in the user's cache folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test lint format docs bench clean

help:
	@echo "make demo    watch a table's deep store go out of sync and come back, on an embedded Pinot and a live Airflow"
	@echo "make test    run all tests"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make docs    write docs/settings.md and docs/table.schema.json from the settings"
	@echo "make bench   run the benchmarks; results go to build/benchmarks.json"
	@echo "make setup   only install what the others need"

setup: $(VENV)/.installed
	@$(BIN)/python -m pinot_sandbox setup

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "Python's venv module is missing: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@echo "Installing Airflow and some 200 other packages into $(VENV): two minutes, or six on a busy machine, without a word"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --use-pep517 --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/python -m pinot_sandbox demo

# Two workers, each with a cluster of its own: more would want more than two cores and some 12 GiB.
test: setup
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed
	$(BIN)/python -m deep_store_sync.settings_reference docs

bench: setup
	@$(BIN)/python -m tests.benchmarks.run

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache
