"""The table of references in a page of the documentation: written by the program that measures it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from robossl.core.errors import UsageError

_BEGIN, _END = "<!-- references: begin -->", "<!-- references: end -->"
_HEAD = (
    "| task | do nothing | random | reference | ratio | n |",
    "| --- | --- | --- | --- | --- | --- |",
)


def row_of(task: str, row: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [_cell(row[name]["return"]) for name in ("do_nothing", "random", "reference")]
    return f"| {task} | {' | '.join(cells)} | {_number(row['ratio'])} | {row['reference']['return']['n']} |"


def into_page(page: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Replace the lines of these tasks, and keep those of others; the page says where the table is."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    found = re.search(f"{re.escape(_BEGIN)}\n(.*?){re.escape(_END)}", text, re.DOTALL)
    if found is None:
        raise UsageError(f"{page} has no table; expected one between {_BEGIN} and {_END}")
    lines = [line for line in found[1].splitlines() if line.startswith("| ") and line not in _HEAD]
    known = {line.split("|")[1].strip(): line for line in lines}
    known |= {task: row_of(task, row) for task, row in rows.items()}
    table = "\n".join([_BEGIN, "", *_HEAD, *(known[task] for task in sorted(known)), "", _END])
    page.write_text(text[: found.start()] + table + text[found.end() :], encoding="utf-8")


def _cell(figure: dict[str, float]) -> str:
    """`27.1 [25.2, 29.0]`."""
    return f"{_number(figure['mean'])} [{_number(figure['low'])}, {_number(figure['high'])}]"


def _number(value: float) -> str:
    """Three figures, where there are so many."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
