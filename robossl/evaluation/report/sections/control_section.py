"""Report section "control": returns and successes of trained agents on held-out episodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.control import evaluate_control
from robossl.evaluation.report import plots
from robossl.evaluation.report.number_format import interval, label, number
from robossl.evaluation.report.section import Card, Data, Report, Section, Unavailable

# The main row of a control table is the first of these that it has.
MAIN_ROWS = ("latent_observation", "latent", "observation")


def main_row(rows: Iterable[str]) -> str:
    """Return the name of the main row of a control table."""
    names = list(rows)
    return next((name for name in MAIN_ROWS if name in names), names[0])


def compute_control(context: EvaluationContext) -> Data:
    """Evaluate the agents of the context, and random and zero actions, on the same held-out episodes."""
    if not context.agents:
        raise Unavailable("a model alone was evaluated; no agent was given")
    rows = evaluate_control(context)
    if not rows:
        raise Unavailable("no row could be measured")
    if not any("success" in row for row in rows.values()):
        context.missing["control.success"] = (
            f"{context.env} does not report success: no is_success in its infos"
        )
    trained = {"agent": context.agent, "steps": context.agent_steps}
    return {**{key: value for key, value in trained.items() if value is not None}, "rows": rows}


def summary(data: Data) -> list[str]:
    """Return one sentence: the return of the main row beside raw observations and random actions."""
    rows = data["rows"]
    name = main_row(rows)
    main = rows[name]["return"]
    agent = str(data.get("agent", "")).upper() or "the agent"
    trained = (
        f"After {data['steps']:,} environment steps with reward, {agent}" if data.get("steps") else agent
    )
    text = (
        f"{trained[0].upper()}{trained[1:]} with {_input_name(name)} has a return of {number(main['mean'])} "
        f"{interval(main)} over {main['n']} episodes"
    )
    if "observation" in rows and name != "observation":
        raw = rows["observation"]["return"]
        text += (
            f"; with raw observations alone {number(raw['mean'])} {interval(raw)}, {_comparison(main, raw)}"
        )
    if "random" in rows:
        text += f"; with random actions {number(rows['random']['return']['mean'])}"
    return [f"{text}."]


def _input_name(row: str) -> str:
    names = {
        "latent_observation": "the latent and the observation",
        "latent": "the latent",
        "observation": "raw observations",
    }
    return names.get(row, f"the input “{label(row)}”")


def _comparison(main: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Compare two estimates: they differ if their intervals do not overlap."""
    if main["n"] < 2 or other["n"] < 2:
        return "too few episodes to compare"
    if main["low"] > other["high"]:
        return "which is lower"
    return "which is higher" if main["high"] < other["low"] else "a difference that is not significant"


def cards(data: Data) -> list[Card]:
    """Return the return of the main row."""
    rows = data["rows"]
    name = main_row(rows)
    main = rows[name]["return"]
    others = [
        (text, row)
        for text, row in (("raw", "observation"), ("random", "random"))
        if row in rows and row != name
    ]
    references = "".join(f", {text} {number(rows[row]['return']['mean'])}" for text, row in others)
    detail = f"{interval(main)}{references}, n\u00a0=\u00a0{main['n']}"
    return [Card(number(main["mean"]), f"return with {_input_name(name)}", detail)]


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the learning curves."""
    curves = {name: row["curve"] for name, row in data["rows"].items() if row.get("curve")}
    ends = "; ".join(f"{label(name)} {number(curve[-1][1])}" for name, curve in curves.items())
    return {
        "curves": plots.learning_curves(data["rows"]) if curves else None,
        "ends": ends,
        "main": MAIN_ROWS[:2],
    }


SECTIONS = {
    "control": Section(
        name="control",
        title="Control",
        compute=compute_control,
        template=Path(__file__).parent.parent / "templates" / "control.html.j2",
        summary=summary,
        cards=cards,
        view=view,
        order=200,
    )
}
