"""Statistics: values with known answers."""

import numpy as np
import pytest
import scipy

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.statistics import (
    RESAMPLES,
    bootstrap_ratio,
    estimates_difference,
    iqm,
    mean_ci,
    median_over_seeds,
    paired_difference,
    probability_of_improvement,
    proportion_ci,
    seeds_difference,
    spearman,
    wilson,
)
from robossl.evaluation.metrics.ridge import fit_ridge


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_matches_published_values(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_half_widths_of_the_protocol():
    for n, points in ((50, 0.11), (200, 0.055)):
        low, high = wilson(round(0.8 * n), n)
        assert (high - low) / 2 == pytest.approx(points, abs=0.003)


def test_wilson_coverage_is_95_percent():
    random = np.random.default_rng(0)
    for p in (0.05, 0.5, 0.9):
        intervals = [wilson(int(s), 60) for s in random.binomial(60, p, 2000)]
        assert 0.93 < np.mean([low <= p <= high for low, high in intervals]) < 0.98


def _interval(values, seed=0):
    estimate = mean_ci(values, seed=seed)
    return estimate["low"], estimate["high"]


def test_bootstrap_covers_the_mean_and_narrows_with_n():
    random = np.random.default_rng(1)
    samples = random.exponential(2.0, (200, 80))
    intervals = [_interval(row, seed) for seed, row in enumerate(samples)]
    assert 0.88 < np.mean([low <= 2.0 <= high for low, high in intervals]) < 0.98
    wide, narrow = _interval(samples[0]), _interval(samples.reshape(-1))
    assert narrow[1] - narrow[0] < (wide[1] - wide[0]) / 4


def test_whole_clusters_are_resampled():
    values = np.repeat(np.random.default_rng(2).normal(size=10), 100)  # 1000 rows, 10 independent ones
    clusters = np.repeat(np.arange(10), 100)
    naive, clustered = mean_ci(values), mean_ci(values, clusters)
    assert clustered["high"] - clustered["low"] > 5 * (naive["high"] - naive["low"])
    assert clustered["mean"] == naive["mean"] == pytest.approx(values.mean())


def test_bootstrap_ratio_is_of_sums():
    low, high = bootstrap_ratio(np.array([1.0, 1.0]), np.array([1.0, 3.0]))
    assert 1 / 3 <= low <= 0.5 <= high <= 1.0


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(3).normal(size=50)
    assert mean_ci(values, seed=7) == mean_ci(values, seed=7)
    assert mean_ci(values, seed=7) != mean_ci(values, seed=8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(np.arange(8), 3.5), ([0, 0, 1, 1, 1, 100], 0.75), ([5.0], 5.0), (np.arange(100), 49.5)],
)
def test_iqm(values, expected):
    assert iqm(np.asarray(values, float)) == pytest.approx(expected)


def test_paired_difference_removes_shared_variation():
    shared = np.random.default_rng(4).normal(0, 100, 40)
    ours = shared + 1 + np.random.default_rng(5).normal(0, 0.1, 40)
    difference = paired_difference(ours, shared)
    assert 0.9 < difference["low"] < difference["mean"] < difference["high"] < 1.1
    with pytest.raises(UsageError, match="pairs"):
        paired_difference(ours, shared[:-1])


def test_spearman_of_monotonic_functions():
    values = np.random.default_rng(6).normal(size=100)
    assert spearman(values, np.exp(values)) == pytest.approx(1.0)
    assert spearman(values, -(values**3)) == pytest.approx(-1.0)
    assert spearman(np.array([1, 2, 2, 3]), np.array([1, 2, 2, 3])) == pytest.approx(1.0)
    assert spearman(values, np.zeros(100)) == 0.0


def test_invalid_values_raise():
    for invalid in ([], [1.0, np.nan]):
        with pytest.raises(UsageError):
            mean_ci(np.asarray(invalid))
    with pytest.raises(UsageError, match="got 3 successes of 2 trials"):
        proportion_ci(3, 2)


def test_ridge_adapts_to_noise_of_the_validation_inputs():
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(50), 20)
    x = random.normal(size=(1000, 8)) * np.logspace(0, -3, 8)  # the last ones hardly vary, but matter
    y = x @ np.logspace(0, 3, 8)[:, None]
    noisy = x + 0.1 * random.normal(size=x.shape)
    exact, equal = fit_ridge(x, y, groups), fit_ridge(x, y, groups, validation_x=x)
    regularized = fit_ridge(x, y, groups, validation_x=noisy)
    np.testing.assert_array_equal(equal.weights, exact.weights)
    errors = [np.mean((ridge(noisy) - y) ** 2) for ridge in (exact, regularized)]
    assert errors[1] < 0.5 * errors[0]
    assert np.mean((exact(x) - y) ** 2) < 1e-6 * np.var(y)


def test_bootstrap_equals_scipy_where_both_are_defined():
    random = np.random.default_rng(7)
    top, bottom = random.normal(size=60), random.uniform(1, 2, 60)
    expected = scipy.stats.bootstrap(
        (top, bottom),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=generator(3, "bootstrap"),
    ).confidence_interval
    assert bootstrap_ratio(top, bottom, seed=3) == pytest.approx(tuple(expected), rel=1e-12)
    assert mean_ci(np.array([2.0])) == {"mean": 2.0, "low": 2.0, "high": 2.0, "n": 1}


def test_probability_of_improvement_counts_pairs_of_runs():
    better, equal, mixed = (
        probability_of_improvement(np.array(values), np.array([1.0, 2.0, 3.0]))
        for values in ([4.0, 5.0], [1.0, 2.0, 3.0], [0.0, 2.5])
    )
    assert (better["mean"], better["low"], better["high"]) == (1.0, 1.0, 1.0)
    assert equal["mean"] == 0.5
    assert mixed["mean"] == pytest.approx(2 / 6)
    assert mixed["low"] <= mixed["mean"] <= mixed["high"]
    assert mixed["low"] < mixed["high"]


def test_difference_of_rates_is_newcombes_interval():
    # Newcombe (1998), method 10: 56 of 70 minus 48 of 80
    difference = estimates_difference(proportion_ci(56, 70), proportion_ci(48, 80))
    assert (difference["mean"], difference["low"], difference["high"]) == pytest.approx(
        (0.2, 0.0524, 0.3339), abs=5e-5
    )


def test_difference_of_seeds_is_students_interval():
    values, baseline = np.array([3.0, 5.0, 7.0]), np.array([1.0, 2.0, 6.0])
    paired = seeds_difference(values, baseline, paired=True)  # 2, 3, 1
    half = scipy.stats.t.ppf(0.975, 2) / np.sqrt(3)
    assert (paired["low"], paired["high"]) == pytest.approx((2 - half, 2 + half))
    assert seeds_difference(values, baseline, paired=False)["low"] < paired["low"]
    assert seeds_difference(values + 1, values, paired=True) == {"mean": 1, "low": 1, "high": 1, "n": 3}
    with pytest.raises(UsageError, match="expected two or more seeds"):
        seeds_difference(values[:1], baseline[:1], paired=True)


@pytest.mark.parametrize(
    ("n", "low", "high", "coverage"), [(1, 0, 0, 0.0), (3, 0, 2, 0.75), (6, 0, 5, 0.96875), (10, 1, 8, 0.978515625)]
)  # fmt: skip
def test_interval_of_a_median_over_seeds_has_its_coverage(n, low, high, coverage):
    found = median_over_seeds(np.random.default_rng(0).permutation(n))
    assert found == {
        "median": (n - 1) / 2,
        "low": low,
        "high": high,
        "n": n,
        "coverage": pytest.approx(coverage),
    }
