"""Third-party envs of any habit are recorded, and only what is named in them is changed."""

from __future__ import annotations

from typing import ClassVar

import env_kinds
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from robossl.envs.engine.action_conversion import convert_actions
from robossl.envs.engine.batched_envs import SyncEnvs, merge_info
from robossl.envs.engine.standard_env import StandardEnv, select_parts, usable

import robossl
from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.seeding import env_seed

FLOATS = spaces.Box(np.array([0.0, -500.0]), np.array([0.01, -100.0]), dtype=np.float64)
ACTIONS = {
    "multi_discrete": spaces.MultiDiscrete([3, 2]),
    "multi_discrete_with_start": spaces.MultiDiscrete([3, 2], start=[-1, 5]),
    "large_multi_discrete": spaces.MultiDiscrete([[9, 9], [9, 9]]),
    "multi_binary": spaces.MultiBinary(3),
    "matrix_of_bits": spaces.MultiBinary([4, 5]),
    "dict": spaces.Dict(arm=FLOATS, grip=spaces.Discrete(3, start=-1)),
    "tuple": spaces.Tuple([spaces.Discrete(2), spaces.Dict(a=spaces.Box(-1, 1, (2, 2), np.float32))]),
    "integers": spaces.Box(-3, 4, (2,), np.int64),
}


@pytest.mark.parametrize("space", ACTIONS.values(), ids=ACTIONS)
def test_converted_actions_are_in_the_space_and_reach_every_choice(space) -> None:
    converted = convert_actions(space)
    assert isinstance(converted.space, (spaces.Box, spaces.Discrete))
    converted.space.seed(0)
    actions = [converted.to_env(converted.space.sample()) for _ in range(300)]
    assert all(space.contains(action) for action in actions)
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        each = np.array(actions).reshape(300, -1)
        low = np.asarray(getattr(space, "start", np.zeros(space.shape))).reshape(-1)
        counts = np.asarray(getattr(space, "nvec", np.full(space.shape, 2))).reshape(-1)
        assert np.array_equal(each.min(0), low)
        assert np.array_equal(each.max(0), low + counts - 1)


def test_actions_of_floats_and_one_choice_stay_as_they_are() -> None:
    for space in (FLOATS, spaces.Discrete(4, start=-1)):
        assert convert_actions(space).space is space
    assert convert_actions(FLOATS).to_env(np.array([0.001, -200.0])).dtype == np.float64


@pytest.mark.parametrize("space", [spaces.Text(3), spaces.Dict(a=spaces.Graph(FLOATS, None))])
def test_actions_that_no_agent_can_choose_are_refused(space) -> None:
    with pytest.raises(UsageError, match="action space"):
        convert_actions(space)


@pytest.mark.parametrize(
    ("observe", "kept"),
    [
        ((), {"arm", "clock"}),
        (("arm",), {"arm"}),
        (("arm.q", "clock"), {"arm", "clock"}),
        (("clock",), {"clock"}),
    ],
)
def test_parts_that_cannot_be_recorded_and_parts_not_requested_are_left_out(observe, kept) -> None:
    env = StandardEnv(env_kinds.Mission(), observe)
    observation, _ = env.reset(seed=0)
    assert set(observation) == kept == set(env.observation_space.spaces)
    assert env.observation_space.contains(observation)
    assert env.left_out == ["mission"]


def test_unknown_and_unreadable_parts_are_named() -> None:
    space = env_kinds.Mission.observation_space
    with pytest.raises(UsageError, match=r"no part 'leg' in the observation; available: arm\.q, "):
        select_parts(space, ["leg"])
    with pytest.raises(UsageError, match="part 'mission' of the observation is Text"):
        select_parts(space, ["mission"])
    with pytest.raises(UsageError, match="cannot be recorded"):
        select_parts(spaces.Sequence(FLOATS))


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize(
    ("arguments", "text"),
    [({}, "observation[1] is nan"), ({"what": 1e300}, "observation[1] is 1e+300"),
     ({"what": -np.inf, "where": "reward"}, "reward is -inf"), ({"what": 1e39, "where": "reward"}, "reward is 1e+39")],
)  # fmt: skip
def test_an_unusable_number_ends_its_episode_only(mode, arguments, text) -> None:
    envs = SyncEnvs(
        [lambda: StandardEnv(env_kinds.AtTimes(**arguments)), lambda: StandardEnv(env_kinds.Push())],
        autoreset_mode=mode,
    )
    envs.reset(seed=0)
    for step in range(1, 11):
        observation, reward, terminated, truncated, infos = envs.step(np.zeros((2, 2), np.float32))
        assert truncated.tolist() == [step == 10, False]
    assert np.isfinite(observation).all()
    assert reward[0] == 0
    found = infos["final_info"] if mode is AutoresetMode.SAME_STEP else infos
    assert found["robossl_unusable"][0] == text
    assert not terminated.any()


def test_recording_goes_on_after_unusable_numbers_and_marks_their_rows(tmp_path, caplog) -> None:
    name = "env_kinds:habits/AtTimes-v0?every=20"
    stream = robossl.collect(name, steps=800, num_envs=4, out=tmp_path / "s")
    data = stream.read(0, 0, int(stream.lengths[0]))
    assert np.isfinite(data["observation"]).all()
    ends = np.flatnonzero(data["is_last"])
    assert not data["valid"][ends].any()
    assert np.array_equal(np.diff(ends), np.full(len(ends) - 1, 20))
    assert "observation[1] is nan in lane 0 at step 20 of its episode, which ends there" in caplog.text
    assert "of 800 steps returned unusable numbers" in caplog.text


@pytest.mark.parametrize("every", [3, 9])
def test_too_many_unusable_numbers_end_the_recording(every, tmp_path) -> None:
    with pytest.raises(
        UsageError, match=r"expected finite numbers from habits/AtTimes-v0, got observation\[1\] is nan"
    ):
        robossl.collect(
            f"env_kinds:habits/AtTimes-v0?every={every}", steps=4000, num_envs=2, out=tmp_path / "s"
        )
    assert robossl.Stream.open(tmp_path / "s").transitions > 100


def test_infos_of_any_kind_are_merged_and_success_has_one_name() -> None:
    envs = SyncEnvs([lambda: StandardEnv(env_kinds.Infos())] * 3)
    envs.reset(seed=0)
    for step in range(1, 8):
        _, _, _, _, infos = envs.step(np.zeros((3, 2), np.float32))
        assert infos["is_success"].tolist() == [step >= 5] * 3
        assert infos["cost"].tolist() == [0.25 * step if step % 2 else 0] * 3


def test_merged_infos_keep_every_value() -> None:
    infos: dict = {}
    values = [0, 0.5, "text", {"a": 1}, np.zeros(2), np.zeros(3)]
    for index, value in enumerate(values):
        merge_info(infos, {"x": value}, index, len(values))
    assert infos["_x"].all()
    assert infos["x"][:4].tolist() == values[:4]
    numbers: dict = {}
    for index, value in enumerate([True, 2, 0.5]):
        merge_info(numbers, {"x": value}, index, 3)
    assert numbers["x"].tolist() == [1.0, 2.0, 0.5]


def test_a_vector_entry_point_alone_is_enough_in_every_mode() -> None:
    for mode in AutoresetMode:
        envs = registry.make_envs("habits/Vector-v0", 3, autoreset_mode=mode)
        observation, _ = envs.reset(seed=5)
        plain = [env_kinds.Push().reset(seed=5 + lane)[0] for lane in range(3)]
        assert np.array_equal(observation, plain)
        assert envs.metadata["autoreset_mode"] == mode
        ended = [envs.step(np.zeros((3, 2), np.float32))[3].all() for _ in range(20)]
        assert np.flatnonzero(ended).tolist() == [19]
        envs.close()


@pytest.mark.parametrize("seed", [0, 7, 2**31 - 9, 2**31 - 3, 2**62 + 3])
def test_seeds_of_envs_have_31_bits(seed) -> None:
    first = env_seed(seed, 8)
    assert 0 <= first <= first + 7 < 2**31
    assert first == seed or seed > 2**31 - 8


def test_sync_envs_equal_those_of_gymnasium() -> None:
    for mode in AutoresetMode:
        batches = [
            kind([lambda: gym.make("CartPole-v1")] * 3, autoreset_mode=mode)
            for kind in (SyncEnvs, gym.vector.SyncVectorEnv)
        ]
        results = []
        for envs in batches:
            envs.action_space.seed(0)
            trace = [envs.reset(seed=1)[0]]
            for _ in range(60):
                *arrays, infos = envs.step(envs.action_space.sample())
                trace += [*arrays, np.array(sorted(infos))]
                if mode is AutoresetMode.DISABLED and (arrays[2] | arrays[3]).any():
                    trace.append(envs.reset(options={"reset_mask": arrays[2] | arrays[3]})[0])
            results.append(trace)
        assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("number", "named"), [(16_777_217.0, True), (1e-50, True), (16_777_216.0, False), (0.1, False)]
)
def test_rewards_that_float32_cannot_hold_are_named_once(number, named, tmp_path, caplog) -> None:
    name = f"env_kinds:habits/AtTimes-v0?what={number}&where=reward&every=2"
    robossl.collect(name, steps=60, num_envs=2, out=tmp_path / "s")
    assert caplog.text.count("rewards are recorded as float32") == named


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("number", "is_usable"), [(np.inf, False), (-np.inf, False), (np.nan, False), (6e4, True)]
)
def test_number_that_is_not_finite_is_unusable_in_every_precision(dtype, number, is_usable) -> None:
    space = spaces.Box(-np.inf, np.inf, (2,), dtype)
    numbers, zeros = np.array([[0.0, number]], dtype), np.zeros((1, 2), dtype)
    assert usable(numbers, zeros[:, 0], space) == is_usable
    assert usable(zeros, numbers[:, 1], space) == is_usable


def test_envs_that_share_a_window_are_recorded(tmp_path) -> None:
    """Closing one env ends the others in packages that close the display of the process."""

    class Shared(gym.Env):
        observation_space = spaces.Box(-1, 1, (2,), np.float32)
        action_space = spaces.Box(-1, 1, (1,), np.float32)
        open_display: ClassVar[bool] = False

        def __init__(self) -> None:
            Shared.open_display = True

        def reset(self, *, seed=None, options=None):
            assert Shared.open_display, "display Surface quit"
            return np.zeros(2, np.float32), {}

        def step(self, action):
            assert Shared.open_display, "display Surface quit"
            return np.zeros(2, np.float32), 0.0, False, False, {"cost": 1.0}

        def close(self) -> None:
            Shared.open_display = False

    gym.register("habits/Shared-v0", Shared, max_episode_steps=10)
    stream = robossl.collect("habits/Shared-v0", steps=40, num_envs=2, out=tmp_path / "s")
    assert "info.cost" in stream.schema.names
    assert not Shared.open_display
