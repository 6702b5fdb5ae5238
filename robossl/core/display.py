"""Display of objects: one line as text, a table as HTML in a notebook, and a DataFrame if pandas is installed."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from robossl.core.errors import UsageError, printable

_TABLE = (
    "<table style='border-collapse:collapse;margin:.3em 0'>"
    "<caption style='text-align:left;font-weight:600;padding:.2em 0'>{title}</caption>{rows}</table>"
)
_CELL = "<{tag} style='text-align:{align};padding:.15em .8em .15em 0'>{text}</{tag}>"


def one_line(kind: str, *parts: object) -> str:
    """Return the text of an object from its kind and its facts; None and empty facts are left out.

    >>> one_line("Stream", "robossl/Reacher-v0", None, "64 lanes")
    'Stream(robossl/Reacher-v0, 64 lanes)'
    """
    return f"{kind}({', '.join(printable(str(part)) for part in parts if part not in (None, ''))})"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "lane"), plural(64_000, "step")
    ('1 lane', '64,000 steps')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def byte_size(count: int) -> str:
    """Return a number of bytes in the largest unit that gives 1 or more.

    >>> byte_size(512), byte_size(2_100_000)
    ('512 B', '2.1 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def fitted(text: str, width: int, lines: int = 1) -> str:
    """Return text in at most `lines` lines of `width` characters; of longer text the middle is replaced by an ellipsis.

    >>> fitted("flow_rate_through_the_secondary_valve_0", 20)
    'flow_rate…ry_valve_0'
    >>> fitted("flow_rate_through_the_valve", 17, lines=2)
    'flow_rate_\\nthrough_the_valve'
    """
    words = _wrapped(text, width)
    kept = min(len(text), width * lines)
    while len(words) > lines:
        kept -= 1
        words = _wrapped(f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}", width)
    return "\n".join(words)


def _wrapped(text: str, width: int) -> list[str]:
    """Return lines of at most `width` characters, broken after spaces and marks, else anywhere."""
    lines = [""]
    for part in re.findall(r"[^\s_./:-]*[\s_./:-]|[^\s_./:-]+", text):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return [line.rstrip() for line in lines]


def html_table(title: str, rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Return a table as HTML; all text is escaped, because names may come from a file.

    Args:
        title: Text above the table.
        rows: Cells of each row; the first one is aligned left, the others right if there is a header.
        header: Names of the columns.
    """
    lines = [_row(header, "th", bool(header))] if header else []
    lines += [_row(row, "td", bool(header)) for row in rows]
    return _TABLE.format(title=escape(printable(title)), rows="".join(lines))


def _row(cells: Sequence[object], tag: str, numeric: bool) -> str:
    parts = [
        _CELL.format(
            tag=tag, align="right" if numeric and column else "left", text=escape(printable(str(cell)))
        )
        for column, cell in enumerate(cells)
    ]
    return f"<tr>{''.join(parts)}</tr>"


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, where HTML is shown."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


def dataframe(columns: Mapping[str, Any]) -> Any:
    """Return a pandas DataFrame of columns by name.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        raise UsageError(
            "a DataFrame needs pandas, which is not installed: pip install 'robossl[notebook]'"
        ) from None
    return pandas.DataFrame(dict(columns))
