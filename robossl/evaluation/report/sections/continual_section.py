"""Report section "continual": what a run keeps, gains and loses while it goes on learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report import plots
from robossl.evaluation.report.number_format import interval, number, steps_ahead
from robossl.evaluation.report.section import Card, Data, Report, Section, Unavailable

_ROW_NAMES = {
    "before": "old physics, before the change",
    "just_after": "new physics, just after the change",
    "recovered": "new physics, at the end",
    "old_again": "old physics, at the end",
}
_EPISODE_NAMES = {"exploration": "exploration", "acting": "the agent"}
_TRANSFER_NAMES = {"forward": "forward transfer", "recovery": "recovery", "backward": "backward transfer"}


def compute(context: EvaluationContext) -> Data:
    """Raise Unavailable: the section compares several moments, which only a run has."""
    raise Unavailable("robossl learn measures it while a run goes on; an evaluation has one model only")


def summary(data: Data) -> list[str]:
    """Return one sentence about a change of the physics; without one, about the model of the end."""
    rows, horizon = data["rows"], str(data["horizon"])
    if "before" not in rows:
        name = "acting" if "acting" in data["difference"] else "exploration"
        first, last, change = (
            rows["reward_free"][name], rows["final"][name], data["difference"][name],
        )  # fmt: skip
        return [
            f"While the agent acted, the prediction skill on held-out episodes of {_EPISODE_NAMES[name]} "
            f"{steps_ahead(horizon)} ahead changed from {number(first['mean'])} to {number(last['mean'])}: "
            f"{number(change['mean'])} {interval(change)}{_verdict(change)}."
        ]
    skills = {name: number(row["skill"]["mean"]) for name, row in rows.items()}
    recovery, backward = (data["transfer"][name]["skill"] for name in ("recovery", "backward"))
    return [
        f"After {data['at_step']:,} steps the physics changed ({physics_text(data['randomization'])}): the prediction "
        f"skill {steps_ahead(horizon)} ahead went from {skills['before']} to {skills['just_after']} and was "
        f"{skills['recovered']} at the end, a change of {number(recovery['mean'])} {interval(recovery)}"
        f"{_verdict(recovery)}; on the old physics it was {skills['old_again']} at the end, a change of "
        f"{number(backward['mean'])} {interval(backward)}{_verdict(backward)}."
    ]


def _verdict(change: dict[str, Any]) -> str:
    return ", which is not significant" if change["low"] <= 0 <= change["high"] else ""


def physics_text(randomization: dict[str, Any]) -> str:
    """Return the changed parameters: `link mass 2, gravity 0.9 to 1.1`."""
    parts = []
    for name, value in randomization.items():
        is_range = isinstance(value, (list, tuple))
        text = " to ".join(f"{end:g}" for end in value) if is_range else _plain(value)
        parts.append(f"{name.replace('_', ' ')} {text}")
    return ", ".join(parts)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else f"from the range “{value}”"


def cards(data: Data) -> list[Card]:
    """Return the skill after recovery, if the physics changed."""
    rows = data["rows"]
    if "recovered" not in rows:
        return []
    skill = rows["recovered"]["skill"]
    detail = (
        f"{interval(skill)}, just after the change {number(rows['just_after']['skill']['mean'])}, "
        f"n\u00a0=\u00a0{skill['n']:,}"
    )
    return [Card(number(skill["mean"]), "prediction skill on changed physics, recovered", detail)]


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the names of the rows, and for changed physics the plots of skill and return over the steps."""
    variables: dict[str, Any] = {
        "row_names": _ROW_NAMES,
        "episode_names": _EPISODE_NAMES,
        "transfer_names": _TRANSFER_NAMES,
        "figures": {},
    }
    if "curve" not in data:
        return variables
    variables["physics"] = physics_text(data["randomization"])
    for key in ("skill", "return"):
        if not all(key in point[physics] for point in data["curve"] for physics in ("old", "new")):
            continue
        curves = {
            f"{physics} physics": [
                [point["steps"], *(point[physics][key][end] for end in ("mean", "low", "high"))]
                for point in data["curve"]
            ]
            for physics in ("old", "new")
        }
        ends = "; ".join(f"{name} {number(curve[-1][1])}" for name, curve in curves.items())
        plot = plots.estimates_over_steps(
            curves, "prediction skill" if key == "skill" else "return", data["at_step"]
        )
        variables["figures"][key] = {"plot": plot, "alt": f"At the end: {ends}"}
    return variables


SECTIONS = {
    "continual": Section(
        name="continual",
        title="Continual learning",
        compute=compute,
        template=Path(__file__).parent.parent / "templates" / "continual.html.j2",
        summary=summary,
        cards=cards,
        view=view,
        order=450,
    )
}
