"""Numbers with their doubt: rates and scores as {"mean", "low", "high", "n"}, 95 % intervals."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.seeding import generator

_Z = 1.959963984540054  # the normal quantile of a two-sided 95 % interval
RESAMPLES = 2000


class Estimate(TypedDict):
    """A number, its 95 % interval, and how many episodes, pairs or rows it rests on."""

    mean: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The Wilson score interval (95 %) of `successes` out of `n` trials."""
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"{successes} successes of {n} trials given; expected 0 <= successes <= n, n >= 1")
    p, square = successes / n, _Z**2
    centre = (p + square / (2 * n)) / (1 + square / n)
    half = _Z / (1 + square / n) * np.sqrt(p * (1 - p) / n + square / (4 * n**2))
    low = 0.0 if successes == 0 else float(centre - half)
    return low, 1.0 if successes == n else float(centre + half)


def proportion_ci(successes: int, n: int) -> Estimate:
    """A success rate with its Wilson interval."""
    low, high = wilson(int(successes), int(n))
    return {"mean": int(successes) / int(n), "low": low, "high": high, "n": int(n)}


def mean_ci(values: np.ndarray, clusters: np.ndarray | None = None, seed: int = 0) -> Estimate:
    """The mean of `values` (n,) with a bootstrap interval; whole `clusters` (n,) are drawn where given."""
    values = _numbers(values)
    low, high = bootstrap_ratio(values, np.ones_like(values), clusters, seed)
    return {"mean": float(values.mean()), "low": low, "high": high, "n": len(values)}


def paired_difference(ours: np.ndarray, theirs: np.ndarray, seed: int = 0) -> Estimate:
    """The mean of ours - theirs over the same pairs, episodes or seeds, (n,) each."""
    ours, theirs = _numbers(ours), _numbers(theirs)
    if ours.shape != theirs.shape:
        raise UsageError(f"{len(ours)} and {len(theirs)} values given; expected pairs")
    return mean_ci(ours - theirs, seed=seed)


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The percentile bootstrap interval (95 %) of the mean of `values` (n,)."""
    values = _numbers(values)
    return bootstrap_ratio(values, np.ones_like(values), None, seed)


def bootstrap_median(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The percentile bootstrap interval (95 %) of the median of `values` (n,)."""
    values = _numbers(values)
    random = generator(seed, "bootstrap")
    drawn = random.integers(0, len(values), (RESAMPLES, len(values)))
    return _percentiles(np.median(values[drawn], axis=1))


def bootstrap_ratio(
    top: np.ndarray, bottom: np.ndarray, clusters: np.ndarray | None = None, seed: int = 0
) -> tuple[float, float]:
    """The interval (95 %) of sum(top) / sum(bottom), both (n,); rows of one cluster are drawn together."""
    top, bottom = _numbers(top), _numbers(bottom)
    if clusters is not None:
        _, index = np.unique(clusters, return_inverse=True)
        top, bottom = np.bincount(index, top), np.bincount(index, bottom)
    random = generator(seed, "bootstrap")
    ratios = np.empty(RESAMPLES)
    block = max(1, 4_000_000 // len(top))  # bounds the memory
    for start in range(0, RESAMPLES, block):
        drawn = random.integers(0, len(top), (min(block, RESAMPLES - start), len(top)))
        below = bottom[drawn].sum(1)
        ratios[start : start + block] = top[drawn].sum(1) / np.where(below == 0, np.nan, below)
    ratios = ratios[np.isfinite(ratios)]
    return _percentiles(ratios) if len(ratios) else (float("nan"), float("nan"))


def iqm(values: np.ndarray) -> float:
    """The interquartile mean: the mean of what is left when a quarter is cut from each end."""
    ordered = np.sort(_numbers(values))
    cut = int(0.25 * len(ordered))
    return float(ordered[cut : len(ordered) - cut].mean())


def spearman(left: np.ndarray, right: np.ndarray) -> float:
    """The rank correlation of two arrays (n,); ties get their mean rank, a constant array gives 0."""
    ranks = [_ranks(_numbers(values)) for values in (left, right)]
    spread = [r.std() for r in ranks]
    if min(spread) == 0:
        return 0.0
    return float(
        np.mean((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())) / (spread[0] * spread[1])
    )


def effective_rank(z: np.ndarray) -> float:
    """Return exp of the entropy of the centered singular values of z (N, Z), after Roy and Vetterli (2007).

    Between 1 and Z; 1 if z is constant.
    """
    singular_values = np.linalg.svd(z - z.mean(0), compute_uv=False)
    if singular_values.sum() <= 1e-9 * (1 + np.abs(z).max()) * len(z):
        return 1.0
    share = singular_values[singular_values > 0] / singular_values.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def dead_dimensions(z: np.ndarray) -> int:
    """Return how many dimensions of z (N, Z) have less than 1 % of the median standard deviation."""
    std = z.std(0)
    return int((std <= max(1e-7, 0.01 * float(np.median(std)))).sum())


def _ranks(values: np.ndarray) -> np.ndarray:
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[index]


def _percentiles(samples: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


def _numbers(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64).reshape(-1)
    if len(values) == 0:
        raise UsageError("no values given; expected at least one")
    if not np.isfinite(values).all():
        raise UsageError(f"{int((~np.isfinite(values)).sum())} of {len(values)} values are not finite")
    return values
