# Each target makes and reuses .venv; the versions in constraints.txt are the ones that were tested.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip --disable-pip-version-check --quiet
NATIVE_SOURCES := setup.py CMakeLists.txt pyproject.toml constraints.txt $(shell find csrc -type f)
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
LINTED_CPP := $(shell find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' -o -name '*.inl')

.PHONY: demo test bench lint clean

demo: $(VENV)/.installed
	$(BIN)/rawzoo demo --output demo

# One process for each core, and one thread in each; the tests of a file stay together.
test: $(VENV)/.tested
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

bench: $(VENV)/.benched
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-json=benchmarks/latest.json \
		--benchmark-columns=min,median,rounds --disable-warnings

lint: $(VENV)/.linted
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(LINTED_CPP)

clean:
	rm -rf $(VENV) build demo *.egg-info plugins/*/src/*.egg-info rawzoo/*.so

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --upgrade pip

$(VENV)/.installed: $(NATIVE_SOURCES) $(PLUGINS:=/pyproject.toml) | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable . $(addprefix --editable ./,$(PLUGINS))
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --group test
	@touch $@

$(VENV)/.benched: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --group bench
	@touch $@

$(VENV)/.linted: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --group lint
	@touch $@
