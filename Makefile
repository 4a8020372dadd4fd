# Needs make and Python 3.11 or newer; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
# What the demo needs, then all that the tests do.
DEMO := .venv/.demo
READY := .venv/.installed
# Also torch, which is large and which only networks need.
TORCH := .venv/.torch
# Public statements and data for the tests; their generators need another DuckDB than ours.
SUITES := .suites/.made
FORMAT ?= table
FUZZ_SECONDS ?= 3600
# Container images often set it; then every process of the tests compiles the whole package anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test check assurance soak fuzz suites bench coverage chromium format clean

demo: $(DEMO)
	$(BIN)/podsql demo

test: $(TORCH) $(SUITES)
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

check: $(TORCH)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_layout.py tests/test_docs.py tests/test_exports.py tests/test_imports.py

# Runs the tests of the adversarial list; how they ended is packaged with the product.
assurance: $(TORCH)
	$(BIN)/python tests/governance/run_assurance.py

soak: $(TORCH)
	PODSQL_BIG=1 $(BIN)/python -m pytest -q -s tests/system/test_resume.py

fuzz: $(TORCH)
	PODSQL_BIG=1 PODSQL_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -q -s --timeout 0 \
	  tests/policy/test_fuzz_gate.py tests/policy/noise tests/policy/test_noised.py \
	  tests/system/test_attack_lists.py tests/differential tests/page/test_nonsense.py

suites: $(TORCH) $(SUITES)
	PODSQL_BIG=1 $(BIN)/python -m pytest -q --timeout 0 tests/suites tests/system/test_service_killed.py \
	  tests/system/test_usefulness.py

bench: $(TORCH) $(SUITES)
	$(BIN)/python -m benchmarks --format $(FORMAT)

coverage: $(TORCH)
	$(BIN)/python tests/suites/logic.py --format $(FORMAT) $(TESTS)

# What the tests of the policy service's page look through; as root.
chromium:
	apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .suites .suites-venv build dist *.egg-info

$(SUITES): tests/suites/make_suites.py
	test -x .suites-venv/bin/python || $(PYTHON) -m venv .suites-venv
	.suites-venv/bin/python -m pip install --quiet --disable-pip-version-check duckdb==1.5.5 \
	  duckdb-extension-tpch==1.5.5 duckdb-extension-tpcds==1.5.5 tpchgen-cli==4.0.0
	.suites-venv/bin/python tests/suites/make_suites.py .suites
	touch $(SUITES)

$(DEMO): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) '.[demo,policy]'
	touch $(DEMO)

$(READY): $(DEMO)
	$(PIP) '.[dev,dp]'
	touch $(READY)

$(TORCH): $(READY)
	$(PIP) '.[train]'
	touch $(TORCH)
