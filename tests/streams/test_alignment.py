"""The law of alignment: what is recorded is what was lived through, in every autoreset mode."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from robossl.envs import register
from stream_toys import MODES, CountingEnvs, RecallingEnvs, check_law, length_of, live, rows_of, sync

from robossl.core.errors import UsageError
from robossl.streams import Recorder, Stream

DISABLED, NEXT, SAME = AutoresetMode.DISABLED, AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lanes", [1, 5])
@pytest.mark.parametrize("make", [sync, CountingEnvs])
def test_every_row_is_in_its_place(tmp_path, make, lanes, mode):
    recorder = Recorder.create(make(lanes, mode), tmp_path / "s")
    recorder.reset(seed=0)
    live(recorder, 60)
    check_law(recorder.stream)
    before = recorder.stream.transitions
    recorder.close()
    again = Stream.open(tmp_path / "s")
    check_law(again)
    assert again.transitions >= before > 40
    for lane in range(lanes):
        assert rows_of(again, lane)["is_last"][-1]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_lived_is_missing(tmp_path, mode):
    """Every step of a lane is one valid row, but for the ones on which NEXT_STEP only resets."""
    recorder = Recorder.create(CountingEnvs(5, mode), tmp_path / "s")
    recorder.reset()
    live(recorder, 50)
    envs, stream = recorder.env, recorder.stream
    for lane in range(5):
        done = [length_of(lane, e) for e in range(envs.episode[lane])]
        taken = sum(done) + envs.count[lane]
        rows = rows_of(stream, lane)
        assert rows["valid"].sum() == taken
        if mode is not NEXT:
            assert taken == 50
        actions = rows["action"][rows["valid"], 0]
        assert len(set(actions.tolist())) == taken  # each action once


@pytest.mark.parametrize("mode", MODES)
def test_the_physical_truth_belongs_to_the_observation(tmp_path, mode):
    recorder = Recorder.create(CountingEnvs(3, mode), tmp_path / "s")
    recorder.reset()
    live(recorder, 40)
    for lane in range(3):
        rows = rows_of(recorder.stream, lane)
        known = ~rows["is_last"] if mode is SAME else np.ones(len(rows["is_last"]), bool)
        assert np.array_equal(rows["state.where"][known], rows["observation"][known, 1:3])
        assert np.array_equal(rows["physics"][known], rows["observation"][known, :3])
        assert np.isnan(rows["physics"][~known]).all()  # reset within the step: nobody knows
        if mode is SAME:
            assert (~known).any()


def test_envs_that_recall_their_ends_leave_no_truth_out(tmp_path):
    recorder = Recorder.create(RecallingEnvs(3, SAME), tmp_path / "s")
    recorder.reset()
    live(recorder, 40)
    for lane in range(3):
        rows = rows_of(recorder.stream, lane)
        assert rows["is_last"].any()
        assert np.array_equal(rows["state.where"], rows["observation"][:, 1:3])
        assert np.array_equal(rows["physics"], rows["observation"][:, :3])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["Reacher", "HopperHop"])
def test_native_envs_tell_the_truth_of_every_row(tmp_path, name, mode):
    """Also of final rows, whichever way the lanes are reset: put back there, the same is observed."""
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
    stream, elsewhere = recorder.stream, gym.make_vec(f"robossl/{name}-v0", num_envs=1)
    last = [(e.lane, e.stop - 1) for e in stream.episodes() if e.ended]
    assert len(last) >= 6
    for lane, position in last:
        seen = stream.restore(elsewhere, lane, position)
        rows = stream.read(lane, position, position + 1)
        parts = seen if isinstance(seen, dict) else {"": seen}
        for path, value in parts.items():
            assert value.tobytes() == rows[f"observation.{path}" if path else "observation"].tobytes()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["goal", "image", "discrete"])
@pytest.mark.parametrize("discrete", [False, True])
def test_all_kinds_of_observation_and_action(tmp_path, mode, kind, discrete):
    recorder = Recorder.create(CountingEnvs(4, mode, kind, discrete), tmp_path / "s")
    recorder.reset()
    live(recorder, 40)
    stream = recorder.stream
    assert stream.schema["action"].dtype == ("int64" if discrete else "float32")
    if kind == "goal":
        check_law(stream, name="observation.observation")
        rows = rows_of(stream, 1)
        assert np.array_equal(rows["observation.desired_goal"], rows["observation.observation"] + 2)
        window = stream.windows(8, 3, np.random.default_rng(0), split=None)
        assert set(window.observation) == {"observation", "achieved_goal", "desired_goal"}
        assert np.array_equal(window.observation["achieved_goal"], window.observation["observation"] + 1)
    elif kind == "image":
        check_law(stream, name="observation.body.joints")
        rows = rows_of(stream, 2)
        assert rows["observation.camera"].dtype == np.uint8
        steps = rows["observation.body.joints"][:, 2]
        assert np.array_equal(rows["observation.camera"][:, 0, 0, 0], steps.astype(np.uint8) + 100)
        batch = stream.observation(rows)
        assert batch["body"]["joints"].shape == (len(steps), 4)
    else:
        rows = rows_of(stream, 3)
        assert rows["observation"].shape == rows["valid"].shape
        assert rows["observation"][0] == 0
        assert (np.diff(rows["observation"])[rows["valid"][:-1]] == 1).all()


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_in_the_middle_ends_the_episodes_there(tmp_path, mode):
    recorder = Recorder.create(CountingEnvs(5, mode), tmp_path / "s")
    recorder.reset()
    recorder.env.episode[:] = -1
    recorder.reset()  # an episode without a step is no episode: the numbers begin again
    cut: dict[int, set[int]] = {lane: set() for lane in range(5)}
    for _ in range(6):
        live(recorder, 11)
        for lane in range(5):
            if recorder._waiting[lane] and recorder.env.count[lane] > 0:
                cut[lane].add(int(recorder.env.episode[lane]))
        unstepped = recorder._waiting & (recorder.env.count == 0)
        recorder.env.episode[unstepped] -= 1  # will begin again under the same number
        recorder.reset()
    recorder.close()
    assert any(cut.values())
    stream = Stream.open(tmp_path / "s")
    check_law(stream, cut)
    for lane in range(5):
        rows = rows_of(stream, lane)
        ends = np.flatnonzero(rows["is_last"])
        broken_off = ~(rows["terminated"] | rows["truncated"])[ends - 1]
        assert {int(e) for e in rows["observation"][ends[broken_off], 1]} == cut[lane]


def test_a_masked_reset_leaves_the_other_lanes_alone(tmp_path):
    recorder = Recorder.create(CountingEnvs(3, DISABLED), tmp_path / "s")
    recorder.reset()
    live(recorder, 2)  # lane 0 has taken two of three steps
    recorder.reset(options={"reset_mask": np.array([True, False, False])})
    live(recorder, 30)
    check_law(recorder.stream, {0: {0}})


def test_stepping_a_lane_that_is_over_is_refused(tmp_path):
    recorder = Recorder.create(CountingEnvs(3, DISABLED), tmp_path / "s")
    recorder.reset()
    recorder.step(np.zeros((3, 1), np.float32))  # lane 2 has episodes of one step
    with pytest.raises(UsageError, match="episode of lane 2 is over"):
        recorder.step(np.zeros((3, 1), np.float32))


def test_stepping_before_reset_is_refused(tmp_path):
    recorder = Recorder.create(CountingEnvs(3, NEXT), tmp_path / "s")
    with pytest.raises(UsageError, match="before reset"):
        recorder.step(np.zeros((3, 1), np.float32))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", [0, 4, 5])
def test_nan_stops_the_recording_and_keeps_everything(tmp_path, mode, step):
    """Lane 1 observes NaN in its first episode at that step: at the reset, within, at its end."""
    envs = CountingEnvs(3, mode)
    recorder = Recorder.create(envs, tmp_path / "s")
    envs.poison = (1, 0, step)
    with pytest.raises(UsageError, match=rf"CountingEnvs gave .* in lane 1 at step {step} of"):
        begin_and_live(recorder, 20)
    stream = Stream.open(tmp_path / "s")
    for lane in range(3):
        rows = rows_of(stream, lane)
        assert np.isfinite(rows["observation"]).all()
        assert rows["is_last"][-1] if len(rows["is_last"]) else step == 0
    assert rows_of(stream, 1)["valid"].sum() == max(step - 1, 0)
    with pytest.raises(UsageError, match="before reset"):
        live(recorder, 1)
    envs.poison = None
    recorder.reset()
    live(recorder, 5)
    assert stream.rows < recorder.stream.rows


def begin_and_live(recorder, steps):
    """From a reset on."""
    recorder.reset()
    live(recorder, steps)


def test_a_reward_that_is_no_number_stops_the_recording(tmp_path):
    class Broken(CountingEnvs):
        def step(self, actions):
            observation, reward, *rest = super().step(actions)
            return observation, np.where(self.count == 3, np.inf, reward), *rest

    recorder = Recorder.create(Broken(2, NEXT), tmp_path / "s")
    recorder.reset()
    with pytest.raises(UsageError, match="as reward in lane 0 at step 3"):
        live(recorder, 20)


def test_envs_that_write_over_their_arrays_are_recorded_all_the_same(tmp_path):
    class Reusing(CountingEnvs):
        buffer = np.zeros((4, 4), np.float32)

        def observe(self):
            self.buffer[:] = super().observe()
            return self.buffer

        def step(self, actions):
            result = super().step(actions)
            actions[:] = -7
            return result

    recorder = Recorder.create(Reusing(4, NEXT), tmp_path / "s")
    recorder.reset()
    live(recorder, 30)
    check_law(recorder.stream)


def test_infos_are_recorded_where_they_arrive(tmp_path):
    class Telling(CountingEnvs):
        def step(self, actions):
            *rest, infos = super().step(actions)
            return *rest, {**infos, "count": self.count * 10, "_count": self.count != 2}

    recorder = Recorder.create(Telling(2, NEXT), tmp_path / "s", info=["count"])
    recorder.reset()
    live(recorder, 20)
    rows = rows_of(recorder.stream, 0)
    step = rows["observation"][:, 2]
    told = (step != 2) & (step != 0)
    assert np.array_equal(rows["info.count"][told], 10 * step[told])
    assert np.isnan(rows["info.count"][step == 2]).all()


def test_two_recorders_share_a_stream(tmp_path):
    one = Recorder.create(CountingEnvs(2, NEXT), tmp_path / "s", lanes=5)
    two = Recorder(sync_like(3), one.stream, first_lane=2)
    one.reset()
    two.reset()
    for t in range(20):
        live(one, 1, t)
        live(two, 1, t)
    one.finish()
    live(two, 5, 20)
    stream = one.stream
    assert (stream.lengths > 15).all()
    for lane in range(5):
        assert (rows_of(stream, lane)["observation"][:, 0] == (lane if lane < 2 else lane - 2)).all()


def sync_like(lanes):
    """The same kind of envs once more."""
    return CountingEnvs(lanes, SAME)


def test_a_recorder_without_a_stream_changes_nothing():
    plain, recorder = CountingEnvs(3, NEXT), Recorder(CountingEnvs(3, NEXT), None)
    assert np.array_equal(plain.reset()[0], recorder.reset()[0])
    for _ in range(10):
        given = np.ones((3, 1), np.float32)
        for one, other in zip(plain.step(given)[:4], recorder.step(given)[:4]):
            assert np.array_equal(one, other)
    recorder.close()


def test_a_stream_of_other_envs_is_refused(tmp_path):
    recorder = Recorder.create(CountingEnvs(3, NEXT), tmp_path / "s")
    with pytest.raises(UsageError, match="records CountingEnvs; these envs are SyncVectorEnv"):
        Recorder(sync(3, NEXT), recorder.stream)
    with pytest.raises(UsageError, match="has 3 lanes; 4 from lane 0"):
        Recorder(CountingEnvs(4, NEXT), recorder.stream)
    with pytest.raises(UsageError, match="records 'action' as float32"):
        Recorder(CountingEnvs(3, NEXT, discrete=True), recorder.stream)
    silent = CountingEnvs(3, NEXT)
    silent.metadata = {}
    with pytest.raises(UsageError, match="does not say how it resets"):
        Recorder(silent, recorder.stream)
