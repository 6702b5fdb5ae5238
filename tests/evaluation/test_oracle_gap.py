"""Oracle gap: with the true dynamics a planner reaches the goal that untrained dynamics cannot reach."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from point_goals import RandomPointGoal, make_envs, model

from robossl.core.errors import UsageError
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.oracle_gap import TrueDynamicsModel, evaluate_oracle_gap
from robossl.evaluation.report.section import load_sections


def test_imagination_is_what_the_simulator_does():
    envs, trained = RandomPointGoal(3), model("scrambled")
    observation, _ = envs.reset(seed=1)
    true = TrueDynamicsModel.from_model(trained, make_envs)
    true.set_states(envs.get_physics_state(), observation)
    index = np.array([2, 0, 1, 1])
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 5, 2)).astype(np.float32)
    z = torch.as_tensor(trained.encode(observation))[index]
    path = true.imagine(z, torch.from_numpy(actions), heads="first")
    assert path.shape == (4, 6, 8)
    positions = envs.position[index][:, None] + np.cumsum(
        np.concatenate([np.zeros((4, 1, 2)), 0.1 * actions], 1), 1
    )
    expected = trained.encode({"observation": positions.astype(np.float32)})
    np.testing.assert_allclose(path.numpy(), expected, atol=1e-5)


def test_true_dynamics_reach_goals_that_untrained_dynamics_miss():
    context = EvaluationContext(env="toy", model=model("scrambled"), make_envs=make_envs, episodes=4)
    found = evaluate_oracle_gap(context)
    rows = found["rows"]
    assert list(rows) == ["planner", "planner_true_dynamics", "random"]
    assert "oracle_gap.rows.planner_true_reward" in context.missing  # the toy is in no registry
    assert rows["planner_true_dynamics"]["success_any"]["mean"] == 1.0
    assert found["gap"]["dynamics"]["low"] > 0
    assert rows["planner_true_dynamics"]["return"]["mean"] > rows["random"]["return"]["mean"]
    section = next(section for section in load_sections()[0] if section.name == "oracle_gap")
    assert "true simulator" in section.summary(found)[0]


def test_env_without_a_settable_state_has_no_oracle():
    def make(num_envs, threads=1):
        return gym.make_vec("CartPole-v1", num_envs)

    with pytest.raises(UsageError, match="cannot be set to a state"):
        evaluate_oracle_gap(EvaluationContext(env="toy", make_envs=make))
