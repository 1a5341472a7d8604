# Every target makes its own .venv first; on a fresh clone `make demo` and `make test` are all one needs.
PYTHON ?= python3
BIN := .venv/bin
# Small tensors: one thread for each of two test processes is faster than two threads in one.
WORKERS ?= 2

.PHONY: demo test lint docs bench bench-coverage clean

demo: .venv/.installed
	$(BIN)/convslim demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -q

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site, in build/site; any warning is an error.
docs: .venv/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: .venv/.installed
	$(BIN)/python benchmarks/engine.py

# Some 350 networks, an hour or two; goes on where it stopped. `make clean` forgets what was measured.
bench-coverage: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/coverage.py run build/coverage.jsonl
	$(BIN)/python benchmarks/coverage.py table build/coverage.jsonl

# torch comes first and alone, at its tested version, so that no other package chooses another build of it.
.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist src/*.egg-info
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
