"""What the replay samples was really lived, by this agent, and is stored once."""

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
LANES = 2
EPISODE, STEP, DESIRED = 1, 2, slice(5, 7)  # columns of [lane, episode, step], achieved goal, desired goal


def recorded(
    path: Any, kind: type[Counter] = Counter, mode: AutoresetMode = AutoresetMode.DISABLED, **given: Any
) -> tuple[Recorder, Recorder]:
    """Two recorders of two lanes each, sharing one stream: the second is the agent's."""
    envs = [
        SyncVectorEnv([lambda i=i: kind(i, **given) for i in range(LANES)], autoreset_mode=mode)
        for _ in range(2)
    ]
    first = Recorder.create(envs[0], path, lanes=2 * LANES)
    return first, Recorder(envs[1], first.stream, first_lane=LANES)


def replay_of(recorder: Recorder, seed: int = 0, **given: Any) -> StreamReplayBuffer:
    envs = SB3VecEnv(recorder)
    features = FeatureBuilder(recorder.single_observation_space)
    return StreamReplayBuffer(
        100, features.box, envs.action_space, "cpu", LANES,
        stream=recorder.stream, features=features, first_lane=int(recorder.lanes[0]), seed=seed, **given,
    )  # fmt: skip


def live(recorder: Recorder, steps: int, low: float = -2.0, high: float = 4.0) -> None:
    """Random actions, resets as SB3's bridge makes them."""
    envs, random = SB3VecEnv(recorder), np.random.default_rng(0)
    envs.reset()
    for _ in range(steps):
        if isinstance(envs.action_space, Discrete):
            envs.step(random.integers(envs.action_space.n, size=LANES))
        else:
            envs.step(random.uniform(low, high, (LANES, 1)).astype(np.float32))


@pytest.mark.parametrize("mode", MODES)
def test_what_is_sampled_was_lived(tmp_path, mode):
    _, recorder = recorded(tmp_path / "s", mode=mode)
    live(recorder, 60)
    batch = replay_of(recorder).sample(2000)
    before, after = batch.observations.numpy(), batch.next_observations.numpy()
    lane, episode, step = before.T.astype(int)
    np.testing.assert_array_equal(after, np.stack([lane, episode, step + 1], 1))
    np.testing.assert_array_equal(batch.rewards.numpy()[:, 0], 100.0 * episode + step + 1)
    length = 2 + (lane + episode) % 4
    over = step + 1 == length
    assert (step < length).all()
    # a cut-off episode goes on for the values; one that ended by itself does not
    np.testing.assert_array_equal(batch.dones.numpy()[:, 0], over & (episode % 2 == 0))
    seen = set(zip(lane, episode, step))
    lived = {(i, e, s) for i in range(LANES) for e in range(10) for s in range(2 + (i + e) % 4)}
    assert lived <= seen, "every transition is sampled sometimes"
    assert batch.discounts is None


def test_only_the_agents_own_lanes_are_sampled(tmp_path):
    other, recorder = recorded(tmp_path / "s")
    live(other, 200)
    with pytest.raises(UsageError, match="own lanes of the stream hold no transition"):
        replay_of(recorder).sample(4)
    live(recorder, 3)
    rows = {tuple(row) for row in replay_of(recorder).sample(500).observations.numpy().tolist()}
    assert rows <= {
        (lane, episode, step) for lane in range(LANES) for episode in range(2) for step in range(4)
    }
    assert len(rows) == 5  # the newest row of a lane waits for the next step


def test_boxes_are_scaled_as_sb3_scales_them(tmp_path):
    _, recorder = recorded(tmp_path / "s")
    live(recorder, 40)
    batch = replay_of(recorder).sample(300)
    lived = {}
    for lane in recorder.lanes:
        rows = recorder.stream.read(int(lane), 0, int(recorder.stream.lengths[lane]))
        lived |= {tuple(seen): action for seen, action in zip(rows["observation"].tolist(), rows["action"])}
    scale = SAC("MlpPolicy", SB3VecEnv(recorder), device="cpu").policy.scale_action
    for seen, action in zip(batch.observations.numpy().tolist(), batch.actions.numpy()):
        np.testing.assert_allclose(action, scale(lived[tuple(seen)]), atol=1e-6)
    assert (batch.actions.min(), batch.actions.max()) == pytest.approx((-1, 1), abs=0.1)


def test_choices_are_counted_as_sb3_counts_them(tmp_path):
    _, recorder = recorded(tmp_path / "s", space=Discrete(3, start=5))
    live(recorder, 30)
    actions = replay_of(recorder).sample(100).actions
    assert actions.shape == (100, 1)
    assert set(actions.numpy().ravel().tolist()) == {0, 1, 2}


def test_nothing_is_stored_twice(tmp_path):
    _, recorder = recorded(tmp_path / "s")
    replay = replay_of(recorder)
    live(recorder, 50)
    for _ in range(50):
        replay.add(None, None, None, None, None, [])
    assert replay.size() == 50 * LANES
    assert replay.observations.shape[0] == 1
    rows = sum(recorder.stream.lengths[recorder.lanes])
    assert recorder.stream.transitions < rows


def test_todays_representation_encodes(tmp_path):
    _, recorder = recorded(tmp_path / "s")
    live(recorder, 20)
    replay = replay_of(recorder)
    models = [model_of(recorder, seed) for seed in (0, 1)]
    replay.features = FeatureBuilder(recorder.single_observation_space, models[0])
    state = replay.get_checkpoint()
    seen = []
    for model in models:
        replay.features.set_representation(model)
        replay.set_checkpoint(state)
        batch = replay.sample(32)
        both = batch.observations.numpy()
        expected = replay.features(both[:, model.latent :])
        np.testing.assert_allclose(both, expected, atol=1e-5)
        seen.append(batch.next_observations.numpy())
    assert (seen[0][:, :8] != seen[1][:, :8]).any()
    np.testing.assert_array_equal(seen[0][:, 8:], seen[1][:, 8:])


def test_the_draw_goes_on_to_the_bit(tmp_path):
    _, recorder = recorded(tmp_path / "s")
    live(recorder, 30)
    replay = replay_of(recorder)
    replay.sample(10)
    save_tree(tmp_path / "replay", replay.get_checkpoint())
    fresh = replay_of(recorder, seed=9)
    fresh.set_checkpoint(load_tree(tmp_path / "replay"))
    for _ in range(3):
        np.testing.assert_array_equal(replay.sample(20).observations, fresh.sample(20).observations)


def goals(path: Any, share: float) -> tuple[np.ndarray, ...]:
    """(before, after, reward) of sampled transitions of episodes of 70 steps, with hindsight."""
    _, recorder = recorded(path, CountingGoals)
    live(recorder, 180)
    hindsight = HindsightRelabeler(recorder.stream, goal_reward(recorder), share)
    batch = replay_of(recorder, hindsight=hindsight).sample(1500)
    return batch.observations.numpy(), batch.next_observations.numpy(), batch.rewards.numpy()[:, 0]


def test_hindsight_gives_goals_that_were_reached_later(tmp_path):
    before, after, reward = goals(tmp_path / "s", 1.0)
    np.testing.assert_array_equal(before[:, DESIRED], after[:, DESIRED])
    episode, step, goal = before[:, EPISODE], before[:, STEP], before[:, DESIRED]
    np.testing.assert_array_equal(goal[:, 0], episode)
    ahead = goal[:, 1] - step
    last = np.where(episode == 2, 39, 70)  # steps of the third episode that rows were written for
    assert (ahead >= 1).all()
    assert (ahead <= np.minimum(50, last - step)).all()
    assert ahead.max() == 50
    np.testing.assert_array_equal(reward, goal[:, 1] - after[:, STEP])


def test_hindsight_leaves_the_rest_as_it_was_lived(tmp_path):
    before, after, reward = goals(tmp_path / "some", 0.5)
    own = (before[:, DESIRED] == -1).all(1)
    assert own.mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(reward[own], 100 * before[own, EPISODE] + after[own, STEP])
    before, _, _ = goals(tmp_path / "none", 0.0)
    assert (before[:, DESIRED] == -1).all()


def test_only_goal_envs_that_can_say_have_hindsight(tmp_path):
    assert goal_reward(Line(2)) is None
    _, recorder = recorded(tmp_path / "s", CountingGoals)
    reward = goal_reward(recorder)
    assert reward is not None
    assert reward(np.zeros((3, 2)), np.ones((3, 2))).tolist() == [1, 1, 1]
    recorder.unwrapped.envs[0].compute_reward = lambda achieved, desired, info: 0.0
    with pytest.raises(UsageError, match="gave 1 rewards for 3 goals"):
        goal_reward(recorder)(np.zeros((3, 2)), np.ones((3, 2)))


def test_other_spaces_of_actions_have_their_shape(tmp_path):
    _, recorder = recorded(tmp_path / "s", space=Box(-1, 1, (2, 3), np.float32))
    envs = SB3VecEnv(recorder)
    envs.reset()
    for _ in range(4):
        envs.step(np.ones((LANES, 2, 3), np.float32))
    assert replay_of(recorder).sample(5).actions.tolist() == [[1.0] * 6] * 5
