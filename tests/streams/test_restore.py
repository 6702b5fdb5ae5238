"""The law of re-entry: put back into any recorded row, the same actions live through the same future again."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import robossl.envs
from gymnasium.vector import AutoresetMode
from stream_toys import CountingEnvs, live, sync

from robossl.core.errors import UsageError
from robossl.streams import Recorder, Stream

robossl.envs.register()
BODIES = ["CartPoleSwingUp", "Reacher", "PushT", "HopperHop", "WalkerRun", "CheetahRun"]
STEPS = 24  # of an episode


def recorded(path, name, steps=2 * STEPS + 5, **arguments):
    """A stream of three lanes; the last rows still wait for their chunk."""
    envs = gym.make_vec(f"robossl/{name}-v0", num_envs=3, nthread=1, max_episode_steps=STEPS, **arguments)
    recorder = Recorder.create(envs, path)
    recorder.reset(seed=7)
    random = np.random.default_rng(1)
    for t in range(steps):
        recorder.step(random.uniform(-1, 1, envs.action_space.shape).astype(np.float32))
        if t == STEPS // 2:
            recorder.stream.commit()
    return recorder


def made(name, lanes=1):
    """Envs of another number of lanes, in the middle of a life of their own."""
    envs = gym.make_vec(f"robossl/{name}-v0", num_envs=lanes, nthread=1)
    envs.reset(seed=99)
    envs.step(np.ones(envs.action_space.shape, np.float32))
    return envs


def leaves(stream, rows):
    """The observation fields of some rows."""
    return {name: rows[name] for name in stream.schema.observations}


def same(stream, observation, rows, lanes):
    """What is observed in `lanes` are these rows, to the bit."""
    parts = observation if isinstance(observation, dict) else {"": observation}
    for name in stream.schema.observations:
        seen = parts[name.removeprefix("observation").removeprefix(".")]
        assert np.asarray(seen)[lanes].tobytes() == rows[name].tobytes(), name


@pytest.mark.parametrize("mode", list(AutoresetMode)[:1] + [AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("name", BODIES)
def test_the_same_actions_have_the_same_future(tmp_path, name, mode):
    recorder = recorded(tmp_path / "s", name, autoreset_mode=mode)
    stream = recorder.stream
    episode = next(e for e in stream.episodes() if e.lane == 1 and e.ordinal // 3 == 1)
    assert episode.stop - episode.start > 8
    envs = made(name, lanes=2)
    for begin in (episode.start, episode.start + 5):
        same(stream, stream.restore(envs, 1, begin), rows_at(stream, 1, begin, 2), [0, 1])
        for t in range(begin, episode.stop - 1):
            action = np.repeat(stream.read(1, t, t + 1, ["action"])["action"], 2, axis=0)
            observation, reward, terminated, _, _ = envs.step(action)
            rows = stream.read(1, t, t + 2)
            assert (reward.astype(np.float32) == rows["reward"][0]).all()
            assert (terminated == rows["terminated"][0]).all()
            same(stream, observation, rows_at(stream, 1, t + 1, 2), [0, 1])
            if not rows["is_last"][1]:
                assert envs.get_physics_state()[0].tobytes() == rows["physics"][1].tobytes()


def rows_at(stream, lane, position, times):
    """One row, `times` times."""
    return {n: np.repeat(v, times, axis=0) for n, v in stream.read(lane, position, position + 1).items()}


@pytest.mark.parametrize("name", ["Reacher", "WalkerRun"])
def test_every_lane_takes_a_row_of_its_own(tmp_path, name):
    stream = recorded(tmp_path / "s", name).stream
    stream.close()
    stream = Stream.open(tmp_path / "s", memory=0)
    lane, position = np.array([2, 0, 1, 2]), np.array([3, 17, 0, 8])
    envs = made(name, lanes=5)
    before = envs.get_physics_state()
    observation = stream.restore(envs, lane, position, ids=[4, 0, 3, 1])
    found = stream.take(lane, position, stream.schema.names)
    same(stream, observation, found, [4, 0, 3, 1])
    assert envs.get_physics_state()[[4, 0, 3, 1]].tobytes() == found["physics"].tobytes()
    assert envs.get_physics_state()[2].tobytes() == before[2].tobytes()
    action = np.zeros(envs.action_space.shape, np.float32)
    action[[4, 0, 3, 1]] = found["action"]
    observation = envs.step(action)[0]
    same(stream, observation, stream.take(lane, position + 1, stream.schema.names), [4, 0, 3, 1])


def test_other_actions_have_another_future(tmp_path):
    stream = recorded(tmp_path / "s", "PushT").stream
    envs = made("PushT", lanes=8)
    stream.restore(envs, 0, 4)
    assert len(np.unique(envs.get_physics_state(), axis=0)) == 1
    random = np.random.default_rng(0)
    for _ in range(5):
        envs.step(random.uniform(-1, 1, envs.action_space.shape).astype(np.float32))
    assert len(np.unique(envs.get_physics_state(), axis=0)) == 8


def test_a_row_that_cannot_be_entered_says_why(tmp_path):
    stream = recorded(tmp_path / "s", "Reacher").stream
    envs = made("Reacher", lanes=2)
    end = int(stream.lengths[1])
    for lane, position, ids, words in [
        (1, end, None, f"there is no row {end} in lane 1; the lanes 0 to 2 have"),
        (3, 0, None, "there is no row 0 in lane 3"),
        (0, -1, None, "there is no row -1 in lane 0"),
        ([0, 1, 2], 0, None, "3 rows cannot go into 3 lanes of 2"),
        ([0, 1], 0, [1], "2 rows cannot go into 1 lanes of 2"),
        (0, 0, [2], "distinct lanes from 0 to 1"),
    ]:
        with pytest.raises(UsageError, match=words):
            stream.restore(envs, lane, position, ids)
    with pytest.raises(UsageError, match=r"robossl/WalkerRun-v0 has \d+ numbers of physics; .* records \d+"):
        stream.restore(made("WalkerRun"), 0, 0)
    varied = gym.make_vec("robossl/Reacher-v0", num_envs=1, randomization={"link_mass": 2.0})
    with pytest.raises(UsageError, match="Reacher-v0 has randomization"):
        stream.restore(varied, 0, 0)
    with pytest.raises(UsageError, match="does not know its physics"):
        stream.restore(sync(1, AutoresetMode.NEXT_STEP), 0, 0)
    plain = Recorder.create(sync(2, AutoresetMode.NEXT_STEP), tmp_path / "plain")
    plain.reset()
    live(plain, 3)
    with pytest.raises(UsageError, match="records no physics"):
        plain.stream.restore(envs, 0, 0)


def test_a_final_row_whose_physics_nobody_knows_is_refused(tmp_path):
    recorder = Recorder.create(CountingEnvs(1, AutoresetMode.SAME_STEP), tmp_path / "s")
    recorder.reset()
    live(recorder, 6)
    last = int(np.flatnonzero(recorder.stream.read(0, 0, 5)["is_last"])[0])
    with pytest.raises(UsageError, match=f"row {last} of lane 0 has no physics: its lane was reset within"):
        recorder.stream.restore(CountingEnvs(1, AutoresetMode.SAME_STEP), 0, last)
