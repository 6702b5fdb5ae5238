"""The few numbers to remember, on top of the page."""

from __future__ import annotations

from html import escape

from robossl.evaluation.report.report_file import Report
from robossl.evaluation.report.text import headline, interval, number, percent


def summary_cards(report: Report) -> str:
    """Up to four numbers, each with its interval, its floor and its n."""
    world, found = report.get("world", {}), []
    if world.get("forward_interval"):
        horizon = headline(world["forward_interval"])
        figure = world["forward_interval"][horizon]
        steps = f"{horizon} step{'s' * (int(horizon) > 1)} ahead"
        found.append(
            (number(figure["mean"]), f"prediction skill, {steps}", f"{interval(figure)}, “nothing moves” 0")
        )
    time = world.get("valid_prediction_time")
    if time:
        least = "≥ " if time["censored"] >= 0.5 else ""
        small = f"“nothing moves” {number(time['nothing_moves'])} {time['unit']}, n\u00a0=\u00a0{time['n']}"
        found.append((f"{least}{number(time['median'])} {time['unit']}", "a forecast may be believed", small))
    rows = report.get("goals", {}).get("rows", {})
    if "planner" in rows:
        ours, chance = rows["planner"]["any"], rows["random"]["any"]
        small = f"{interval(ours, True)}, random {percent(chance['mean'])}, n\u00a0=\u00a0{ours['n']}"
        found.append((percent(ours["mean"]), "of held-out goals touched by planning", small))
    rows = report.get("control", {}).get("rows", {})
    if "representation" in rows:
        ours = rows["representation"]["return"]
        raw = f", raw {number(rows['raw']['return']['mean'])}" if "raw" in rows else ""
        chance = f", random {number(rows['random']['return']['mean'])}" if "random" in rows else ""
        small = f"{interval(ours)}{raw}{chance}, n\u00a0=\u00a0{ours['n']}"
        found.append((number(ours["mean"]), "return on the representation", small))
    cells = (
        f'<div><dt>{escape(label)}</dt><dd class="big">{escape(big)}</dd>'
        f'<dd class="small">{escape(small)}</dd></div>'
        for big, label, small in found
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>' if found else ""
