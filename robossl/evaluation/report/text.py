"""What was learned and how well, in three sentences made from the numbers, with n and baselines."""

from __future__ import annotations

from typing import Any

from robossl.evaluation.report.report_file import Report, reason

_HEADLINE = 25  # [steps]


def text_summary(report: Report) -> list[str]:
    """Three sentences: the world model, reaching goals with it, learning on it."""
    return [_world(report), _goals(report), _control(report)]


def number(value: float, digits: int = 2) -> str:
    """A number for people: as many digits as mean something; what is not perfect does not read 1."""
    size = abs(value)
    if size >= 1000:
        text = f"{value:,.0f}"
    elif size >= 10:
        text = f"{value:.0f}" if size >= 100 else f"{value:.1f}"
    elif 0.9995 <= size < 1:
        text = ">0.999" if value > 0 else "<-0.999"
    else:
        text = f"{value:.{3 if 0.99 < size < 1 else digits}f}"
    return text.replace("-", "−")


def percent(value: float) -> str:
    """A share as whole percents; what is neither none nor all never reads 0 or 100."""
    shown = round(100 * value)
    if shown == 0 and value > 0:
        return "under 1\u00a0%"
    return "over 99\u00a0%" if shown == 100 and value < 1 else f"{shown}\u00a0%".replace("-", "−")


def interval(figure: dict[str, Any], share: bool = False) -> str:
    """The 95 % interval in brackets."""
    if figure["n"] < 2 and not share:
        return "[one value]"
    ends = (figure["low"], figure["high"])
    low, high = (f"{100 * end:.0f}".replace("-", "−") if share else number(end) for end in ends)
    return f"[{low}, {high}]"


def validity_sentence(time: dict[str, Any]) -> str:
    """For how long a forecast may be believed, as a sentence about `world.valid_prediction_time`."""
    unit = time["unit"]
    bad = f"its error exceeds {time['tolerance']:g} of the observation's spread"
    lasting = (
        f"{percent(time['censored'])} of the {time['n']} forecasts were still good when they ended, after "
        f"{number(time['horizon'])} {unit}"
    )
    if time["censored"] >= 0.5:  # the median was not seen to fail
        median = f"at least {number(time['median'])} {unit}"
        text = f"A forecast may be believed for {median}: {lasting} (one is bad when {bad})"
    else:
        text = (
            f"A forecast may be believed for {number(time['median'])} {unit} (median, 95 % interval "
            f"{interval(time)}): then {bad}. {lasting}"
        )
    return f"{text}; “nothing moves” fails after {number(time['nothing_moves'])} {unit}."


def _world(report: Report) -> str:
    world = report.get("world")
    if not world:
        return f"No world model was judged: {reason(report, 'world')}."
    learned = "robossl learned a world model"
    if world.get("rows") and world.get("updates"):
        learned = (
            f"From {world['rows']:,} steps lived through and without any reward, robossl learned a world "
            f"model in {world['updates']:,} updates"
        )
    skill = world.get("forward_interval", {})
    if not skill:
        return f"{learned}; how far it predicts was not measured: {reason(report, 'world.forward_skill')}."
    horizon = headline(skill)
    figure = skill[horizon]
    text = (
        f"{learned}; {horizon} step{'s' * (int(horizon) > 1)} ahead its prediction skill on {figure['n']:,} "
        f"held-out forecasts is {number(figure['mean'])} {interval(figure)}, where “nothing moves” scores 0 "
        "and perfect is 1"
    )
    linear = world.get("forward_linear", {}).get(horizon)
    if linear is not None and figure["low"] > linear:
        text += f" (linear dynamics: {_floor(linear)})"
    elif linear is not None:
        text += f" (no better than linear dynamics: {_floor(linear)})"
    return f"{text}; {_inverse(world)}." if _inverse(world) else f"{text}."


def headline(skill: dict[str, Any]) -> str:
    """The horizon that a report is summed up by: 25 steps, or the farthest below it that was judged."""
    return max((h for h in skill if int(h) <= _HEADLINE), key=int, default=min(skill, key=int))


def _inverse(world: dict[str, Any]) -> str:
    if "inverse_r2" in world:
        return f"it tells which action was taken with R² {number(world['inverse_r2'])}"
    if "inverse_accuracy" in world:
        found = world["inverse_accuracy"]
        share, common = percent(found["accuracy"]["mean"]), percent(found["majority"])
        return (
            f"it names the action taken in {share} of the steps, where the commonest one is right in {common}"
        )
    return ""


def _goals(report: Report) -> str:
    goals = report.get("goals")
    if not goals:
        return f"Goals were not tried: {reason(report, 'goals')}."
    rows = goals["rows"]
    name = "planner" if "planner" in rows else next(iter(rows))
    ours, chance = rows[name], rows.get("random")
    touched, held = (f"{percent(ours[c]['mean'])} {interval(ours[c], True)}" for c in ("any", "held"))
    text = (
        f"With that model alone, again without reward, the {name} touched {touched} of {ours['any']['n']} "
        f"held-out goals {goals['offset']} steps away and held {held}"
    )
    if chance:
        touched, held = (percent(chance[c]["mean"]) for c in ("any", "held"))
        text += f"; random actions touched {touched} and held {held}"
        if all(ours[c]["low"] <= chance[c]["high"] for c in ("any", "held")):
            text += ", so no better than chance can be claimed"
    return text + "."


def _control(report: Report) -> str:
    control = report.get("control")
    if not control:
        return f"No agent was judged: {reason(report, 'control')}."
    rows = control["rows"]
    name = "representation" if "representation" in rows else next(iter(rows))
    ours = rows[name]["return"]
    agent = str(control.get("agent", "")).upper() or "same"
    spent = (
        f"After {control['steps']:,} steps with reward, {agent}"
        if control.get("steps")
        else f"The {agent} agent"
    )
    seen = "raw observations" if name == "raw" else f"the {name}"
    text = f"{spent} on {seen} earns a return of {number(ours['mean'])} {interval(ours)} over {ours['n']} episodes"
    if "raw" in rows and name != "raw":
        raw = rows["raw"]["return"]
        text += f"; on raw observations it earns {number(raw['mean'])} {interval(raw)}, {_verdict(ours, raw)}"
    if "random" in rows:
        text += f"; random actions earn {number(rows['random']['return']['mean'])}"
    return text + "."


def _verdict(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """What may be said of two intervals: their order where they are apart, nothing otherwise."""
    if ours["n"] < 2 or theirs["n"] < 2:
        return "too few episodes to tell them apart"
    if ours["low"] > theirs["high"]:
        return "which is less"
    return "which is more" if ours["high"] < theirs["low"] else "a difference within the doubt"


def _floor(value: float) -> str:
    return number(value) if value > -1 else "less than −1"
