"""Report section "robustness": the policies of the control table in changed physics and with changed observations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.control import BASELINES
from robossl.evaluation.report.control_text import MAIN_ROWS
from robossl.evaluation.report.number_format import interval, label, number
from robossl.evaluation.report.section import Data, Report, Section, check_requested
from robossl.evaluation.robustness import NOISE_STD, NOMINAL, PIXEL_NOISE, evaluate_robustness


def compute(context: EvaluationContext) -> Data:
    """Evaluate every policy in every condition, if that is requested."""
    check_requested(context, "robustness")
    return evaluate_robustness(context)


def _main_rows(data: Data) -> list[str]:
    names = [name for name in data["rows"] if name not in BASELINES]
    return [name for name in MAIN_ROWS if name in names] or names


def summary(data: Data) -> list[str]:
    """Return one sentence about the condition in which the main policy loses most."""
    name = _main_rows(data)[0]
    row = {condition: entry for condition, entry in data["rows"][name].items() if condition != NOMINAL}
    if not row:
        return []
    worst = min(row, key=lambda condition: row[condition]["difference"]["mean"])
    change, nominal = row[worst]["difference"], data["rows"][name][NOMINAL]["return"]
    lower = [condition for condition, entry in row.items() if entry["difference"]["high"] < 0]
    sentence = (
        f"In {len(lower)} of {len(row)} changed conditions the return of the policy on {label(name)} is significantly "
        f"lower than the {number(nominal['mean'])} in the unchanged env, most with {label(worst)}: "
        f"{number(row[worst]['return']['mean'])}, a difference of {number(change['mean'])} {interval(change)}"
    )
    others = [
        f"{label(other)} {number(data['rows'][other][worst]['return']['mean'])}"
        for other in data["rows"]
        if other != name and worst in data["rows"][other]
    ]
    return [f"{sentence}{'; there, ' + ', '.join(others) if others else ''}."]


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the order of the rows and the sizes of the noise."""
    return {
        "policies": list(data["rows"]),
        "main": _main_rows(data)[:1],
        "nominal": NOMINAL,
        "noise_std": NOISE_STD,
        "pixel_noise": PIXEL_NOISE,
    }


SECTIONS = {
    "robustness": Section(
        name="robustness",
        title="Robustness",
        compute=compute,
        template=Path(__file__).parent.parent / "templates" / "robustness.html.j2",
        summary=summary,
        view=view,
        order=460,
    )
}
