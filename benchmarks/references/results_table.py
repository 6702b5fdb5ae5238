"""The table of reference returns in a Markdown page, updated in place by `python -m benchmarks.references`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from robossl.core.errors import UsageError

_BEGIN, _END = "<!-- references: begin -->", "<!-- references: end -->"
_HEAD = (
    "| task | zero action | random | reference | ratio | n |",
    "| --- | --- | --- | --- | --- | --- |",
)


def format_row(task: str, row: dict[str, Any]) -> str:
    """Return the table line of a task."""
    cells = [_cell(row[name]["return"]) for name in ("zero_action", "random", "reference")]
    return f"| {task} | {' | '.join(cells)} | {_number(row['ratio'])} | {row['reference']['return']['n']} |"


def update_table(page: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Replace the lines of the tasks in `rows`, and keep all other lines of the table.

    Args:
        page: Markdown file with the two comments that enclose the table.
        rows: Results of `measure_task` by task name.

    Raises:
        UsageError: The page does not exist or contains no table.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    match = re.search(f"{re.escape(_BEGIN)}\n(.*?){re.escape(_END)}", text, re.DOTALL)
    if match is None:
        raise UsageError(f"{page} has no table; expected one between {_BEGIN} and {_END}")
    lines = [line for line in match[1].splitlines() if line.startswith("| ") and line not in _HEAD]
    by_task = {line.split("|")[1].strip(): line for line in lines}
    by_task |= {task: format_row(task, row) for task, row in rows.items()}
    table = "\n".join([_BEGIN, "", *_HEAD, *(by_task[task] for task in sorted(by_task)), "", _END])
    page.write_text(text[: match.start()] + table + text[match.end() :], encoding="utf-8")


def update_package_data(page: Path, data: Path) -> None:
    """Write the random and reference returns of the table in a page to the JSON file of the package."""
    returns = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == 8 and parts[3][:1].isdigit():
            random, reference = (float(parts[column].split()[0]) for column in (3, 4))
            returns[f"robossl/{parts[1]}-v0"] = {"random": random, "reference": reference}
    data.write_text(json.dumps(returns, indent=1) + "\n", encoding="utf-8")


def _cell(estimate: dict[str, float]) -> str:
    """Return an estimate as text, such as `27.1 [25.2, 29.0]`."""
    return f"{_number(estimate['mean'])} [{_number(estimate['low'])}, {_number(estimate['high'])}]"


def _number(value: float) -> str:
    """Return a number with three significant digits and at most two decimals."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
