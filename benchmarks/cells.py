"""Results of the benchmarks that write one JSON file for each finished part, called a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.core.errors import UsageError
from robossl.core.io import read_json

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
