# What a newcomer and CI both run. Needs make and Python 3.11 or newer, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
OUT ?= out
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run test test-long lint wheel test-wheel test-old test-no-numba clean

run: $(VENV)/.installed  ## install, then find the surface in an embedded phantom
	$(BIN)/nx47 demo --output $(OUT)

test: $(VENV)/.tested  ## every test of the gate
	$(BIN)/python -m pytest -q -n logical --dist loadfile

test-long: $(VENV)/.tested  ## ten times the drawn shapes, mutations, whole runs
	$(BIN)/python -m pytest -q -n logical --dist loadfile --long

lint: $(VENV)/.linted $(VENV)/.tested  ## style, types, the arrows between rooms, and names and lengths
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/rules

wheel: $(VENV)/.linted  ## with a cubin of each kernel file for each architecture: nothing is compiled where it is installed
	$(PIP) install --group nvrtc
	$(BIN)/python -m gpu_nx47.kernels.cubins
	$(BIN)/python -m pip --quiet wheel --no-deps --wheel-dir dist .

# The three below prove the edges of what is promised: the built wheel alone, the oldest pins (Kaggle's age), and no Numba.
test-wheel: wheel
	.ci/edges wheel $(PYTHON)

test-old: $(VENV)/.tested
	.ci/edges old $(PYTHON)

test-no-numba: $(VENV)/.tested
	.ci/edges no-numba $(PYTHON)

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	$(PIP) install --editable .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(PIP) install --group test
	touch $@

$(VENV)/.linted: $(VENV)/.installed
	$(PIP) install --group lint
	touch $@

clean:
	rm -rf $(VENV) .venv-* dist build out *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
