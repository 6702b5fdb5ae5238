"""SB3 adapter: equals SB3's own DummyVecEnv in every autoreset mode; access to sub-environments."""

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
NUM_ENVS = 3


def makers(env_id: str, limit: int, num_envs: int = NUM_ENVS) -> list:
    return [functools.partial(gym.make, env_id, max_episode_steps=limit)] * num_envs


def wrapped(env_id: str, limit: int, mode: AutoresetMode, num_envs: int = NUM_ENVS) -> SB3VecEnv:
    return SB3VecEnv(SyncVectorEnv(makers(env_id, limit, num_envs), autoreset_mode=mode))


def assert_same(one: Any, other: Any) -> None:
    """Check that nested values and their dtypes are equal."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    else:
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("env_id", "limit"), [("Pendulum-v1", 7), ("CartPole-v1", 17)])
def test_adapter_equals_the_vector_env_of_sb3(mode, env_id, limit):
    ours = wrapped(env_id, limit, mode)
    theirs = DummyVecEnv([lambda make=make: Monitor(make()) for make in makers(env_id, limit)])
    for envs in (ours, theirs):
        envs.seed(5)
    assert_same(ours.reset(), theirs.reset())
    assert ours.reset_infos == theirs.reset_infos
    ours.action_space.seed(0)
    ends = {True: 0, False: 0}
    for t in range(60):
        actions = np.stack([ours.action_space.sample() for _ in range(NUM_ENVS)])
        if t > 30 and env_id == "CartPole-v1":
            actions[:] = 1  # the pole falls
        step, expected = ours.step(actions), theirs.step(actions)
        for part, expected_one in zip(step[:3], expected[:3]):
            assert_same(part, expected_one)
        for info, expected_one in zip(step[3], expected[3]):
            for each in (info, expected_one):
                if "episode" in each:
                    each["episode"] = (round(each["episode"]["r"], 3), each["episode"]["l"])
            assert_same(info, expected_one)
            if "terminal_observation" in info:
                ends[info["TimeLimit.truncated"]] += 1
        assert_same(ours.reset_infos[0], theirs.reset_infos[0])
    assert_same(ours.reset(), theirs.reset())  # seeds are used by one reset
    assert ends[True] > 2
    assert ends[False] > 2 or env_id == "Pendulum-v1"


@pytest.mark.parametrize("mode", MODES)
def test_infos_of_the_last_step_and_of_the_reset_are_separate(mode):
    class WithInfos(Counter):
        def reset(self, **kwargs: Any) -> tuple:
            return super().reset(**kwargs)[0], {"begun": self.episode, "at": 0}

        def step(self, action: Any) -> tuple:
            observation, reward, terminated, truncated, _ = super().step(action)
            truncated |= terminated and self.episode > 1  # later both at once
            infos = {"at": self.count, "deep": {"at": self.count}, "word": "hello"}
            return observation, reward, terminated, truncated, infos

    ours = SB3VecEnv(SyncVectorEnv([lambda i=i: WithInfos(i) for i in range(2)], autoreset_mode=mode))
    theirs = DummyVecEnv([lambda i=i: WithInfos(i) for i in range(2)])
    ours.reset(), theirs.reset()
    for _ in range(12):
        _, _, dones, infos = ours.step(np.zeros((2, 1), np.float32))
        _, _, _, expected = theirs.step(np.zeros((2, 1), np.float32))
        for done, info, expected_one in zip(dones, infos, expected):
            assert done == ("episode" in info)
            info.pop("episode", None)
            assert_same(info, expected_one)
        assert ours.reset_infos == theirs.reset_infos


def native(
    env_id: str, mode: AutoresetMode, num_envs: int = NUM_ENVS, limit: int = 6
) -> gym.vector.VectorEnv:
    return gym.make_vec(env_id, num_envs=num_envs, autoreset_mode=mode, max_episode_steps=limit, nthread=1)


def test_native_goal_env_is_equal_in_every_mode():
    rollouts = []
    for mode in MODES:
        envs = SB3VecEnv(native("robossl/Reacher-v0", mode))
        envs.seed(2)
        random, rollout = np.random.default_rng(0), [envs.reset()]
        for _ in range(20):
            observation, rewards, dones, infos = envs.step(
                random.uniform(-1, 1, (NUM_ENVS, *envs.action_space.shape)).astype(np.float32)
            )
            assert all(isinstance(info["is_success"], bool) for info in infos)
            last = [info.get("terminal_observation") for info in infos]
            successes = [info["is_success"] for info in infos]
            rollout.append((observation, rewards, dones, last, successes))
        rollouts.append(rollout)
        envs.close()
    assert sum(step[2].sum() for step in rollouts[0][1:]) == 3 * NUM_ENVS
    for other in rollouts[1:]:
        for one, two in zip(rollouts[0], other):
            np.testing.assert_equal(one, two)


def test_observations_are_copies():
    envs = SB3VecEnv(
        SyncVectorEnv(makers("Pendulum-v1", 3), autoreset_mode=AutoresetMode.NEXT_STEP, copy=False)
    )
    observations, copies = [envs.reset()], []
    last = None
    for _ in range(4):
        copies.append(observations[-1].copy())
        observation, _, _, infos = envs.step(np.ones((NUM_ENVS, 1), np.float32))
        observations.append(observation)
        if "terminal_observation" in infos[0]:
            last = infos[0]["terminal_observation"], infos[0]["terminal_observation"].copy()
    for one, copy in zip(observations, copies):
        np.testing.assert_array_equal(one, copy)
    np.testing.assert_array_equal(*last)


def test_env_that_ignores_the_reset_mask_is_rejected():
    envs = SB3VecEnv(gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="vector_entry_point"))
    envs.reset()

    def fall() -> None:
        for t in range(60):
            envs.step(np.array([1, 1, 0, t % 2]))

    with pytest.raises(UsageError, match=r"ignores reset_mask.*SAME_STEP"):
        fall()


def test_discrete_actions_start_at_zero():
    envs = SB3VecEnv(Line(2, discrete=True))
    assert envs.action_space == Discrete(3)
    envs.reset()
    for action in range(3):
        envs.step(np.full(2, action))  # the env asserts that its actions lie in 1 to 3


def test_action_space_is_a_separate_object():
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


def test_vec_monitor_agrees_with_the_adapter():
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        envs = VecMonitor(wrapped("Pendulum-v1", 5, AutoresetMode.NEXT_STEP))
    envs.reset()
    episodes = []
    for _ in range(10):
        ours = envs.venv._return, envs.venv._length
        before = [values.copy() for values in ours]
        _, rewards, dones, infos = envs.step(np.ones((NUM_ENVS, 1), np.float32))
        for env_index in np.flatnonzero(dones):
            episodes.append(infos[env_index]["episode"])
            assert episodes[-1]["l"] == before[1][env_index] + 1 == 5
            assert episodes[-1]["r"] == pytest.approx(before[0][env_index] + rewards[env_index], rel=1e-5)
    assert len(episodes) == 2 * NUM_ENVS


@pytest.mark.parametrize("mode", MODES)
def test_vec_normalize_gives_the_same_values(mode):
    envs = VecNormalize(wrapped("Pendulum-v1", 5, mode))
    plain = VecNormalize(DummyVecEnv(makers("Pendulum-v1", 5)))
    for each in (envs, plain):
        each.seed(0)
    assert_same(envs.reset(), plain.reset())
    for _ in range(12):
        one, two = (each.step(np.ones((NUM_ENVS, 1), np.float32)) for each in (envs, plain))
        np.testing.assert_allclose(one[0], two[0], rtol=1e-6)
        np.testing.assert_allclose(one[1], two[1], rtol=1e-6)
        for info, expected_one in zip(one[3], two[3]):
            np.testing.assert_allclose(
                info.get("terminal_observation", 0), expected_one.get("terminal_observation", 0), rtol=1e-6
            )


def test_eval_callback_and_evaluate_policy_work(tmp_path):
    agent = PPO(
        "MlpPolicy", wrapped("Pendulum-v1", 5, AutoresetMode.DISABLED), n_steps=8, batch_size=8, device="cpu"
    )
    eval_envs = wrapped("Pendulum-v1", 5, AutoresetMode.SAME_STEP, num_envs=2)
    callback = EvalCallback(eval_envs, n_eval_episodes=3, eval_freq=8, log_path=str(tmp_path), verbose=0)
    agent.learn(48, callback=callback)
    assert np.load(tmp_path / "evaluations.npz")["ep_lengths"].tolist() == [[5] * 3] * 2
    returns, lengths = evaluate_policy(agent, eval_envs, n_eval_episodes=4, return_episode_rewards=True)
    assert len(returns) == 4
    assert lengths == [5] * 4


def test_sub_environments_are_accessed_one_by_one():
    envs = wrapped("Pendulum-v1", 5, AutoresetMode.NEXT_STEP)
    assert envs.get_attr("g") == [10.0] * 3
    envs.set_attr("g", 5.0, indices=[1])
    assert envs.get_attr("g", indices=[0, 1]) == [10.0, 5.0]
    assert envs.get_attr("g", indices=1) == [5.0]
    assert envs.env_method("has_wrapper_attr", "max_speed", indices=[2]) == [True]
    assert envs.env_is_wrapped(Monitor) == [True] * 3
    assert envs.env_is_wrapped(gym.wrappers.TimeLimit, indices=[0]) == [True]
    assert envs.env_is_wrapped(gym.wrappers.ClipAction) == [False] * 3
    assert not envs.has_attr("no_such_thing")


def test_native_sub_environments_share_attributes():
    envs = SB3VecEnv(native("robossl/Reacher-v0", AutoresetMode.NEXT_STEP))
    achieved, desired = np.zeros((5, 4)), np.ones((5, 4))
    (rewards,) = envs.env_method("compute_reward", achieved, desired, {}, indices=[0])
    assert rewards.shape == (5,)
    assert envs.get_attr("num_envs") == [NUM_ENVS] * NUM_ENVS
    assert envs.env_is_wrapped(gym.wrappers.TimeLimit) == [False] * NUM_ENVS
    envs.set_attr("note", 3)
    assert envs.get_attr("note", indices=[1]) == [3]


def test_sub_environments_in_other_processes_are_accessed():
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


def test_hindsight_of_sb3_can_call_compute_reward():
    envs = SB3VecEnv(SyncVectorEnv([lambda: CountingGoals(0)], autoreset_mode=AutoresetMode.SAME_STEP))
    envs.reset()
    goal = np.array([[0.0, 3.0]])
    assert envs.env_method("compute_reward", goal, goal + 4, {}, indices=[0])[0].tolist() == [4.0]


def test_options_reach_the_reset():
    envs = wrapped("Pendulum-v1", 5, AutoresetMode.NEXT_STEP)
    envs.set_options({"x_init": 1e-6, "y_init": 1e-6})
    np.testing.assert_allclose(envs.reset()[:, 0], 1.0, atol=1e-6)
    assert np.abs(envs.reset()[:, 0] - 1.0).max() > 1e-3, "options are used by one reset"
    envs.set_options([{"x_init": 1.0}, {}, {}])
    with pytest.raises(UsageError, match="same options"):
        envs.reset()


def test_frames_come_from_the_env():
    envs = SB3VecEnv(Line(2))
    envs.envs.render = lambda: (np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8))
    assert [image.mean() for image in envs.get_images()] == [0, 1]
    envs.envs.render = lambda: None
    assert list(envs.get_images()) == [None, None]


def test_masked_infos_are_left_out():
    vector = {
        "speed": np.array([1.5, 0.0]), "_speed": np.array([True, False]),
        "deep": {"position": np.array([[1, 2], [3, 4]]), "_position": np.array([False, True])},
        "_deep": np.array([False, True]),
        "all": np.array([1, 2]), "final_obs": np.array([None, None], object),
    }  # fmt: skip
    one, two = split_infos(vector, 2)
    assert one == {"speed": 1.5, "all": 1}
    assert two["deep"]["position"].tolist() == [3, 4]
    assert type(two["all"]) is int
    assert two.keys() == {"deep", "all"}
