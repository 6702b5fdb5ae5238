"""Report section "goal_reaching": goals of held-out episodes reached by planning, without reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.goal_reaching import CRITERIA, SUSTAINED_STEPS, evaluate_goal_reaching
from robossl.evaluation.report import plots
from robossl.evaluation.report.number_format import interval, label, percent, steps_ahead
from robossl.evaluation.report.section import Card, Data, Report, Section, Unavailable
from robossl.evaluation.report.sections.world_model_section import headline_horizon


def compute_goal_reaching(context: EvaluationContext) -> Data:
    """Plan with the world model of the context, beside random and zero actions."""
    if context.model is None:
        raise Unavailable("an agent alone was evaluated; no model was given")
    return evaluate_goal_reaching(context, {"planner": context.model})


def summary(data: Data) -> list[str]:
    """Return one sentence: success of planning beside random actions."""
    rows = data["rows"]
    name = "planner" if "planner" in rows else next(iter(rows))
    horizon = headline_horizon(rows[name])
    planned, chance = rows[name][horizon], rows.get("random", {}).get(horizon)
    reached, sustained = (_rate(planned[key]) for key in ("reached_any", "sustained"))
    text = (
        f"With this model and without reward, the {label(name)} reached {reached} of "
        f"{planned['reached_any']['n']} held-out goals {steps_ahead(horizon)} away and sustained {sustained}"
    )
    if chance:
        text += f"; random actions reached {percent(chance['reached_any']['mean'])} and sustained "
        text += percent(chance["sustained"]["mean"])
        if all(planned[key]["low"] <= chance[key]["high"] for key in ("reached_any", "sustained")):
            text += ", a difference that is not significant"
    return [f"{text}."]


def _rate(estimate: dict[str, Any]) -> str:
    return f"{percent(estimate['mean'])} {interval(estimate, True)}"


def cards(data: Data) -> list[Card]:
    """Return the rate of goals reached by planning."""
    rows = data["rows"]
    if "planner" not in rows or "random" not in rows:
        return []
    horizon = headline_horizon(rows["planner"])
    planned, chance = (rows[name][horizon]["reached_any"] for name in ("planner", "random"))
    detail = f"{interval(planned, True)}, random {percent(chance['mean'])}, n\u00a0=\u00a0{planned['n']}"
    return [Card(percent(planned["mean"]), "of held-out goals reached by planning", detail)]


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return a plot of the success rates for each horizon."""
    figures = {}
    for horizon in data["horizons"]:
        rows = {name: row[horizon] for name, row in data["rows"].items() if horizon in row}
        rates = (
            f"{label(name)} reached {percent(row['reached_any']['mean'])}, "
            f"sustained {percent(row['sustained']['mean'])}"
            for name, row in rows.items()
        )
        figures[horizon] = {
            "plot": plots.success_rates(rows, CRITERIA),
            "alt": "; ".join(rates),
            "rows": rows,
        }
    return {"figures": figures, "criteria": CRITERIA, "sustained_steps": SUSTAINED_STEPS}


SECTIONS = {
    "goal_reaching": Section(
        name="goal_reaching",
        title="Goal reaching without reward",
        compute=compute_goal_reaching,
        template=Path(__file__).parent.parent / "templates" / "goal_reaching.html.j2",
        summary=summary,
        cards=cards,
        view=view,
        order=300,
    )
}
