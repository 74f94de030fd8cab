# `make run`: from nothing to the first report. `make test`: everything checked that is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help run test test-slow test-container lint lock image clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "lanewise needs Python 3.11 or newer; make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

run: $(READY) ## Carry out manifests/level0.yaml from simulation to report
	$(BIN)/lanewise run manifests/level0.yaml
	$(BIN)/lanewise aggregate manifests/level0.yaml
	@echo "The report is in results/batched/report.html"

test: $(READY) ## The quick tests, the linter and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

test-slow: $(READY) ## The statistical and long tests
	$(BIN)/python -m pytest -m slow

test-container: $(READY) ## Build the image and run a campaign in it (podman or docker)
	$(BIN)/python -m pytest -m container
