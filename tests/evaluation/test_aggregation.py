"""Aggregation over tasks and seeds: published definitions on known arrays, clusters, and honest verdicts."""

import numpy as np
import pytest
import scipy

from robossl.core.errors import UsageError
from robossl.evaluation.aggregation import (
    Runs,
    comparison_verdict,
    improvement_probability,
    interquartile_mean,
    iqm_difference,
    mean_score,
    normalized_scores,
    performance_profile,
    resample_counts,
)

# Scores of two methods (runs, tasks).
LEFT = np.round(np.random.default_rng(0).normal(size=(7, 4)), 3)
RIGHT = np.round(np.random.default_rng(1).normal(0.5, 1, size=(5, 4)), 3)


def clustered(name, means, noise, agents=3, tasks=4, seed=0):
    """Return runs whose stream seeds have different means: `agents` runs of each task and stream seed."""
    random = np.random.default_rng(seed)
    streams = np.repeat(np.arange(len(means)), agents * tasks)
    labels = np.tile(np.repeat(np.arange(tasks), agents), len(means)).astype(str)
    return Runs(name, np.asarray(means)[streams] + random.normal(0, noise, len(streams)), labels, streams)


def test_interquartile_mean_is_the_mean_of_the_middle_half():
    runs = Runs.from_matrix("a", np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 700.0]]))
    assert interquartile_mean(runs)["mean"] == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_probability_of_improvement_is_the_mean_over_tasks_with_ties_counted_half():
    left = Runs.from_matrix("a", np.array([[1.0, 0.0], [3.0, 2.0]]))
    right = Runs.from_matrix("b", np.array([[2.0, 2.0], [2.0, 2.0], [0.0, 2.0]]))
    # task 0: 1 > 0 and 3 > 2, 2, 0 of 6 pairs; task 1: 0 < 2 three times, 2 = 2 three times
    assert improvement_probability(left, right)["mean"] == pytest.approx((4 / 6 + 1.5 / 6) / 2)


def test_profile_is_the_fraction_of_runs_above_a_score():
    runs = Runs.from_matrix("a", np.array([[0.1, 0.5], [0.5, 0.9]]))
    assert performance_profile(runs, np.array([0.0, 0.5, 0.9]))["fraction"] == [1.0, 0.25, 0.0]


def test_intervals_are_those_of_the_stratified_bootstrap():
    """Compare with scipy's bootstrap, which resamples the runs of each task when the tasks are the samples."""

    def statistic(*tasks, axis):
        return scipy.stats.trim_mean(np.concatenate(np.broadcast_arrays(*tasks), axis=axis), 0.25, axis=axis)

    expected = scipy.stats.bootstrap(
        tuple(LEFT.T), statistic, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    estimate = interquartile_mean(Runs.from_matrix("a", LEFT))
    assert estimate["mean"] == pytest.approx(scipy.stats.trim_mean(LEFT, 0.25, axis=None))
    assert (estimate["low"], estimate["high"]) == pytest.approx(tuple(expected), abs=0.03)


def test_values_are_those_of_the_implementation_of_the_paper():
    """Compare with rliable 1.2 (50,000 samples) on the same arrays; the intervals differ by chance."""
    left, right = Runs.from_matrix("a", LEFT), Runs.from_matrix("b", RIGHT)
    for estimate, mean, low, high in (
        (interquartile_mean(left), -0.14885714, -0.4485, 0.20964464),
        (interquartile_mean(right), 0.6137, 0.2947975, 0.8713025),
        (mean_score(left), -0.12164286, -0.41835714, 0.17375089),
        (mean_score(right), 0.53755, 0.29154875, 0.76525125),
        (improvement_probability(right, left), 0.7571428571428571, 0.6, 0.89285714),
    ):
        assert estimate["mean"] == pytest.approx(mean, rel=1e-6)
        assert (estimate["low"], estimate["high"]) == pytest.approx((low, high), abs=0.025)


def test_every_task_keeps_its_runs_in_every_sample():
    runs = clustered("a", [0.0, 1.0, 2.0], 0.1)
    counts = resample_counts(runs)
    for task in "0123":
        np.testing.assert_array_equal(counts[:, runs.tasks == task].sum(1), 9)


def test_stream_seeds_are_drawn_whole_and_the_same_for_all_tasks():
    runs = clustered("a", [0.0, 1.0, 2.0], 0.1)
    counts = resample_counts(runs)
    of_stream = np.array(
        [
            [counts[:, (runs.tasks == task) & (runs.streams == stream)].sum(1) for stream in range(3)]
            for task in "0123"
        ]
    )
    assert (of_stream % 3 == 0).all()
    np.testing.assert_array_equal(of_stream, np.broadcast_to(of_stream[:1], of_stream.shape))


def test_interval_covers_the_mean_over_streams_which_a_bootstrap_of_runs_does_not():
    covered = np.zeros(2)
    for seed in range(60):
        means = np.random.default_rng(100 + seed).normal(0, 1, 6)
        runs = clustered("a", means, 0.1, seed=seed)
        flat = Runs("a", runs.scores, runs.tasks, np.zeros(len(runs.scores), int))
        for i, row in enumerate((runs, flat)):
            estimate = mean_score(row, seed)
            covered[i] += estimate["low"] <= 0 <= estimate["high"]
    assert covered[0] / 60 > 0.8
    assert covered[1] / 60 < 0.5


def test_rows_of_the_same_streams_are_paired():
    means = np.random.default_rng(3).normal(0, 5, 8)
    better, base = clustered("a", means + 0.5, 0.05, seed=1), clustered("b", means, 0.05, seed=2)
    other = Runs("b", base.scores, base.tasks, base.streams + 100)
    paired, independent = iqm_difference(better, base), iqm_difference(better, other)
    assert paired["low"] > 0.3
    assert independent["low"] < 0 < independent["high"]


def test_more_runs_of_one_task_do_not_change_the_probability_of_another():
    tasks = np.array(["0", "0", "1", "1", "1", "1"])
    left = Runs("a", np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]), tasks, np.zeros(6, int))
    right = Runs("b", np.full(4, 0.5), np.array(["0", "0", "1", "1"]), np.zeros(4, int))
    assert improvement_probability(left, right)["mean"] == 0.5


def test_only_shared_tasks_are_compared():
    left = Runs("a", np.array([1.0, -9.0]), np.array(["0", "1"]), np.zeros(2, int))
    right = Runs("b", np.array([0.0]), np.array(["0"]), np.zeros(1, int))
    assert improvement_probability(left, right)["mean"] == 1.0
    assert iqm_difference(left, right)["mean"] == 1.0
    with pytest.raises(UsageError, match="expected a task that both 'a' and 'b' have"):
        improvement_probability(left.of_task("1"), right)


@pytest.mark.parametrize(
    ("shift", "runs", "verdict"),
    [(9.0, 2, "unknown"), (9.0, 4, "gain"), (-9.0, 4, "worse"), (0.0, 4, "equal")],
)
def test_verdict_needs_enough_runs_and_an_interval_without_one_half(shift, runs, verdict):
    random = np.random.default_rng(5)
    base = Runs.from_matrix("b", random.normal(size=(runs, 1)))
    row = Runs.from_matrix("a", base.scores[:, None] + shift)
    assert comparison_verdict(improvement_probability(row, base), row, base) == verdict


def test_one_run_of_each_of_many_tasks_decides_nothing():
    random = np.random.default_rng(3)
    base, row = (Runs.from_matrix(name, random.normal(size=(1, 12))) for name in "ab")
    probability = improvement_probability(row, base)
    assert probability["low"] == probability["high"] != 0.5  # no width, and equal rows
    assert comparison_verdict(probability, row, base) == "unknown"


def test_equal_rows_are_called_different_in_at_most_about_five_percent():
    wrong = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        row, base = (Runs.from_matrix(name, random.normal(size=(5, 3))) for name in "ab")
        wrong += comparison_verdict(improvement_probability(row, base, seed), row, base) != "equal"
    assert wrong <= 15  # the percentile bootstrap of five runs is a little too narrow


def test_scores_are_zero_for_random_actions_and_one_for_the_reference():
    np.testing.assert_allclose(normalized_scores(np.array([20.0, 220.0, 120.0]), 20.0, 220.0), [0, 1, 0.5])
    with pytest.raises(UsageError, match="above that of random actions"):
        normalized_scores(np.zeros(2), 5.0, 5.0)


def test_runs_that_do_not_fit_together_are_refused():
    with pytest.raises(UsageError, match="row 'a': expected one task"):
        Runs("a", np.zeros(2), np.array(["0"]), np.zeros(2, int))
    with pytest.raises(UsageError, match="all finite"):
        Runs("a", np.array([np.nan]), np.array(["0"]), np.zeros(1, int))
