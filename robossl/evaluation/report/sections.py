"""The sections of the page, one function each; an empty text where there is nothing to say."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from robossl.evaluation.report import plots, tables
from robossl.evaluation.report.plots import words
from robossl.evaluation.report.report_file import Report
from robossl.evaluation.report.text import number, percent, validity_sentence


def control(report: Report) -> str:
    """Learning curves and the control table."""
    section = report.get("control")
    if not section:
        return ""
    rows, drawn = section["rows"], ""
    if any(row.get("curve") for row in rows.values()):
        ends = (f"{words(n)} {number(r['curve'][-1][1])}" for n, r in rows.items() if r.get("curve"))
        caption = (
            "Return on held-out episodes while learning. Bands are 95 % intervals over the episodes "
            "of one training run."
        )
        drawn = _drawn(plots.curves(rows), _alt("Learning curves, at the end", ends), caption)
    return drawn + tables.control(section)


def goals(report: Report) -> str:
    """Success by policy and criterion, and how the pairs were chosen."""
    section = report.get("goals")
    if not section:
        return ""
    reached = (
        f"{words(name)} touched {percent(row['any']['mean'])}, held {percent(row['held']['mean'])}"
        for name, row in section["rows"].items()
    )
    text = f"Start and goal are rows of one held-out episode, {section['offset']} steps apart."
    if "dropped" in section:
        dropped = section["dropped"]
        text += (
            f" Of {dropped['candidates']} pairs drawn, {dropped['solved_by_nothing']} "
            f"{'was' if dropped['solved_by_nothing'] == 1 else 'were'} solved by doing "
            "nothing and dropped, so that doing nothing scores 0 here by choice of the pairs."
        )
    drawn = _drawn(
        plots.goals(section["rows"]), _alt("Goals reached", reached), "Bars are 95 % Wilson intervals."
    )
    return _paragraph(text) + drawn + tables.goals(section)


def prediction(report: Report) -> str:
    """Skill over the horizon, and for how long a forecast may be believed."""
    world = report.get("world", {})
    if not world.get("forward_interval"):
        return ""
    time = world.get("valid_prediction_time", {})
    seconds = time["horizon"] / time["steps"] if time.get("unit") == "s" else None
    body = _paragraph(
        "From a held-out moment the model imagines what follows under the recorded actions, seeing nothing "
        "on the way. Each number it expects is taken from what it decodes, or read from its latent state by a line, "
        "whichever was better on other episodes, and compared with what was observed."
    )
    curve = world.get("forward_curve")
    if curve:
        first, last = number(curve["model"][0]), number(curve["model"][-1])
        caption = (
            "The ceiling reads the real latent state of that moment: what it lacks is the encoder's fault, "
            "not the dynamics'. Other actions: the same model under the actions of another episode."
        )
        alt = f"Prediction skill goes from {first} after one step to {last} after {len(curve['model'])} steps"
        body += _drawn(plots.horizon(curve, seconds), alt, caption)
    return body + (_paragraph(validity_sentence(time)) if time else "") + tables.horizon(world, seconds)


def probes(report: Report) -> str:
    """What is read from the latent state: physical truth, rewards, what was done."""
    world = report.get("world", {})
    if not world.get("probes"):
        return ""
    read = (f"{words(name)} {number(row['r2'])}" for name, row in world["probes"].items())
    text = (
        f"How much of the {world.get('probed', 'physical state')} a straight line reads from the latent "
        "state. Good probes do not make good control; bad ones can explain bad control."
    )
    caption = "R² of the worst dimension of each quantity; below 0 is drawn at 0."
    return (
        _paragraph(text)
        + _drawn(plots.probes(world["probes"]), _alt("Linear probes, R²", read), caption)
        + tables.probes(world)
        + (tables.probe_curve(world) if world.get("probe_curve") else "")
        + (tables.rewards(world) if world.get("reward_probe") else "")
        + (tables.inverse_curve(world) if world.get("inverse_excess_curve") else "")
    )


def ablation(report: Report) -> str:
    """What other objectives would have brought."""
    section = report.get("ablation")
    if not section:
        return ""
    text = (
        "The model was learned anew from the same stream, each time with other objectives. “own” is what it was "
        "made with; forward, inverse and sigreg have one objective each, beside a predictor that only looks on "
        "where nothing else trains it; untrained is the network as it was drawn."
    )
    if "pairs" in section:
        text += f" Goals are the same {section['pairs']} pairs for all, {section['offset']} steps away."
    return _paragraph(text) + tables.ablation(section)


def health(report: Report) -> str:
    """What the learner says of itself, and figures that warn."""
    own = report.get("health", {})
    said = "".join(_paragraph(w) for w in own.get("words", []))
    return (f'<div class="words">{said}</div>' if said else "") + tables.health(report.get("world", {}), own)


def made(report: Report) -> str:
    """What reproduces it, and where the time went."""
    how, body = report.get("made", {}), ""
    if how.get("command"):
        body += f"<pre><code>{escape(str(how['command']))}</code></pre>"
    told = {k: v for k, v in how.items() if k not in ("command", "config", "versions") and v}
    entries = {**told, "versions": [f"{name} {version}" for name, version in report["versions"].items()]}
    lines = (f"<dt>{escape(words(k))}</dt><dd>{escape(_said(v))}</dd>" for k, v in entries.items())
    body += f'<dl class="made">{"".join(lines)}</dl>'
    if report["seconds"]:
        spent = (f"{words(k)} {number(v)} s" for k, v in report["seconds"].items())
        body += _drawn(plots.phases(report["seconds"]), _alt("Wall time", spent), "Where the time went.")
    if how.get("config"):
        config = f"<pre><code>{escape(str(how['config']))}</code></pre>"
        body += f"<details><summary>The whole configuration</summary>{config}</details>"
    return body


def absent(report: Report) -> str:
    """What is not here, and why."""
    items = (f"<li><code>{escape(key)}</code>: {escape(why)}</li>" for key, why in report["absent"].items())
    inside = "".join(items)
    lead = _paragraph("What a report can hold and this one does not, with the reason.")
    return f'{lead}<ul class="absent">{inside}</ul>' if inside else ""


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_said(v)}" for k, v in value.items())
    return ", ".join(map(_said, value)) if isinstance(value, (list, tuple)) else str(value)


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _alt(title: str, parts: Iterable[str]) -> str:
    """A figure in words."""
    return f"{title}: {'; '.join(parts)}"


def _drawn(svg: str, alt: str, caption: str) -> str:
    """A figure with its words."""
    labelled = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)
    return f'<figure class="drawn">{labelled}<figcaption>{escape(caption)}</figcaption></figure>'
