"""WorldModelEnv is a vector env that follows its model and truncates episodes where the model is uncertain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from robossl.agents.sb3.algorithms import SacAgent
from world_model_toys import SMALL_CONFIG, linear

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.env_checker.env_under_test import CallMonitor, EnvUnderTest
from robossl.env_checker.vector_env_checks import step_randomly
from robossl.streams import Recorder
from robossl.world_model import RewardModel, WorldModel, WorldModelEnv
from robossl.world_model.env import disagreement_threshold


def rollout(env: WorldModelEnv, steps: int = 12, seed: int = 3) -> list[np.ndarray]:
    """Return the observations of random actions."""
    env.action_space.seed(0)
    observations = [env.reset(seed=seed)[0]]
    return observations + [env.step(env.action_space.sample())[0] for _ in range(steps)]


def test_values_belong_to_their_spaces(trained) -> None:
    env = WorldModelEnv(*trained, num_envs=4, horizon=5)
    env.action_space.seed(0)
    observation, reset_infos = env.reset(seed=0)
    assert observation in env.observation_space
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    for _ in range(8):
        observation, reward, terminated, truncated, infos = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert reward.shape == terminated.shape == truncated.shape == (4,)
        assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, bool, bool)
        assert not terminated.any()
        assert infos.keys() == reset_infos.keys()


def test_episode_ends_at_the_horizon_and_restarts_in_the_next_step(trained) -> None:
    env = WorldModelEnv(*trained, num_envs=3, horizon=4, max_disagreement=np.inf)
    env.reset(seed=0)
    truncations = [env.step(env.action_space.sample())[3].tolist() for _ in range(10)]
    assert truncations == [[t in (3, 8)] * 3 for t in range(10)]


def test_same_step_mode_returns_the_final_observation_in_infos(trained) -> None:
    env = WorldModelEnv(*trained, num_envs=2, horizon=3, max_disagreement=np.inf, autoreset_mode="SameStep")
    env.reset(seed=0)
    for t in range(7):
        observation, _, _, truncated, infos = env.step(env.action_space.sample())
        assert truncated.all() == (t % 3 == 2)
        assert ("final_obs" in infos) == truncated.any()
        if truncated.any():
            assert np.abs(infos["final_obs"][0] - observation[0]).max() > 1e-6


def test_disabled_autoreset_needs_a_reset_after_the_end(trained) -> None:
    env = WorldModelEnv(*trained, num_envs=2, horizon=1, max_disagreement=np.inf, autoreset_mode="Disabled")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    with pytest.raises(UsageError, match=r"ended ones in sub-environments \[0, 1\]"):
        env.step(env.action_space.sample())
    env.reset(options={"reset_mask": np.array([True, False])})
    assert env.ended.tolist() == [False, True]


def test_rollout_depends_on_the_seed_and_not_on_num_envs(trained) -> None:
    two, again, six = (
        WorldModelEnv(*trained, num_envs=n, horizon=5, max_disagreement=np.inf) for n in (2, 2, 6)
    )
    first = two.reset(seed=3)[0]
    np.testing.assert_array_equal(first, again.reset(seed=3)[0])
    np.testing.assert_allclose(first, six.reset(seed=3)[0][:2], atol=1e-6)
    np.testing.assert_array_equal(rollout(two), rollout(again))
    assert np.abs(first - two.reset(seed=4)[0]).max() > 1e-3


def test_imagined_rollout_predicts_the_recorded_one(trained) -> None:
    model, stream = trained
    env = WorldModelEnv(model, stream, num_envs=20, horizon=20, max_disagreement=np.inf)
    test = np.arange(9, 200, 10)  # episodes of the test split
    env.reset()
    env.set_checkpoint({**env.get_checkpoint(), "z": model.encode(stream.observation[test, 0])})
    error, no_change = 0.0, 0.0
    for t in range(10):
        observation = env.step(stream.action[test, t])[0]
        error += np.square(observation - stream.observation[test, t + 1]).sum()
        no_change += np.square(stream.observation[test, 0] - stream.observation[test, t + 1]).sum()
    assert error < 0.1 * no_change


def test_episode_is_truncated_where_the_heads_disagree(trained) -> None:
    env = WorldModelEnv(*trained, num_envs=50, horizon=1000)
    env.reset(seed=0)
    truncated = [env.step(env.action_space.sample())[3].mean() for _ in range(5)]
    assert np.mean(truncated) < 0.1, "random actions are in the training data"
    noise = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    env.set_checkpoint({**env.get_checkpoint(), "z": noise})
    _, _, _, truncated, infos = env.step(env.action_space.sample())
    assert truncated.mean() > 0.9
    assert (infos["disagreement"][truncated] > env.max_disagreement).all()


def test_reward_function_receives_observation_action_and_next_observation(trained) -> None:
    calls = []

    def reward(observation, action, next_observation):
        calls.append((observation, action, next_observation))
        return next_observation[:, 0]

    env = WorldModelEnv(*trained, num_envs=3, horizon=2, reward=reward, max_disagreement=np.inf)
    first = env.reset(seed=0)[0]
    action = env.action_space.sample()
    after, rewards, *_ = env.step(action)
    np.testing.assert_allclose(rewards, after[:, 0])
    np.testing.assert_array_equal(calls[0][0], first)
    env.step(action)
    assert env.step(action)[1].tolist() == [0, 0, 0]  # this step only resets


def test_checkpoint_restores_the_same_future(trained, tmp_path) -> None:
    env, other = (WorldModelEnv(*trained, num_envs=3, horizon=4, seed=seed) for seed in (0, 1))
    rollout(env, steps=3)
    save_tree(tmp_path / "env.safetensors", env.get_checkpoint())
    actions = [env.action_space.sample() for _ in range(9)]
    expected = [env.step(action)[0] for action in actions]
    other.reset()
    other.set_checkpoint(load_tree(tmp_path / "env.safetensors"))
    for observation, action in zip(expected, actions):
        np.testing.assert_array_equal(other.step(action)[0], observation)


def test_env_does_not_change_when_the_model_is_trained_further(trained) -> None:
    model, stream = trained
    env = WorldModelEnv(model, stream, num_envs=2, horizon=4)
    before = rollout(env)
    with torch.no_grad():
        model.decoder.mlp[-1].bias.add_(1.0)
    after = rollout(env)
    with torch.no_grad():
        model.decoder.mlp[-1].bias.sub_(1.0)
    np.testing.assert_array_equal(before, after)


def test_observations_are_clipped_to_their_bounds() -> None:
    stream = linear()
    stream.observation_space = spaces.Box(-0.1, 0.1, (4,))
    model = WorldModel(SMALL_CONFIG, stream.observation_space, stream.action_space)
    env = WorldModelEnv(model, stream, num_envs=5, horizon=3)
    assert env.reset(seed=0)[0] in env.observation_space


@pytest.mark.parametrize("sizes", [{"num_envs": 0}, {"num_envs": 2, "horizon": 0}])
def test_size_below_one_is_rejected(trained, sizes: dict) -> None:
    with pytest.raises(UsageError, match="of 1 or more, got 0"):
        WorldModelEnv(*trained, **sizes)


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_env_passes_the_vector_env_checks(trained, mode) -> None:
    spec = EnvSpec("Imagined-v0", entry_point=lambda: None)
    env = WorldModelEnv(*trained, num_envs=2, horizon=3, max_disagreement=np.inf, autoreset_mode=mode)
    assert step_randomly(EnvUnderTest(spec, {}, CallMonitor(10.0)), env) >= 4


def test_sb3_agent_trains_in_imagined_rollouts(trained, tmp_path) -> None:
    model, stream = trained

    def reward(observation, action, next_observation):
        return -np.square(next_observation[:, :2]).sum(1)

    env = WorldModelEnv(model, stream, 4, 10, reward, autoreset_mode=AutoresetMode.DISABLED)
    recorder = Recorder.create(env, tmp_path / "stream")
    agent = SacAgent(recorder, learning_starts=40, device="cpu", policy_kwargs={"net_arch": [16]})
    before = [p.detach().clone() for p in agent.algorithm.policy.parameters()]
    agent.learn(recorder, 120)
    assert any(not torch.equal(a, b) for a, b in zip(before, agent.algorithm.policy.parameters()))
    assert recorder.stream.transitions > 100
    assert agent.act(stream.observation[:4, 0], explore=False).shape == (4, 2)


def test_reward_model_fits_rewards_and_does_not_change_the_world_model(trained) -> None:
    model, _ = trained
    stream = linear(episodes=200)
    stream.reward[:] = -np.abs(stream.observation[:, 1:, 0]) + 0.3 * stream.action[:, :, 1]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    reward = RewardModel(model, stream, updates=300)
    assert reward.r2 > 0.9
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    predicted = reward(stream.observation[:3, 0], stream.action[:3, 0], stream.observation[:3, 1])
    np.testing.assert_allclose(predicted, stream.reward[:3, 0], atol=0.5)
    env = WorldModelEnv(model, stream, num_envs=3, horizon=4, reward=reward)
    env.reset(seed=0)
    assert np.isfinite(env.step(env.action_space.sample())[1]).all()
    stream.reward[:] = 1.0
    with pytest.raises(UsageError, match="expected rewards that vary, got 1"):
        RewardModel(model, stream)


def test_each_imagined_episode_follows_one_head(trained) -> None:
    model, stream = trained
    env = WorldModelEnv(
        model, stream, num_envs=12, horizon=5, max_disagreement=np.inf, seed=3, heads="episode", num_starts=64
    )
    assert len(env.starts) == 64
    env.reset()
    assert len(set(env.head.tolist())) > 1
    for _ in range(4):
        before, heads = env.z.clone(), env.head.copy()
        action = env.action_space.sample()
        env.step(action)
        predictions = model.ensemble_predictions(before, model.action_processor(action))
        expected = torch.stack([predictions[head, i] for i, head in enumerate(heads)])
        torch.testing.assert_close(env.z, expected)
    with pytest.raises(UsageError, match="expected heads of mean, episode, got 'first'"):
        WorldModelEnv(*trained, num_envs=1, heads="first")


def test_disagreement_limit_grows_with_its_quantile(trained) -> None:
    limits = [disagreement_threshold(*trained, 5, 0, quantile) for quantile in (0.5, 0.99, 0.999, 1.0)]
    assert limits == sorted(limits)
    assert limits[0] < limits[-1]


def test_imagined_rewards_are_those_of_the_latents(trained) -> None:
    model, _ = trained
    stream = linear(episodes=200)
    stream.reward[:] = stream.observation[:, :-1, 0]
    reward = RewardModel(model, stream, updates=100)
    env = WorldModelEnv(model, stream, num_envs=5, horizon=4, reward=reward, max_disagreement=np.inf)
    env.reset(seed=0)
    for _ in range(3):
        action, before = env.action_space.sample(), env.z.clone()
        predicted = reward.of_latents(before, model.action_processor(action)).numpy()
        np.testing.assert_allclose(env.step(action)[1], predicted, rtol=1e-6)
