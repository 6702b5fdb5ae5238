"""Tables of estimates as Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from robossl.evaluation.report.number_format import interval, number, percent

# A mapping is an estimate, with "as_percent" if it is a fraction shown as a percentage; None is a dash.
Value = str | int | float | Mapping[str, Any] | None
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "²": "$^2$", "\u00a0": "~", "≥": r"$\geq$",
    "<": "$<$", ">": "$>$", "–": "--",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table of texts, numbers and estimates.

    Attributes:
        caption: What the table shows.
        head: Names of the columns.
        rows: Values of each row, as many as columns.
        percents: Columns whose estimates are fractions, shown as percentages.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Value]]
    percents: Sequence[str] = ()


def text_of(value: Value, as_percent: bool = False) -> str:
    """Return a value as text: an estimate with its interval."""
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        as_percent = as_percent or value.get("as_percent", False)
        mean = percent(value["mean"]) if as_percent else number(value["mean"])
        return f"{mean} {interval(value, as_percent)}"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else number(value)


def to_markdown(table: Table) -> str:
    """Return a table as GitHub Markdown."""
    lines = [_texts(table, row) for row in table.rows]
    rule = ["---", *["---:"] * (len(table.head) - 1)]
    rows = [[str(name) for name in table.head], rule, *lines]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)


def to_latex(table: Table) -> str:
    """Return a table as a LaTeX `table` for the package booktabs."""
    rows = [" & ".join(map(_latex, _texts(table, row))) + r" \\" for row in table.rows]
    head = " & ".join(_latex(str(name)) for name in table.head) + r" \\"
    columns = "l" + "r" * (len(table.head) - 1)
    opening = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(table.caption)}}}"]
    body = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule"]
    return "\n".join([*opening, *body, r"\end{tabular}", r"\end{table}", ""])


def to_csv(table: Table) -> str:
    """Return a table as CSV with full precision; an estimate has the columns mean, low, high and n."""
    estimates = [any(isinstance(row[i], Mapping) for row in table.rows) for i, _ in enumerate(table.head)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head: list[str] = []
    for name, has_estimates in zip(table.head, estimates):
        head += [f"{name} {key}" for key in _PARTS] if has_estimates else [str(name)]
    writer.writerow(head)
    for row in table.rows:
        cells: list[Any] = []
        for value, has_estimates in zip(row, estimates):
            if not has_estimates:
                cells.append("" if value is None else value)
            elif isinstance(value, Mapping):
                cells += [value.get(key, "") for key in _PARTS]
            else:
                cells += ["" if value is None else value, "", "", ""]
        writer.writerow(cells)
    return buffer.getvalue()


def csv_link(table: Table) -> str:
    """Return a data URL with the table as CSV."""
    return f"data:text/csv;charset=utf-8,{quote(to_csv(table))}"


FORMATS = {"md": to_markdown, "tex": to_latex, "csv": to_csv}  # file ending -> function
_PARTS = ("mean", "low", "high", "n")


def _texts(table: Table, row: Sequence[Value]) -> list[str]:
    return [text_of(value, name in table.percents) for name, value in zip(table.head, row)]


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
