"""Results of the benchmarks that write one JSON file for each finished part, called a cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.io import read_json
from robossl.core.statistics import mean_ci

Cell = dict[str, Any]


def env_id(name: str) -> str:
    """Return the id of an env of robossl: `robossl/WalkerRun-v0` for WalkerRun."""
    return f"robossl/{name}-v0"


def read_cells(path: Path) -> list[Cell]:
    """Return the cells in the subfolder `results` of a folder, or those of a JSON file that a benchmark printed.

    Raises:
        UsageError: There are none.
    """
    if path.is_file():
        content = read_json(path)
        return content["cells"] if isinstance(content, dict) else content
    cells = [read_json(file) for file in sorted((path / "results").glob("*.json"))]
    if not cells:
        raise UsageError(f"expected results in {path}, got none; measure first")
    return cells


def estimate_over_seeds(returns: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return the mean of the returns (E,) of each seed, its interval, and the number of seeds.

    With several seeds the interval resamples whole seeds, with one seed its episodes.
    """
    seeds = np.repeat(np.arange(len(returns)), [len(values) for values in returns])
    return {**mean_ci(np.concatenate(returns), seeds if len(returns) > 1 else None), "seeds": len(returns)}
