"""Report section "goal_reaching": goals of held-out episodes, some steps away, reached without reward."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from robossl.core.interfaces import Policy
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.goal_reaching import CRITERIA, SUSTAINED_STEPS, evaluate_goal_reaching
from robossl.evaluation.report import plots
from robossl.evaluation.report.number_format import interval, label, percent, steps_ahead
from robossl.evaluation.report.section import (
    Card,
    Data,
    Report,
    Section,
    Unavailable,
    Verdict,
    outcome_of,
)
from robossl.evaluation.report.sections.control_section import model_info
from robossl.evaluation.report.sections.world_model_section import headline_horizon
from robossl.evaluation.reward_free import PLANNER_COSTS, REWARD_FREE, default_cost_row, reward_free_policies

_MAIN = tuple(REWARD_FREE)


def compute_goal_reaching(context: EvaluationContext) -> Data:
    """Plan with the world model of the context and use its inverse policy, beside random and zero actions."""
    model = context.model
    if model is None:
        raise Unavailable("an agent alone was evaluated; no model was given")
    rows = dict.fromkeys(("planner", *PLANNER_COSTS, *REWARD_FREE))

    default: list[str] = []  # the row that the default planner equals

    def make_policies(envs: VectorEnv) -> dict[str, Policy]:
        policies, reasons = reward_free_policies(envs, model, context.evaluation_seed, rows)
        context.missing.update({f"goal_reaching.rows.{row}": reason for row, reason in reasons.items()})
        if (same := default_cost_row(policies)) is not None:
            default.append(same)
            del policies[same]
        return policies

    found = evaluate_goal_reaching(context, make_policies)
    return {"model": model_info(context), **({"planner": default[0]} if default else {}), **found}


def summary(data: Data) -> list[str]:
    """Return one sentence: success of the policies without reward beside random actions, near and far."""
    rows = data["rows"]
    names = [name for name in _MAIN if name in rows] or list(rows)[:1]
    horizon = headline_horizon(rows[names[0]])
    far = max(rows[names[0]], key=int)
    trials = rows[names[0]][horizon]["reached_any"]["n"]
    text = f"Of {trials} goals of held-out episodes {steps_ahead(horizon)} away, "
    chance = rows.get("random", {}).get(horizon)
    parts = []
    for name in names:
        row = rows[name][horizon]
        part = f"the {label(name)} reached {_rate(row['reached_any'])}"
        part += f" and sustained {percent(row['sustained']['mean'])}"
        if chance and all(row[key]["low"] <= chance[key]["high"] for key in ("reached_any", "sustained")):
            part += ", which is not significantly more than random actions"
        parts.append(part)
    if chance:
        parts.append(
            f"random actions reached {percent(chance['reached_any']['mean'])} and sustained "
            f"{percent(chance['sustained']['mean'])}"
        )
    sentence = f"{text}{'; '.join(parts)}"
    if far != horizon:
        rates = [f"{label(name)} {percent(rows[name][far]['reached_any']['mean'])}" for name in names]
        rates += [f"random {percent(rows['random'][far]['reached_any']['mean'])}"] if "random" in rows else []
        sentence += f". At {steps_ahead(far)}: {', '.join(rates)} reached"
    return [f"{sentence}."]


def _rate(estimate: Mapping[str, Any]) -> str:
    return f"{percent(estimate['mean'])} {interval(estimate, True)}"


def cards(data: Data) -> list[Card]:
    """Return the rate of goals reached without reward."""
    rows = data["rows"]
    if "planner" not in rows or "random" not in rows:
        return []
    horizon = headline_horizon(rows["planner"])
    planned, chance = (rows[name][horizon]["reached_any"] for name in ("planner", "random"))
    inverse = rows.get("inverse_policy", {}).get(horizon)
    detail = interval(planned, True)
    if inverse:
        detail += f", inverse policy {percent(inverse['reached_any']['mean'])}"
    detail += f", random {percent(chance['mean'])}, n\u00a0=\u00a0{planned['n']}"
    return [
        Card(percent(planned["mean"]), f"of goals {steps_ahead(horizon)} away reached by planning", detail)
    ]


def verdicts(data: Data) -> list[Verdict]:
    """Return whether the policies without reward reach more goals than random actions."""
    rows = data["rows"]
    found = []
    for name in _MAIN:
        if name not in rows or "random" not in rows:
            continue
        horizon = headline_horizon(rows[name])
        estimate, chance = (rows[row][horizon]["reached_any"] for row in (name, "random"))
        subject = f"{label(name)} to goals {steps_ahead(horizon)} away over random actions"
        found.append(Verdict(outcome_of(estimate, chance), subject, _rate(estimate), _rate(chance), "goals"))
    return found


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return a plot of success against distance, and the rows by horizon."""
    horizons = list(data["horizons"])
    by_horizon = {
        horizon: {name: row[horizon] for name, row in data["rows"].items() if horizon in row}
        for horizon in horizons
    }
    rates = (
        f"{label(name)} "
        + ", ".join(
            f"{percent(row[h]['reached_any']['mean'])} at {steps_ahead(h)}" for h in horizons if h in row
        )
        for name, row in data["rows"].items()
    )
    return {
        "plot": plots.success_by_distance(data["rows"], horizons),
        "alt": "; ".join(rates),
        "by_horizon": by_horizon,
        "criteria": CRITERIA,
        "main": _MAIN,
        "sustained_steps": SUSTAINED_STEPS,
    }


SECTIONS = {
    "goal_reaching": Section(
        name="goal_reaching",
        title="Goal reaching without reward",
        compute=compute_goal_reaching,
        template=Path(__file__).parent.parent / "templates" / "goal_reaching.html.j2",
        summary=summary,
        cards=cards,
        verdicts=verdicts,
        view=view,
        order=300,
    )
}
