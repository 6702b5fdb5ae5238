"""Report section "oracle_gap": the planner with learned and with true dynamics, and a search with the true reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.oracle_gap import evaluate_oracle_gap
from robossl.evaluation.report.number_format import interval, number
from robossl.evaluation.report.section import Data, Report, Section, check_requested

_GAPS = {
    "dynamics": "true instead of learned dynamics",
    "costs": "true reward instead of the costs of the planner",
}


def compute(context: EvaluationContext) -> Data:
    """Evaluate the planners, if that is requested."""
    check_requested(context, "oracle_gap")
    return evaluate_oracle_gap(context)


def summary(data: Data) -> list[str]:
    """Return one sentence about what the errors of the learned dynamics cost."""
    rows = data["rows"]
    if "dynamics" not in data["gap"]:
        row = rows["planner_true_reward"]["return"]
        return [
            f"Planning in the true simulator with the true reward has a return of {number(row['mean'])} "
            f"{interval(row)}; random actions have {number(rows['random']['return']['mean'])}."
        ]
    gap = data["gap"]["dynamics"]
    verdict = ", which is not significant" if gap["low"] <= 0 <= gap["high"] else ""
    return [
        f"With the true simulator in place of the learned dynamics, the planner has a return of "
        f"{number(rows['planner_true_dynamics']['return']['mean'])} instead of "
        f"{number(rows['planner']['return']['mean'])}: a difference of {number(gap['mean'])} {interval(gap)}{verdict}."
    ]


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the names of the differences."""
    return {"gap_names": _GAPS, "has_success": any("success" in row for row in data["rows"].values())}


SECTIONS = {
    "oracle_gap": Section(
        name="oracle_gap",
        title="Oracle gap",
        compute=compute,
        template=Path(__file__).parent.parent / "templates" / "oracle_gap.html.j2",
        summary=summary,
        view=view,
        order=480,
    )
}
