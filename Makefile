# Every target sets itself up: a fresh machine needs Python 3.11 or newer and make, nothing else.
# PYTHON=/path/to/python3.12 chooses the Python that .venv is made from.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --compile
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
CONFIG ?= $(or $(FETCHER_CONFIG),config.yaml)
# One word for the shell, whatever is in it; a leading ~/ still means home.
CONFIG_WORD = $(subst '~/,"$$HOME"'/,'$(subst ','\'',$(CONFIG))')
WORKERS ?= 3  # tests wait as much as they work: more of them than cores
COMPILE_PINS = $(PY) -m uv pip compile pyproject.toml --upgrade --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --no-header --no-annotate

define FIND_PYTHON
python="$(PYTHON)"; \
	new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if [ -z "$$python" ]; then for p in python3 python3.14 python3.13 python3.12 python3.11; do \
		if command -v $$p >/dev/null && $$p -c "$$new_enough"; then python=$$p; break; fi; done; fi; \
	if [ -z "$$python" ] || ! "$$python" -c "$$new_enough"; then \
		echo "No Python 3.11 or newer found$${python:+ ($$python is older or does not start)}; install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$python cannot make virtual environments: install its venv package (Debian, Ubuntu: apt-get install python3-venv), or name another: make PYTHON=... ..." >&2; exit 1; fi
endef

# Containers often set it; without .pyc files every start of the program is slow, for ever.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo test check coverage bench acceptance install upgrade lock audit-pins clean

help: ## what can be made
	@awk -F ': .*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "make run ARGS='status' runs a command (put quotes inside for words with blanks), CONFIG=FILE another configuration."
	@echo "When anything fails make itself ends with 2; make run prints the program's own exit code."

run: $(RUN_STAMP) ## one run: fetch what config.yaml names, as far as the time budget goes
	@$(PY) -m fetcher --config $(CONFIG_WORD) $(ARGS) || { code=$$?; echo "The program's exit code is $$code." >&2; exit $$code; }

demo: $(RUN_STAMP) ## the whole product without a network, against the sandbox
	@$(PY) -m fetcher.sandbox.demo

test: $(DEV_STAMP) ## the tests
	@$(PY) -m pytest -q -n $(WORKERS) --maxprocesses=4 --dist worksteal $(ARGS)

check: $(DEV_STAMP) ## everything that has to hold: ruff, mypy, import-linter, tests
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --quiet --diff .
	@$(PY) -m mypy --no-error-summary
	@$(PY) $(VENV)/bin/lint-imports --no-logo
	@$(PY) -m pytest -q -n $(WORKERS) --maxprocesses=4 --dist worksteal

# The program's processes are measured too: coverage patches subprocess, so that each child begins and saves by itself.
# One that is killed saves nothing; what only such a one runs counts as not run.
coverage: $(DEV_STAMP) ## how much of the program the tests run; fails under 95 % of lines
	@rm -f .coverage .coverage.*
	@$(PY) -m coverage run -m pytest -q -n $(WORKERS) --maxprocesses=4 $(ARGS)
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report

bench: $(DEV_STAMP) ## what it costs, beside the limits of this machine
	@$(PY) -m tests.bench

acceptance: $(DEV_STAMP) ## what takes long: hundreds of kills, simulated days, a real cron
	@$(PY) -m pytest -q tests/acceptance $(ARGS)
	@TEST_BOTH_DATABASES=1 $(PY) -m pytest -q -n $(WORKERS) --maxprocesses=4 tests/integration -k postgresql

install: ## packages, a configuration where there is none, the database, a look at all of it
	@$(FIND_PYTHON); "$$python" cron/install.py $(CONFIG_WORD)

upgrade: install ## the same after an update of this folder: what fails on the way leaves all as it was

lock: $(DEV_STAMP) ## the newest versions that pyproject.toml allows, pinned anew
	@$(PIP) uv
	@$(COMPILE_PINS) --output-file requirements.txt
	@$(COMPILE_PINS) --group dev --constraint requirements.txt --output-file requirements-dev.txt

audit-pins: $(DEV_STAMP) ## are there known weaknesses in the pinned packages; asks the internet
	@$(PIP) pip-audit
	@$(PY) -m pip_audit --no-deps --disable-pip --progress-spinner off --requirement requirements-dev.txt

clean: ## removes .venv and caches, never a database
	rm -rf $(VENV) $(VENV).new $(VENV).old build *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@$(FIND_PYTHON); \
	echo "Making $(VENV) with $$("$$python" --version)" >&2; \
	"$$python" -m venv --clear $(VENV)

$(RUN_STAMP): requirements.txt $(PY)
	@echo "Installing the packages of requirements.txt" >&2
	@$(PIP) --requirement requirements.txt
	@touch $@

$(DEV_STAMP): requirements.txt requirements-dev.txt $(PY)
	@echo "Installing the packages of requirements-dev.txt" >&2
	@$(PIP) --requirement requirements-dev.txt
	@touch $(RUN_STAMP) $@
