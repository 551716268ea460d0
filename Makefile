# make demo    set up and fine-tune the built-in model live in this terminal
# make test    set up and run lint, types, import contracts and tests
# make setup   the .venv alone
# make bench   the figures of the README (ONLY=id,... for some)
# make check   lint, types and contracts, without the tests
.DEFAULT_GOAL := help
.PHONY: help setup demo test tests check lint types contracts bench snapshots clean

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --no-compile -c constraints.txt
# The 16,000 modules are compiled on all cores: pip does it on one, in a minute. A few are templates and no Python.
COMPILE := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
# One worker more than cores: tests wait for processes a fifth of their time. One alone is `make test JOBS=0`.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) + 1)
# A file stays with one worker: what its tests share, a trained model or a server, is made once. In the order of their
# names: by the number of their tests, the longest trainings would come last, and one worker would wait for the other.
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

help:
	@sed -n 's/^# //p' Makefile | head -5

# The stamps make a second call quick: nothing is installed unless what is declared has changed.
$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or call make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Call make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment can be made here. On Debian and Ubuntu: apt install python3-venv"; rm -rf $(VENV); exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing ftconsole and its libraries into $(VENV) (a minute or two, once)"
	@$(PIP) -e .
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing ftconsole, its libraries and what tests it into $(VENV) (a minute or two, once)"
	@$(PIP) -e ".[dev]"
	@$(COMPILE)
	@touch $(VENV)/.installed $@

setup: $(VENV)/.installed

demo: $(VENV)/.installed
	@$(BIN)/ftconsole demo

check: lint types contracts

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	@$(BIN)/mypy

contracts: $(VENV)/.installed-dev
	@$(BIN)/lint-imports --cache-dir .cache/import-linter

# The type checker takes a minute of one core: beside the tests, which leave some of both.
test: lint
	@$(MAKE) --no-print-directory -j 3 types contracts tests

tests: $(VENV)/.installed-dev
	@$(PYTEST)

# Draw the snapshots anew; look at each picture before committing it.
snapshots: $(VENV)/.installed-dev
	@$(PYTEST) tests/tui tests/screens --snapshot-update

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache build dist
