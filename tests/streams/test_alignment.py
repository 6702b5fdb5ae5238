"""The recorder assigns every step to its lane, episode and row, in every autoreset mode."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from robossl.envs import register
from stream_toys import (
    AUTORESET_MODES,
    CountingEnvs,
    FinalStateCountingEnvs,
    check_alignment,
    length_of,
    record_steps,
    rows_of,
    sync,
)

from robossl.core.errors import UsageError
from robossl.streams import Recorder, Stream

DISABLED, NEXT, SAME = AutoresetMode.DISABLED, AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP


@pytest.mark.parametrize("mode", AUTORESET_MODES)
@pytest.mark.parametrize("lanes", [1, 5])
@pytest.mark.parametrize("make", [sync, CountingEnvs])
def test_rows_of_every_lane_are_aligned(tmp_path, make, lanes, mode):
    recorder = Recorder.create(make(lanes, mode), tmp_path / "s")
    recorder.reset(seed=0)
    record_steps(recorder, 60)
    check_alignment(recorder.stream)
    before = recorder.stream.transitions
    recorder.close()
    reopened = Stream.open(tmp_path / "s")
    check_alignment(reopened)
    assert reopened.transitions >= before > 40
    for lane in range(lanes):
        assert rows_of(reopened, lane)["is_last"][-1]


@pytest.mark.parametrize("mode", AUTORESET_MODES)
def test_every_step_is_recorded_once(tmp_path, mode):
    """Each step of a lane is one valid row, except steps on which NEXT_STEP only resets."""
    recorder = Recorder.create(CountingEnvs(5, mode), tmp_path / "s")
    recorder.reset()
    record_steps(recorder, 50)
    envs, stream = recorder.env, recorder.stream
    for lane in range(5):
        done = [length_of(lane, e) for e in range(envs.episode[lane])]
        num_steps = sum(done) + envs.count[lane]
        rows = rows_of(stream, lane)
        assert rows["valid"].sum() == num_steps
        if mode is not NEXT:
            assert num_steps == 50
        actions = rows["action"][rows["valid"], 0]
        assert len(set(actions.tolist())) == num_steps  # each action once


@pytest.mark.parametrize("mode", AUTORESET_MODES)
def test_state_and_physics_match_the_observation_of_their_row(tmp_path, mode):
    recorder = Recorder.create(CountingEnvs(3, mode), tmp_path / "s")
    recorder.reset()
    record_steps(recorder, 40)
    for lane in range(3):
        rows = rows_of(recorder.stream, lane)
        has_physics = ~rows["is_last"] if mode is SAME else np.ones(len(rows["is_last"]), bool)
        assert np.array_equal(rows["state.where"][has_physics], rows["observation"][has_physics, 1:3])
        assert np.array_equal(rows["physics"][has_physics], rows["observation"][has_physics, :3])
        assert np.isnan(rows["physics"][~has_physics]).all()  # reset within the step: the state is unknown
        if mode is SAME:
            assert (~has_physics).any()


def test_final_state_envs_record_state_in_every_row(tmp_path):
    recorder = Recorder.create(FinalStateCountingEnvs(3, SAME), tmp_path / "s")
    recorder.reset()
    record_steps(recorder, 40)
    for lane in range(3):
        rows = rows_of(recorder.stream, lane)
        assert rows["is_last"].any()
        assert np.array_equal(rows["state.where"], rows["observation"][:, 1:3])
        assert np.array_equal(rows["physics"], rows["observation"][:, :3])


@pytest.mark.parametrize("mode", AUTORESET_MODES)
@pytest.mark.parametrize("name", ["Reacher", "HopperHop"])
def test_restoring_a_final_row_gives_its_observation(tmp_path, name, mode):
    """The state and physics of final rows are recorded in every autoreset mode."""
    register()
    options = {"num_envs": 3, "max_episode_steps": 7, "nthread": 1, "autoreset_mode": mode}
    recorder = Recorder.create(gym.make_vec(f"robossl/{name}-v0", **options), tmp_path / "s")
    recorder.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(20):
        action = random.uniform(-1, 1, recorder.action_space.shape).astype(np.float32)
        _, _, terminated, truncated, _ = recorder.step(action)
        if mode is DISABLED and (terminated | truncated).any():
            recorder.reset(options={"reset_mask": terminated | truncated})
    stream, other_env = recorder.stream, gym.make_vec(f"robossl/{name}-v0", num_envs=1)
    last = [(e.lane, e.stop - 1) for e in stream.episodes() if e.ended]
    assert len(last) >= 6
    for lane, position in last:
        actual = stream.restore(other_env, lane, position)
        rows = stream.read(lane, position, position + 1)
        parts = actual if isinstance(actual, dict) else {"": actual}
        for path, value in parts.items():
            assert value.tobytes() == rows[f"observation.{path}" if path else "observation"].tobytes()


@pytest.mark.parametrize("mode", AUTORESET_MODES)
@pytest.mark.parametrize("kind", ["goal", "image", "discrete"])
@pytest.mark.parametrize("discrete", [False, True])
def test_every_kind_of_observation_and_action_is_recorded(tmp_path, mode, kind, discrete):
    recorder = Recorder.create(CountingEnvs(4, mode, kind, discrete), tmp_path / "s")
    recorder.reset()
    record_steps(recorder, 40)
    stream = recorder.stream
    assert stream.schema["action"].dtype == ("int64" if discrete else "float32")
    if kind == "goal":
        check_alignment(stream, name="observation.observation")
        rows = rows_of(stream, 1)
        assert np.array_equal(rows["observation.desired_goal"], rows["observation.observation"] + 2)
        window = stream.windows(8, 3, np.random.default_rng(0), split=None)
        assert set(window.observation) == {"observation", "achieved_goal", "desired_goal"}
        assert np.array_equal(window.observation["achieved_goal"], window.observation["observation"] + 1)
    elif kind == "image":
        check_alignment(stream, name="observation.body.joints")
        rows = rows_of(stream, 2)
        assert rows["observation.camera"].dtype == np.uint8
        steps = rows["observation.body.joints"][:, 2]
        assert np.array_equal(rows["observation.camera"][:, 0, 0, 0], steps.astype(np.uint8) + 100)
        batch = stream.schema.join_observation(rows)
        assert batch["body"]["joints"].shape == (len(steps), 4)
    else:
        rows = rows_of(stream, 3)
        assert rows["observation"].shape == rows["valid"].shape
        assert rows["observation"][0] == 0
        assert (np.diff(rows["observation"])[rows["valid"][:-1]] == 1).all()


@pytest.mark.parametrize("mode", AUTORESET_MODES)
def test_reset_ends_running_episodes_without_termination(tmp_path, mode):
    recorder = Recorder.create(CountingEnvs(5, mode), tmp_path / "s")
    recorder.reset()
    recorder.env.episode[:] = -1
    recorder.reset()  # episodes without a step are not recorded: numbering restarts
    broken_off: dict[int, set[int]] = {lane: set() for lane in range(5)}
    for _ in range(6):
        record_steps(recorder, 11)
        for lane in range(5):
            if recorder._rows.in_episode[lane] and recorder.env.count[lane] > 0:
                broken_off[lane].add(int(recorder.env.episode[lane]))
        unstepped = recorder._rows.in_episode & (recorder.env.count == 0)
        recorder.env.episode[unstepped] -= 1  # the next episode gets the same number
        recorder.reset()
    recorder.close()
    assert any(broken_off.values())
    stream = Stream.open(tmp_path / "s")
    check_alignment(stream, broken_off)
    for lane in range(5):
        rows = rows_of(stream, lane)
        ends = np.flatnonzero(rows["is_last"])
        is_broken_off = ~(rows["terminated"] | rows["truncated"])[ends - 1]
        assert {int(e) for e in rows["observation"][ends[is_broken_off], 1]} == broken_off[lane]


def test_masked_reset_does_not_change_other_lanes(tmp_path):
    recorder = Recorder.create(CountingEnvs(3, DISABLED), tmp_path / "s")
    recorder.reset()
    record_steps(recorder, 2)  # lane 0 has taken two of three steps
    recorder.reset(options={"reset_mask": np.array([True, False, False])})
    record_steps(recorder, 30)
    check_alignment(recorder.stream, {0: {0}})


def test_step_after_episode_end_without_autoreset_raises(tmp_path):
    recorder = Recorder.create(CountingEnvs(3, DISABLED), tmp_path / "s")
    recorder.reset()
    recorder.step(np.zeros((3, 1), np.float32))  # lane 2 has episodes of one step
    with pytest.raises(UsageError, match="episode of lane 2 has ended"):
        recorder.step(np.zeros((3, 1), np.float32))


def test_step_before_reset_raises(tmp_path):
    recorder = Recorder.create(CountingEnvs(3, NEXT), tmp_path / "s")
    with pytest.raises(UsageError, match="expected reset before step"):
        recorder.step(np.zeros((3, 1), np.float32))


def test_envs_that_reuse_their_arrays_are_recorded_correctly(tmp_path):
    class ReusingEnvs(CountingEnvs):
        buffer = np.zeros((4, 4), np.float32)

        def observe(self):
            self.buffer[:] = super().observe()
            return self.buffer

        def step(self, actions):
            result = super().step(actions)
            actions[:] = -7
            return result

    recorder = Recorder.create(ReusingEnvs(4, NEXT), tmp_path / "s")
    recorder.reset()
    record_steps(recorder, 30)
    check_alignment(recorder.stream)


def test_infos_are_recorded_in_the_row_of_their_step(tmp_path):
    class InfoEnvs(CountingEnvs):
        def step(self, actions):
            *rest, infos = super().step(actions)
            return *rest, {**infos, "count": self.count * 10, "_count": self.count != 2}

    recorder = Recorder.create(InfoEnvs(2, NEXT), tmp_path / "s", info=["count"])
    recorder.reset()
    record_steps(recorder, 20)
    rows = rows_of(recorder.stream, 0)
    step = rows["observation"][:, 2]
    has_info = (step != 2) & (step != 0)
    assert np.array_equal(rows["info.count"][has_info], 10 * step[has_info])
    assert np.isnan(rows["info.count"][step == 2]).all()


def test_two_recorders_share_one_stream(tmp_path):
    one = Recorder.create(CountingEnvs(2, NEXT), tmp_path / "s", lanes=5)
    two = Recorder(same_step_envs(3), one.stream, first_lane=2)
    one.reset()
    two.reset()
    for t in range(20):
        record_steps(one, 1, t)
        record_steps(two, 1, t)
    one.finish()
    record_steps(two, 5, 20)
    stream = one.stream
    assert (stream.lengths > 15).all()
    for lane in range(5):
        assert (rows_of(stream, lane)["observation"][:, 0] == (lane if lane < 2 else lane - 2)).all()


def same_step_envs(lanes):
    """Return counting envs in SAME_STEP mode."""
    return CountingEnvs(lanes, SAME)


def test_recorder_without_stream_has_no_effect():
    plain, recorder = CountingEnvs(3, NEXT), Recorder(CountingEnvs(3, NEXT), None)
    assert np.array_equal(plain.reset()[0], recorder.reset()[0])
    for _ in range(10):
        actions = np.ones((3, 1), np.float32)
        for one, other in zip(plain.step(actions)[:4], recorder.step(actions)[:4]):
            assert np.array_equal(one, other)
    recorder.close()


def test_stream_of_other_envs_raises(tmp_path):
    recorder = Recorder.create(CountingEnvs(3, NEXT), tmp_path / "s")
    with pytest.raises(UsageError, match=r"expected envs CountingEnvs, .* got SyncVectorEnv"):
        Recorder(sync(3, NEXT), recorder.stream)
    with pytest.raises(UsageError, match="expected 4 free lanes from lane 0 on, got 3"):
        Recorder(CountingEnvs(4, NEXT), recorder.stream)
    with pytest.raises(UsageError, match="expected 'action' as float32"):
        Recorder(CountingEnvs(3, NEXT, discrete=True), recorder.stream)
    modeless = CountingEnvs(3, NEXT)
    modeless.metadata = {}
    with pytest.raises(UsageError, match="autoreset_mode"):
        Recorder(modeless, recorder.stream)
