"""Report section "comparison": runs, groups of seeds or studies side by side, with the difference of each metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.report import plots
from robossl.evaluation.report.number_format import interval, label, number, percent
from robossl.evaluation.report.section import Card, Data, Report, Section, Unavailable
from robossl.evaluation.report.table_formats import FORMATS, Table, Value

_MENTIONED = 6  # metrics that the sentences name, at most
_HEADLINES = (
    "control.rows.planner.return",
    "control.rows.inverse_policy.return",
    "world_model.prediction_skill.10",
)


def compute(context: EvaluationContext) -> Data:
    """Raise Unavailable: several runs are compared."""
    raise Unavailable("robossl report RUN RUN writes it")


# --- text


def summary(data: Data) -> list[str]:
    """Return sentences: of one group its medians beside baselines and rivals, of several their differences."""
    groups = data["groups"]
    if len(groups) == 1:
        return [_medians(data), *_rivals(data)]
    sentences = []
    for index in range(1, len(groups)):
        sentences += _differences(data, index)
    return [*sentences, *_reservations(data)]


def _medians(data: Data) -> str:
    """Return a sentence with the headline values of one group."""
    group = data["groups"][0]
    agents = [m["key"] for m in data["metrics"] if m["key"].startswith("control.rows.") and m["rivals"][0]]
    keys = [*_HEADLINES[:2], *[key for key in agents if key.endswith(".return")][:1], _HEADLINES[2]]
    chosen = [metric for key in keys for metric in data["metrics"] if metric["key"] == key]
    parts = []
    for metric in chosen or data["metrics"][:3]:
        value = metric["values"][0]
        baselines = ", ".join(
            f"{name} {_plain(v, metric['as_percent'])}" for name, v in metric["baselines"].items()
        )
        parts.append(f"{metric['label']} {_shown(value, metric)}{f' ({baselines})' if baselines else ''}")
    if len(group["seeds"]) == 1:
        return f"Seed {group['seeds'][0]}: {'; '.join(parts)}."
    return f"Median of seeds {', '.join(map(str, group['seeds']))}: {'; '.join(parts)}."


def _rivals(data: Data) -> list[str]:
    """Return a sentence about rows that compete in the same runs: agents that observe something else."""
    found = [(metric, metric["rivals"][0]) for metric in data["metrics"] if metric["rivals"][0] is not None]
    if not found:
        return []
    parts = []
    for metric, rival in found:
        text = f"{metric['label']} {_VERDICT_TEXT[rival['verdict']]}"
        parts.append(f"{text}, {_difference_text(rival, metric)}" if "low" in rival else text)
    return [f"Against the agent on the observation alone{_method(r for _, r in found)}: {'; '.join(parts)}."]


_VERDICT_TEXT = {"higher": "gain", "equal": "no gain", "lower": "worse", "unknown": "cannot be judged"}


def _differences(data: Data, index: int) -> list[str]:
    name, first = data["groups"][index]["name"], data["groups"][0]["name"]
    by_verdict: dict[str, list[str]] = {}
    found = []
    for metric in data["metrics"]:
        difference = metric["differences"][index]
        if difference is None:
            continue
        found.append(difference)
        text = metric["label"]
        if difference["verdict"] in ("higher", "lower"):
            text += f" {_difference_text(difference, metric)}"
        by_verdict.setdefault(difference["verdict"], []).append(text)
    if not found:
        return [f"{name} and {first} have no metric of the same env that could be compared."]
    parts = [_sentence(verdict, by_verdict[verdict]) for verdict in _FOUND if verdict in by_verdict]
    return [f"{name} against {first}{_method(found)}. {' '.join(parts)}"]


_FOUND = {"higher": "Higher", "lower": "Lower", "equal": "No difference", "unknown": "Not judged"}


def _method(differences: Iterable[Mapping[str, Any]]) -> str:
    """Return how the differences were measured, in brackets, if all were measured in one way."""
    methods = {found["method"] for found in differences}
    return f" ({methods.pop()})" if len(methods) == 1 else ""


def _sentence(verdict: str, texts: list[str]) -> str:
    """Return the metrics of a verdict; of many without a difference only how many they are."""
    if verdict == "equal" and len(texts) > _MENTIONED:
        return f"No difference in {len(texts)} metrics."
    return f"{_FOUND[verdict]}: {_some(texts)}."


def _some(texts: list[str]) -> str:
    """Return the first texts, and how many more there are."""
    more = len(texts) - _MENTIONED
    return "; ".join(texts[:_MENTIONED]) + (f"; and {more} more" if more > 0 else "")


def _reservations(data: Data) -> list[str]:
    """Return what limits the comparison: single seeds, chance, different envs or protocols."""
    groups = data["groups"]
    sentences = []
    protocols = {group.get("protocol") for group in groups}
    if len(protocols) > 1:
        sentences.append(
            "The protocols differ, so the scores need not mean the same: "
            + ", ".join(f"{group['name']} {group['protocol']}" for group in groups) + "."
        )  # fmt: skip
    if protocols == {None} and any(len(group["seeds"]) == 1 for group in groups):
        sentences.append(
            "A group with one run has no variation between training seeds: another seed of it can differ by more "
            "than its interval."
        )
    judged = sum(d is not None and "low" in d for metric in data["metrics"] for d in metric["differences"])
    if judged >= 10:
        sentences.append(
            f"Of {judged} differences, {round(judged / 20) or 1} would be found by chance without any effect."
        )
    if len({group["env"] for group in groups}) > 1:
        sentences.append("The envs differ; only groups of the same env are compared.")
    return sentences


def _difference_text(found: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    sign = "+" if found["mean"] > 0 else ""
    mean = percent(found["mean"]) if metric["as_percent"] else number(found["mean"])
    return f"{sign}{mean} {interval({**found, 'n': 2}, metric['as_percent'])}"


def _shown(value: Mapping[str, Any] | None, metric: Mapping[str, Any]) -> str:
    """Return a value with its interval; of several seeds the median, with the interval of order statistics."""
    if value is None:
        return "–"
    center = value.get("median", value["mean"])
    return f"{_plain(center, metric['as_percent'])} {interval(value, metric['as_percent'])}"


def _cell(value: Mapping[str, Any] | None, metric: Mapping[str, Any]) -> Value:
    """Return a value for a table: an estimate, of several seeds with the median as its mean."""
    if value is None:
        return None
    estimate = {key: value[key] for key in ("low", "high", "n")}
    return {"mean": value.get("median", value["mean"]), **estimate, "as_percent": metric["as_percent"]}


def _plain(value: float, as_percent: bool) -> str:
    return percent(value) if as_percent else number(value)


def cards(data: Data) -> list[Card]:
    """Return the medians of one group."""
    if len(data["groups"]) > 1:
        return []
    shown = []
    for metric in data["metrics"]:
        value = metric["values"][0]
        if metric["key"] not in _HEADLINES or value is None:
            continue
        baselines = [f"{name} {_plain(v, metric['as_percent'])}" for name, v in metric["baselines"].items()]
        detail = ", ".join([interval(value, metric["as_percent"]), *baselines, f"n\u00a0=\u00a0{value['n']}"])
        shown.append(
            Card(_plain(value.get("median", value["mean"]), metric["as_percent"]), metric["label"], detail)
        )
    return shown


# --- tables


def results_table(data: Data) -> Table:
    """Return the table of one group: median, interval, each seed and baselines of every metric."""
    lines: list[list[Value]] = []
    for metric in data["metrics"]:
        value = metric["values"][0]
        if value is None:
            continue
        seeds = value.get("seeds")
        each = ", ".join(_plain(v, metric["as_percent"]) for v in seeds.values()) if seeds else "–"
        baselines = ", ".join(
            f"{name} {_plain(v, metric['as_percent'])}" for name, v in metric["baselines"].items()
        )
        lines.append([metric["label"], _cell(value, metric), each, baselines or "–", value["n"]])
    group = data["groups"][0]
    seeds = group["seeds"]
    coverage = next(
        (m["values"][0]["coverage"] for m in data["metrics"] if "coverage" in (m["values"][0] or {})), None
    )
    text = f"{group['env']}, seeds {', '.join(map(str, seeds))}: "
    text += (
        "estimates with 95 % interval over episodes, goals or forecasts."
        if coverage is None
        else f"median and interval of order statistics over seeds, which contains the median with {percent(coverage)}."
    )
    return Table(
        text, ["metric", "median" if coverage is not None else "value", "each seed", "baseline", "n"], lines
    )


def differences_table(data: Data) -> Table:
    """Return the table of several groups: value of each, and difference to the first with its interval and verdict."""
    groups = data["groups"]
    head = ["metric", groups[0]["name"]]
    for group in groups[1:]:
        head += [group["name"], f"difference to {groups[0]['name']}", "verdict", "measured on"]
    lines = []
    for metric in data["metrics"]:
        line: list[Value] = [metric["label"], _cell(metric["values"][0], metric)]
        for value, found in zip(metric["values"][1:], metric["differences"][1:]):
            line.append(_cell(value, metric))
            if found is None:
                line += [None, "–", "–"]
            else:
                has_interval = "low" in found
                line.append(
                    _cell({**found, "n": max(found["n"], 2)}, metric) if has_interval else found["mean"]
                )
                line += [_TABLE_VERDICTS[found["verdict"]], found["method"]]
        lines.append(line)
    return Table(
        "Values with 95 % interval; of several seeds the median and its interval of order statistics. A difference "
        "is one if its interval excludes 0.", head, lines,
    )  # fmt: skip


_TABLE_VERDICTS = {
    "higher": "▲ higher",
    "lower": "▼ lower",
    "equal": "= no difference",
    "unknown": "? not judged",
}


def view(data: Data, report: Report, folder: Path | None) -> dict[str, Any]:
    """Return the tables and the overlaid curves."""
    table = results_table(data) if len(data["groups"]) == 1 else differences_table(data)
    curves = []
    for curve in data["curves"]:
        ends = "; ".join(f"{name} {number(line[-1][1])}" for name, line in curve["lines"].items())
        name = label(curve["name"])
        curves.append(
            (name, curve["unit"], plots.overlaid(curve["lines"], curve["axis"], curve["unit"]), ends)
        )
    seeds = {group["name"]: len(group["seeds"]) for group in data["groups"]}
    return {
        "table": table,
        "curves": curves,
        "pasted": [(ending, convert(table)) for ending, convert in FORMATS.items()],
        "has_seeds": any(count > 1 for count in seeds.values()),
    }


def heading(data: Data) -> str:
    """Return the title of the page."""
    groups = data["groups"]
    if len(groups) == 1:
        seeds = groups[0]["seeds"]
        return f"{groups[0]['env']}, {len(seeds)} seed{'s' * (len(seeds) != 1)}"
    return " · ".join(group["name"] for group in groups)


SECTIONS = {
    "comparison": Section(
        name="comparison",
        title="Results",
        compute=compute,
        template=Path(__file__).parent.parent / "templates" / "comparison.html.j2",
        summary=summary,
        cards=cards,
        view=view,
        order=150,
        measured=False,
        heading=heading,
    )
}
