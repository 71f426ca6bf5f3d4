# Everything runs in a virtual environment of its own; only Python >= 3.10 is needed beforehand.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs clean

help:
	@echo "make demo   train on the embedded images, compare three losses, write a report"
	@echo "make test   run the tests"
	@echo "make lint   run the linters and the type checker"
	@echo "make docs   build the documentation into site/"
	@echo "make clean  remove what the above made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("lovasz needs Python 3.10 or newer; name one with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[train]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[train,test,lint]'
	@touch $@

$(VENV)/.docs: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable '.[docs]'
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/lovasz compare --config examples/demo.yaml $(if $(wildcard runs/demo/config.yaml),--resume)

test: $(VENV)/.test
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) runs/demo build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
