# Everything from nothing but Python 3.11 or newer:  make demo   make test   make lint
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint gpu-check clean
.DELETE_ON_ERROR:

# One stamp for each set of extras, made anew when pyproject.toml changes.
.venv/pip.stamp:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	touch $@

.venv/%.stamp: pyproject.toml .venv/pip.stamp
	@echo "installing what '.[$*]' needs (see pyproject.toml); this takes minutes where little of it is cached"
	@$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@

# One BLAS thread: on arrays this small, threads that wait for each other on a busy machine cost far more than they save.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

demo: .venv/experiments.stamp
	$(ONE_THREAD) $(BIN)/python -m experiments run hand_backprop --profile demo

test: .venv/experiments.stamp .venv/bench.stamp .venv/test.stamp
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 $(PYTEST)

lint: .venv/experiments.stamp .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Uses the Python at hand, which must have CuPy, pytest and hypothesis: a machine with a GPU may have no network.
gpu-check:
	$(PYTHON) -c 'import cupy, sys; sys.exit(not cupy.cuda.is_available() and "gpu-check: CuPy finds no GPU here")'
	$(PYTHON) -m pytest -q tests/tinygrad_hw $(PYTEST)

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
