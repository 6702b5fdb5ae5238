"""Laws of the dream: a vector env like any other, true to its model, that stops in time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from robossl.agents.sb3.agent import Sb3Agent
from world_model_toys import DREAMER, linear

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.env_checker.call_monitor import CallMonitor
from robossl.env_checker.env_under_test import EnvUnderTest
from robossl.env_checker.vector_envs import run as run_batch
from robossl.streams import Recorder
from robossl.world_model import WorldModel
from robossl.world_model.env import WorldModelEnv
from robossl.world_model.reward_model import RewardModel


def life(env, steps: int = 12, seed: int = 3) -> list[np.ndarray]:
    env.action_space.seed(0)
    seen = [env.reset(seed=seed)[0]]
    return seen + [env.step(env.action_space.sample())[0] for _ in range(steps)]


def test_values_are_of_their_spaces(world) -> None:
    env = WorldModelEnv(world[0], world[1], num_envs=4, horizon=5)
    env.action_space.seed(0)
    observation, infos = env.reset(seed=0)
    assert observation in env.observation_space
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    for _ in range(8):
        observation, reward, terminated, truncated, more = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert reward.shape == terminated.shape == truncated.shape == (4,)
        assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, bool, bool)
        assert not terminated.any()
        assert more.keys() == infos.keys()


def test_it_ends_at_the_horizon_and_begins_anew_on_the_next_step(world) -> None:
    env = WorldModelEnv(world[0], world[1], num_envs=3, horizon=4, max_disagreement=np.inf)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[3].tolist() for _ in range(10)]
    assert ends == [[t in (3, 8)] * 3 for t in range(10)]


def test_same_step_gives_the_last_observation_apart(world) -> None:
    env = WorldModelEnv(
        world[0], world[1], num_envs=2, horizon=3, max_disagreement=np.inf, autoreset_mode="SameStep"
    )
    env.reset(seed=0)
    for t in range(7):
        observation, _, _, truncated, infos = env.step(env.action_space.sample())
        assert truncated.all() == (t % 3 == 2)
        assert ("final_obs" in infos) == truncated.any()
        if truncated.any():
            assert np.abs(infos["final_obs"][0] - observation[0]).max() > 1e-6


def test_without_autoreset_a_finished_lane_waits(world) -> None:
    env = WorldModelEnv(
        world[0], world[1], num_envs=2, horizon=1, max_disagreement=np.inf, autoreset_mode="Disabled"
    )
    env.reset(seed=0)
    env.step(env.action_space.sample())
    with pytest.raises(UsageError, match=r"lanes \[0, 1\] have ended"):
        env.step(env.action_space.sample())
    env.reset(options={"reset_mask": np.array([True, False])})
    assert env.ended.tolist() == [False, True]


def test_same_seed_same_dream_and_lanes_do_not_depend_on_their_number(world) -> None:
    two, again, many = (
        WorldModelEnv(world[0], world[1], num_envs=n, horizon=5, max_disagreement=np.inf) for n in (2, 2, 6)
    )
    first = two.reset(seed=3)[0]
    np.testing.assert_array_equal(first, again.reset(seed=3)[0])
    np.testing.assert_allclose(first, many.reset(seed=3)[0][:2], atol=1e-6)
    np.testing.assert_array_equal(life(two), life(again))
    assert np.abs(first - two.reset(seed=4)[0]).max() > 1e-3


def test_it_dreams_what_would_have_happened(world) -> None:
    model, stream = world
    env = WorldModelEnv(model, stream, num_envs=20, horizon=20, max_disagreement=np.inf)
    test = np.arange(9, 200, 10)  # episodes of the test split
    env.reset()
    env.set_checkpoint({**env.get_checkpoint(), "z": model.encode(stream.observation[test, 0])})
    wrong, still = 0.0, 0.0
    for t in range(10):
        observation = env.step(stream.action[test, t])[0]
        wrong += np.square(observation - stream.observation[test, t + 1]).sum()
        still += np.square(stream.observation[test, 0] - stream.observation[test, t + 1]).sum()
    assert wrong < 0.1 * still


def test_it_stops_where_the_heads_disagree(world) -> None:
    model, stream = world
    env = WorldModelEnv(model, stream, num_envs=50, horizon=1000)
    env.reset(seed=0)
    believed = [env.step(env.action_space.sample())[3].mean() for _ in range(5)]
    assert np.mean(believed) < 0.1  # random actions are what it was trained on
    env.set_checkpoint(
        {**env.get_checkpoint(), "z": np.random.default_rng(0).normal(size=(50, 16)).astype("f4")}
    )
    _, _, _, truncated, infos = env.step(env.action_space.sample())
    assert truncated.mean() > 0.9
    assert (infos["disagreement"][truncated] > env.max_disagreement).all()


def test_the_reward_is_the_callers(world) -> None:
    calls = []

    def reward(observation, action, after):
        calls.append((observation, action, after))
        return after[:, 0]

    env = WorldModelEnv(world[0], world[1], num_envs=3, horizon=2, reward=reward, max_disagreement=np.inf)
    first = env.reset(seed=0)[0]
    action = env.action_space.sample()
    after, given, *_ = env.step(action)
    np.testing.assert_allclose(given, after[:, 0])
    np.testing.assert_array_equal(calls[0][0], first)
    env.step(action)
    assert env.step(action)[1].tolist() == [0, 0, 0]  # the step that only resets


def test_a_dream_can_be_taken_up_again(world, tmp_path) -> None:
    env, other = (WorldModelEnv(world[0], world[1], num_envs=3, horizon=4, seed=s) for s in (0, 1))
    life(env, steps=3)
    save_tree(tmp_path / "dream.safetensors", env.get_checkpoint())
    actions = [env.action_space.sample() for _ in range(9)]
    straight = [env.step(a) for a in actions]
    other.reset()
    other.set_checkpoint(load_tree(tmp_path / "dream.safetensors"))
    for expected, action in zip(straight, actions):
        np.testing.assert_array_equal(other.step(action)[0], expected[0])


def test_the_model_may_learn_on_while_it_is_dreamt(world) -> None:
    model, stream = world
    env = WorldModelEnv(model, stream, num_envs=2, horizon=4)
    before = life(env)
    with torch.no_grad():
        model.decoder.mlp[-1].bias.add_(1.0)
    after = life(env)
    with torch.no_grad():
        model.decoder.mlp[-1].bias.sub_(1.0)
    np.testing.assert_array_equal(before, after)


def test_bounds_are_kept() -> None:
    stream = linear()
    stream.observation_space = spaces.Box(-0.1, 0.1, (4,))
    model = WorldModel(DREAMER, stream.observation_space, stream.action_space)
    env = WorldModelEnv(model, stream, num_envs=5, horizon=3)
    assert env.reset(seed=0)[0] in env.observation_space


def test_an_empty_dream_is_refused(world) -> None:
    with pytest.raises(UsageError, match="at least one"):
        WorldModelEnv(world[0], world[1], num_envs=0, horizon=5)


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_it_passes_what_any_batch_of_envs_has_to(world, mode) -> None:
    """The same checks as `robossl check` makes, with resets among the steps."""
    spec = EnvSpec("Dream-v0", entry_point=lambda: None)
    dream = WorldModelEnv(
        world[0], world[1], num_envs=2, horizon=3, max_disagreement=np.inf, autoreset_mode=mode
    )
    assert run_batch(EnvUnderTest(spec, {}, CallMonitor(10.0)), dream, mode) >= 4


def test_sb3_trains_in_it(world, tmp_path) -> None:
    model, stream = world

    def reward(observation, action, after):
        return -np.square(after[:, :2]).sum(1)

    dream = WorldModelEnv(model, stream, 4, 10, reward, autoreset_mode=AutoresetMode.DISABLED)
    recorder = Recorder.create(dream, tmp_path / "dream")
    agent = Sb3Agent("sac", recorder, learning_starts=40, device="cpu", policy_kwargs={"net_arch": [16]})
    before = [p.detach().clone() for p in agent.algorithm.policy.parameters()]
    agent.learn(recorder, 120)
    assert any(not torch.equal(a, b) for a, b in zip(before, agent.algorithm.policy.parameters()))
    assert recorder.stream.transitions > 100
    assert agent.act(stream.observation[:4, 0], explore=False).shape == (4, 2)


def test_a_reward_is_learned_afterwards_and_changes_no_model(world) -> None:
    model, stream = world
    stream = linear(episodes=200)
    stream.reward[:] = -np.abs(stream.observation[:, 1:, 0]) + 0.3 * stream.action[:, :, 1]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learned = RewardModel(model, stream, updates=300)
    assert learned.r2 > 0.9
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    given = learned(stream.observation[:3, 0], stream.action[:3, 0], stream.observation[:3, 1])
    np.testing.assert_allclose(given, stream.reward[:3, 0], atol=0.5)
    env = WorldModelEnv(model, stream, num_envs=3, horizon=4, reward=learned)
    env.reset(seed=0)
    assert np.isfinite(env.step(env.action_space.sample())[1]).all()
    stream.reward[:] = 1.0
    with pytest.raises(UsageError, match="the reward is 1 in all rows"):
        RewardModel(model, stream)
