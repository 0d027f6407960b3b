# What starts, tests and checks Postroom. `make demo` and `make test` work from a bare checkout.

PYTHON ?= python3
UV ?= uv
BIN := .venv/bin
RUNTIME := .venv/.installed
DEVELOPMENT := .venv/.installed-dev
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url

.PHONY: demo run test lint bench stop-db lock help

help:
	@echo "make demo     a running system with sample traffic        (PORT, PUBLIC_URL, DATABASE_URL, PG_BINDIR)"
	@echo "make run      the same without sample traffic"
	@echo "make test     the tests; one file: make test ARGS=tests/config"
	@echo "make lint     all that is checked besides the tests"
	@echo "make bench    measurements, each beside its floor"
	@echo "make stop-db  stops the private PostgreSQL that tests leave running"
	@echo "make lock     writes requirements*.txt anew from pyproject.toml (needs uv)"

demo run: $(RUNTIME)
	@$(BIN)/python -m config.launcher $@

test: $(DEVELOPMENT)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(DEVELOPMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check

bench: $(DEVELOPMENT)
	$(BIN)/python -m tests.benchmarks $(ARGS)

stop-db:
	@$(PYTHON) -m config.devpg stop

$(RUNTIME): requirements.txt
	@.ci/venv $(PYTHON) requirements.txt
	@touch $@

$(DEVELOPMENT): requirements-dev.txt
	@.ci/venv $(PYTHON) requirements-dev.txt
	@touch $@ $(RUNTIME)

lock:
	$(LOCK) pyproject.toml --group dev --output-file requirements-dev.txt
	$(LOCK) pyproject.toml --constraint requirements-dev.txt --output-file requirements.txt
