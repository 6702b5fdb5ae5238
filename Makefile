# robossl: `make run` and `make test` each set everything up by themselves.
ROOT   := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
PYTHON ?= python3
VENV   := $(ROOT)/.venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: run test test-slow lint types wheel setup clean help

help:
	@echo "make run        set up, then the main job: robossl learn (about 5 minutes on 2 cores)"
	@echo "make test       set up, then the tests"
	@echo "make test-slow  the tests that learn for longer"
	@echo "make lint       ruff"
	@echo "make types      mypy"
	@echo "make wheel      build the wheel, install it clean, use it from elsewhere"

setup: $(READY)

$(READY): $(ROOT)/pyproject.toml $(ROOT)/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "robossl needs Python 3.11 or later; $(PYTHON) is `$(PYTHON) --version`. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c "$(ROOT)/constraints.txt" -e "$(ROOT)[dev]"
	@touch "$(READY)"

run: $(READY)
	@"$(BIN)/robossl" learn

test: $(READY)
	@cd "$(ROOT)" && "$(BIN)/python" -m pytest

test-slow: $(READY)
	@cd "$(ROOT)" && "$(BIN)/python" -m pytest -m slow

lint: $(READY)
	@cd "$(ROOT)" && "$(BIN)/ruff" check . && "$(BIN)/ruff" format --check .

# mypy cannot follow renamed package folders, so it reads a tree of links that looks like the installed package.
types: $(READY)
	@rm -rf "$(ROOT)/build/types" && mkdir -p "$(ROOT)/build/types/robossl"
	@ln -s "$(ROOT)"/robossl/* "$(ROOT)/envs" "$(ROOT)/agents" "$(ROOT)/assets" "$(ROOT)/build/types/robossl/"
	@cd "$(ROOT)/build/types" && "$(BIN)/mypy" --config-file "$(ROOT)/pyproject.toml" -p robossl

wheel: $(READY)
	@cd "$(ROOT)" && "$(BIN)/python" -m pytest -m slow tests/test_wheel.py

clean:
	rm -rf "$(VENV)" "$(ROOT)/build" "$(ROOT)/dist" "$(ROOT)"/*.egg-info
