"""SB3 sees through the bridge what it sees through its own DummyVecEnv, whatever the autoreset mode."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from agent_toys import Counter, CountingGoals, Line
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from robossl.agents import SB3VecEnv
from robossl.agents.sb3.sub_env_access import split_infos
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

import robossl  # noqa: F401 - registers the envs
from robossl.core.errors import UsageError

MODES = tuple(AutoresetMode)
LANES = 3


def makers(env_id: str, limit: int, lanes: int = LANES) -> list:
    return [functools.partial(gym.make, env_id, max_episode_steps=limit)] * lanes


def bridged(env_id: str, limit: int, mode: AutoresetMode, lanes: int = LANES) -> SB3VecEnv:
    return SB3VecEnv(SyncVectorEnv(makers(env_id, limit, lanes), autoreset_mode=mode))


def assert_same(one: Any, other: Any) -> None:
    """The same values of the same kinds, however deep."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    else:
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("env_id", "limit"), [("Pendulum-v1", 7), ("CartPole-v1", 17)])
def test_the_bridge_is_sb3s_own_vector_env(mode, env_id, limit):
    ours = bridged(env_id, limit, mode)
    theirs = DummyVecEnv([lambda make=make: Monitor(make()) for make in makers(env_id, limit)])
    for envs in (ours, theirs):
        envs.seed(5)
    assert_same(ours.reset(), theirs.reset())
    assert ours.reset_infos == theirs.reset_infos
    ours.action_space.seed(0)
    ends = {True: 0, False: 0}
    for t in range(60):
        actions = np.stack([ours.action_space.sample() for _ in range(LANES)])
        if t > 30 and env_id == "CartPole-v1":
            actions[:] = 1  # the pole falls
        step, expected = ours.step(actions), theirs.step(actions)
        for part, wanted in zip(step[:3], expected[:3]):
            assert_same(part, wanted)
        for info, wanted in zip(step[3], expected[3]):
            for told in (info, wanted):
                if "episode" in told:
                    told["episode"] = (round(told["episode"]["r"], 3), told["episode"]["l"])
            assert_same(info, wanted)
            if "terminal_observation" in info:
                ends[info["TimeLimit.truncated"]] += 1
        assert_same(ours.reset_infos[0], theirs.reset_infos[0])
    assert_same(ours.reset(), theirs.reset())  # the seeds are for one reset
    assert ends[True] > 2
    assert ends[False] > 2 or env_id == "Pendulum-v1"


@pytest.mark.parametrize("mode", MODES)
def test_infos_of_the_last_step_and_of_the_reset_are_told_apart(mode):
    class Telling(Counter):
        def reset(self, **given: Any) -> tuple:
            return super().reset(**given)[0], {"begun": self.episode, "at": 0}

        def step(self, action: Any) -> tuple:
            seen, reward, terminated, truncated, _ = super().step(action)
            truncated |= terminated and self.episode > 1  # at last both at once
            infos = {"at": self.count, "deep": {"at": self.count}, "word": "hello"}
            return seen, reward, terminated, truncated, infos

    ours = SB3VecEnv(SyncVectorEnv([lambda i=i: Telling(i) for i in range(2)], autoreset_mode=mode))
    theirs = DummyVecEnv([lambda i=i: Telling(i) for i in range(2)])
    ours.reset(), theirs.reset()
    for _ in range(12):
        _, _, dones, infos = ours.step(np.zeros((2, 1), np.float32))
        _, _, _, expected = theirs.step(np.zeros((2, 1), np.float32))
        for done, info, wanted in zip(dones, infos, expected):
            assert done == ("episode" in info)
            info.pop("episode", None)
            assert_same(info, wanted)
        assert ours.reset_infos == theirs.reset_infos


def native(env_id: str, mode: AutoresetMode, lanes: int = LANES, limit: int = 6) -> gym.vector.VectorEnv:
    return gym.make_vec(env_id, num_envs=lanes, autoreset_mode=mode, max_episode_steps=limit, nthread=1)


def test_a_native_goal_env_is_the_same_in_every_mode():
    lives = []
    for mode in MODES:
        envs = SB3VecEnv(native("robossl/Reacher-v0", mode))
        envs.seed(2)
        random, life = np.random.default_rng(0), [envs.reset()]
        for _ in range(20):
            observation, rewards, dones, infos = envs.step(
                random.uniform(-1, 1, (LANES, *envs.action_space.shape)).astype(np.float32)
            )
            assert all(isinstance(info["is_success"], bool) for info in infos)
            last = [info.get("terminal_observation") for info in infos]
            successes = [info["is_success"] for info in infos]
            life.append((observation, rewards, dones, last, successes))
        lives.append(life)
        envs.close()
    assert sum(step[2].sum() for step in lives[0][1:]) == 3 * LANES
    for other in lives[1:]:
        for one, two in zip(lives[0], other):
            np.testing.assert_equal(one, two)


def test_what_sb3_keeps_is_its_own_copy():
    envs = SB3VecEnv(
        SyncVectorEnv(makers("Pendulum-v1", 3), autoreset_mode=AutoresetMode.NEXT_STEP, copy=False)
    )
    seen, copies = [envs.reset()], []
    last = None
    for _ in range(4):
        copies.append(seen[-1].copy())
        observation, _, _, infos = envs.step(np.ones((LANES, 1), np.float32))
        seen.append(observation)
        if "terminal_observation" in infos[0]:
            last = infos[0]["terminal_observation"], infos[0]["terminal_observation"].copy()
    for one, copy in zip(seen, copies):
        np.testing.assert_array_equal(one, copy)
    np.testing.assert_array_equal(*last)


def test_an_env_that_resets_more_than_it_was_asked_to_is_refused():
    envs = SB3VecEnv(gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="vector_entry_point"))
    envs.reset()

    def fall() -> None:
        for t in range(60):
            envs.step(np.array([1, 1, 0, t % 2]))

    with pytest.raises(UsageError, match=r"does not heed reset_mask.*SAME_STEP"):
        fall()


def test_discrete_actions_count_from_zero():
    envs = SB3VecEnv(Line(2, discrete=True))
    assert envs.action_space == Discrete(3)
    envs.reset()
    for action in range(3):
        envs.step(np.full(2, action))  # the env asserts that its actions lie in 1 to 3


def test_the_action_space_is_sb3s_own():
    envs = Line(2)
    before = envs.single_action_space.np_random.bit_generator.state
    SAC("MlpPolicy", SB3VecEnv(envs), learning_starts=10, seed=3, device="cpu").learn(6)
    assert envs.single_action_space.np_random.bit_generator.state == before


class Nested(gym.Env):
    """Observes a Dict with a Dict and a Tuple inside."""

    observation_space = Dict(
        body=Dict(joints=Box(-1, 1, (2,), np.float32), touch=Discrete(3)),
        pair=Tuple((Box(0, 1, (1,), np.float32), Box(0, 1, (1,), np.float32))),
    )
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple:
        return self.observation_space.sample(), 0.0, bool(self.np_random.random() < 0.3), False, {}


@pytest.mark.parametrize("mode", MODES)
def test_sb3_learns_on_nested_observations(mode):
    envs = SB3VecEnv(SyncVectorEnv([Nested] * 2, autoreset_mode=mode))
    assert set(envs.observation_space.spaces) == {"body/joints", "body/touch", "pair/0", "pair/1"}
    agent = PPO("MultiInputPolicy", envs, n_steps=8, batch_size=8, device="cpu").learn(32)
    action, _ = agent.predict(envs.reset())
    assert action.shape == (2, 1)


def test_vec_monitor_counts_what_the_bridge_counts():
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        envs = VecMonitor(bridged("Pendulum-v1", 5, AutoresetMode.NEXT_STEP))
    envs.reset()
    told = []
    for _ in range(10):
        ours = envs.venv._return, envs.venv._length
        before = [values.copy() for values in ours]
        _, rewards, dones, infos = envs.step(np.ones((LANES, 1), np.float32))
        for lane in np.flatnonzero(dones):
            told.append(infos[lane]["episode"])
            assert told[-1]["l"] == before[1][lane] + 1 == 5
            assert told[-1]["r"] == pytest.approx(before[0][lane] + rewards[lane], rel=1e-5)
    assert len(told) == 2 * LANES


@pytest.mark.parametrize("mode", MODES)
def test_vec_normalize_normalises(mode):
    envs = VecNormalize(bridged("Pendulum-v1", 5, mode))
    plain = VecNormalize(DummyVecEnv(makers("Pendulum-v1", 5)))
    for each in (envs, plain):
        each.seed(0)
    assert_same(envs.reset(), plain.reset())
    for _ in range(12):
        one, two = (each.step(np.ones((LANES, 1), np.float32)) for each in (envs, plain))
        np.testing.assert_allclose(one[0], two[0], rtol=1e-6)
        np.testing.assert_allclose(one[1], two[1], rtol=1e-6)
        for info, wanted in zip(one[3], two[3]):
            np.testing.assert_allclose(
                info.get("terminal_observation", 0), wanted.get("terminal_observation", 0), rtol=1e-6
            )


def test_eval_callback_and_evaluate_policy_work(tmp_path):
    agent = PPO(
        "MlpPolicy", bridged("Pendulum-v1", 5, AutoresetMode.DISABLED), n_steps=8, batch_size=8, device="cpu"
    )
    judge = bridged("Pendulum-v1", 5, AutoresetMode.SAME_STEP, lanes=2)
    callback = EvalCallback(judge, n_eval_episodes=3, eval_freq=8, log_path=str(tmp_path), verbose=0)
    agent.learn(48, callbacks=[callback])
    assert np.load(tmp_path / "evaluations.npz")["ep_lengths"].tolist() == [[5] * 3] * 2
    returns, lengths = evaluate_policy(agent, judge, n_eval_episodes=4, return_episode_rewards=True)
    assert len(returns) == 4
    assert lengths == [5] * 4


def test_lanes_are_asked_one_by_one():
    envs = bridged("Pendulum-v1", 5, AutoresetMode.NEXT_STEP)
    assert envs.get_attr("g") == [10.0] * 3
    envs.set_attr("g", 5.0, indices=[1])
    assert envs.get_attr("g", indices=[0, 1]) == [10.0, 5.0]
    assert envs.get_attr("g", indices=1) == [5.0]
    assert envs.env_method("has_wrapper_attr", "max_speed", indices=[2]) == [True]
    assert envs.env_is_wrapped(Monitor) == [True] * 3
    assert envs.env_is_wrapped(gym.wrappers.TimeLimit, indices=[0]) == [True]
    assert envs.env_is_wrapped(gym.wrappers.ClipAction) == [False] * 3
    assert not envs.has_attr("no_such_thing")


def test_lanes_without_objects_answer_as_one():
    envs = SB3VecEnv(native("robossl/Reacher-v0", AutoresetMode.NEXT_STEP))
    achieved, desired = np.zeros((5, 4)), np.ones((5, 4))
    (rewards,) = envs.env_method("compute_reward", achieved, desired, {}, indices=[0])
    assert rewards.shape == (5,)
    assert envs.get_attr("num_envs") == [LANES] * LANES
    assert envs.env_is_wrapped(gym.wrappers.TimeLimit) == [False] * LANES
    envs.set_attr("note", 3)
    assert envs.get_attr("note", indices=[1]) == [3]


def test_lanes_in_other_processes_are_asked_too():
    envs = SB3VecEnv(AsyncVectorEnv(makers("Pendulum-v1", 4, 2), context="forkserver"))
    try:
        envs.seed(1)
        envs.reset()
        for _ in range(5):
            _, _, dones, _ = envs.step(np.zeros((2, 1), np.float32))
        assert not dones.any()
        envs.set_attr("g", 5.0, indices=[1])
        assert envs.get_attr("g") == [10.0, 5.0]
        assert envs.env_method("has_wrapper_attr", "g", indices=[1]) == [True]
    finally:
        envs.close()


def test_hindsight_of_sb3_asks_for_rewards():
    envs = SB3VecEnv(SyncVectorEnv([lambda: CountingGoals(0)], autoreset_mode=AutoresetMode.SAME_STEP))
    envs.reset()
    place = np.array([[0.0, 3.0]])
    assert envs.env_method("compute_reward", place, place + 4, {}, indices=[0])[0].tolist() == [4.0]


def test_options_reach_the_reset():
    envs = bridged("Pendulum-v1", 5, AutoresetMode.NEXT_STEP)
    envs.set_options({"x_init": 1e-6, "y_init": 1e-6})
    np.testing.assert_allclose(envs.reset()[:, 0], 1.0, atol=1e-6)
    assert np.abs(envs.reset()[:, 0] - 1.0).max() > 1e-3, "options are for one reset"
    envs.set_options([{"x_init": 1.0}, {}, {}])
    with pytest.raises(UsageError, match="same options"):
        envs.reset()


def test_pictures_come_from_the_env():
    envs = SB3VecEnv(Line(2))
    envs.envs.render = lambda: (np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8))
    assert [image.mean() for image in envs.get_images()] == [0, 1]
    envs.envs.render = lambda: None
    assert list(envs.get_images()) == [None, None]


def test_masked_infos_are_not_said():
    vector = {
        "speed": np.array([1.5, 0.0]), "_speed": np.array([True, False]),
        "deep": {"place": np.array([[1, 2], [3, 4]]), "_place": np.array([False, True])},
        "_deep": np.array([False, True]),
        "all": np.array([1, 2]), "final_obs": np.array([None, None], object),
    }  # fmt: skip
    one, two = split_infos(vector, 2)
    assert one == {"speed": 1.5, "all": 1}
    assert two["deep"]["place"].tolist() == [3, 4]
    assert type(two["all"]) is int
    assert two.keys() == {"deep", "all"}
