# robossl: `make run` and `make test` each set everything up by themselves.
# Paths are relative to this folder, whose name may hold spaces; from elsewhere: make -C FOLDER run.
BIN   := .venv/bin
READY := .venv/.ready
COMPAT := build/compat
FAST := tests/core tests/streams tests/logging tests/test_source_rules.py tests/test_language.py tests/test_startup.py
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))

# The first supported Python; `make PYTHON=...` selects another.
ifndef PYTHON
PYTHON = $(or $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
  if $$p -c '$(SUPPORTED)' 2>/dev/null; then echo $$p; break; fi; done),python3)
endif

.PHONY: help setup run test test-fast test-slow test-warp test-ray lint types docs wheel compat compat-mujoco compat-lerobot lance-loader clean

help:
	@echo "make run        set up, then the main job: robossl learn (8 to 10 minutes on 2 cores)"
	@echo "make test       set up, then the tests"
	@echo "make test-fast  the laws of the core packages, under a minute"
	@echo "make test-slow  the tests with longer training"
	@echo "make test-ray   sweeps and collectors on a Ray of three processes; installs the extra ray (240 MB)"
	@echo "make test-warp  the robots on MuJoCo Warp; installs the extra warp (0.4 GB)"
	@echo "make lint       ruff"
	@echo "make types      mypy"
	@echo "make docs       the documentation site, tutorials executed, warnings as errors"
	@echo "make wheel      build the wheel, install it clean, use it from another folder"
	@echo "make compat     TorchRL, CleanRL, rl_zoo3 and SB3 wrappers on every id (own environment)"
	@echo "make compat-mujoco  environments of other packages on MuJoCo 3.3 (own environment)"
	@echo "make compat-lerobot  LeRobot's loader reads exported data (own environment, about 6 GB)"
	@echo "make lance-loader    the loader that benchmarks.streams compares with (own environment, about 6 GB)"
	@echo "make clean      remove .venv and build outputs"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(if $(shell "$(PYTHON)" -c '$(SUPPORTED)' 2>&1 || echo no),$(error robossl needs Python 3.11 to 3.14, \
	  found $(or $(shell "$(PYTHON)" --version 2>/dev/null),no $(PYTHON)); try: make PYTHON=python3.12))
	"$(PYTHON)" -m venv .venv
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@"$(BIN)/python" .ci/link_types.py
	@touch "$(READY)"

run: $(READY)
	@"$(BIN)/robossl" learn

test: $(READY)
	@"$(BIN)/python" -m pytest -n auto --maxprocesses 4 --dist worksteal

# Packages whose tests take seconds: no training, no rendering.
test-fast: $(READY)
	@"$(BIN)/python" -m pytest -n auto --maxprocesses 4 --dist worksteal $(FAST)

test-slow: $(READY)
	@"$(BIN)/python" -m pytest -m slow

# Sweeps and collectors on a Ray of three processes of this machine, of which some are killed.
test-ray: $(READY)
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[ray]"
	@"$(BIN)/python" -m pytest -n 0 -m "slow or not slow" tests/cells/test_ray.py

# Robots on MuJoCo Warp, on the CPU: its kernels compile once on a machine, for several minutes.
test-warp: $(READY)
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[warp]"
	@"$(BIN)/python" -m pytest -m "slow or not slow" tests/warp

# LeRobot needs an older torch and numpy, and Python 3.12: it runs in its own environment.
PYTHON312 ?= $(firstword $(shell command -v python3.12 python3.13))
compat-lerobot: $(READY)
	$(if $(PYTHON312),,$(error LeRobot needs Python 3.12 or 3.13; try: make compat-lerobot PYTHON312=/path/to/python3.12))
	@test -d build/lerobot || "$(PYTHON312)" -m venv build/lerobot
	@build/lerobot/bin/python -m pip install --quiet --disable-pip-version-check "lerobot[dataset]==0.6.1"
	@rm -rf build/lerobot-data && mkdir -p build/lerobot-data
	@"$(BIN)/python" tests/streams/lerobot_check.py write build/lerobot-data
	@HF_HUB_OFFLINE=1 build/lerobot/bin/python tests/streams/lerobot_check.py read build/lerobot-data

# The loader that benchmarks.streams compares with; its package does not declare the last two requirements.
lance-loader:
	$(if $(PYTHON312),,$(error it needs Python 3.12 or 3.13 here; try: make lance-loader PYTHON312=/path/to/python3.12))
	@test -d build/stable-worldmodel || "$(PYTHON312)" -m venv build/stable-worldmodel
	@build/stable-worldmodel/bin/python -m pip install --quiet --disable-pip-version-check \
	  "stable-worldmodel==0.1.1" opencv-python-headless imageio

lint: $(READY)
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .

# mypy cannot follow renamed package folders: it reads a tree of links laid out like the installed package.
types: $(READY)
	@rm -rf build/types && mkdir -p build/types/robossl
	@ln -s "$(CURDIR)"/robossl/* "$(CURDIR)/envs" "$(CURDIR)/agents" "$(CURDIR)/assets" build/types/robossl/
	@cd build/types && "$(CURDIR)/$(BIN)/mypy" --config-file "$(CURDIR)/pyproject.toml" --cache-dir "$(CURDIR)/.mypy_cache" -p robossl

wheel: $(READY)
	@"$(BIN)/python" -m pytest -m "slow or not slow" tests/test_wheel.py

# Their dependencies conflict with the pins above (python-dateutil): own pins, own environment. CleanRL is scripts that
# are run as they are; its package demands Python below 3.11 and is installed without its dependencies.
compat: $(COMPAT)/.ready
	@"$(COMPAT)/bin/python" -m pytest -m "slow or not slow" tests/compat

$(COMPAT)/.ready: pyproject.toml tests/compat/constraints.txt
	"$(PYTHON)" -m venv "$(COMPAT)"
	"$(COMPAT)/bin/python" -m pip install --quiet --disable-pip-version-check -c tests/compat/constraints.txt \
	  -e . pytest pytest-timeout torchrl rl_zoo3 requests moviepy tensorboard setuptools
	"$(COMPAT)/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python cleanrl==1.2.0
	@touch "$(COMPAT)/.ready"

# The site in build/docs: warnings are errors, and the tutorials are executed (cached in build/docs-cache).
docs: $(READY)
	@mkdir -p build && rm -rf build/docs-source && cp -r docs build/docs-source  # generated pages stay out of docs/
	@"$(BIN)/python" -m sphinx -q -W --keep-going -b html build/docs-source build/docs
	@echo "build/docs/index.html"

# The second tested set of versions. metaworld demands MuJoCo 3.3.0 exactly and works on 3.3.7: it is installed without
# its dependencies.
compat-mujoco: $(COMPAT)-mujoco/.ready
	@"$(COMPAT)-mujoco/bin/python" -m pytest -p no:unraisableexception -m "slow or not slow" \
	  tests/compat/test_mujoco_versions.py

$(COMPAT)-mujoco/.ready: pyproject.toml tests/compat/constraints-mujoco.txt
	"$(PYTHON)" -m venv "$(COMPAT)-mujoco"
	"$(COMPAT)-mujoco/bin/python" -m pip install --quiet --disable-pip-version-check \
	  -c tests/compat/constraints-mujoco.txt -e . pytest pytest-timeout gymnasium-robotics Shimmy dm_control gym-aloha
	"$(COMPAT)-mujoco/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps metaworld==3.1.1
	@touch "$(COMPAT)-mujoco/.ready"

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
