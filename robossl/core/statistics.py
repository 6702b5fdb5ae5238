"""Estimates with 95 % confidence intervals, rank correlation, effective rank.

The bootstrap does not use scipy.stats.bootstrap, which has no clusters, raises for a single value, and gives NaN if the
denominator of one resample is zero. Otherwise both give the same intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import scipy  # loads scipy.stats on first use, which takes about a second

from robossl.core.errors import UsageError
from robossl.core.seeding import generator

RESAMPLES = 2000  # of the bootstrap


class Estimate(TypedDict):
    """A mean, its 95 % confidence interval, and the number of episodes, pairs or transitions."""

    mean: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the Wilson score interval (95 %) of `successes` out of `n` trials."""
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"expected 0 <= successes <= n and n >= 1, got {successes} successes of {n} trials")
    interval = scipy.stats.binomtest(successes, n).proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high)


def proportion_ci(successes: int, n: int) -> Estimate:
    """Return a success rate with its Wilson interval."""
    low, high = wilson(int(successes), int(n))
    return {"mean": int(successes) / int(n), "low": low, "high": high, "n": int(n)}


def mean_ci(values: np.ndarray, clusters: np.ndarray | None = None, seed: int = 0) -> Estimate:
    """Return the mean of `values` (n,) with a bootstrap interval; whole `clusters` (n,) are resampled if given."""
    values = _numbers(values)
    low, high = bootstrap_ratio(values, np.ones_like(values), clusters, seed)
    return {"mean": float(values.mean()), "low": low, "high": high, "n": len(values)}


def paired_difference(values: np.ndarray, baseline: np.ndarray, seed: int = 0) -> Estimate:
    """Return the mean of values - baseline, (n,) each, over the same pairs, episodes or seeds."""
    values, baseline = _numbers(values), _numbers(baseline)
    if values.shape != baseline.shape:
        raise UsageError(f"expected pairs, got {len(values)} and {len(baseline)} values")
    return mean_ci(values - baseline, seed=seed)


def probability_of_improvement(values: np.ndarray, baseline: np.ndarray, seed: int = 0) -> Estimate:
    """Return the probability that a run of a method is better than a run of the baseline (Agarwal et al., 2021).

    The mean over all pairs of runs, ties counted half; the interval resamples the runs of both.

    Args:
        values: (n,) scores of the runs of the method.
        baseline: (m,) scores of the runs of the baseline.
        seed: Seed of the resampling.
    """
    values, baseline = _numbers(values), _numbers(baseline)
    wins = (values[:, None] > baseline) + 0.5 * (values[:, None] == baseline)  # (n, m)
    random = generator(seed, "bootstrap")
    rows, columns = (random.integers(0, count, (RESAMPLES, count)) for count in wins.shape)
    low, high = _percentiles(wins[rows[:, :, None], columns[:, None, :]].mean((1, 2)))
    return {"mean": float(wins.mean()), "low": low, "high": high, "n": len(values)}


def estimates_difference(estimate: Mapping[str, Any], baseline: Mapping[str, Any]) -> Estimate:
    """Return estimate - baseline of two independent estimates, from their means and intervals alone.

    The method of variance estimates recovery (Zou and Donner, 2008); for rates with Wilson intervals it is Newcombe's
    score interval.
    """
    mean = estimate["mean"] - baseline["mean"]
    below = np.hypot(estimate["mean"] - estimate["low"], baseline["high"] - baseline["mean"])
    above = np.hypot(estimate["high"] - estimate["mean"], baseline["mean"] - baseline["low"])
    n = min(int(estimate["n"]), int(baseline["n"]))
    return {"mean": float(mean), "low": float(mean - below), "high": float(mean + above), "n": n}


def seeds_difference(values: np.ndarray, baseline: np.ndarray, paired: bool) -> Estimate:
    """Return the mean of the seeds of a group (n,) minus that of a baseline group (m,), with Student's interval.

    A bootstrap of three seeds is too narrow. Unpaired groups may have different variances (Welch).

    Args:
        values: Values of one group of seeds.
        baseline: Values of the other group; of the same seeds in the same order if `paired`.
        paired: Whether to use the differences seed by seed.
    """
    values, baseline = _numbers(values), _numbers(baseline)
    if paired and len(values) != len(baseline):
        raise UsageError(f"expected pairs, got {len(values)} and {len(baseline)} values")
    if min(len(values), len(baseline)) < 2:
        raise UsageError(f"expected two or more seeds in each group, got {len(values)} and {len(baseline)}")
    mean = float(values.mean() - baseline.mean())
    n = min(len(values), len(baseline))
    spread = np.ptp(values - baseline) if paired else np.ptp(values) + np.ptp(baseline)
    if spread == 0:  # no variance to estimate
        return {"mean": mean, "low": mean, "high": mean, "n": n}
    test = (
        scipy.stats.ttest_rel(values, baseline)
        if paired
        else scipy.stats.ttest_ind(values, baseline, equal_var=False)
    )
    low, high = test.confidence_interval(0.95)
    return {"mean": mean, "low": float(low), "high": float(high), "n": n}


def median_over_seeds(values: np.ndarray) -> dict[str, float]:
    """Return the median of independent seeds (n,) with an interval of order statistics and its coverage.

    The interval is the narrowest that contains the true median with at least 95 %. Fewer than six seeds have none; then
    it is the range of the seeds, whose coverage is 1 - 2^(1 - n).

    Returns:
        {"median", "low", "high", "n", "coverage"}.
    """
    values = np.sort(_numbers(values))
    n = len(values)
    rank, coverage = 0, _order_coverage(n, 0)
    while n - 1 - (rank + 1) > rank + 1 and _order_coverage(n, rank + 1) >= 0.95:
        rank, coverage = rank + 1, _order_coverage(n, rank + 1)
    return {
        "median": float(np.median(values)),
        "low": float(values[rank]),
        "high": float(values[n - 1 - rank]),
        "n": n,
        "coverage": coverage,
    }


def _order_coverage(n: int, rank: int) -> float:
    """Return the probability that the median lies between value `rank` from below and from above of n values."""
    return float(1 - 2 * scipy.stats.binom.cdf(rank, n, 0.5)) if n > 1 else 0.0


def bootstrap_median(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the percentile bootstrap interval (95 %) of the median of `values` (n,)."""
    values = _numbers(values)
    random = generator(seed, "bootstrap")
    samples = random.integers(0, len(values), (RESAMPLES, len(values)))
    return _percentiles(np.median(values[samples], axis=1))


def bootstrap_ratio(
    top: np.ndarray, bottom: np.ndarray, clusters: np.ndarray | None = None, seed: int = 0
) -> tuple[float, float]:
    """Return the bootstrap interval (95 %) of sum(top) / sum(bottom), both (n,).

    Args:
        top: Numerators (n,).
        bottom: Denominators (n,).
        clusters: (n,) labels; values of one cluster are resampled together.
        seed: Seed of the resampling.
    """
    top, bottom = _numbers(top), _numbers(bottom)
    if clusters is not None:
        _, index = np.unique(clusters, return_inverse=True)
        top, bottom = np.bincount(index, top), np.bincount(index, bottom)
    random = generator(seed, "bootstrap")
    ratios = np.empty(RESAMPLES)
    block = max(1, 4_000_000 // len(top))  # bounds the memory
    for start in range(0, RESAMPLES, block):
        samples = random.integers(0, len(top), (min(block, RESAMPLES - start), len(top)))
        denominators = bottom[samples].sum(1)
        ratios[start : start + block] = top[samples].sum(1) / np.where(
            denominators == 0, np.nan, denominators
        )
    ratios = ratios[np.isfinite(ratios)]
    return _percentiles(ratios) if len(ratios) else (float("nan"), float("nan"))


def iqm(values: np.ndarray) -> float:
    """Return the interquartile mean: the mean without the lowest and highest quarter."""
    return float(scipy.stats.trim_mean(_numbers(values), 0.25))


def spearman(left: np.ndarray, right: np.ndarray) -> float:
    """Return the rank correlation of two arrays (n,); ties get their mean rank, a constant array gives 0."""
    left, right = _numbers(left), _numbers(right)
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return 0.0
    return float(scipy.stats.spearmanr(left, right).statistic)


def effective_rank(z: np.ndarray, power: int = 1) -> float:
    """Return exp of the entropy of the centered singular values of z (N, Z), after Roy and Vetterli (2007).

    Args:
        z: Latents (N, Z).
        power: Exponent of the singular values; 2 gives the entropy of the variances instead.

    Returns:
        A number between 1 and Z; 1 if z is constant.
    """
    singular_values = np.linalg.svd(z - z.mean(0), compute_uv=False)
    if singular_values.sum() <= 1e-9 * (1 + np.abs(z).max()) * len(z):
        return 1.0
    weights = singular_values[singular_values > 0] ** power
    fractions = weights / weights.sum()
    fractions = fractions[fractions > 0]  # a power of a small number may be 0
    return float(np.exp(-np.sum(fractions * np.log(fractions))))


def main_directions(x: np.ndarray, number: int, seed: int = 0) -> np.ndarray:
    """Return orthonormal directions (D, k) that hold nearly all of the variance of centered rows x (N, D).

    k is at most `number`; x of a lower rank is held completely. The cost is O(N D k): a random projection is refined by
    two power iterations (Halko et al., "Finding Structure with Randomness", SIAM Review 2011).
    """
    if x.shape[1] <= number:
        return np.eye(x.shape[1])
    k = min(number, len(x))
    directions = generator(seed, "main directions").normal(size=(x.shape[1], k))
    for _ in range(2):
        rows, _ = np.linalg.qr(x @ directions)  # (N, k)
        directions, _ = np.linalg.qr(x.T @ rows)  # (D, k)
    return directions


def dead_dimensions(z: np.ndarray) -> int:
    """Return how many dimensions of z (N, Z) have less than 1 % of the median standard deviation."""
    std = z.std(0)
    return int((std <= max(1e-7, 0.01 * float(np.median(std)))).sum())


def _percentiles(samples: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


def _numbers(values: np.ndarray) -> np.ndarray:
    """Return values as a float64 vector (n,); raise UsageError if it is empty or not finite."""
    values = np.asarray(values, np.float64).reshape(-1)
    if len(values) == 0:
        raise UsageError("expected at least one value, got none")
    if not np.isfinite(values).all():
        raise UsageError(f"expected finite values, got {int((~np.isfinite(values)).sum())} that are not")
    return values
