# robossl: `make run` and `make test` each set everything up by themselves.
# Paths are relative to this folder, whose name may hold spaces; from elsewhere: make -C FOLDER run.
BIN   := .venv/bin
READY := .venv/.ready
JUDGES := build/judges
SUITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

# The first Python here that will do; `make PYTHON=...` takes another.
ifndef PYTHON
PYTHON = $(or $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
  if $$p -c '$(SUITS)' 2>/dev/null; then echo $$p; break; fi; done),python3)
endif

.PHONY: help setup run test test-slow judge-lerobot lint types wheel judges rival-loader clean

help:
	@echo "make run        set up, then the main job: robossl learn (about 6 minutes on 2 cores)"
	@echo "make test       set up, then the tests"
	@echo "make test-slow  the tests that learn for longer"
	@echo "make judge-lerobot  LeRobot's own loader reads what we export (its own environment, about 6 GB)"
	@echo "make rival-loader   the loader that benchmarks.streams compares with (its own environment, about 6 GB)"
	@echo "make lint       ruff"
	@echo "make types      mypy"
	@echo "make wheel      build the wheel, install it clean, use it from elsewhere"
	@echo "make judges     TorchRL, rl_zoo3 and SB3's own wrappers on every id, in an environment of their own"
	@echo "make clean      remove .venv and what was built"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(if $(shell "$(PYTHON)" -c '$(SUITS)' 2>&1 || echo no),$(error robossl needs Python 3.11 to 3.13, \
	  found $(or $(shell "$(PYTHON)" --version 2>/dev/null),no $(PYTHON)); try: make PYTHON=python3.12))
	"$(PYTHON)" -m venv .venv
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch "$(READY)"

run: $(READY)
	@"$(BIN)/robossl" learn

test: $(READY)
	@"$(BIN)/python" -m pytest -n auto --maxprocesses 4 --dist worksteal

test-slow: $(READY)
	@"$(BIN)/python" -m pytest -m slow

# LeRobot wants an older torch and numpy than we do, and Python 3.12: it judges from an environment of its own.
JUDGE ?= $(firstword $(shell command -v python3.12 python3.13))
judge-lerobot: $(READY)
	$(if $(JUDGE),,$(error LeRobot needs Python 3.12 or 3.13; try: make judge-lerobot JUDGE=/path/to/python3.12))
	@test -d build/lerobot || "$(JUDGE)" -m venv build/lerobot
	@build/lerobot/bin/python -m pip install --quiet --disable-pip-version-check "lerobot[dataset]==0.6.1"
	@rm -rf build/judged && mkdir -p build/judged
	@"$(BIN)/python" tests/streams/lerobot_check.py write build/judged
	@HF_HUB_OFFLINE=1 build/lerobot/bin/python tests/streams/lerobot_check.py read build/judged

# The loader that benchmarks.streams runs beside ours; its package does not say that it needs the last two.
rival-loader:
	$(if $(JUDGE),,$(error it needs Python 3.12 or 3.13 here; try: make rival-loader JUDGE=/path/to/python3.12))
	@test -d build/stable-worldmodel || "$(JUDGE)" -m venv build/stable-worldmodel
	@build/stable-worldmodel/bin/python -m pip install --quiet --disable-pip-version-check \
	  "stable-worldmodel==0.1.1" opencv-python-headless imageio

lint: $(READY)
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .

# mypy cannot follow renamed package folders, so it reads a tree of links that looks like the installed package.
types: $(READY)
	@rm -rf build/types && mkdir -p build/types/robossl
	@ln -s "$(CURDIR)"/robossl/* "$(CURDIR)/envs" "$(CURDIR)/agents" "$(CURDIR)/assets" build/types/robossl/
	@cd build/types && "$(CURDIR)/$(BIN)/mypy" --config-file "$(CURDIR)/pyproject.toml" --cache-dir "$(CURDIR)/.mypy_cache" -p robossl

wheel: $(READY)
	@"$(BIN)/python" -m pytest -m "slow or not slow" tests/test_wheel.py

# Their dependencies clash with the pins above (python-dateutil), so they have pins and an environment of their own.
judges: $(JUDGES)/.ready
	@"$(JUDGES)/bin/python" -m pytest -m "slow or not slow" tests/judges

$(JUDGES)/.ready: pyproject.toml tests/compat/constraints.txt
	"$(PYTHON)" -m venv "$(JUDGES)"
	"$(JUDGES)/bin/python" -m pip install --quiet --disable-pip-version-check -c tests/compat/constraints.txt \
	  -e . pytest pytest-timeout torchrl rl_zoo3 requests moviepy
	@touch "$(JUDGES)/.ready"

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
