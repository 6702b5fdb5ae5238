"""The command lines of the programs here: what cannot be done is one line, flags of the model go to the model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robossl.core.errors import OperationError, UsageError
from robossl.cli.config import parse_overrides
from robossl.training.config import LearnConfig


def answered(main: Callable[[], None]) -> None:
    """Run a program's `main`; what it refuses (exit code 2) or fails at (1) is one line on stderr."""
    try:
        main()
    except (UsageError, OperationError) as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def model_settings(words: list[str]) -> dict[str, Any]:
    """`--world_model.latent_dim 128 ...` as settings by key; `RequestError` for anything else."""
    given = parse_overrides(words, LearnConfig)
    for name in given:
        if not name.startswith("world_model."):
            raise UsageError(f"unknown argument --{name}; what is not in --help goes to the model, --world_model.*")
    return given
