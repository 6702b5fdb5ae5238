"""WorldModelEnv of a goal env: recorded desired goals, predicted achieved goals, hindsight relabeling."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from robossl.agents.sb3.algorithms import SacAgent
from world_model_toys import SMALL_CONFIG, ToyStream, linear, make_trainer

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.streams import Recorder
from robossl.world_model import RewardModel, WorldModel, WorldModelEnv
from robossl.world_model.goal_predictor import GoalPredictor


def goal_stream(goal_space: spaces.Space | None = None) -> ToyStream:
    """`linear` with a random desired position for each episode and a reward for being near it."""
    stream = linear(episodes=200)
    position = stream.observation[..., :2]
    desired = np.random.default_rng(1).normal(size=(200, 1, 2)).repeat(21, 1).astype(np.float32)
    goal_space = goal_space or spaces.Box(-np.inf, np.inf, (2,))
    stream.observation_space = spaces.Dict(
        {"observation": stream.observation_space, "achieved_goal": goal_space, "desired_goal": goal_space}
    )
    stream.observation = {
        "observation": stream.observation,
        "achieved_goal": position,
        "desired_goal": desired,
    }
    stream.reward = 1 / (1 + np.square(position - desired).sum(-1)[:, 1:])
    return stream


@pytest.fixture(scope="module")
def trained() -> tuple[WorldModel, ToyStream]:
    stream = goal_stream()
    trainer = make_trainer(stream)
    trainer.update(300)
    return trainer.ema_model, stream


def test_goals_belong_to_the_space_and_agree_with_the_observation(trained) -> None:
    model, stream = trained
    env = WorldModelEnv(model, stream, num_envs=6, horizon=3, max_disagreement=np.inf)
    assert env.single_observation_space == stream.observation_space
    env.action_space.seed(0)
    first, _ = env.reset(seed=0)
    assert first in env.observation_space
    desired = [first["desired_goal"]]
    for _ in range(5):
        observation = env.step(env.action_space.sample())[0]
        assert observation in env.observation_space
        np.testing.assert_allclose(observation["achieved_goal"], observation["observation"][:, :2], atol=0.01)
        desired.append(observation["desired_goal"])
    for goals in desired[1:4]:
        np.testing.assert_array_equal(goals, desired[0], "the goal is constant in an episode")
    assert (np.abs(desired[4] - desired[0]).max(1) > 1e-6).any()
    recorded = stream.observation["desired_goal"][:, 0]
    assert all((np.abs(recorded - goal).max(1) == 0).any() for goal in first["desired_goal"])


def test_reward_equals_compute_reward_of_the_goals(trained) -> None:
    model, stream = trained
    reward_model = RewardModel(model, stream, updates=400)
    assert reward_model.r2 > 0.9
    env = WorldModelEnv(model, stream, num_envs=5, horizon=4, reward=reward_model, max_disagreement=np.inf)
    env.action_space.seed(0)
    env.reset(seed=0)
    observation, reward, *_ = env.step(env.action_space.sample())
    achieved, desired = observation["achieved_goal"], observation["desired_goal"]
    np.testing.assert_allclose(env.compute_reward(achieved, desired, {}), reward, atol=1e-6)
    np.testing.assert_allclose(reward, 1 / (1 + np.square(achieved - desired).sum(1)), atol=0.2)


def test_sb3_agent_trains_with_hindsight_relabeling(trained, tmp_path) -> None:
    model, stream = trained
    reward_model, relabeled = RewardModel(model, stream, updates=50), []
    goal_reward = reward_model.goal_reward

    def counted(achieved, desired):
        relabeled.append(len(achieved))
        return goal_reward(achieved, desired)

    reward_model.goal_reward = counted
    env = WorldModelEnv(model, stream, 4, 10, reward_model, autoreset_mode=AutoresetMode.DISABLED)
    recorder = Recorder.create(env, tmp_path / "stream")
    agent = SacAgent(recorder, learning_starts=40, device="cpu", policy_kwargs={"net_arch": [16]})
    agent.learn(recorder, 120)
    assert sum(relabeled) > 100
    observation = {name: values[:4, 0] for name, values in stream.observation.items()}
    assert agent.act(observation, explore=False).shape == (4, 2)


def test_checkpoint_restores_the_same_future(trained, tmp_path) -> None:
    env, other = (WorldModelEnv(*trained, num_envs=3, horizon=4, seed=seed) for seed in (0, 1))
    env.reset(seed=0)
    save_tree(tmp_path / "env.safetensors", env.get_checkpoint())
    other.reset()
    other.set_checkpoint(load_tree(tmp_path / "env.safetensors"))
    for _ in range(9):
        action = env.action_space.sample()
        expected, got = env.step(action)[0], other.step(action)[0]
        for name, values in expected.items():
            np.testing.assert_array_equal(values, got[name])


def test_discrete_goals_are_rejected() -> None:
    stream = goal_stream(spaces.Discrete(3))
    for name in ("achieved_goal", "desired_goal"):
        stream.observation[name] = np.zeros((200, 21), int)
    model = WorldModel(SMALL_CONFIG, stream.observation_space, stream.action_space)
    with pytest.raises(UsageError, match=r"expected Box, got Discrete\(3\)"):
        WorldModelEnv(model, stream, num_envs=2, horizon=3)


def test_goals_of_long_observations_are_fitted_in_time_linear_in_the_length() -> None:
    random = np.random.default_rng(0)
    hidden = random.normal(size=(400, 3))
    inputs = (hidden @ random.normal(size=(3, 6000))).astype(np.float32)
    goal = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    space = spaces.Dict(observation=goal, achieved_goal=goal, desired_goal=goal)
    started = time.process_time()
    predictor = GoalPredictor(space, inputs[:300], hidden[:300, :2], np.zeros((300, 2)), seed=0)
    assert time.process_time() - started < 5, "a Gram matrix of 6,257 features takes half a minute"
    np.testing.assert_allclose(predictor.achieved(inputs[300:]), hidden[300:, :2], atol=0.05)
    tensor = predictor.achieved_tensor(torch.from_numpy(inputs[300:])).numpy()
    np.testing.assert_allclose(tensor, predictor.achieved(inputs[300:]), atol=1e-2)
