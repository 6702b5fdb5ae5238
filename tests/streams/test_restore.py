"""Restoring: from any recorded row, the same actions give the same future."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, record_steps, sync

from robossl.core.errors import UsageError
from robossl.streams import Recorder, Stream

robossl.envs.register()
ENVS = ["CartPoleSwingUp", "Reacher", "PushT", "HopperHop", "WalkerRun", "CheetahRun"]
STEPS = 24  # of an episode


def recorded(path, name, steps=2 * STEPS + 5, **arguments):
    """Return a recorder of three lanes; the last rows are not committed."""
    envs = gym.make_vec(f"robossl/{name}-v0", num_envs=3, nthread=1, max_episode_steps=STEPS, **arguments)
    recorder = Recorder.create(envs, path)
    recorder.reset(seed=7)
    random = np.random.default_rng(1)
    for t in range(steps):
        recorder.step(random.uniform(-1, 1, envs.action_space.shape).astype(np.float32))
        if t == STEPS // 2:
            recorder.stream.commit()
    return recorder


def make_stepped_envs(name, lanes=1):
    """Return envs in the middle of another episode."""
    envs = gym.make_vec(f"robossl/{name}-v0", num_envs=lanes, nthread=1)
    envs.reset(seed=99)
    envs.step(np.ones(envs.action_space.shape, np.float32))
    return envs


def leaves(stream, rows):
    """Return the observation fields of rows."""
    return {name: rows[name] for name in stream.schema.observations}


def check_observation(stream, observation, rows, lanes):
    """Check that the observation of `lanes` equals `rows` to the bit."""
    parts = observation if isinstance(observation, dict) else {"": observation}
    for name in stream.schema.observations:
        actual = parts[name.removeprefix("observation").removeprefix(".")]
        assert np.asarray(actual)[lanes].tobytes() == rows[name].tobytes(), name


@pytest.mark.parametrize("mode", list(AutoresetMode)[:1] + [AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("name", ENVS)
def test_same_actions_give_the_same_future(tmp_path, name, mode):
    recorder = recorded(tmp_path / "s", name, autoreset_mode=mode)
    stream = recorder.stream
    episode = next(e for e in stream.episodes() if e.lane == 1 and e.ordinal // 3 == 1)
    assert episode.stop - episode.start > 8
    envs = make_stepped_envs(name, lanes=2)
    for begin in (episode.start, episode.start + 5):
        check_observation(stream, stream.restore(envs, 1, begin), rows_at(stream, 1, begin, 2), [0, 1])
        for t in range(begin, episode.stop - 1):
            action = np.repeat(stream.read(1, t, t + 1, ["action"])["action"], 2, axis=0)
            observation, reward, terminated, _, _ = envs.step(action)
            rows = stream.read(1, t, t + 2)
            assert (reward.astype(np.float32) == rows["reward"][0]).all()
            assert (terminated == rows["terminated"][0]).all()
            check_observation(stream, observation, rows_at(stream, 1, t + 1, 2), [0, 1])
            if not rows["is_last"][1]:
                assert envs.get_physics_state()[0].tobytes() == rows["physics"][1].tobytes()


def rows_at(stream, lane, position, times):
    """Return one row, repeated `times` times."""
    return {n: np.repeat(v, times, axis=0) for n, v in stream.read(lane, position, position + 1).items()}


@pytest.mark.parametrize("name", ["Reacher", "WalkerRun"])
def test_each_sub_environment_can_be_set_to_another_row(tmp_path, name):
    stream = recorded(tmp_path / "s", name).stream
    stream.close()
    stream = Stream.open(tmp_path / "s", cache_bytes=0)
    lane, position = np.array([2, 0, 1, 2]), np.array([3, 17, 0, 8])
    envs = make_stepped_envs(name, lanes=5)
    before = envs.get_physics_state()
    observation = stream.restore(envs, lane, position, env_ids=[4, 0, 3, 1])
    rows = stream.gather(lane, position, stream.schema.names)
    check_observation(stream, observation, rows, [4, 0, 3, 1])
    assert envs.get_physics_state()[[4, 0, 3, 1]].tobytes() == rows["physics"].tobytes()
    assert envs.get_physics_state()[2].tobytes() == before[2].tobytes()
    action = np.zeros(envs.action_space.shape, np.float32)
    action[[4, 0, 3, 1]] = rows["action"]
    observation = envs.step(action)[0]
    check_observation(
        stream, observation, stream.gather(lane, position + 1, stream.schema.names), [4, 0, 3, 1]
    )


def test_other_actions_give_another_future(tmp_path):
    stream = recorded(tmp_path / "s", "PushT").stream
    envs = make_stepped_envs("PushT", lanes=8)
    stream.restore(envs, 0, 4)
    assert len(np.unique(envs.get_physics_state(), axis=0)) == 1
    random = np.random.default_rng(0)
    for _ in range(5):
        envs.step(random.uniform(-1, 1, envs.action_space.shape).astype(np.float32))
    assert len(np.unique(envs.get_physics_state(), axis=0)) == 8


def test_rows_that_cannot_be_restored_raise(tmp_path):
    stream = recorded(tmp_path / "s", "Reacher").stream
    envs = make_stepped_envs("Reacher", lanes=2)
    end = int(stream.lengths[1])
    for lane, position, ids, message in [
        (1, end, None, f"got row {end} of lane 1"),
        (3, 0, None, "got row 0 of lane 3"),
        (0, -1, None, "got row -1 of lane 0"),
        ([0, 1, 2], 0, None, r"each of 3 sub-environments \(of 2\), got 3 rows"),
        ([0, 1], 0, [1], r"each of 1 sub-environments \(of 2\), got 2 rows"),
        (0, 0, [2], "distinct env_ids from 0 to 1"),
    ]:
        with pytest.raises(UsageError, match=message):
            stream.restore(envs, lane, position, ids)
    with pytest.raises(
        UsageError, match=r"expected a physics state of size \d+, .* got \d+ from robossl/WalkerRun-v0"
    ):
        stream.restore(make_stepped_envs("WalkerRun"), 0, 0)
    randomized = gym.make_vec("robossl/Reacher-v0", num_envs=1, randomization={"link_mass": 2.0})
    with pytest.raises(UsageError, match="Reacher-v0 has randomization"):
        stream.restore(randomized, 0, 0)
    with pytest.raises(UsageError, match="has no set_physics_state"):
        stream.restore(sync(1, AutoresetMode.NEXT_STEP), 0, 0)
    simple = Recorder.create(sync(2, AutoresetMode.NEXT_STEP), tmp_path / "plain")
    simple.reset()
    record_steps(simple, 3)
    with pytest.raises(UsageError, match="records no physics"):
        simple.stream.restore(envs, 0, 0)


def test_final_row_without_physics_raises(tmp_path):
    recorder = Recorder.create(CountingEnvs(1, AutoresetMode.SAME_STEP), tmp_path / "s")
    recorder.reset()
    record_steps(recorder, 6)
    last = int(np.flatnonzero(recorder.stream.read(0, 0, 5)["is_last"])[0])
    with pytest.raises(
        UsageError, match=f"row {last} of lane 0 has no physics: its sub-environment was reset within"
    ):
        recorder.stream.restore(CountingEnvs(1, AutoresetMode.SAME_STEP), 0, last)
