"""Steps with numbers that are not finite end their episodes, which are recorded up to them, in every autoreset mode."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stream_toys import AUTORESET_MODES, CountingEnvs, record_steps, rows_of

from robossl.core.errors import UsageError
from robossl.streams import Recorder, Stream

NEXT, SAME = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP


@pytest.mark.parametrize(
    ("mode", "ignores_mask"), [*((mode, False) for mode in AUTORESET_MODES), (NEXT, True), (SAME, True)]
)
@pytest.mark.parametrize("episode", [0, 2])
def test_nan_at_a_reset_resets_the_lane_again(tmp_path, mode, episode, ignores_mask):
    envs = (WholeResetEnvs if ignores_mask else CountingEnvs)(3, mode)
    recorder = Recorder.create(envs, tmp_path / "s")
    envs.nan_at = (1, episode, 0)
    reset_and_record(recorder, 20)
    recorder.finish()
    assert recorder.errors.num_unusable == 0
    for lane in range(3):
        rows = rows_of(Stream.open(tmp_path / "s"), lane)
        assert np.isfinite(rows["observation"]).all()
        assert rows["valid"].sum() >= 10
        observed = set(rows["observation"][:, 1].tolist())
        assert (episode in observed) == (lane != 1) or ignores_mask
        check_that_no_transition_joins_episodes(rows)


@pytest.mark.parametrize("mode", AUTORESET_MODES)
def test_nan_at_every_reset_ends_the_recording_and_keeps_earlier_rows(tmp_path, mode):
    class BrokenEnvs(CountingEnvs):
        def observe(self):
            observation = super().observe()
            observation[(observation[:, 1] > 0) & (observation[:, 2] == 0) & (observation[:, 0] == 1)] = (
                np.nan
            )
            return observation

    recorder = Recorder.create(BrokenEnvs(3, mode), tmp_path / "s")
    with pytest.raises(UsageError, match=r"from BrokenEnvs, got .* in lane 1 in 10 resets in a row"):
        reset_and_record(recorder, 20)
    with pytest.raises(UsageError, match="expected reset before step"):
        record_steps(recorder, 1)
    assert recorder.stream.rows > 10


@pytest.mark.parametrize("mode", AUTORESET_MODES)
@pytest.mark.parametrize("step", [2, 4, 5])
def test_nan_ends_its_episode_only_and_is_never_recorded(tmp_path, mode, step):
    """Lane 1 observes NaN in its first episode: in the middle, or at its end; the other lanes are as without it."""
    rows = {}
    for nan_at in (None, (1, 0, step)):
        envs = CountingEnvs(3, mode)
        envs.nan_at = nan_at
        recorder = Recorder.create(envs, tmp_path / f"s{nan_at is None}")
        reset_and_record(recorder, 20)
        recorder.finish()
        rows[nan_at is None] = [rows_of(Stream.open(recorder.stream.path), lane) for lane in range(3)]
    assert recorder.errors.num_unusable == 1
    for lane in (0, 2):
        assert np.array_equal(rows[True][lane]["observation"], rows[False][lane]["observation"])
    faulty = rows[False][1]
    assert np.isfinite(faulty["observation"]).all()
    assert faulty["is_last"][step - 1]
    assert not faulty["valid"][step - 1]
    assert faulty["is_first"][step]
    assert faulty["observation"][step][1] == 1  # the next episode
    assert faulty["valid"][step:].sum() >= 8


@pytest.mark.parametrize("kind", ["vector", "goal"])
@pytest.mark.parametrize("step", [2, 5])
def test_result_of_a_step_with_nan_has_the_last_usable_and_the_first_observation(tmp_path, kind, step):
    """Lane 1 has five steps in its first episode; in SAME_STEP mode the step itself begins the next one."""
    envs = CountingEnvs(3, SAME, kind)
    envs.nan_at = (1, 0, step)
    recorder = Recorder.create(envs, tmp_path / "s")
    recorder.reset()
    for _ in range(step):
        observation, reward, terminated, truncated, infos = recorder.step(np.zeros((3, 1), np.float32))
    assert reward[1] == 0
    assert truncated[1]
    assert not terminated[1]
    first = observation if kind == "vector" else observation["observation"]
    last = infos["final_obs"][1] if kind == "vector" else infos["final_obs"][1]["observation"]
    assert last[1:3].tolist() == [0, step - 1]
    assert first[1, 1:3].tolist() == [1, 0]


@pytest.mark.parametrize("mode", [NEXT, SAME])
def test_envs_that_ignore_the_reset_mask_begin_all_episodes_again(tmp_path, mode):
    envs = WholeResetEnvs(3, mode)
    envs.nan_at = (1, 0, 2)
    recorder = Recorder.create(envs, tmp_path / "s")
    reset_and_record(recorder, 20)
    recorder.finish()
    for lane in range(3):
        rows = rows_of(Stream.open(tmp_path / "s"), lane)
        check_that_no_transition_joins_episodes(rows)
        assert rows["valid"].sum() >= 6


def test_a_reset_after_a_step_with_nan_begins_one_episode(tmp_path):
    envs = CountingEnvs(3, NEXT)
    envs.nan_at = (1, 0, 2)
    recorder = Recorder.create(envs, tmp_path / "s")
    reset_and_record(recorder, 2)  # the next step would reset lane 1
    envs.nan_at = None
    reset_and_record(recorder, 3)
    check_that_no_transition_joins_episodes(rows_of(recorder.stream, 1))


class WholeResetEnvs(CountingEnvs):
    """Resets all lanes, also those outside the mask."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


def check_that_no_transition_joins_episodes(rows):
    """Check rows of a lane, whose observations have the number of their episode."""
    follows = rows["valid"][:-1] & ~rows["is_last"][:-1]
    assert (np.diff(rows["observation"][:, 1])[follows] == 0).all()


def reset_and_record(recorder, steps):
    """Reset the recorder and take `steps` steps."""
    recorder.reset()
    record_steps(recorder, steps)


def test_infinite_rewards_in_many_steps_end_the_recording(tmp_path):
    class InfiniteRewardEnvs(CountingEnvs):
        def step(self, actions):
            observation, reward, *rest = super().step(actions)
            return observation, np.where(self.count == 3, np.inf, reward), *rest

    recorder = Recorder.create(InfiniteRewardEnvs(2, NEXT), tmp_path / "s")
    recorder.reset()
    with pytest.raises(
        UsageError, match="expected finite numbers from InfiniteRewardEnvs, got non-finite reward"
    ):
        record_steps(recorder, 400)
    assert np.isfinite(rows_of(Stream.open(tmp_path / "s"), 0)["reward"]).all()


def test_infos_of_other_envs_named_physics_error_are_no_errors(tmp_path):
    class ResidualEnvs(CountingEnvs):
        def step(self, actions):
            *result, infos = super().step(actions)
            return *result, {**infos, "physics_error": np.full(self.num_envs, 1e-6)}

    recorder = Recorder.create(ResidualEnvs(2, NEXT), tmp_path / "s")
    reset_and_record(recorder, 60)
    assert (recorder.num_steps > 50, recorder.errors.num_physics) == (True, 0)
