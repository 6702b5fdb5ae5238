"""The report of a study: its cells, aggregated over tasks and seeds, as report.json, page and tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from robossl.core.small_files import read_result
from robossl.core.statistics import Estimate, mean_ci
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report import page, report_file
from robossl.evaluation.report.study_tables import task_name, write_tables
from robossl.evaluation.transfer_summary import StudyInfo, summarize
from robossl.study.jobs import Plan
from robossl.study.protocol import load_protocol, reference_returns
from robossl.study.study_folder import Cell, Study

_RANDOM = "random"  # row of random actions
_CRITERION = "reached_any"  # of success against goal distance


def load_cells(study: Study, cells: tuple[Cell, ...]) -> list[dict[str, Any]]:
    """Return the results of the cells that have one."""
    return [result for cell in cells if (result := study.result(cell)) is not None]


def best_row(cells: Sequence[Mapping[str, Any]], task: str) -> dict[str, Any] | None:
    """Return the mean returns of random actions and of the best row on a task that has no reference.

    Returns:
        {"random", "reference", "row"}; None if there are no random actions, or none is better.
    """
    returns: dict[str, list[float]] = {}
    for cell in cells:
        if cell["task"] == task and "error" not in cell:
            returns.setdefault(cell["row"], []).append(sum(cell["returns"]) / len(cell["returns"]))
    means = {row: sum(values) / len(values) for row, values in returns.items()}
    best = max(means, key=lambda row: means[row], default=None)
    if best is None or _RANDOM not in means or not means[best] > means[_RANDOM]:
        return None
    return {"random": means[_RANDOM], "reference": means[best], "row": best}


def write_report(study: Study, plan: Plan) -> dict[str, Any]:
    """Write report.json, report.html and the tables of a study, and return the report."""
    spec, selection, protocol = study.spec, study.selection, load_protocol()
    cells = load_cells(study, plan.cells)
    references, steps = reference_returns(), dataclasses.asdict(spec.sizes)
    for task in selection.tasks:
        if task not in references and (found := best_row(cells, task)) is not None:
            references = {**references, task: {name: found[name] for name in ("random", "reference")}}
            steps[f"reference of {task_name(task)}"] = f"best row of this study, {found['row']}"
    goals = {
        seed: found for seed in selection.stream_seeds if (found := _read_goals(study, seed)) is not None
    }
    shown = tuple(
        row for row in selection.rows if row not in plan.missing and protocol.row(row).kind != "reference"
    )
    info = StudyInfo(
        robot=spec.robot,
        protocol=spec.protocol,
        budget=spec.budget,
        tasks=selection.tasks,
        rows=shown,
        baseline_of={row: protocol.baseline_among(row, shown) for row in shown},
        random={task: references[task]["random"] for task in selection.tasks if task in references},
        reference={task: references[task]["reference"] for task in selection.tasks if task in references},
        steps=steps,
        goals=_goal_rows(goals),
    )
    context = EvaluationContext(env=spec.stream_task, seed=selection.stream_seeds[0], folder=study.folder)
    context.results["transfer"] = summarize(cells, info)
    if goals:
        first = next(iter(goals.values()))
        context.results["goal_reaching"] = {name: first[name] for name in ("horizons", "rows")}
    context.missing = {f"transfer.rows.{row}": reason for row, reason in plan.missing.items()}
    for found in goals.values():
        context.missing |= found.get("missing", {})
    if left := len(plan.cells) - len(cells):
        context.missing["transfer.cells"] = f"{left} of {len(plan.cells)} cells have no result yet"
    context.seconds = {"cells": float(sum(cell.get("seconds", 0.0) for cell in cells))}
    report = report_file.build(context)
    report_file.write(study.folder, report)
    page.write(study.folder, [report])
    write_tables(study.folder / "tables", report["transfer"])
    return report


def _read_goals(study: Study, seed: int) -> dict[str, Any] | None:
    """Return goal reaching of a stream seed, None if it was not measured."""
    path = study.folder / "goals" / f"{seed}.json"
    found = read_result(path) if path.is_file() else None
    return found if found is not None and found.get("protocol") == study.spec.protocol else None


def _goal_rows(goals: dict[int, dict[str, Any]]) -> dict[str, dict[str, Estimate]]:
    """Return the success of each row at each distance over stream seeds; with one seed, over its trials."""
    rows: dict[str, dict[str, Estimate]] = {}
    found = list(goals.values())
    for row in dict.fromkeys(row for each in found for row in each["rows"]):
        for horizon in dict.fromkeys(horizon for each in found for horizon in each["rows"].get(row, {})):
            values = [
                each["rows"][row][horizon][_CRITERION]
                for each in found
                if horizon in each["rows"].get(row, {})
            ]
            means = [value["mean"] for value in values]
            estimate = values[0] if len(values) == 1 else mean_ci(means)  # type: ignore[arg-type]
            rows.setdefault(row, {})[horizon] = estimate
    return rows
