"""Rollout: in every autoreset mode a policy and its steps are attributed to the right episodes."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress
from robossl.rollout import StepLoop, StepResult, autoreset_mode, collect_steps, final_observation, steps

NUM_ENVS = 3
MODES = list(AutoresetMode)


class CountingEnv(gym.Env):
    """Observes (env, episode, step); episode e of env i has 2 + (i + e) % 3 steps and every other one terminates."""

    observation_space = gym.spaces.Box(-1, 1000, (3,), np.float32)
    action_space = gym.spaces.Box(-1000, 1000, (1,), np.float32)

    def __init__(self, index: int) -> None:
        self.index, self.episode, self.count = index, -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple:
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return self.observe(), {"is_success": False}

    def step(self, action: np.ndarray) -> tuple:
        self.count += 1
        over = self.count == length(self.index, self.episode)
        terminates = bool(self.episode % 2)
        info = {"is_success": over and terminates}
        return self.observe(), reward(self.index, self.episode, self.count), over and terminates, over, info

    def observe(self) -> np.ndarray:
        return np.array([self.index, self.episode, self.count], np.float32)


def length(index: int, episode: int) -> int:
    return 2 + (index + episode) % 3


def reward(index: int, episode: int, count: int) -> float:
    return 100.0 * index + 10 * episode + count


class CountingPolicy:
    """Acts with the number of its real steps in the episode, as an env's step counter would."""

    def __init__(self, num_envs: int) -> None:
        self.count = np.full(num_envs, np.nan)
        self.resets: list[Any] = []

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        self.count += 1
        return self.count[:, None].astype(np.float32)

    def reset(self, mask: np.ndarray | None = None) -> None:
        self.resets.append(None if mask is None else mask.tolist())
        self.count[slice(None) if mask is None else mask] = 0


def counting_envs(mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv([lambda i=i: CountingEnv(i) for i in range(NUM_ENVS)], autoreset_mode=mode)


def rollout(mode: AutoresetMode, num_steps: int) -> tuple[list[StepResult], CountingPolicy]:
    envs, policy = counting_envs(mode), CountingPolicy(NUM_ENVS)
    observation, _ = envs.reset(seed=0)
    return list(itertools.islice(steps(envs, policy, observation), num_steps)), policy


def transitions(results: list[StepResult], observation: np.ndarray) -> list[list[tuple]]:
    """All real transitions of each sub-environment, in order."""
    found: list[list[tuple]] = [[] for _ in range(NUM_ENVS)]
    for step in results:
        for i in np.flatnonzero(step.real):
            success = None if step.success is None else bool(step.success[i])
            row = (
                observation[i].tolist(),
                float(step.action[i, 0]),
                float(step.reward[i]),
                bool(step.terminated[i]),
            )
            found[i].append((*row, bool(step.done[i]), success, step.next_observation[i].tolist()))
        observation = step.observation
    return found


def expected(index: int, count: int) -> list[tuple]:
    rows, episode, t = [], 0, 0
    while len(rows) < count:
        t += 1
        done, terminates = t == length(index, episode), bool(episode % 2)
        before, after = [float(index), float(episode), t - 1.0], [float(index), float(episode), float(t)]
        last = done and terminates
        rows.append((before, float(t), reward(index, episode, t), last, done, last, after))
        if done:
            episode, t = episode + 1, 0
    return rows


@pytest.mark.parametrize("mode", MODES)
def test_transitions_are_those_of_single_envs(mode) -> None:
    results, _ = rollout(mode, 40)
    first = np.array([[i, 0, 0] for i in range(NUM_ENVS)], np.float32)
    for index, rows in enumerate(transitions(results, first)):
        assert rows == expected(index, len(rows))


@pytest.mark.parametrize("mode", MODES)
def test_only_next_step_mode_has_steps_that_are_not_real(mode) -> None:
    results, _ = rollout(mode, 40)
    skipped = sum(int((~step.real).sum()) for step in results)
    ended = sum(int(step.done.sum()) for step in results[:-1])
    assert skipped == (ended if mode is AutoresetMode.NEXT_STEP else 0)
    assert all(not (step.done & ~step.real).any() for step in results)


@pytest.mark.parametrize("mode", MODES)
def test_a_new_episode_begins_with_its_first_observation(mode) -> None:
    results, policy = rollout(mode, 40)
    for step in results:
        assert np.array_equal(step.begins, step.observation[:, 2] == 0)
        assert not (step.begins & (step.next_observation[:, 2] == 0) & step.real).any()
    assert policy.resets == [None, *(step.begins.tolist() for step in results if step.begins.any())]


@pytest.mark.parametrize("mode", MODES)
def test_two_calls_are_one(mode) -> None:
    whole, _ = rollout(mode, 30)
    envs, policy = counting_envs(mode), CountingPolicy(NUM_ENVS)
    observation, _ = envs.reset(seed=0)
    parts: list[StepResult] = []
    ended = None
    for count in (1, 7, 2, 20):
        parts += itertools.islice(steps(envs, policy, observation, ended=ended), count)
        observation, ended = parts[-1].observation, parts[-1].done
    for one, other in zip(whole, parts, strict=True):
        for name in one._fields:
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_steps", [1, 20, 41])
def test_collected_steps_are_real_and_less_than_one_vector_step_too_many(mode, num_steps) -> None:
    class Counter(NullProgress):
        total = 0

        def update(self, count: int, **metrics: float) -> None:
            self.total += count

    progress = Counter()
    collected = collect_steps(counting_envs(mode), CountingPolicy(NUM_ENVS), num_steps, 0, progress)
    assert num_steps <= collected < num_steps + NUM_ENVS
    assert progress.total == collected


@pytest.mark.parametrize("mode", MODES)
def test_steps_of_several_calls_add_up(mode) -> None:
    whole, parts = (StepLoop(counting_envs(mode), 3) for _ in range(2))
    expected = list(whole.steps(CountingPolicy(NUM_ENVS), 61))
    policy, results = CountingPolicy(NUM_ENVS), []
    for count in (1, 1, 9, 0, 50):
        results += parts.steps(policy, count)
    assert parts.num_steps == whole.num_steps == sum(int(step.real.sum()) for step in expected)
    assert 61 <= whole.num_steps < 61 + NUM_ENVS
    for one, other in zip(expected, results, strict=True):
        assert np.array_equal(one.observation, other.observation)
        assert np.array_equal(one.action, other.action)


def test_a_step_loop_continues_from_its_checkpoint() -> None:
    envs = counting_envs(AutoresetMode.DISABLED)
    loop, policy = StepLoop(envs, 3), CountingPolicy(NUM_ENVS)
    list(loop.steps(policy, 25))
    other = StepLoop(envs, 0)
    other.set_checkpoint(loop.get_checkpoint())
    (step,) = other.steps(policy, 3)
    assert (step.next_observation[:, 2] == policy.count).all(), "the envs were not reset"
    other.reset_envs()
    (step,) = other.steps(policy, 3)
    assert (step.next_observation[:, 2] == 1).all(), "the envs were reset"


def test_success_is_none_where_the_env_does_not_report_it() -> None:
    envs = gym.make_vec("Pendulum-v1", num_envs=2)
    observation, _ = envs.reset(seed=0)
    random = type(
        "RandomPolicy", (CountingPolicy,), {"act": lambda self, o, explore: envs.action_space.sample()}
    )(2)
    assert next(steps(envs, random, observation)).success is None


def test_without_a_mode_it_is_gymnasiums_default() -> None:
    envs = counting_envs(AutoresetMode.NEXT_STEP)
    envs.metadata = {}
    assert autoreset_mode(envs) is AutoresetMode.NEXT_STEP
    with pytest.raises(UsageError, match=r"SyncVectorEnv to be one of NEXT_STEP, SAME_STEP, DISABLED"):
        autoreset_mode(envs, required=True)


def test_a_missing_final_observation_is_named() -> None:
    with pytest.raises(UsageError, match="final_obs"):
        final_observation({}, 0)
