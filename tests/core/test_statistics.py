"""Statistics against arrays whose answer is known."""

import numpy as np
import pytest

from robossl.core.errors import UsageError
from robossl.core.statistics import (
    bootstrap_mean,
    bootstrap_ratio,
    iqm,
    mean_ci,
    paired_difference,
    proportion_ci,
    spearman,
    wilson,
)
from robossl.evaluation.metrics.ridge import fit_ridge


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_against_published_values(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_the_half_widths_that_the_protocol_quotes():
    for n, points in ((50, 0.11), (200, 0.055)):
        low, high = wilson(round(0.8 * n), n)
        assert (high - low) / 2 == pytest.approx(points, abs=0.003)


def test_wilson_covers_the_truth_about_95_times_of_100():
    random = np.random.default_rng(0)
    for p in (0.05, 0.5, 0.9):
        intervals = [wilson(int(s), 60) for s in random.binomial(60, p, 2000)]
        assert 0.93 < np.mean([low <= p <= high for low, high in intervals]) < 0.98


def test_the_bootstrap_covers_the_truth_and_narrows_with_n():
    random = np.random.default_rng(1)
    samples = random.exponential(2.0, (200, 80))
    intervals = [bootstrap_mean(row, seed) for seed, row in enumerate(samples)]
    assert 0.88 < np.mean([low <= 2.0 <= high for low, high in intervals]) < 0.98
    wide, narrow = bootstrap_mean(samples[0]), bootstrap_mean(samples.reshape(-1))
    assert narrow[1] - narrow[0] < (wide[1] - wide[0]) / 4


def test_whole_clusters_are_drawn():
    values = np.repeat(np.random.default_rng(2).normal(size=10), 100)  # 1000 rows, 10 independent ones
    clusters = np.repeat(np.arange(10), 100)
    naive, honest = mean_ci(values), mean_ci(values, clusters)
    assert honest["high"] - honest["low"] > 5 * (naive["high"] - naive["low"])
    assert honest["mean"] == naive["mean"] == pytest.approx(values.mean())


def test_a_ratio_of_sums_is_not_a_mean_of_ratios():
    low, high = bootstrap_ratio(np.array([1.0, 1.0]), np.array([1.0, 3.0]))
    assert 1 / 3 <= low <= 0.5 <= high <= 1.0


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(3).normal(size=50)
    assert mean_ci(values, seed=7) == mean_ci(values, seed=7)
    assert mean_ci(values, seed=7) != mean_ci(values, seed=8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(np.arange(8), 3.5), ([0, 0, 1, 1, 1, 100], 0.75), ([5.0], 5.0), (np.arange(100), 49.5)],
)
def test_iqm(values, expected):
    assert iqm(np.asarray(values, float)) == pytest.approx(expected)


def test_pairs_remove_what_both_share():
    shared = np.random.default_rng(4).normal(0, 100, 40)
    ours = shared + 1 + np.random.default_rng(5).normal(0, 0.1, 40)
    difference = paired_difference(ours, shared)
    assert 0.9 < difference["low"] < difference["mean"] < difference["high"] < 1.1
    with pytest.raises(UsageError, match="pairs"):
        paired_difference(ours, shared[:-1])


def test_rank_correlation():
    values = np.random.default_rng(6).normal(size=100)
    assert spearman(values, np.exp(values)) == pytest.approx(1.0)
    assert spearman(values, -(values**3)) == pytest.approx(-1.0)
    assert spearman(np.array([1, 2, 2, 3]), np.array([1, 2, 2, 3])) == pytest.approx(1.0)
    assert spearman(values, np.zeros(100)) == 0.0


def test_nonsense_is_refused():
    for wrong in ([], [1.0, np.nan]):
        with pytest.raises(UsageError):
            mean_ci(np.asarray(wrong))
    with pytest.raises(UsageError, match="3 successes of 2 trials"):
        proportion_ci(3, 2)


def test_a_ridge_is_as_strong_as_the_inputs_it_is_used_on_are_uncertain():
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(50), 20)
    x = random.normal(size=(1000, 8)) * np.logspace(0, -3, 8)  # the last ones hardly vary, and count
    y = x @ np.logspace(0, 3, 8)[:, None]
    vague = x + 0.1 * random.normal(size=x.shape)
    sure, same = fit_ridge(x, y, groups), fit_ridge(x, y, groups, used_on=x)
    careful = fit_ridge(x, y, groups, used_on=vague)
    np.testing.assert_array_equal(same.weights, sure.weights)
    errors = [np.mean((ridge(vague) - y) ** 2) for ridge in (sure, careful)]
    assert errors[1] < 0.5 * errors[0]
    assert np.mean((sure(x) - y) ** 2) < 1e-6 * np.var(y)
