"""Comparison of groups of runs: values over seeds, and for each metric whether a difference is one.

A group is one run, or several that differ in their seed only. The difference of two groups is measured

* over seeds, if both have two or more: paired where the seeds are equal, with Student's interval;
* over episodes or goals, if both are one run and measured on the same ones;
* else, of two single runs, from their intervals, as independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.statistics import (
    estimates_difference,
    median_over_seeds,
    paired_difference,
    seeds_difference,
)
from robossl.evaluation.report_metrics import Metric, headline_metrics, lookup, paired_values, value_of

Report = Mapping[str, Any]
Data = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Runs of the same settings with different seeds."""

    name: str
    reports: Sequence[Report]
    paths: Sequence[str] = ()

    @property
    def seeds(self) -> list[int]:
        """Seed of each run."""
        return [int(report["seed"]) for report in self.reports]


def compare(groups: Sequence[Group]) -> Data:
    """Return the data of the section `comparison`: all groups against the first one.

    Raises:
        UsageError: There is no group, or one has two runs of the same seed.
    """
    if not groups:
        raise UsageError("expected at least one run to report, got none")
    for group in groups:
        if not group.reports or len(set(group.seeds)) < len(group.seeds):
            raise UsageError(f"group {group.name}: expected runs of different seeds, got seeds {group.seeds}")
    metrics = headline_metrics([report for group in groups for report in group.reports])
    return {
        "groups": [
            {
                "name": group.name,
                "env": str(group.reports[0]["env"]),
                "seeds": group.seeds,
                "runs": list(group.paths),
                "seconds": sum(sum(report["seconds"].values()) for report in group.reports),
            }
            for group in groups
        ],
        "metrics": [_metric_entry(metric, groups) for metric in metrics],
        "curves": _curves(groups),
    }


def _metric_entry(metric: Metric, groups: Sequence[Group]) -> Data:
    first = groups[0]
    same_env = [group.reports[0]["env"] == first.reports[0]["env"] for group in groups]
    return {
        "key": metric.key,
        "label": metric.label,
        "as_percent": metric.as_percent,
        "values": [group_value(group, metric.key) for group in groups],
        "baselines": {
            name: value for name, key in metric.baselines if (value := _mean_over(groups, key)) is not None
        },
        "differences": [
            difference(group, first, metric.key) if same and group is not first else None
            for group, same in zip(groups, same_env)
        ],
        "rivals": [_rival(group, metric) for group in groups],
    }


def group_value(group: Group, key: str) -> Data | None:
    """Return the value of a group: of one run its estimate, of several the median over seeds and each seed."""
    found = {
        seed: value for seed, report in zip(group.seeds, group.reports) if (value := value_of(report, key))
    }
    if not found:
        return None
    if len(group.reports) == 1:
        return dict(*found.values())
    values = np.array([value["mean"] for value in found.values()])
    each = {str(seed): value["mean"] for seed, value in found.items()}
    return {**median_over_seeds(values), "mean": float(values.mean()), "seeds": each}


def difference(group: Group, baseline: Group, key: str, baseline_key: str | None = None) -> Data | None:
    """Return the value of a group minus that of another one; None if one lacks it or has no interval.

    Args:
        group: A group.
        baseline: The group to compare with; it may be the same one.
        key: The metric.
        baseline_key: Metric of the baseline; `key` if None.

    Returns:
        {"mean", "low", "high", "n", "method", "verdict"}; the verdict is "higher", "lower", "equal" or "unknown".
    """
    other_key = baseline_key or key
    own = {seed: value for seed, r in zip(group.seeds, group.reports) if (value := value_of(r, key))}
    other = {seed: v for seed, r in zip(baseline.seeds, baseline.reports) if (v := value_of(r, other_key))}
    if not own or not other:
        return None
    if len(group.reports) == len(baseline.reports) == 1:
        return _difference_of_runs(group.reports[0], baseline.reports[0], key, other_key)
    if min(len(own), len(other)) < 2:
        mean = float(
            np.mean([v["mean"] for v in own.values()]) - np.mean([v["mean"] for v in other.values()])
        )
        return {"mean": mean, "method": "one seed against several: no interval", "verdict": "unknown"}
    paired = sorted(own) == sorted(other)
    seeds = sorted(own) if paired else None
    values, reference = (
        np.array([each[seed]["mean"] for seed in (seeds or sorted(each))]) for each in (own, other)
    )
    method = f"{len(values)} seeds, paired" if paired else f"{len(values)} and {len(reference)} seeds"
    return _judged(seeds_difference(values, reference, paired), method)


def _difference_of_runs(report: Report, baseline: Report, key: str, baseline_key: str) -> Data | None:
    own, other = paired_values(report, key), paired_values(baseline, baseline_key)
    if own is not None and other is not None and own[0] == other[0]:
        noun = "episodes" if own[0][0] == "episodes" else "goals"
        return _judged(paired_difference(own[1], other[1]), f"{len(own[1])} {noun}, paired")
    value, reference = value_of(report, key), value_of(baseline, baseline_key)
    assert value is not None
    assert reference is not None
    if value["n"] < 2 or reference["n"] < 2:
        mean = value["mean"] - reference["mean"]
        return {"mean": mean, "method": "no intervals", "verdict": "unknown"}
    return _judged(estimates_difference(value, reference), "intervals, not paired")


def _judged(estimate: Mapping[str, Any], method: str) -> Data:
    """Return a difference with its verdict: it is one if its interval excludes 0."""
    verdict = "higher" if estimate["low"] > 0 else "lower" if estimate["high"] < 0 else "equal"
    return {**estimate, "method": method, "verdict": verdict}


def _rival(group: Group, metric: Metric) -> Data | None:
    """Return the difference to the row that the row of a metric competes with, in the same runs."""
    return None if metric.rival is None else difference(group, group, metric.key, metric.rival)


def _mean_over(groups: Sequence[Group], key: str) -> float | None:
    """Return the median of a baseline over all runs; None if no run has it."""
    values = [value["mean"] for g in groups for report in g.reports if (value := value_of(report, key))]
    return float(np.median(values)) if values else None


# --- curves


def _curves(groups: Sequence[Group]) -> list[Data]:
    """Return the plots that overlay the groups: prediction skill, and the return of each agent over its steps."""
    rows = dict.fromkeys(
        name
        for group in groups
        for report in group.reports
        for name, row in (lookup(report, "control.rows") or {}).items()
        if row.get("curve")
    )
    steps = "environment steps with reward"
    plots: list[tuple[str, str, str, Callable[[Report], list[list[float]]]]] = [
        ("prediction skill", "steps ahead", "skill", _skill_curve),
        *((row, steps, "return", partial(_row_curve, row)) for row in rows),
    ]
    found = []
    for name, axis, unit, read in plots:
        lines = {}
        for group in groups:
            curves = [curve for report in group.reports if (curve := read(report))]
            if curves and (points := _overlay(curves)):
                lines[group.name] = points
        if lines:
            found.append({"name": name, "axis": axis, "unit": unit, "lines": lines})
    return found


def _skill_curve(report: Report) -> list[list[float]]:
    curve = lookup(report, "world_model.forward_curve") or {}
    return [
        [step, skill, skill, skill] for step, skill in zip(curve.get("steps", ()), curve.get("model", ()))
    ]


def _row_curve(row: str, report: Report) -> list[list[float]]:
    return lookup(report, f"control.rows.{row}.curve") or []


def _overlay(curves: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """Return one curve unchanged; of several, the median and the range of the seeds at the steps of all."""
    if len(curves) == 1:
        return [list(point) for point in curves[0]]
    by_step = [{point[0]: point[1] for point in curve} for curve in curves]
    steps = sorted(set.intersection(*(set(each) for each in by_step)))
    values = [[each[step] for each in by_step] for step in steps]  # (points, seeds)
    return [[step, float(np.median(row)), min(row), max(row)] for step, row in zip(steps, values)]
