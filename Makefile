# Everything a newcomer needs: make demo, make test, make check, make bench.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test setup check lint bench faults proto clean

$(VENV)/.runtime: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[files]'
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

demo: $(VENV)/.runtime  ## one governed exchange with real processes
	$(BIN)/shuqiao demo --scenario household

setup: $(VENV)/.dev $(VENV)/.bench

test: $(VENV)/.dev  ## all tests but the long ones
	$(PYTEST) -m "not slow and not alone" -n 2 --dist loadfile --no-loadscope-reorder
	$(PYTEST) -m "alone and not slow" -n 2 --dist loadfile --no-loadscope-reorder tests/system tests/faults

check: lint test  ## everything that must hold before a change lands

lint: $(VENV)/.dev  ## format, lint, types, import floors, contract drift
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy exchange certs gateway agent witness shuqiao
	$(BIN)/lint-imports
	$(BIN)/buf lint
	sh deploy/proto.sh --check

proto: $(VENV)/.dev  ## generate exchange/v1 from proto/
	sh deploy/proto.sh

bench: $(VENV)/.bench  ## measure the budgets, write docs/performance.{json,md}
	$(BIN)/python -m tests.benchmarks

faults: $(VENV)/.dev  ## the long runs: kills, failing disks, mutations of bundles
	$(PYTEST) -m slow tests/faults tests/gateway/audit/keeping tests/exchange/evidence

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .hypothesis
