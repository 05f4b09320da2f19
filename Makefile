# make        install into .venv, run the workflow on config.yaml, say where the page is
# make test   install what the tests need, run them all
# make test-slurm  run the tests on a real Slurm, which root installs and starts on this machine
# make check  say what in results/ is stale or altered
# make lint   format, lint and type checks; those of the pages' scripts need Node 20.19 and npm
# make format format everything, and write the types that the scripts are checked against
# make shots  take the docs' pictures of the demo's page, with Chromium
# make clean  remove .venv, node_modules and caches; never results/

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
MARKERS ?=
# Most of a test's time is the start of programs, which now and then wait for each other. So three
# keep two cores busy.
TEST_PROCESSES ?= 3
# Snakemake and libraries keep caches at home, and some homes can't be written.
ifeq ($(shell [ -w "$${XDG_CACHE_HOME:-$$HOME}" ] && echo yes),)
export XDG_CACHE_HOME := $(CURDIR)/.cache
endif
NODE := node_modules/.bin
PAGES := $(addprefix saev/dashboard/assets/,*.js *.css *.d.ts)

.PHONY: all install test slurm test-slurm lint format shots check clean

all: $(BIN)/.installed
	@snakemake --cores all

install: $(BIN)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv

# uv installs in half a minute where pip takes minutes. It doesn't read pip's settings: where these
# name a mirror without which nothing is found, pip installs.
PIP = $(BIN)/python -m pip install --quiet --constraint constraints.txt
UV = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
INSTALL = install() { $(PIP) uv && $(UV) "$$@" || { echo "uv couldn't install: pip does it"; $(PIP) "$$@"; }; }; install

$(BIN)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@$(INSTALL) --editable '.[demo]'
	@touch $@

$(BIN)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	@$(INSTALL) --editable '.[demo,test]'
	@touch $(BIN)/.installed $@

test: $(BIN)/.installed-test
	pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder \
	  $(if $(MARKERS),-m "$(MARKERS)")

$(BIN)/.installed-slurm: $(BIN)/.installed-test
	@$(INSTALL) snakemake-executor-plugin-slurm==2.8.0 \
	  snakemake-executor-plugin-cluster-generic==1.0.9
	@touch $@

slurm: $(BIN)/.installed-slurm
	@command -v slurmctld munged >/dev/null || [ "$$(id -u)" != 0 ] || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	  apt-get install -qq --no-install-recommends slurm-wlm munge; } || true

test-slurm: slurm
	SAEV_TEST_SLURM=1 pytest -rs tests/slurm

node_modules/.installed: package.json
	@command -v npm >/dev/null || \
	  { echo "make lint and make format need Node 20.19 or newer, with npm: install it"; exit 1; }
	npm install --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

lint: $(BIN)/.installed-test node_modules/.installed
	ruff format --check .
	ruff check .
	mypy saev demo benchmarks
	snakefmt --check Snakefile rules demo
	snakemake --lint
	$(NODE)/oxfmt --check $(PAGES)
	python -m tests.lint_scripts $(NODE)/oxlint
	$(NODE)/tsc

format: $(BIN)/.installed-test node_modules/.installed
	ruff format .
	snakefmt Snakefile rules demo
	python -m tests.typescript
	$(NODE)/oxfmt $(PAGES)

check: $(BIN)/.installed
	@saev check

shots: $(BIN)/.installed-test
	$(BIN)/python tests/shots.py

clean:
	rm -rf .venv .cache node_modules .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
