# Two commands matter: `make run` shows Pantau at work, `make test` proves it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: run setup test lint types contracts unit integration stories debian lock clean

run: setup
	$(BIN)/pantau demo

setup: $(VENV)/.lab

# One stamp file a set of locked requirements: a changed lock installs again.
$(VENV)/.lab: requirements/lab.txt pyproject.toml
	@deploy/newcomer-check $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lab.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.lab
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

test: debian $(VENV)/.dev
	$(MAKE) lint types contracts unit integration stories

# The real servers that the tests start: named in one file, installed when root, named when not.
debian:
	@tests/real/install-debian

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

unit: $(VENV)/.dev
	$(BIN)/pytest -q tests/unit tests/contracts

integration: $(VENV)/.dev
	$(BIN)/pytest -q tests/integration

stories: $(VENV)/.dev
	$(BIN)/pytest -q tests/stories

lock: $(VENV)/.dev
	for set in lab dev; do \
	  flags="--extra lab --group build"; [ $$set = dev ] && flags="--extra lab --group dev"; \
	  $(BIN)/uv pip compile pyproject.toml $$flags --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --quiet --custom-compile-command "make lock" -o requirements/$$set.txt; \
	done

clean:
	rm -rf $(VENV) var
