PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo test test-thorough check lint types lock clean

setup: $(INSTALLED)  ## create .venv from the pinned lock

$(INSTALLED): requirements/lock.txt requirements/torch.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-deps --require-hashes -r requirements/lock.txt
	$(BIN)/python -m pip install -r requirements/torch.txt
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	touch $@

demo: setup  ## raw video -> shards -> training -> registered model -> animation, in demo-output/
	$(BIN)/lia demo

# One process more than the two cores of the smallest machine: many tests wait for other processes.
# In the order of the files: faults and integration take longest, and a long test begun last is waited for alone.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
test: setup  ## the tests that are always run
	$(PYTEST) --durations 30 -m "not thorough"

test-thorough: setup  ## all tests
	$(PYTEST)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

check: lint types test  ## what CI runs

# See requirements/torch.txt for why these stay out of the lock.
CUDA_PACKAGES := $(shell sed -n 's/^# cuda: //p' requirements/torch.txt)
lock:  ## resolve requirements/lock.txt anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml requirements/torch.txt --constraint requirements/constraints.txt --extra dev --python-version 3.11 --universal \
	    --generate-hashes --no-header --no-annotate --upgrade \
	    $(addprefix --no-emit-package ,torch $(CUDA_PACKAGES)) -o requirements/lock.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
