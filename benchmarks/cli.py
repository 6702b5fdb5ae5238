"""Command-line helpers of the benchmarks: one-line errors, and flags of the world model."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robossl.cli.config import parse_overrides
from robossl.core.errors import OperationError, UsageError
from robossl.training.config import LearnConfig


def run_main(main: Callable[[], None]) -> None:
    """Run a program and exit with 2 for a UsageError and 1 for an OperationError, with one line on stderr."""
    try:
        main()
    except (UsageError, OperationError) as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except BrokenPipeError:  # the reader of stdout has ended, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def model_settings(arguments: list[str]) -> dict[str, Any]:
    """Return the settings of the flags `--world_model.latent_dim 128 ...` by key; other flags raise UsageError."""
    settings = parse_overrides(arguments, LearnConfig)
    for name in settings:
        if not name.startswith("world_model."):
            raise UsageError(f"expected a flag of --help or --world_model.*, got --{name}")
    return settings
