# Two commands matter: `make run` shows Pantau at work, `make test` proves it.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# What is imported is compiled when it first is: to compile all of it beforehand is half the work of an installation.
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
OFFLINE = "Setting up needs a package index. Without a network: where there is one, 'pip download -d wheels --require-hashes -r requirements/lab.txt && pip download -d wheels setuptools wheel' \
  (same Python and architecture); copy wheels here; then PIP_NO_INDEX=1 PIP_FIND_LINKS=$$PWD/wheels make setup"
# Whatever the environment says: without it each of hundreds of processes compiles all libraries for itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run setup test lint types contracts compiled waiting computing unit proofs integration stories browser bench bench-portal bench-sites machine fuzz texts debian needed imported \
        dashboards lock release clean

# make run SITES=3: three sites that probe, and a hub that hears them; each needs Debian's postgresql (docs/tutorials/demo.md).
run: setup
	$(BIN)/pantau demo $(if $(SITES),--sites "$(SITES)")

setup: $(VENV)/.lab

# One stamp file a set of locked requirements: a changed lock installs again.
$(VENV)/.lab: requirements/lab.txt pyproject.toml lab/pyproject.toml
	@deploy/newcomer-check $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements/lab.txt || { echo $(OFFLINE) >&2; exit 1; }
	$(PIP) --no-deps --no-build-isolation -e . -e lab
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.lab
	@$(PIP) --require-hashes -r requirements/dev.txt || { echo $(subst lab.txt,dev.txt,$(OFFLINE)) >&2; exit 1; }
	@touch $@

test:
	$(MAKE) --jobs=2 --output-sync=target needed
	$(MAKE) --jobs=2 --output-sync=target lint contracts
	$(MAKE) --jobs=2 --output-sync=target waiting computing

# Either waits for its archive half of the time. While the tools of the tests come, what the tests will import is compiled.
needed: debian $(VENV)/.dev imported

imported: $(VENV)/.lab
	@$(BIN)/python -c "import monitor.app, pantau_lab.cli.demo, alembic.command" || echo "The tests compile what they import."

# The real servers that the tests start: named in one file, installed when root, named when not.
debian:
	@tests/real/install-debian

# lint, types and contracts also run before each commit, where somebody has switched that on (.pre-commit-config.yaml).
# What is kept for later belongs into an issue, not into the code. An old name belongs nowhere: tests/old_words.tsv.
lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/python -m tests.old_words
	@! git grep -nE '\b(TODO|FIXME|XXX)\b' -- '*.py' '*.md' '*.yaml' '*.sh' || \
	  { echo "Notes for later stand in the code; write an issue instead." >&2; exit 1; }

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy lab/tests deploy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

# Read all tests once: the processes that run them would each compile all of it. It makes no tests of it; where
# there is none, pytest ends with a 5.
compiled: $(VENV)/.dev
	@$(BIN)/pytest -q --collect-only -o python_functions= -o python_classes= >$(VENV)/collected || [ $$? -eq 5 ] || \
	  { cat $(VENV)/collected; exit 1; }

# Both at once: tests of whole services wait for them most of the time, and what computes has the cores meanwhile. It gives
# way, so that no service is late because something else is computed.
waiting: $(VENV)/.dev
	$(MAKE) compiled
	$(MAKE) proofs

# By the time that mypy is done all tests are compiled.
computing: $(VENV)/.dev
	nice -n 5 $(MAKE) types
	nice -n 5 $(MAKE) unit

# Those with real servers and whole services.
PROOFS := tests/integration lab/tests/integration tests/stories tests/browser
proofs: $(VENV)/.dev
	$(BIN)/pytest -q -n 6 --dist loadfile $(PROOFS)

# All others: they compute, and some wait. A file's tests stay together, and share what they make.
unit: $(VENV)/.dev
	$(BIN)/pytest -q -n 3 --dist loadfile $(PROOFS:%=--ignore=%)

# One half of it. A file's tests stay together and share the servers that they start.
integration: $(VENV)/.dev
	$(BIN)/pytest -q -n 4 --dist loadfile tests/integration lab/tests/integration

# The other.
stories: $(VENV)/.dev
	$(BIN)/pytest -q -n 6 --dist loadfile tests/stories

# Somebody before a real browser, at one service for all of it.
browser: $(VENV)/.dev
	$(BIN)/pytest -q tests/browser

# What it costs, against what it is made of: bench.json and a table, in ten minutes. Worth something on a quiet machine.
bench: debian $(VENV)/.dev
	$(BIN)/python -m tests.bench

# What each page and each route of the API costs with 2,000 agencies and 100,000 incidents: in ten minutes, of a gigabyte and a half.
bench-portal: $(VENV)/.dev
	$(BIN)/python -m tests.bench.portal

# What sites, a hub and processes that share the agencies cost, up to ten thousand agencies: in half an hour, as root, of four gigabytes.
bench-sites: $(VENV)/.dev
	$(BIN)/python -m tests.bench.sharding
	$(BIN)/python -m tests.bench.sites notice cut
	$(BIN)/python -m tests.bench.sites load --agencies 1000
	$(BIN)/python -m tests.bench.takeover

# Installs, uses and removes it on a machine of its own, by the documents word for word; as root, in a quarter of an hour.
machine: $(VENV)/.dev
	$(BIN)/python -m tests.machine

# Looks for what breaks a reader of strangers' words: make fuzz MINUTES=5 TARGET=imap_response. Without the guide, which there
# is for Linux on x86-64 and Python 3.11 to 3.13, more blindly.
MINUTES ?= 1
TARGET  ?= all
fuzz: $(VENV)/.dev
	-$(PIP) --require-hashes -r requirements/fuzz.txt
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --target $(TARGET)

# docs/reference/values.md and configuration.md; tests/data/texts.md: every text that people read, for a native reader to mark; tests/data/two-days.md: a long outage in their words.
texts: $(VENV)/.dev
	$(BIN)/python -m tests.texts
	$(BIN)/python -m tests.values
	$(BIN)/python -m tests.configuration
	$(BIN)/python -m tests.two_days

# grafana/dashboards/*.json, of what grafana/boards/ says.
dashboards: $(VENV)/.lab
	$(BIN)/python -m grafana.boards

# service: what an installation needs; lab: and the demo; dev: and the tests. No address of an index gets into them.
# fuzz, release: what `make fuzz` and `make release` need beside dev.
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
          --no-emit-index-url --quiet --custom-compile-command "make lock"
lock: $(VENV)/.dev
	$(COMPILE) pyproject.toml --group build -o requirements/service.txt
	$(COMPILE) lab/pyproject.toml --no-emit-package pantau --group pyproject.toml:build -o requirements/lab.txt
	$(COMPILE) lab/pyproject.toml --no-emit-package pantau --group pyproject.toml:dev -o requirements/dev.txt
	$(COMPILE) --group fuzz -o requirements/fuzz.txt
	$(COMPILE) --group release --constraint requirements/dev.txt -o requirements/release.txt

# The wheels, what they are made of, and their sums, of the commit that is checked out: CONTRIBUTING.md.
release: $(VENV)/.dev
	@$(PIP) --require-hashes -r requirements/release.txt
	$(BIN)/python deploy/release.py

clean:
	rm -rf $(VENV) var
