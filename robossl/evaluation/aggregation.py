"""Aggregate scores over tasks and seeds: interquartile mean, probability of improvement, performance profile.

Definitions: Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
arXiv 2108.13264. A run is one agent on one task; its score is the mean over its episodes, so that neither the number of
episodes nor that of sub-environments changes the weight of a run.

Intervals are percentiles (95 %) of a stratified bootstrap: every task keeps its runs. Runs that share a stream are not
independent. Whole stream seeds are therefore drawn first, the same for all tasks, and then the runs of each drawn
stream seed within each task. If all runs of a row have the same stream seed, this is the stratified bootstrap of the
paper, and the interval does not include the variation between streams.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.statistics import RESAMPLES, Estimate, iqm

_TAIL = 0.025  # probability of each side of an interval


@dataclass(frozen=True)
class Runs:
    """Scores of the runs of one row of a table.

    Attributes:
        name: Name of the row; rows with different names draw their runs independently.
        scores: (n,) finite scores.
        tasks: (n,) name of the task of each run.
        streams: (n,) stream seed of each run; equal for all runs of a row that uses no stream.
    """

    name: str
    scores: np.ndarray
    tasks: np.ndarray
    streams: np.ndarray

    def __post_init__(self) -> None:
        scores = np.asarray(self.scores, np.float64)
        tasks, streams = np.asarray(self.tasks, str), np.asarray(self.streams, np.int64)
        if scores.ndim != 1 or not scores.shape == tasks.shape == streams.shape:
            raise UsageError(
                f"row {self.name!r}: expected one task and stream seed for each score, got shapes {scores.shape}, "
                f"{tasks.shape} and {streams.shape}"
            )
        if len(scores) == 0 or not np.isfinite(scores).all():
            raise UsageError(f"row {self.name!r}: expected at least one score, all finite, got {scores}")
        for name, values in (("scores", scores), ("tasks", tasks), ("streams", streams)):
            object.__setattr__(self, name, values)

    @classmethod
    def from_matrix(cls, name: str, scores: np.ndarray) -> Runs:
        """Return the runs of a matrix (runs, tasks) without shared streams, as in the paper."""
        scores = np.asarray(scores, np.float64)
        tasks = np.tile(np.arange(scores.shape[1]), len(scores))
        return cls(name, scores.reshape(-1), tasks.astype(str), np.zeros(scores.size, np.int64))

    def of_task(self, task: str) -> Runs | None:
        """Return the runs of one task; None if there are none."""
        chosen = self.tasks == task
        if not chosen.any():
            return None
        return Runs(self.name, self.scores[chosen], self.tasks[chosen], self.streams[chosen])

    @property
    def num_streams(self) -> int:
        """Number of different stream seeds."""
        return len(np.unique(self.streams))


def normalized_scores(returns: Any, random: float, reference: float) -> np.ndarray:
    """Return (returns - random) / (reference - random): 0 is the random policy, 1 the reference.

    Raises:
        UsageError: The reference is not better than the random policy.
    """
    if not reference > random:
        raise UsageError(
            f"expected a reference return above that of random actions, got {reference} and {random}"
        )
    return (np.asarray(returns, np.float64) - random) / (reference - random)


def interquartile_mean(runs: Runs, seed: int = 0) -> Estimate:
    """Return the interquartile mean over all tasks and runs: the mean without the lowest and highest quarter."""
    low, high = _interval(_iqm_samples(runs, seed))
    return {"mean": iqm(runs.scores), "low": low, "high": high, "n": len(runs.scores)}


def mean_score(runs: Runs, seed: int = 0) -> Estimate:
    """Return the mean over all tasks and runs."""
    counts = resample_counts(runs, seed)
    low, high = _interval(counts @ runs.scores / counts.sum(1))
    return {"mean": float(runs.scores.mean()), "low": low, "high": high, "n": len(runs.scores)}


def iqm_difference(runs: Runs, baseline: Runs, seed: int = 0) -> Estimate:
    """Return the interquartile mean of a row minus that of a baseline, on the tasks of both.

    Rows with the same stream seeds are paired: the same stream seeds are drawn for both.
    """
    runs, baseline = on_shared_tasks(runs, baseline)
    low, high = _interval(_iqm_samples(runs, seed) - _iqm_samples(baseline, seed))
    difference = iqm(runs.scores) - iqm(baseline.scores)
    return {"mean": difference, "low": low, "high": high, "n": len(runs.scores)}


def improvement_probability(runs: Runs, baseline: Runs, seed: int = 0) -> Estimate:
    """Return the probability that a run of a row is better than a run of the baseline, averaged over the shared tasks.

    Ties count half. Rows with the same stream seeds are paired as in `iqm_difference`.
    """
    runs, baseline = on_shared_tasks(runs, baseline)
    tasks = np.unique(runs.tasks)
    counts, baseline_counts = resample_counts(runs, seed), resample_counts(baseline, seed)
    means, samples = [], []
    for task in tasks:
        own, other = runs.tasks == task, baseline.tasks == task
        left, right = runs.scores[own][:, None], baseline.scores[other]
        wins = (left > right) + 0.5 * (left == right)  # (n, m)
        means.append(wins.mean())
        weights, other_weights = counts[:, own], baseline_counts[:, other]
        pairs = weights.sum(1) * other_weights.sum(1)
        won = np.einsum("rn,nm,rm->r", weights, wins, other_weights, optimize=True)
        samples.append(np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan))
    low, high = _interval(_mean_of_finite(np.array(samples)))
    return {"mean": float(np.mean(means)), "low": low, "high": high, "n": len(runs.scores)}


def performance_profile(runs: Runs, thresholds: np.ndarray, seed: int = 0) -> dict[str, list[float]]:
    """Return the fraction of runs with a score above each of `thresholds` (k,), with pointwise intervals.

    Returns:
        {"fraction", "low", "high"}, k values each.
    """
    above = (runs.scores[:, None] > np.asarray(thresholds, np.float64)).astype(np.float64)  # (n, k)
    counts = resample_counts(runs, seed)
    samples = counts @ above / counts.sum(1, keepdims=True)
    low, high = np.percentile(samples, [100 * _TAIL, 100 * (1 - _TAIL)], axis=0)
    return {"fraction": above.mean(0).tolist(), "low": low.tolist(), "high": high.tolist()}


def comparison_verdict(probability: Mapping[str, Any], runs: Runs, baseline: Runs) -> str:
    """Return "gain", "worse", "equal", or "unknown" if there are too few runs to find any difference.

    A difference is one if the interval of the probability of improvement excludes 0.5. A bootstrap of few runs is too
    narrow: if equal rows are fully separated in one direction in 5 % of all cases or more, as two against two runs are
    in one of six, the verdict is "unknown". So it is if a row has a single run on most tasks: its bootstrap draws the
    same runs every time, and the interval has no width at all.
    """
    runs, baseline = on_shared_tasks(runs, baseline)
    tasks = np.unique(runs.tasks)
    counts = np.array(
        [[(row.tasks == task).sum() for task in tasks] for row in (runs, baseline)]
    )  # (2, tasks)
    arrangements = math.prod(math.comb(int(own + other), int(own)) for own, other in counts.T)
    repeated = (counts > 1).sum(1)  # of each row: tasks with several runs
    if arrangements <= 20 or 2 * repeated.min() < len(tasks):
        return "unknown"
    if probability["low"] > 0.5:
        return "gain"
    return "worse" if probability["high"] < 0.5 else "equal"


def on_shared_tasks(runs: Runs, baseline: Runs) -> tuple[Runs, Runs]:
    """Return the runs of both rows on the tasks that both have.

    Raises:
        UsageError: There is no such task.
    """
    shared = np.intersect1d(runs.tasks, baseline.tasks)
    if len(shared) == 0:
        raise UsageError(f"expected a task that both {runs.name!r} and {baseline.name!r} have, got none")
    left, right = (
        Runs(row.name, row.scores[chosen], row.tasks[chosen], row.streams[chosen])
        for row in (runs, baseline)
        for chosen in (np.isin(row.tasks, shared),)
    )
    return left, right


def resample_counts(runs: Runs, seed: int = 0) -> np.ndarray:
    """Return how often each run is drawn in each bootstrap sample, (RESAMPLES, n)."""
    return _counts(runs.name, tuple(runs.tasks.tolist()), tuple(runs.streams.tolist()), seed)


@lru_cache(maxsize=64)
def _counts(name: str, tasks: tuple[str, ...], streams: tuple[int, ...], seed: int) -> np.ndarray:
    labels = sorted(set(streams))
    random = generator(seed, "bootstrap streams", *labels)  # the same for rows with the same stream seeds
    drawn = random.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), RESAMPLES)  # (R, C)
    random = generator(seed, "bootstrap runs", name)
    groups: dict[tuple[str, int], list[int]] = {}
    for index, key in enumerate(zip(tasks, streams)):
        groups.setdefault(key, []).append(index)
    counts = np.zeros((RESAMPLES, len(tasks)))
    for (_, label), members in sorted(groups.items()):
        draws = drawn[:, labels.index(label)] * len(members)
        counts[:, members] = random.multinomial(draws, np.full(len(members), 1 / len(members)))
    return counts


def _iqm_samples(runs: Runs, seed: int) -> np.ndarray:
    """Return the interquartile mean of each bootstrap sample, (RESAMPLES,)."""
    order = np.argsort(runs.scores, kind="stable")
    counts = resample_counts(runs, seed)[:, order]
    end = counts.cumsum(1)
    total = end[:, -1:]
    cut = total // 4
    kept = np.clip(np.minimum(end, total - cut) - np.maximum(end - counts, cut), 0, None)
    return kept @ runs.scores[order] / kept.sum(1)


def _mean_of_finite(samples: np.ndarray) -> np.ndarray:
    """Return the mean over tasks of samples (tasks, R), without tasks that a sample does not have."""
    known = np.isfinite(samples)
    return np.where(known, samples, 0.0).sum(0) / np.maximum(known.sum(0), 1)


def _interval(samples: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(samples, [100 * _TAIL, 100 * (1 - _TAIL)])
    return float(low), float(high)


def thresholds_of(rows: Sequence[Runs], count: int = 41) -> np.ndarray:
    """Return evenly spaced scores (count,) for performance profiles that show all rows."""
    scores = np.concatenate([row.scores for row in rows])
    low, high = min(0.0, float(np.percentile(scores, 1))), max(1.0, float(np.percentile(scores, 99)))
    return np.linspace(low, high, count)
