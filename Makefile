# make        install into .venv, run the workflow on config.yaml, say where the page is
# make test   install what the tests need, run them all
# make check  say what in results/ is stale or altered
# make lint   format and lint checks
# make clean  remove .venv and caches; never results/

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
MARKERS ?=
# Most of a test's time is the start of programs, which takes one core.
TEST_PROCESSES ?= 2

.PHONY: all install test lint check clean

all: $(BIN)/.installed
	@snakemake --cores all --quiet rules progress host
	@echo "Open $(CURDIR)/results/index.html"

install: $(BIN)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv

$(BIN)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable . --constraint constraints.txt
	@touch $@

$(BIN)/.installed-test: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test]' --constraint constraints.txt
	@touch $@

test: $(BIN)/.installed-test
	pytest --numprocesses $(TEST_PROCESSES) --dist loadfile $(if $(MARKERS),-m "$(MARKERS)")

lint: $(BIN)/.installed-test
	ruff format --check .
	ruff check .
	mypy saev demo
	snakefmt --check Snakefile rules demo
	snakemake --lint

check: $(BIN)/.installed
	@saev check

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
