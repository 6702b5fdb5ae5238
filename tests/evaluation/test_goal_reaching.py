"""Goals: who walks straight arrives, who is told nothing does not, and the pairs are the same for all."""

import numpy as np
import pytest
from evaluation_envs import PointGoal, PointStream, RandomPolicy, Straight

from robossl.core.errors import UsageError
from robossl.evaluation.goal_reaching import reach_goals


def judge(envs=None, policies=None, **options):
    envs = envs or PointGoal(16)
    policies = policies or {"planner": Straight(), "random": RandomPolicy(envs.num_envs)}
    return reach_goals(envs, PointStream(), policies, **{"offset": 10, "pairs": 40, **options})


def test_the_oracle_reaches_everything_and_holds_it():
    found = judge()
    for criterion in ("any", "final", "held"):
        assert found["rows"]["planner"][criterion]["mean"] == 1.0
        assert found["rows"]["planner"][criterion]["n"] == found["pairs"] == 40
        assert found["rows"]["planner"]["over_chance"][criterion]["mean"] == 1.0
        assert found["rows"]["random"]["over_chance"][criterion]["mean"] == 0.0
        assert found["rows"]["do_nothing"][criterion]["mean"] == 0.0
    rows = found["rows"]["random"]
    assert rows["held"]["mean"] <= rows["any"]["mean"] < 0.8
    assert found["rows"]["planner"]["ms_per_decision"] > 0
    assert found["budget"] == 20


def test_pairs_that_nothing_solves_are_dropped_and_replaced():
    dropped = judge()["dropped"]
    assert dropped["candidates"] - dropped["solved_by_nothing"] == 40
    assert (
        0.3 < dropped["solved_by_nothing"] / dropped["candidates"] < 0.7
    )  # half of the episodes stand still


def test_the_number_of_lanes_does_not_choose_the_pairs():
    policies = {"planner": Straight(), "random": Straight()}
    few, many = (judge(PointGoal(n), dict(policies), pairs=33)["rows"] for n in (7, 64))
    for criterion in ("any", "final", "held"):
        assert few["planner"][criterion] == many["planner"][criterion]


def test_an_episode_that_ends_at_the_goal_counts_as_reached_and_stays_so():
    found = judge(PointGoal(16, end_on_success=True))["rows"]["planner"]
    assert found["final"]["mean"] == found["held"]["mean"] == found["any"]["mean"] == 1.0


def test_a_time_limit_that_cuts_is_named():
    with pytest.raises(UsageError, match="time limit cut an attempt after 15 of 20 steps"):
        judge(PointGoal(16, limit=15))


def test_the_chance_row_is_not_optional():
    with pytest.raises(UsageError, match="random"):
        judge(policies={"planner": Straight()})


def test_an_offset_beyond_the_episodes_is_named():
    with pytest.raises(UsageError, match="60 steps long"):
        judge(offset=60)


def test_the_same_seed_gives_the_same_rows():
    def rows(seed):
        found = judge(seed=seed)["rows"]
        return {name: {k: v for k, v in row.items() if k != "ms_per_decision"} for name, row in found.items()}

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_overshooting_reaches_but_does_not_hold():
    class Rushing(Straight):
        def act(self, observation, explore=True):
            near = np.linalg.norm(observation["desired_goal"] - observation["achieved_goal"], axis=1) < 0.05
            return np.where(near[:, None], 1.0, super().act(observation)).astype(np.float32)

    rows = judge(policies={"planner": Rushing(), "random": RandomPolicy(16)})["rows"]["planner"]
    assert rows["any"]["mean"] == 1.0
    assert rows["held"]["mean"] == 0.0
