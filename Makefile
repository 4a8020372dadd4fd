# Needs make and Python 3.11 or newer; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
FORMAT ?= table
FUZZ_SECONDS ?= 3600

.PHONY: demo test check soak fuzz bench format clean

demo: $(READY)
	$(BIN)/podsql demo

test: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_layout.py tests/test_docs.py tests/test_exports.py tests/test_imports.py

soak: $(READY)
	PODSQL_BIG=1 $(BIN)/python -m pytest -q -s tests/system/test_resume.py

fuzz: $(READY)
	PODSQL_BIG=1 PODSQL_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -q -s --timeout 0 \
	  tests/policy/test_fuzz_gate.py tests/policy/noise tests/policy/test_noised.py \
	  tests/system/test_attack_lists.py tests/differential/test_random_tables.py

bench: $(READY)
	$(BIN)/python -m benchmarks --format $(FORMAT)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,demo,dp]'
	touch $(READY)
