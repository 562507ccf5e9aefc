# Every job of the project. `make` lists them.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq install --no-deps
UV := build/uv/bin/uv
SERVERS := tests/servers/requirements.lock
TSC := $(BIN)/node node_modules/typescript/bin/tsc
COMPILE := $(UV) pip compile --quiet --python-version 3.11 --python-platform linux --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock" --extra embedded

TOGETHER := -n 3 -m "not timing"

.DEFAULT_GOAL := help
.PHONY: help up test test-fast coverage lint layout migration format lock venv screenshot clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: .venv/.runtime ## Start the whole system on its embedded defaults
	@$(BIN)/switchboard up $(ARGS)

# First those that measure how long something takes: they have the machine to themselves. Then the many, in three processes
# on two cores, since most of their time is waiting. What fails in the crowd, where a store may answer too late, is tried again without
# it, and named also if it passes then.
test: export TESTS_IN_TURN = $(if $(BOTH)$(ARGS),,1)
test: .venv/.dev .venv/.servers ## Run all tests (BOTH=1: also over HTTP on both databases; ARGS="-k name": some, in one process)
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m pytest -m timing; alone=$$?; $(BIN)/python -m pytest $(TOGETHER) || { test $$? -eq 1 && \
		$(BIN)/python -m pytest -m "not timing" --last-failed --last-failed-no-failures none; } && exit $$alone
endif

test-fast: .venv/.dev ## Run what takes a minute: the core without the writing of answers, on SQLite
	$(BIN)/python -m pytest -n 2 tests/core --ignore tests/core/generation -m "not (slow or timing)" -k "not postgresql" $(ARGS)

coverage: .venv/.dev .venv/.servers ## Run the tests without browsers and fleets, and say which branches they leave out
	$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n 2 -m "not (e2e or faults or timing)"; tested=$$?; \
		$(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$tested

lint: .venv/.dev node_modules/.installed ## Check style, types (the page's too) and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@test ! -e node_modules/.installed || { echo $(TSC); $(TSC); }

layout: .venv/.dev ## Count the rooms of each package and the arrows between them (ARGS=--arrows to name them)
	@$(BIN)/python -m tests.layout $(ARGS)

migration: export MESSAGE ?=
migration: .venv/.dev ## Draft the next migration (MESSAGE="what it does") from the changed tables
	@$(BIN)/python -m core.migrations.draft "$$MESSAGE"
	@$(BIN)/ruff check --quiet --fix core/migrations/versions
	@$(BIN)/ruff format --quiet core/migrations/versions

format: .venv/.dev ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Both sets at once, so that the developers' versions are the servers' versions. setuptools is in
# them because the project itself is built with it, without isolation and so without a download.
lock: $(UV) ## Resolve pyproject.toml anew into the two lock files (ARGS=--upgrade for newer versions)
	echo 'setuptools>=80' | $(COMPILE) $(ARGS) pyproject.toml - --output-file requirements.lock
	echo 'setuptools>=80' | $(COMPILE) $(ARGS) pyproject.toml - --extra tracing --extra dev \
		--constraints requirements.lock --output-file requirements-dev.lock

venv: .venv/.dev ## Install the runtime and the development tools into .venv

screenshot: .venv/.dev ## Take docs/screenshot*.png of the running page: light, dark, phone
	$(BIN)/python -m tests.e2e.screenshot

clean: ## Remove what this file made; sessions in .switchboard stay
	rm -rf .venv build node_modules examples/*/node_modules tests/clients/*/node_modules *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage .hypothesis \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: an install is redone only when what it installs has changed. They hold its hashes, because a checkout gives
# a changed file any time.
STAMPS := $(wildcard .venv/.runtime .venv/.dev .venv/.servers)
$(foreach stamp,$(STAMPS),$(shell sha256sum --check --status $(stamp) 2>/dev/null || rm $(stamp)))

.venv/.runtime: | $(BIN)/python
	@echo "Installing Switchboard into .venv"
	@$(PIP) --require-hashes --requirement requirements.lock
	@$(PIP) --no-build-isolation --editable .
	@sha256sum requirements.lock pyproject.toml > $@

.venv/.dev: | $(BIN)/python
	@echo "Installing Switchboard and its development tools into .venv"
	@$(PIP) --require-hashes --requirement requirements-dev.lock
	@$(PIP) --no-build-isolation --editable .
	@sha256sum requirements.lock pyproject.toml > .venv/.runtime
	@sha256sum requirements-dev.lock pyproject.toml > $@

# Where it can't be installed, the tests that want it are skipped, and say so.
.venv/.servers: | .venv/.dev
	@echo "Installing another model server for the tests into .venv"
	@$(PIP) --require-hashes --requirement $(SERVERS) && sha256sum $(SERVERS) > $@ || echo "It can't be installed here: its tests are skipped." >&2

# Node comes with .venv. Where TypeScript can't be installed, the types of the page's JavaScript go unchecked; in CI that
# is an error.
node_modules/.installed: package-lock.json | .venv/.dev
	@echo "Installing TypeScript into node_modules"
	@$(BIN)/npm ci --loglevel=error && touch $@ || { \
		echo "TypeScript can't be installed here: the types of the page's JavaScript are not checked." >&2; test "$$CI" != true; }

# Debian splits venv off Python into a package of its own; without it `python3 -m venv` leaves half a .venv.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed: apt-get install python3.11 (or name yours: make PYTHON=...)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is needed: apt-get install python3.11-venv" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

$(UV):
	@$(PYTHON) -m venv build/uv
	@build/uv/bin/python -m pip --disable-pip-version-check -qq install 'uv>=0.13,<1'
