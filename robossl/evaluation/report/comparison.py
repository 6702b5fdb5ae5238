"""Comparison of several reports: the estimates that are shown side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from robossl.evaluation.goal_reaching import CRITERIA
from robossl.evaluation.report.number_format import label, steps_ahead
from robossl.evaluation.report.report_file import missing_reason
from robossl.evaluation.report.section import Report


@dataclass(frozen=True)
class Cell:
    """One estimate, or the reason why it is missing."""

    estimate: dict[str, Any] | None
    reason: str | None


@dataclass(frozen=True)
class Line:
    """One estimate of every report."""

    label: str
    as_percent: bool  # show the estimates as percentages
    cells: list[Cell]


def comparison_lines(reports: Sequence[Report]) -> list[Line]:
    """Return a line for each headline estimate that at least one report has."""
    lines = []
    for text, path, as_percent in _estimates(reports):
        cells = [_cell(report, path) for report in reports]
        if any(cell.estimate for cell in cells):
            lines.append(Line(text, as_percent, cells))
    return lines


def _estimates(reports: Sequence[Report]) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Yield the label and path of each estimate, and whether it is a fraction."""
    for horizon in ("1", "10", "25"):
        path = ("world_model", "prediction_skill", horizon)
        yield f"prediction skill, {steps_ahead(horizon)} ahead", path, False
    yield "inverse R²", ("world_model", "inverse_r2"), False
    for name in ("planner", "inverse_policy", "random"):
        for horizon in sorted(_keys(reports, ("goal_reaching", "rows", name)), key=int):
            for criterion in (CRITERIA[0], CRITERIA[2]):
                text = f"goals {label(criterion)}, {label(name)}, {steps_ahead(horizon)}"
                yield text, ("goal_reaching", "rows", name, horizon, criterion), True
    for name in _keys(reports, ("control", "rows")):
        yield f"return, {label(name)}", ("control", "rows", name, "return"), False
    for name in _keys(reports, ("control", "rows")):
        yield f"success, {label(name)}", ("control", "rows", name, "success"), True


def _keys(reports: Sequence[Report], path: tuple[str, ...]) -> list[str]:
    """Return the keys below `path` in any report, in order of appearance."""
    return list(dict.fromkeys(key for report in reports for key in (_lookup(report, path) or {})))


def _lookup(report: Report, path: tuple[str, ...]) -> Any:
    value: Any = report
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _cell(report: Report, path: tuple[str, ...]) -> Cell:
    estimate = _lookup(report, path)
    return Cell(estimate, None if estimate else missing_reason(report, ".".join(path)))
