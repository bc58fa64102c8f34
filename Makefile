# make sweep      install, generate the demo clips, run the demo sweep over them
# make install    create .venv with what a sweep needs; PIP_ARGS="…" is handed to pip
# make test-fast  unit tests and one small sweep
# make test       check, then all tests but those of make faults
# make faults     sweeps whose processes and nodes are killed
# make check      lint, types, import contracts, and whether docs/configuration.md is up to date
# make audit      known vulnerabilities of the installed packages (sends their names to pypi.org)
# make clean      remove .venv, the demo clips and the decoded frames; runs/ stays

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c "$(SUPPORTED)" 2>/dev/null && { echo $$python; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

.PHONY: sweep install test-fast test faults check audit clean

sweep: .venv/.installed
	$(BIN)/python -m data demo --out demo_clips
	$(BIN)/python -m tuning sweep --config configs/demo.yaml --data demo_clips --groups demo_clips/sources.csv

install: .venv/.installed

test-fast: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow and not faults"

test: check
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

faults: .venv/.installed-dev
	$(BIN)/python -m pytest -m faults

check: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tuning.config.document --check docs/configuration.md

audit: .venv/.installed-dev
	$(BIN)/pip-audit --local --strict --progress-spinner off || (echo "a package that was not found on PyPI was not audited: the index that pip uses here may not be pypi.org" >&2; exit 1)

clean:
	rm -rf .venv demo_clips frame_store

.venv/bin/python:
	@$(or $(PYTHON),false) -c "$(SUPPORTED)" || { \
		echo "no Python 3.11, 3.12 or 3.13 was found: install one, or run make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { \
		echo "the venv module is missing: apt-get install python3-venv" >&2; rm -rf .venv; exit 1; }

.venv/.installed: .venv/bin/python requirements.txt
	$(PIP) -r requirements.txt
	touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt requirements-app.txt requirements-export.txt requirements-pretrained.txt
	$(PIP) -r requirements-dev.txt
	touch $@
