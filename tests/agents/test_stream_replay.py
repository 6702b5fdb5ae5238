"""Replay from the stream: samples are recorded transitions of this agent, and nothing is stored twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from agent_toys import Counter, CountingGoals, Line, model_of
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from robossl.agents.sb3.features import FeatureBuilder
from robossl.agents.sb3.hindsight import HindsightRelabeler, goal_reward
from robossl.agents.sb3.replay import StreamReplayBuffer
from robossl.agents.sb3.vec_env import SB3VecEnv
from stable_baselines3 import SAC

from robossl.core.errors import UsageError
from robossl.core.io import load_tree, save_tree
from robossl.streams import Recorder

MODES = tuple(AutoresetMode)
NUM_ENVS = 2
EPISODE, STEP, DESIRED = (
    1,
    2,
    slice(5, 7),
)  # columns of [env index, episode, step], achieved goal, desired goal


def recorded(
    path: Any, kind: type[Counter] = Counter, mode: AutoresetMode = AutoresetMode.DISABLED, **settings: Any
) -> tuple[Recorder, Recorder]:
    """Return two recorders of one stream; the second is that of the agent."""
    envs = [
        SyncVectorEnv([lambda i=i: kind(i, **settings) for i in range(NUM_ENVS)], autoreset_mode=mode)
        for _ in range(2)
    ]
    first = Recorder.create(envs[0], path, lanes=2 * NUM_ENVS)
    return first, Recorder(envs[1], first.stream, first_lane=NUM_ENVS)


def replay_of(recorder: Recorder, seed: int = 0, **settings: Any) -> StreamReplayBuffer:
    envs = SB3VecEnv(recorder)
    features = FeatureBuilder(recorder.single_observation_space)
    return StreamReplayBuffer(
        100, features.observation_space, envs.action_space, "cpu", NUM_ENVS,
        stream=recorder.stream, features=features, first_lane=int(recorder.lanes[0]), seed=seed, **settings,
    )  # fmt: skip


def step_randomly(recorder: Recorder, steps: int, low: float = -2.0, high: float = 4.0) -> None:
    """Take random actions; the SB3 adapter resets the envs."""
    envs, random = SB3VecEnv(recorder), np.random.default_rng(0)
    envs.reset()
    for _ in range(steps):
        if isinstance(envs.action_space, Discrete):
            envs.step(random.integers(envs.action_space.n, size=NUM_ENVS))
        else:
            envs.step(random.uniform(low, high, (NUM_ENVS, 1)).astype(np.float32))


@pytest.mark.parametrize("mode", MODES)
def test_samples_are_recorded_transitions(tmp_path, mode):
    _, recorder = recorded(tmp_path / "s", mode=mode)
    step_randomly(recorder, 60)
    batch = replay_of(recorder).sample(2000)
    before, after = batch.observations.numpy(), batch.next_observations.numpy()
    env_index, episode, step = before.T.astype(int)
    np.testing.assert_array_equal(after, np.stack([env_index, episode, step + 1], 1))
    np.testing.assert_array_equal(batch.rewards.numpy()[:, 0], 100.0 * episode + step + 1)
    length = 2 + (env_index + episode) % 4
    over = step + 1 == length
    assert (step < length).all()
    # values bootstrap after a truncation, and not after a termination
    np.testing.assert_array_equal(batch.dones.numpy()[:, 0], over & (episode % 2 == 0))
    sampled = set(zip(env_index, episode, step))
    recorded_steps = {(i, e, s) for i in range(NUM_ENVS) for e in range(10) for s in range(2 + (i + e) % 4)}
    assert recorded_steps <= sampled, "every transition is sampled sometimes"
    assert batch.discounts is None


@pytest.mark.parametrize("mode", MODES)
def test_returns_over_several_steps_end_with_the_episode(tmp_path, mode):
    _, recorder = recorded(tmp_path / "s", mode=mode)
    step_randomly(recorder, 60)
    replay = replay_of(recorder, n_steps=3)
    replay.gamma = 0.5
    batch = replay.sample(500)
    env_index, episode, step = batch.observations.numpy().T.astype(int)
    length = 2 + (env_index + episode) % 4
    count = np.minimum(3, length - step)  # steps of the return
    after = np.stack([env_index, episode, step + count], 1)
    np.testing.assert_array_equal(batch.next_observations.numpy(), after)
    rewards = [(100.0 * episode + step + k + 1) * 0.5**k * (k < count) for k in range(3)]
    np.testing.assert_allclose(batch.rewards.numpy()[:, 0], np.sum(rewards, 0), rtol=1e-5)
    np.testing.assert_array_equal(batch.dones.numpy()[:, 0], (step + count == length) & (episode % 2 == 0))
    np.testing.assert_allclose(batch.discounts.numpy()[:, 0], 0.5**count)
    assert set(count.tolist()) == {1, 2, 3}


def test_only_the_lanes_of_the_agent_are_sampled(tmp_path):
    other, recorder = recorded(tmp_path / "s")
    step_randomly(other, 200)
    with pytest.raises(UsageError, match="lanes of the stream hold no transition"):
        replay_of(recorder).sample(4)
    step_randomly(recorder, 3)
    sampled = {tuple(o) for o in replay_of(recorder).sample(500).observations.numpy().tolist()}
    assert sampled <= {
        (env_index, episode, step)
        for env_index in range(NUM_ENVS)
        for episode in range(2)
        for step in range(4)
    }
    assert len(sampled) == 5  # the newest time step of a lane has no successor yet


def test_box_actions_are_scaled_as_in_sb3(tmp_path):
    _, recorder = recorded(tmp_path / "s")
    step_randomly(recorder, 40)
    batch = replay_of(recorder).sample(300)
    recorded_actions = {}
    for lane in recorder.lanes:
        rows = recorder.stream.read(int(lane), 0, int(recorder.stream.lengths[lane]))
        recorded_actions |= {tuple(o): a for o, a in zip(rows["observation"].tolist(), rows["action"])}
    scale = SAC("MlpPolicy", SB3VecEnv(recorder), device="cpu").policy.scale_action
    for observation, action in zip(batch.observations.numpy().tolist(), batch.actions.numpy()):
        np.testing.assert_allclose(action, scale(recorded_actions[tuple(observation)]), atol=1e-6)
    assert (batch.actions.min(), batch.actions.max()) == pytest.approx((-1, 1), abs=0.1)


def test_discrete_actions_start_at_zero(tmp_path):
    _, recorder = recorded(tmp_path / "s", space=Discrete(3, start=5))
    step_randomly(recorder, 30)
    actions = replay_of(recorder).sample(100).actions
    assert actions.shape == (100, 1)
    assert set(actions.numpy().ravel().tolist()) == {0, 1, 2}


def test_buffer_stores_nothing(tmp_path):
    _, recorder = recorded(tmp_path / "s")
    replay = replay_of(recorder)
    step_randomly(recorder, 50)
    for _ in range(50):
        replay.add(None, None, None, None, None, [])
    assert replay.size() == 50 * NUM_ENVS
    assert not hasattr(replay, "observations")
    rows = sum(recorder.stream.lengths[recorder.lanes])
    assert recorder.stream.transitions < rows


def test_samples_are_encoded_by_the_current_representation(tmp_path):
    _, recorder = recorded(tmp_path / "s")
    step_randomly(recorder, 20)
    replay = replay_of(recorder)
    models = [model_of(recorder, seed) for seed in (0, 1)]
    replay.features = FeatureBuilder(recorder.single_observation_space, models[0])
    state = replay.get_checkpoint()
    batches = []
    for model in models:
        replay.features.set_representation(model)
        replay.set_checkpoint(state)
        batch = replay.sample(32)
        both = batch.observations.numpy()
        expected = replay.features(both[:, model.latent_dim :])
        np.testing.assert_allclose(both, expected, atol=1e-5)
        batches.append(batch.next_observations.numpy())
    assert (batches[0][:, :8] != batches[1][:, :8]).any()
    np.testing.assert_array_equal(batches[0][:, 8:], batches[1][:, 8:])


def test_restored_sampling_continues_to_the_bit(tmp_path):
    _, recorder = recorded(tmp_path / "s")
    step_randomly(recorder, 30)
    replay = replay_of(recorder)
    replay.sample(10)
    save_tree(tmp_path / "replay", replay.get_checkpoint())
    fresh = replay_of(recorder, seed=9)
    fresh.set_checkpoint(load_tree(tmp_path / "replay"))
    for _ in range(3):
        np.testing.assert_array_equal(replay.sample(20).observations, fresh.sample(20).observations)


def sample_goals(path: Any, fraction: float) -> tuple[np.ndarray, ...]:
    """Return (observation, next observation, reward) of transitions from episodes of 70 steps, with hindsight."""
    _, recorder = recorded(path, CountingGoals)
    step_randomly(recorder, 180)
    hindsight = HindsightRelabeler(recorder.stream, goal_reward(recorder), fraction)
    batch = replay_of(recorder, hindsight=hindsight).sample(1500)
    return batch.observations.numpy(), batch.next_observations.numpy(), batch.rewards.numpy()[:, 0]


def test_hindsight_goals_are_achieved_later_in_the_episode(tmp_path):
    before, after, reward = sample_goals(tmp_path / "s", 1.0)
    np.testing.assert_array_equal(before[:, DESIRED], after[:, DESIRED])
    episode, step, goal = before[:, EPISODE], before[:, STEP], before[:, DESIRED]
    np.testing.assert_array_equal(goal[:, 0], episode)
    ahead = goal[:, 1] - step
    last = np.where(episode == 2, 39, 70)  # recorded steps of the third episode
    assert (ahead >= 1).all()
    assert (ahead <= np.minimum(50, last - step)).all()
    assert ahead.max() == 50
    np.testing.assert_array_equal(reward, goal[:, 1] - after[:, STEP])


def test_other_transitions_keep_their_recorded_goal_and_reward(tmp_path):
    before, after, reward = sample_goals(tmp_path / "some", 0.5)
    own = (before[:, DESIRED] == -1).all(1)
    assert own.mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(reward[own], 100 * before[own, EPISODE] + after[own, STEP])
    before, _, _ = sample_goals(tmp_path / "none", 0.0)
    assert (before[:, DESIRED] == -1).all()


def test_hindsight_needs_goals_and_compute_reward(tmp_path):
    assert goal_reward(Line(2)) is None
    _, recorder = recorded(tmp_path / "s", CountingGoals)
    reward = goal_reward(recorder)
    assert reward is not None
    assert reward(np.zeros((3, 2)), np.ones((3, 2))).tolist() == [1, 1, 1]


def test_hindsight_calls_a_reward_of_single_goals_once_for_each(tmp_path):
    _, recorder = recorded(tmp_path / "s", CountingGoals)
    recorder.unwrapped.envs[0].compute_reward = lambda achieved, desired, info: float(np.sum(desired))
    reward = goal_reward(recorder)
    assert reward is not None
    assert reward(np.zeros((3, 2)), np.arange(6.0).reshape(3, 2)).tolist() == [1, 5, 9]


def test_matrix_actions_are_flattened(tmp_path):
    _, recorder = recorded(tmp_path / "s", space=Box(-1, 1, (2, 3), np.float32))
    envs = SB3VecEnv(recorder)
    envs.reset()
    for _ in range(4):
        envs.step(np.ones((NUM_ENVS, 2, 3), np.float32))
    assert replay_of(recorder).sample(5).actions.tolist() == [[1.0] * 6] * 5
