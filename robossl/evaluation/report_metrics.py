"""Headline metrics of a report: name, value, baselines, and the values of the episodes or goals behind a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robossl.core.statistics import Estimate
from robossl.evaluation.control import BASELINES
from robossl.evaluation.goal_reaching import CRITERIA
from robossl.evaluation.report.number_format import label, spelled_agent, steps_ahead
from robossl.evaluation.reward_free import REWARD_FREE

Report = Mapping[str, Any]  # content of report.json


@dataclass(frozen=True)
class Metric:
    """One number of a report.

    Attributes:
        key: Dotted key in report.json, or a name for a number that is computed from several.
        label: Name in tables.
        as_percent: Whether it is a fraction, shown as a percentage.
        baselines: Label -> key of numbers to show beside it.
        rival: Key of the row that the row of this metric is compared with in the same report.
    """

    key: str
    label: str
    as_percent: bool = False
    baselines: tuple[tuple[str, str], ...] = ()
    rival: str | None = None

    def value(self, report: Report) -> Estimate | None:
        """Return the estimate in a report; a number without interval has n = 1; None if it is missing."""
        return value_of(report, self.key)


def headline_metrics(reports: Sequence[Report]) -> list[Metric]:
    """Return the metrics that at least one of the reports has, in the order of a page."""
    return [metric for metric in _candidates(reports) if any(metric.value(report) for report in reports)]


def value_of(report: Report, key: str) -> Estimate | None:
    """Return the estimate at a dotted key, or one of the numbers of `_COMPUTED`."""
    value = _COMPUTED[key](report) if key in _COMPUTED else lookup(report, key)
    if isinstance(value, Mapping) and "median" in value:
        value = {**value, "mean": value["median"]}
    if isinstance(value, Mapping):
        return {"mean": value["mean"], "low": value["low"], "high": value["high"], "n": int(value["n"])}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"mean": float(value), "low": float(value), "high": float(value), "n": 1}
    return None


def lookup(report: Report, key: str) -> Any:
    """Return the value at a dotted key; None if it is missing."""
    value: Any = report
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def paired_values(report: Report, key: str) -> tuple[Any, np.ndarray] | None:
    """Return what identifies the episodes or goals behind a value, and their values (n,); None if not recorded.

    Values of two reports are pairs if the identities are equal.
    """
    parts = key.split(".")
    if parts[0] == "control" and len(parts) == 4:
        values = lookup(report, f"control.rows.{parts[2]}.episodes.{parts[3]}")
        identity = ("episodes", report["env"], report["seed"], len(values or ()))
    elif parts[0] == "goal_reaching" and len(parts) == 5:
        values = lookup(report, f"goal_reaching.rows.{parts[2]}.{parts[3]}.outcomes.{parts[4]}")
        pairs = lookup(report, f"goal_reaching.horizons.{parts[3]}.pairs")
        identity = ("pairs", report["env"], pairs, len(values or ()))
        values = values if pairs else None
    else:
        return None
    return (identity, np.asarray(values, np.float64)) if values else None


def _agents(reports: Sequence[Report], rows: Sequence[str]) -> dict[str, str]:
    """Return the agents of each row in the reports, as " (SAC)", if there are different ones."""
    found: dict[str, list[str]] = {}
    for row in rows:
        names = (lookup(report, f"control.rows.{row}.agent") for report in reports)
        if own := sorted({spelled_agent(str(name)) for name in names if name}):
            found[row] = own
    differ = len({name for own in found.values() for name in own}) > 1
    return {row: f" ({', '.join(own)})" for row, own in found.items()} if differ else {}


def _candidates(reports: Sequence[Report]) -> Iterator[Metric]:
    rows = _keys(reports, "control.rows")
    learned = [row for row in rows if row not in BASELINES]
    agents = _agents(reports, learned)
    for row in learned:
        suffix = " (no reward)" if row in REWARD_FREE else agents.get(row, "")
        rival = None if row == "observation" or row in REWARD_FREE else "observation"
        for key, as_percent in (("return", False), ("success", True)):
            yield Metric(
                f"control.rows.{row}.{key}",
                f"{key} of {label(row)}{suffix}",
                as_percent,
                tuple((label(name), f"control.rows.{name}.{key}") for name in BASELINES if name in rows),
                f"control.rows.{rival}.{key}" if rival in rows else None,
            )
    for row in BASELINES if not learned else ():
        yield Metric(f"control.rows.{row}.return", f"return of {label(row)}")
    yield Metric("planning_time_ratio", "time of a decision of the planner over that of the inverse policy")
    for row in ("planner", "inverse_policy"):
        for horizon in sorted(_keys(reports, f"goal_reaching.rows.{row}"), key=int):
            for criterion in (CRITERIA[0], CRITERIA[2]):
                path = f"{horizon}.{criterion}"
                yield Metric(
                    f"goal_reaching.rows.{row}.{path}",
                    f"goals {label(criterion)} by {label(row)}, {steps_ahead(horizon)} away",
                    True,
                    (("random actions", f"goal_reaching.rows.random.{path}"),),
                )
    for horizon in ("1", "10", "25"):
        yield Metric(
            f"world_model.prediction_skill.{horizon}",
            f"prediction skill, {steps_ahead(horizon)} ahead",
            baselines=(("linear dynamics", f"world_model.forward_linear.{horizon}"),),
        )
    yield Metric("world_model.inverse_r2", "inverse dynamics, R²")
    yield Metric("world_model.inverse_accuracy.accuracy", "inverse dynamics, accuracy", True)
    yield Metric("probe_worst_r2", "worst linear probe, R²")


def _keys(reports: Sequence[Report], key: str) -> list[str]:
    """Return the keys below `key` in any report, in order of appearance."""
    return list(dict.fromkeys(name for report in reports for name in (lookup(report, key) or {})))


def _time_ratio(report: Report) -> float | None:
    planner, inverse = (
        lookup(report, f"control.rows.{row}.ms_per_decision") for row in ("planner", "inverse_policy")
    )
    return planner / inverse if planner and inverse else None


def _worst_probe(report: Report) -> float | None:
    scores = lookup(report, "world_model.probe_r2")
    return min(scores.values()) if scores else None


_COMPUTED = {"planning_time_ratio": _time_ratio, "probe_worst_r2": _worst_probe}
