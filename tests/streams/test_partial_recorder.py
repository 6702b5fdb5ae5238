"""A partial recording has the time steps that a recording of all sub-environments has in its first ones."""

import gymnasium
import numpy as np
import pytest
import robossl.envs
from gymnasium.vector import AutoresetMode
from robossl.envs.engine.vector_env import MujocoVectorEnv

from robossl.core.errors import UsageError
from robossl.streams import Recorder
from robossl.streams.partial_recorder import PartialRecorder

STEPS = 12


def make(max_episode_steps=5):
    robossl.envs.register()
    return gymnasium.make_vec("robossl/PointMaze-v0", num_envs=5, max_episode_steps=max_episode_steps)


def record(recorder, first=0, last=STEPS):
    random = np.random.default_rng(0)
    actions = random.uniform(-1, 1, (STEPS, 5, 2)).astype(np.float32)
    if first == 0:
        recorder.reset(seed=3)
    return [recorder.step(action) for action in actions[first:last]]


def rows(stream, lane):
    return stream.read(lane, 0, int(stream.lengths[lane]))


def test_recorded_steps_equal_those_of_a_full_recording(tmp_path):
    full = Recorder.create(make(), tmp_path / "full")
    partial = PartialRecorder(make(), 2, lambda envs: Recorder.create(envs, tmp_path / "partial"))
    for one, other in zip(record(full), record(partial)):
        np.testing.assert_array_equal(one[1], other[1])
        assert len(other[1]) == 5  # the policy acts in all of them
    full.finish()
    partial.finish()
    assert partial.stream.lanes == 2
    assert len(partial.stream.episodes()) == 2 * 2
    for lane in range(2):
        expected = rows(full.stream, lane)
        for name, value in rows(partial.stream, lane).items():
            np.testing.assert_array_equal(value, expected[name])


def test_checkpoint_continues_to_the_same_steps(tmp_path):
    whole = PartialRecorder(make(), 2, lambda envs: Recorder.create(envs, tmp_path / "whole"))
    record(whole)
    cut = PartialRecorder(make(), 2, lambda envs: Recorder.create(envs, tmp_path / "cut"))
    record(cut, 0, 7)
    tree, offset = cut.get_checkpoint(), cut.stream.offset()
    record(cut, 7, 9)
    cut.stream.commit()
    cut.stream.truncate(offset)
    resumed = PartialRecorder(make(), 2, lambda envs: Recorder(envs, cut.stream))
    resumed.set_checkpoint(tree)
    record(resumed, 7)
    for recorder in (whole, resumed):
        recorder.finish()
    for lane in range(2):
        for name, value in rows(resumed.stream, lane).items():
            np.testing.assert_array_equal(value, rows(whole.stream, lane)[name])


def test_all_steps_reach_the_sink(tmp_path):
    seen = []

    class Sink:
        def begin(self, observation):
            seen.append(len(observation["observation"]))

        def append(self, action, done, observation):
            seen.append((len(action), int(done.sum())))

    partial = PartialRecorder(make(), 1, lambda envs: Recorder.create(envs, tmp_path / "s"), Sink())
    record(partial, 0, 6)
    assert seen == [5, *[(5, 0)] * 4, (5, 5), (5, 0)]


class Faulty(MujocoVectorEnv):
    """Envs whose reward is not finite in one step of sub-environment 0."""

    num_steps = 0

    def step(self, actions):
        *arrays, infos = super().step(actions)
        self.num_steps += 1
        arrays[1] = np.array(arrays[1])
        arrays[1][0] = np.nan if self.num_steps == 3 else arrays[1][0]
        return *arrays, infos


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_episode_with_a_reward_that_is_not_finite_ends_as_in_a_full_recording(mode, tmp_path):
    def envs():
        return Faulty("robossl.envs.pointmaze:PointMaze", 5, 5, autoreset_mode=mode)

    full = Recorder.create(envs(), tmp_path / "full")
    partial = PartialRecorder(envs(), 2, lambda envs: Recorder.create(envs, tmp_path / "partial"))
    for one, other in zip(record(full), record(partial)):
        for key, value in one[0].items():
            np.testing.assert_array_equal(value, other[0][key])
        for value, expected in zip(one[1:4], other[1:4]):
            np.testing.assert_array_equal(value, expected)
        assert one[4].keys() == other[4].keys()
        for lane in np.flatnonzero(one[4].get("_final_obs", False)):
            for key, value in one[4]["final_obs"][lane].items():
                np.testing.assert_array_equal(value, other[4]["final_obs"][lane][key])
    full.finish()
    partial.finish()
    assert len(full.stream.episodes()) > len(partial.stream.episodes()) > 0
    for lane in range(2):
        for name, value in rows(partial.stream, lane).items():
            np.testing.assert_array_equal(value, rows(full.stream, lane)[name])


@pytest.mark.parametrize("count", [0, 5, 9])
def test_count_outside_the_batch_is_refused(tmp_path, count):
    with pytest.raises(UsageError, match="record_envs: expected 1 to 4 of the 5"):
        PartialRecorder(make(), count, lambda envs: Recorder.create(envs, tmp_path / "s"))
