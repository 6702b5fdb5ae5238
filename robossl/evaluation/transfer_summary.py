"""Summary of a transfer study: from the results of its cells to the data of the report section `transfer`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.statistics import Estimate
from robossl.evaluation.aggregation import (
    Runs,
    comparison_verdict,
    improvement_probability,
    interquartile_mean,
    iqm_difference,
    mean_score,
    normalized_scores,
    performance_profile,
    thresholds_of,
)

Cell = Mapping[str, Any]  # one file of STUDY/cells, see docs/transfer.md


@dataclass(frozen=True)
class StudyInfo:
    """What the protocol of a study fixes, and the returns that scores are measured by.

    Attributes:
        robot: Name of the robot, or of the set of tasks.
        protocol: Hash of the pre-registered protocol.
        budget: Name of the sizes.
        tasks: Env ids, in the order of the tables.
        rows: Names of the rows, in the order of the tables.
        baseline: Row that the other rows are compared with.
        baseline_of: Row -> another row that it is compared with.
        random: Task -> mean return of random actions; the cells of the row `random` are used for other tasks.
        reference: Task -> reference return. A task without one has returns and no scores.
        steps: Sizes to print: name -> value.
        goals: Row -> steps between start and goal -> estimate of the rate of goals reached.
    """

    robot: str
    protocol: str
    budget: str
    tasks: Sequence[str]
    rows: Sequence[str]
    baseline: str = "observation"
    baseline_of: Mapping[str, str] = field(default_factory=dict)
    random: Mapping[str, float] = field(default_factory=dict)
    reference: Mapping[str, float | None] = field(default_factory=dict)
    steps: Mapping[str, Any] = field(default_factory=dict)
    goals: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)


def summarize(cells: Iterable[Cell], study: StudyInfo, seed: int = 0) -> dict[str, Any]:
    """Return the data of the section `transfer`.

    A cell is a run: its score is the mean over its episodes, so that every run has the same weight for any number
    of episodes. Failed cells have no score; they are listed, counted in each row, and `score_failed_as_random` has the
    score that counts each of them as random actions.

    Args:
        cells: Contents of the cells, failed ones included.
        study: The protocol.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: A cell has another protocol, or an unknown row or task.
        CorruptedFileError: A cell lacks what a result needs.
    """
    # the order of the files does not change a number
    known = sorted(
        (_checked(cell, study) for cell in cells), key=lambda cell: tuple(cell[key] for key in _KEY)
    )
    failed = [cell for cell in known if "error" in cell]
    done = [cell for cell in known if "error" not in cell]
    scales = {task: scale for task in study.tasks if (scale := _scale(done, study, task)) is not None}
    scored = {row: _runs(row, done, scales) for row in study.rows}
    present = [row for row in study.rows if any(cell["row"] == row for cell in known)]
    thresholds = thresholds_of([runs for runs in scored.values() if runs]) if any(scored.values()) else None
    rows: dict[str, Any] = {}
    for row in present:
        other = study.baseline_of.get(row, study.baseline)
        entry: dict[str, Any] = {
            "runs": sum(cell["row"] == row for cell in done),
            "failed": sum(cell["row"] == row for cell in failed),
            **_compared(scored[row], scored.get(other), other, seed),
        }
        if (runs := scored[row]) is not None and thresholds is not None:
            entry["scores"] = _score_list(row, done, runs)
            entry["score"] = {**interquartile_mean(runs, seed), "streams": runs.num_streams, **_single(runs)}
            entry["mean_score"] = {**mean_score(runs, seed), **_single(runs)}
            entry["profile"] = performance_profile(runs, thresholds, seed)
            if replaced := _with_failed(runs, failed, scales):
                entry["score_failed_as_random"] = interquartile_mean(replaced, seed)
        entry["tasks"] = {
            task: _task_entry(row, other, task, done, failed, scored, seed) for task in study.tasks
        }
        if curve := _curve(row, done, scales, seed):
            entry["curve"] = curve
        rows[row] = entry
    data = {
        "protocol": study.protocol,
        "robot": study.robot,
        "budget": study.budget,
        "baseline": study.baseline,
        "tasks": list(study.tasks),
        "references": {
            task: {"random": scales[task][0], "reference": scales[task][1]} if task in scales else None
            for task in study.tasks
        },
        "stream_seeds": sorted({int(cell["stream_seed"]) for cell in known}),
        "agent_seeds": sorted({int(cell["agent_seed"]) for cell in known}),
        "cells": {"done": len(done), "failed": len(failed)},
        "failed": [{key: cell[key] for key in (*_KEY, "error")} for cell in failed],
        "thresholds": [] if thresholds is None else thresholds.tolist(),
        "rows": rows,
    }
    return {
        **data,
        **({"steps": dict(study.steps)} if study.steps else {}),
        **({"goals": {row: dict(entry) for row, entry in study.goals.items()}} if study.goals else {}),
    }


_KEY = ("row", "task", "stream_seed", "agent_seed")
_RESULT = ("returns", "labeled_steps", "all_steps")


def _checked(cell: Cell, study: StudyInfo) -> Cell:
    name = "/".join(str(cell.get(key)) for key in _KEY)
    missing = [key for key in (*_KEY, *(() if "error" in cell else _RESULT)) if cell.get(key) is None]
    if missing:
        raise CorruptedFileError(f"cell {name}: expected the key {missing[0]!r}, got none")
    if cell.get("protocol", study.protocol) != study.protocol:
        raise UsageError(f"cell {name}: expected protocol {study.protocol}, got {cell['protocol']}")
    for key, available in (("row", study.rows), ("task", study.tasks)):
        if cell[key] not in available:
            raise UsageError(f"cell {name}: expected a {key} of {', '.join(available)}, got {cell[key]}")
    if "error" not in cell and not (len(cell["returns"]) and np.isfinite(cell["returns"]).all()):
        raise CorruptedFileError(f"cell {name}: expected finite returns of one or more episodes")
    return cell


def _scale(cells: Sequence[Cell], study: StudyInfo, task: str) -> tuple[float, float] | None:
    """Return the returns of random actions and of the reference; None if the task cannot be scored."""
    measured = [
        np.mean(cell["returns"]) for cell in cells if cell["row"] == "random" and cell["task"] == task
    ]
    random = study.random.get(task, float(np.mean(measured)) if measured else None)
    reference = study.reference.get(task)
    if random is None or reference is None or not reference > random:
        return None
    return float(random), float(reference)


def _runs(row: str, cells: Sequence[Cell], scales: Mapping[str, tuple[float, float]]) -> Runs | None:
    """Return the scores of a row; None if it has no scored run."""
    own = [cell for cell in cells if cell["row"] == row and cell["task"] in scales]
    scores = [normalized_scores(np.mean(cell["returns"]), *scales[cell["task"]]) for cell in own]
    return _as_runs(row, scores, own)


def _score_list(row: str, cells: Sequence[Cell], runs: Runs) -> list[list[Any]]:
    """Return [task, stream seed, agent seed, score] of each scored run, for comparisons with other studies."""
    scored = set(runs.tasks.tolist())
    own = [cell for cell in cells if cell["row"] == row and cell["task"] in scored]
    return [[*(cell[key] for key in _KEY[1:]), float(score)] for cell, score in zip(own, runs.scores)]


def _single(*rows: Runs) -> dict[str, bool]:
    """Return {"single": True} if no task has two runs of a row: then the interval has no width, and means nothing."""
    repeated = any(len(row.tasks) > len(set(row.tasks.tolist())) for row in rows)
    return {} if repeated else {"single": True}


def _as_runs(row: str, values: Sequence[Any], cells: Sequence[Cell]) -> Runs | None:
    if not cells:
        return None
    tasks, streams = ([cell[key] for cell in cells] for key in ("task", "stream_seed"))
    return Runs(row, np.array(values, np.float64), np.array(tasks), np.array(streams))


def _with_failed(
    runs: Runs, failed: Sequence[Cell], scales: Mapping[str, tuple[float, float]]
) -> Runs | None:
    """Return the runs with a score of 0 for each failed cell; None if there is none."""
    more = [cell for cell in failed if cell["row"] == runs.name and cell["task"] in scales]
    if not more:
        return None
    return Runs(
        runs.name,
        np.concatenate([runs.scores, np.zeros(len(more))]),
        np.concatenate([runs.tasks, [cell["task"] for cell in more]]),
        np.concatenate([runs.streams, [int(cell["stream_seed"]) for cell in more]]),
    )


def _compared(runs: Runs | None, baseline: Runs | None, name: str, seed: int) -> dict[str, Any]:
    """Return the comparison of a row with its baseline row; empty without one."""
    if runs is None or baseline is None or runs.name == baseline.name:
        return {}
    if not set(runs.tasks) & set(baseline.tasks):
        return {}
    probability = improvement_probability(runs, baseline, seed)
    return {
        "baseline": name,
        "p_improvement": {**probability, **_single(runs, baseline)},
        "difference": {**iqm_difference(runs, baseline, seed), **_single(runs, baseline)},
        "verdict": comparison_verdict(probability, runs, baseline),
    }


def _task_entry(
    row: str,
    other: str,
    task: str,
    done: Sequence[Cell],
    failed: Sequence[Cell],
    scored: Mapping[str, Runs | None],
    seed: int,
) -> dict[str, Any]:
    """Return the results of a row on one task: mean over its runs, each the mean over its episodes."""
    cells = [cell for cell in done if cell["row"] == row and cell["task"] == task]
    entry: dict[str, Any] = {
        "n": len(cells),
        "failed": sum(cell["row"] == row and cell["task"] == task for cell in failed),
    }
    if not cells:
        return entry
    entry["episodes"] = sum(len(cell["returns"]) for cell in cells)
    values = {"return": [np.mean(cell["returns"]) for cell in cells]}
    if all(cell.get("success") is not None for cell in cells):
        values["success"] = [np.mean(cell["success"]) for cell in cells]
    for name, each in values.items():
        runs = _as_runs(row, each, cells)
        assert runs is not None
        entry[name] = mean_score(runs, seed)
    own, baseline = scored[row], scored.get(other)
    if own is not None and (own_task := own.of_task(task)) is not None:
        entry["score"] = mean_score(own_task, seed)
        compared = _compared(own_task, None if baseline is None else baseline.of_task(task), other, seed)
        entry |= {key: value for key, value in compared.items() if key != "baseline"}
    return entry


def _curve(
    row: str, cells: Sequence[Cell], scales: Mapping[str, tuple[float, float]], seed: int
) -> list[dict[str, Any]]:
    """Return the interquartile mean of the score after each number of labeled steps that all runs of a row have."""
    own = [cell for cell in cells if cell["row"] == row and cell["task"] in scales]
    points: dict[int, list[tuple[Cell, Mapping[str, Any]]]] = {}
    for cell in own:
        last = {int(point["labeled_steps"]): point for point in cell.get("curve") or ()}
        for steps, point in last.items():
            points.setdefault(steps, []).append((cell, point))
    curve = []
    for steps, entries in sorted(points.items()):
        if len(entries) < len(own):
            continue
        scores = [normalized_scores(np.mean(p["returns"]), *scales[cell["task"]]) for cell, p in entries]
        runs = _as_runs(row, scores, [cell for cell, _ in entries])
        assert runs is not None
        all_steps = float(np.mean([point["all_steps"] for _, point in entries]))
        curve.append(
            {"labeled_steps": steps, "all_steps": all_steps, "score": interquartile_mean(runs, seed)}
        )
    return curve
