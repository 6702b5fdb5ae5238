"""Goal reaching: the straight policy reaches all goals, and all policies get the same pairs."""

import numpy as np
import pytest
from evaluation_envs import PointGoal, PointStream, RandomPolicy, StraightPolicy

from robossl.core.errors import UsageError
from robossl.evaluation.goal_reaching import CRITERIA, reach_goals


def evaluate(envs=None, policies=None, **options):
    envs = envs or PointGoal(16)
    policies = policies or {"planner": StraightPolicy(), "random": RandomPolicy(envs.num_envs)}
    return reach_goals(envs, PointStream(), policies, **{"horizons": (10,), "trials": 40, **options})[0]


def rows_of(found, horizon=10):
    return {name: row[str(horizon)] for name, row in found["rows"].items()}


def test_straight_policy_reaches_and_sustains_all_goals():
    found = evaluate()
    rows = rows_of(found)
    assert found["horizons"]["10"]["budget"] == 20
    assert found["horizons"]["10"]["trials"] == 40
    for criterion in CRITERIA:
        assert rows["planner"][criterion]["mean"] == 1.0
        assert rows["planner"][criterion]["n"] == 40
        assert rows["planner"]["chance_normalized"][criterion]["mean"] == 1.0
        assert rows["random"]["chance_normalized"][criterion]["mean"] == 0.0
        assert rows["zero_action"][criterion]["mean"] == 0.0
    assert rows["random"]["sustained"]["mean"] <= rows["random"]["reached_any"]["mean"] < 0.8
    assert rows["planner"]["ms_per_decision"] > 0


def test_pairs_solved_by_the_zero_action_are_dropped_and_replaced():
    trials = evaluate()["horizons"]["10"]
    assert trials["candidates"] - trials["solved_by_zero_action"] == 40
    fraction = trials["solved_by_zero_action"] / trials["candidates"]
    assert 0.3 < fraction < 0.7  # the point does not move in half of the episodes


def test_pairs_do_not_depend_on_the_number_of_envs():
    policies = {"planner": StraightPolicy(), "random": StraightPolicy()}
    few, many = (rows_of(evaluate(PointGoal(n), dict(policies), trials=33)) for n in (7, 64))
    for criterion in CRITERIA:
        assert few["planner"][criterion] == many["planner"][criterion]


def test_episode_that_terminates_at_the_goal_counts_as_sustained():
    row = rows_of(evaluate(PointGoal(16, end_on_success=True)))["planner"]
    assert all(row[criterion]["mean"] == 1.0 for criterion in CRITERIA)


def test_time_limit_below_the_budget_is_refused():
    with pytest.raises(UsageError, match="time limit of the env ended a trial after 15 of 20 steps"):
        evaluate(PointGoal(16, limit=15))


def test_far_goals_take_more_steps_and_horizons_that_do_not_fit_have_a_reason():
    envs = PointGoal(16)
    policies = {"planner": StraightPolicy(), "random": RandomPolicy(16)}
    found, reasons = reach_goals(envs, PointStream(), policies, (5, 20, 60), trials=30)
    assert list(found["horizons"]) == list(found["rows"]["planner"]) == ["5", "20"]
    assert "has 60 steps" in reasons["60"]
    near, far = (found["rows"]["planner"][horizon] for horizon in ("5", "20"))
    assert 1 <= near["steps_to_goal"] < far["steps_to_goal"] <= found["horizons"]["20"]["budget"]
    assert found["rows"]["zero_action"]["5"]["steps_to_goal"] is None


def test_random_policy_is_required():
    with pytest.raises(UsageError, match="random"):
        evaluate(policies={"planner": StraightPolicy()})


def test_horizon_longer_than_the_episodes_is_refused():
    with pytest.raises(UsageError, match="has 60 steps"):
        evaluate(horizons=(60,))


def test_same_seed_gives_the_same_rows():
    def rows(seed):
        found = rows_of(evaluate(seed=seed))
        return {name: {k: v for k, v in row.items() if k != "ms_per_decision"} for name, row in found.items()}

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_overshooting_reaches_but_does_not_sustain():
    class OvershootingPolicy(StraightPolicy):
        def act(self, observation, explore=True):
            near = np.linalg.norm(observation["desired_goal"] - observation["achieved_goal"], axis=1) < 0.05
            return np.where(near[:, None], 1.0, super().act(observation)).astype(np.float32)

    policies = {"planner": OvershootingPolicy(), "random": RandomPolicy(16)}
    row = rows_of(evaluate(policies=policies))["planner"]
    assert row["reached_any"]["mean"] == 1.0
    assert row["sustained"]["mean"] == 0.0
