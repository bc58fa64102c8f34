# make sweep   install, generate the demo clips, run the demo sweep
# make install the environment alone, for your own clips
# make test    install with the test tools, lint, types, all tests
# make faults  tests that kill processes and nodes under a sweep: ten minutes and more
# make check   lint and types alone
# make audit   known vulnerabilities of what is installed; asks pypi.org about each package
# make clean   remove what the targets made, the runs included

PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name))))
BIN := .venv/bin

.PHONY: sweep install test faults check audit clean

sweep: .venv/.installed
	$(BIN)/python -m data demo --out demo_clips
	$(BIN)/python -m tuning sweep --config configs/demo.yaml --data demo_clips --groups demo_clips/sources.csv

install: .venv/.installed

test: check
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

faults: .venv/.installed-dev
	$(BIN)/python -m pytest -m faults

check: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

audit: .venv/.installed-dev
	$(BIN)/pip-audit --local --strict --progress-spinner off || (echo "a package that is not found on PyPI was not audited: the index that pip uses here may not be pypi.org" >&2; exit 1)

clean:
	rm -rf .venv demo_clips frame_store runs

.venv/bin/python:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v == (3, 11) else f"Python 3.11 is needed, not {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv || (echo "python3-venv is missing: apt-get install python3-venv" >&2; rm -rf .venv; exit 1)

.venv/.installed: .venv/bin/python requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@
