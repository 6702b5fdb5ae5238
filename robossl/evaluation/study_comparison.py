"""Comparison of transfer studies, row by row, on the tasks that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.evaluation.aggregation import (
    Runs,
    comparison_verdict,
    improvement_probability,
    interquartile_mean,
    iqm_difference,
)
from robossl.evaluation.report.number_format import label

_VERDICTS = {"gain": "higher", "worse": "lower", "equal": "equal", "unknown": "unknown"}
_CURVES = 6  # rows whose curves are overlaid, at most


def compare_studies(
    names: Sequence[str], studies: Sequence[Mapping[str, Any]], mixed: bool = False
) -> dict[str, Any]:
    """Return the data of the section `comparison`: each study against the first one.

    Args:
        names: Names of the studies.
        studies: Data of the section `transfer` of each.
        mixed: Compare studies of different protocols, whose scores need not mean the same.

    Raises:
        UsageError: The protocols differ and `mixed` is not set.
    """
    protocols = [study["protocol"] for study in studies]
    if len(set(protocols)) > 1 and not mixed:
        listed = ", ".join(f"{name} {protocol}" for name, protocol in zip(names, protocols))
        raise UsageError(
            f"expected studies of one protocol, got {listed}; --mix-protocols compares them nevertheless"
        )
    studies = [studies[0], *(_in_scale_of(study, studies[0]) for study in studies[1:])]
    rows = dict.fromkeys(
        row for study in studies for row, entry in study["rows"].items() if entry.get("score")
    )
    return {
        "groups": [
            {
                "name": name, "env": study["robot"], "seeds": study["stream_seeds"], "runs": [],
                "protocol": study["protocol"], "tasks": study["tasks"], "failed": study["cells"]["failed"],
            }
            for name, study in zip(names, studies)
        ],
        "metrics": [_row_entry(row, studies) for row in rows],
        "curves": _curves(list(rows), names, studies),
    }  # fmt: skip


def _in_scale_of(study: Mapping[str, Any], first: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a study with scores by the references of the first one.

    A task without a known reference is measured by the best row of each study, so equal scores need not be equal
    returns. Curves, of which only means over tasks are known, are left out where a reference differs.
    """
    changed = {
        task: (own, other)
        for task, own in study.get("references", {}).items()
        if own and (other := first.get("references", {}).get(task)) and own != other
    }
    if not changed:
        return study
    rows = {}
    for name, row in study["rows"].items():
        rows[name] = {key: value for key, value in row.items() if key != "curve"}
        if row.get("scores"):
            rows[name]["scores"] = [
                [task, *seeds, _rescaled(score, *changed[task]) if task in changed else score]
                for task, *seeds, score in row["scores"]
            ]
            kept = {key: row["score"][key] for key in ("streams", "single") if key in row["score"]}
            rows[name]["score"] = {**interquartile_mean(_runs_of(name, rows[name]["scores"])), **kept}
    return {**study, "rows": rows, "rescaled": True}


def _rescaled(score: float, own: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return a score by other returns of random actions and of the reference."""
    value = own["random"] + score * (own["reference"] - own["random"])
    return (value - other["random"]) / (other["reference"] - other["random"])


def _row_entry(row: str, studies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    runs = [_runs(row, study) for study in studies]
    return {
        "key": f"transfer.rows.{row}.score",
        "label": f"score of {label(row)}",
        "as_percent": False,
        "values": [study["rows"].get(row, {}).get("score") for study in studies],
        "baselines": {},
        "differences": [
            None,
            *(
                _difference(other, runs[0], study.get("rescaled", False))
                for other, study in zip(runs[1:], studies[1:])
            ),
        ],
        "rivals": [None] * len(studies),
    }


def _runs(row: str, study: Mapping[str, Any]) -> Runs | None:
    scores = study["rows"].get(row, {}).get("scores")
    return _runs_of(row, scores) if scores else None


def _runs_of(row: str, scores: Sequence[Sequence[Any]]) -> Runs:
    tasks, streams, _, values = zip(*scores)
    return Runs(row, np.array(values), np.array(tasks), np.array(streams))


def _difference(runs: Runs | None, baseline: Runs | None, rescaled: bool) -> dict[str, Any] | None:
    """Return the difference of the interquartile means, judged by the probability of improvement."""
    if runs is None or baseline is None:
        return None
    shared = np.intersect1d(runs.tasks, baseline.tasks)
    if len(shared) == 0:
        return None
    other = Runs(f"{runs.name} of another study", runs.scores, runs.tasks, runs.streams)
    probability = improvement_probability(other, baseline)
    scale = ", by the references of the first" if rescaled else ""
    paired = sorted(set(runs.streams.tolist())) == sorted(set(baseline.streams.tolist()))
    return {
        **iqm_difference(other, baseline),
        "p_improvement": probability,
        "method": f"{len(shared)} shared tasks, stream seeds {'paired' if paired else 'not paired'}{scale}",
        "verdict": _VERDICTS[comparison_verdict(probability, other, baseline)],
    }


def _curves(
    rows: Sequence[str], names: Sequence[str], studies: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        lines = {
            name: [
                [point["labeled_steps"], *(point["score"][end] for end in ("mean", "low", "high"))]
                for point in study["rows"][row]["curve"]
            ]
            for name, study in zip(names, studies)
            if study["rows"].get(row, {}).get("curve")
        }
        if len(lines) > 1:
            found.append({"name": row, "axis": "labeled steps", "unit": "score", "lines": lines})
    return found[:_CURVES]
