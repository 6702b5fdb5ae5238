"""Report section "control": the env's own goals and rewards, without reward and by trained agents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.control import BASELINES, evaluate_control
from robossl.evaluation.report import plots
from robossl.evaluation.report.control_curves import curve_note, early_returns
from robossl.evaluation.report.control_text import agent_name, agent_rows, input_name, main_row_of, summary
from robossl.evaluation.report.number_format import interval, label, number, percent
from robossl.evaluation.report.section import (
    Card,
    Data,
    Report,
    Section,
    Unavailable,
    Verdict,
    outcome_of,
)
from robossl.evaluation.reward_free import REWARD_FREE


def compute_control(context: EvaluationContext) -> Data:
    """Evaluate the rows of the context; a table of baselines alone is unavailable."""
    data = evaluate_rows(context)
    if not set(data["rows"]) - set(BASELINES):
        reasons = [
            context.missing[f"control.{row}"] for row in REWARD_FREE if f"control.{row}" in context.missing
        ]
        raise Unavailable(
            "; ".join(["a model alone was evaluated; no agent was given", *dict.fromkeys(reasons)])
        )
    return data


def evaluate_rows(context: EvaluationContext) -> Data:
    """Evaluate policies without reward, the agents of the context, and baselines on the same held-out episodes."""
    rows = evaluate_control(context, rows=context.control_rows)
    if rows and not any("success" in row for row in rows.values()):
        context.missing["control.success"] = (
            f"{context.env} does not report success: no is_success in its infos"
        )
    trained = {"agent": context.agent, "steps": context.agent_steps, "model": model_info(context)}
    return {**{key: value for key, value in trained.items() if value is not None}, "rows": rows}


def model_info(context: EvaluationContext) -> dict[str, int] | None:
    """Return the version of the model, its gradient steps, and the transitions it was trained on."""
    if context.model is None:
        return None
    metadata = context.model.metadata
    info = {"version": int(context.model.version)}
    info |= {str(key): int(metadata[key]) for key in ("updates", "transitions") if key in metadata}
    return info


def cards(data: Data) -> list[Card]:
    """Return the results without reward, and beside them that of the trained agent."""
    rows = data["rows"]
    shown = {name: f"{_CARDS[name]}, without any reward" for name in REWARD_FREE if name in rows}
    if name := main_row_of(data):
        steps = f", {data['steps']:,} steps with reward" if data.get("steps") else ""
        shown[name] = f"return of {agent_name(data, name)} on {input_name(name)}{steps}"
    return [_card(rows, name, text) for name, text in shown.items()]


def verdicts(data: Data) -> list[Verdict]:
    """Return whether control without reward and the agent beat random actions, and the latent the observation alone."""
    rows, found = data["rows"], []
    for name in REWARD_FREE:
        if name in rows and "random" in rows:
            subject = f"{label(name)} without reward over {label('random')}"
            returns = rows[name]["return"], rows["random"]["return"]
            found.append(_verdict(*returns, subject, "control without reward"))
    if main := main_row_of(data):
        found += _agent_verdicts(data, main)
    return found


def _agent_verdicts(data: Data, main: str) -> list[Verdict]:
    """Compare the main agent with the observation alone, at the end and early, and with random actions."""
    rows, found = data["rows"], []
    agent = who = agent_name(data, main)
    subject = f"{agent} on {input_name(main)}"
    steps = data.get("steps")
    if "observation" in rows and main != "observation":
        other = agent_name(data, "observation")
        against = "the observation alone" if other == agent else f"{other} on the observation alone"
        who = subject if other == agent else agent
        topic = f"{who} after {steps:,} steps with reward" if steps else subject
        returns = rows[main]["return"], rows["observation"]["return"]
        found.append(_verdict(*returns, f"{subject} over {against}", topic))
        if early := early_returns(rows, main, "observation", steps):
            text = f"{subject} over {against}, after {early.steps:,} steps"
            found.append(_verdict(early.own, early.other, text, f"{who} after {early.steps:,} steps"))
    if "random" in rows:
        returns = rows[main]["return"], rows["random"]["return"]
        found.append(_verdict(*returns, f"{subject} over {label('random')}", f"{who} over random actions"))
    return found


def _verdict(own: Mapping[str, Any], baseline: Mapping[str, Any], subject: str, topic: str) -> Verdict:
    result, reference = (f"{number(e['mean'])} {interval(e)}" for e in (own, baseline))
    return Verdict(outcome_of(own, baseline), subject, f"return {result}", reference, topic)


_CARDS = {"planner": "return of planning", "inverse_policy": "return of the inverse policy"}


def _card(rows: Mapping[str, Any], name: str, text: str) -> Card:
    row = rows[name]
    details = [interval(row["return"])]
    if "success" in row:
        details.append(f"success {percent(row['success']['mean'])}")
    if "random" in rows:
        details.append(f"random {number(rows['random']['return']['mean'])}")
    details.append(f"n\u00a0=\u00a0{row['return']['n']}")
    return Card(number(row["return"]["mean"]), text, ", ".join(details))


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the learning curves, the texts of the rows, and how many steps with reward each row had."""
    rows = data["rows"]
    curves = {name: row["curve"] for name, row in rows.items() if row.get("curve")}
    steps = data.get("steps")
    names = agent_rows(rows)
    differ = len({agent_name(data, name) for name in names}) > 1
    labels = {
        name: f"{label(name)} ({agent_name(data, name)})" if differ and name in names else label(name)
        for name in rows
    }
    ends = "; ".join(f"{labels[name]} {number(curve[-1][1])}" for name, curve in curves.items())
    return {
        "curves": plots.learning_curves(rows, labels, tuple(REWARD_FREE)) if curves else None,
        "ends": ends,
        "curve_note": curve_note(rows, curves),
        "main": tuple(REWARD_FREE),
        "row_labels": labels,
        "reward_steps": {
            name: ("–" if steps is None else f"{steps:,}") if name in names else "0" for name in rows
        },
    }


SECTIONS = {
    "control": Section(
        name="control",
        title="Control",
        compute=compute_control,
        template=Path(__file__).parent.parent / "templates" / "control.html.j2",
        summary=summary,
        cards=cards,
        verdicts=verdicts,
        view=view,
        order=200,
    )
}
