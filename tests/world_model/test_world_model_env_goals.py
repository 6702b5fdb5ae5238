"""The dream of a goal env: its goals are carried, what is achieved is told, and hindsight works in it."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from robossl.agents.sb3.agent import Sb3Agent
from world_model_toys import DREAMER, ToyStream, linear

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.streams import Recorder
from robossl.world_model import WorldModel, WorldModelTrainer
from robossl.world_model.env import WorldModelEnv
from robossl.world_model.reward_model import RewardModel


def wishing(goal: spaces.Space | None = None) -> ToyStream:
    """The linear world; each episode wishes both masses somewhere, and is rewarded for being near."""
    stream = linear(episodes=200)
    place = stream.observation[..., :2]
    wish = np.random.default_rng(1).normal(size=(200, 1, 2)).repeat(21, 1).astype(np.float32)
    goal = goal or spaces.Box(-np.inf, np.inf, (2,))
    stream.observation_space = spaces.Dict(
        {"observation": stream.observation_space, "achieved_goal": goal, "desired_goal": goal}
    )
    stream.observation = {"observation": stream.observation, "achieved_goal": place, "desired_goal": wish}
    stream.reward = 1 / (1 + np.square(place - wish).sum(-1)[:, 1:])
    return stream


@pytest.fixture(scope="module")
def world() -> tuple[WorldModel, ToyStream]:
    stream = wishing()
    model = WorldModel(DREAMER, stream.observation_space, stream.action_space)
    WorldModelTrainer(model, stream, device="cpu").update(300)
    return model, stream


def test_it_shows_what_the_env_shows(world) -> None:
    model, stream = world
    env = WorldModelEnv(model, stream, num_envs=6, horizon=3, max_disagreement=np.inf)
    assert env.single_observation_space == stream.observation_space
    env.action_space.seed(0)
    first, _ = env.reset(seed=0)
    assert first in env.observation_space
    wishes = [first["desired_goal"]]
    for _ in range(5):
        seen = env.step(env.action_space.sample())[0]
        assert seen in env.observation_space
        np.testing.assert_allclose(seen["achieved_goal"], seen["observation"][:, :2], atol=0.01)
        wishes.append(seen["desired_goal"])
    for step in wishes[1:4]:  # one episode, one wish
        np.testing.assert_array_equal(step, wishes[0])
    assert (np.abs(wishes[4] - wishes[0]).max(1) > 1e-6).any()
    known = stream.observation["desired_goal"][:, 0]
    assert all((np.abs(known - wish).max(1) == 0).any() for wish in first["desired_goal"])


def test_its_reward_is_one_of_goals(world) -> None:
    model, stream = world
    learned = RewardModel(model, stream, updates=400)
    assert learned.r2 > 0.9
    env = WorldModelEnv(model, stream, num_envs=5, horizon=4, reward=learned, max_disagreement=np.inf)
    env.action_space.seed(0)
    env.reset(seed=0)
    seen, reward, *_ = env.step(env.action_space.sample())
    np.testing.assert_allclose(
        env.compute_reward(seen["achieved_goal"], seen["desired_goal"], {}), reward, atol=1e-6
    )
    truth = 1 / (1 + np.square(seen["achieved_goal"] - seen["desired_goal"]).sum(1))
    np.testing.assert_allclose(reward, truth, atol=0.2)


def test_sb3_learns_in_it_with_hindsight(world, tmp_path) -> None:
    model, stream = world
    learned, asked = RewardModel(model, stream, updates=50), []
    known = learned.goal_reward

    def of_goals(achieved, desired):
        asked.append(len(achieved))
        return known(achieved, desired)

    learned.goal_reward = of_goals
    dream = WorldModelEnv(model, stream, 4, 10, learned, autoreset_mode=AutoresetMode.DISABLED)
    recorder = Recorder.create(dream, tmp_path / "dream")
    agent = Sb3Agent("sac", recorder, learning_starts=40, device="cpu", policy_kwargs={"net_arch": [16]})
    agent.learn(recorder, 120)
    assert sum(asked) > 100
    observation = {name: values[:4, 0] for name, values in stream.observation.items()}
    assert agent.act(observation, explore=False).shape == (4, 2)


def test_it_can_be_taken_up_again(world, tmp_path) -> None:
    env, other = (WorldModelEnv(world[0], world[1], num_envs=3, horizon=4, seed=s) for s in (0, 1))
    env.reset(seed=0)
    save_tree(tmp_path / "dream.safetensors", env.get_checkpoint())
    other.reset()
    other.set_checkpoint(load_tree(tmp_path / "dream.safetensors"))
    for _ in range(9):
        action = env.action_space.sample()
        ours, theirs = env.step(action)[0], other.step(action)[0]
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name])


def test_goals_that_are_no_numbers_are_refused() -> None:
    stream = wishing(spaces.Discrete(3))
    for name in ("achieved_goal", "desired_goal"):
        stream.observation[name] = np.zeros((200, 21), int)
    model = WorldModel(DREAMER, stream.observation_space, stream.action_space)
    with pytest.raises(UsageError, match=r"goals of this env are Discrete\(3\)"):
        WorldModelEnv(model, stream, num_envs=2, horizon=3)
