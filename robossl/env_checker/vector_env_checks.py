"""Checks of vector envs: all autoreset modes, robossl's own vector env, and independence of sub-environments."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from robossl import registry
from robossl.core.env_ids import with_options
from robossl.core.interfaces import Checkpointable, PhysicsStateEnv
from robossl.core.spaces import flatten_by_path, leaves
from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvCallError, EnvUnderTest
from robossl.rollout import autoreset_mode, reset_done

_NUM_ENVS = 2
_COMPARED_ENVS = 3
_NUM_STEPS = 12
_MAX_EPISODE_STEPS = 5  # so that resets are among the steps
_WHY = "every command runs vector envs"
_FIX = "first fix the problems of observations and infos above; then correct that line"


def check_autoreset_modes(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Check Gymnasium's vector env in each autoreset mode."""
    limit = min(_MAX_EPISODE_STEPS, target.spec.max_episode_steps or _MAX_EPISODE_STEPS)
    for mode in AutoresetMode:
        name = f"vector env, {mode.name.lower()}"
        try:
            with target.monitor.call(f"construction of a vector env, {mode.name}", time_factor=6):
                envs = _make_short(target, mode, limit)
            num_episodes = step_randomly(target, envs)
        except EnvCallError as error:
            yield check_failed(name, f"a vector env of {_NUM_ENVS}: {error}", _WHY, _FIX)
            continue
        yield check_passed(name, f"{_NUM_ENVS} envs, {_NUM_STEPS} steps, {num_episodes} episodes ended")


def _make_short(target: EnvUnderTest, mode: AutoresetMode, limit: int) -> VectorEnv:
    """Return a vector env in this autoreset mode whose episodes end after `limit` steps."""
    settings = {**copy.deepcopy(target.settings), "max_episode_steps": limit}
    if not registry.is_native_batch(target.env_name):
        name = with_options(target.env_name, {"max_episode_steps": limit})
        settings.pop("max_episode_steps")
        return registry.make_envs(name, _NUM_ENVS, autoreset_mode=mode, vectorization="sync", **settings)
    return gym.make_vec(
        copy.deepcopy(target.spec),
        num_envs=_NUM_ENVS,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        **settings,
    )


def step_randomly(target: EnvUnderTest, envs: VectorEnv) -> int:
    """Step with random actions and check all shapes; return the number of episodes that ended."""
    monitor, disabled = target.monitor, autoreset_mode(envs) is AutoresetMode.DISABLED
    envs.action_space.seed(0)
    with monitor.call("reset(seed=0) of the vector env", time_factor=2 * _NUM_ENVS):
        observation, _ = envs.reset(seed=0)
        _assert_shapes(envs, observation)
    num_episodes = 0
    for _ in range(_NUM_STEPS):
        with monitor.call("step(actions) of the vector env", time_factor=_NUM_ENVS):
            observation, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
            _assert_shapes(envs, observation)
            assert np.shape(reward) == (_NUM_ENVS,), (
                f"rewards have shape {np.shape(reward)}, not ({_NUM_ENVS},)"
            )
        done = np.logical_or(terminated, truncated)
        num_episodes += int(done.sum())
        if disabled and done.any():
            name = "reset(options={'reset_mask': mask}) of the vector env"
            with monitor.call(name, time_factor=2 * _NUM_ENVS):
                reset_done(envs, done)
    with monitor.call("close() of the vector env"):
        envs.close()
    return num_episodes


def _assert_shapes(envs: VectorEnv, observation: Any) -> None:
    for path, value in flatten_by_path(envs.single_observation_space, observation).items():
        leaf = leaves(envs.single_observation_space)[path]
        expected = (_NUM_ENVS, *(leaf.shape or ()))
        assert value.shape == expected, f"observation {path!r} has shape {value.shape}, not {expected}"


def check_robossl_envs(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Check the vector env that every command makes, and report its capabilities."""
    name = "robossl vector env"
    try:
        with target.monitor.call("construction of robossl's vector env", time_factor=10):
            envs = registry.make_envs(target.env_name, _NUM_ENVS, **copy.deepcopy(target.settings))
        step_randomly(target, envs)
    except EnvCallError as error:
        yield check_failed(name, f"a vector env of {_NUM_ENVS}: {error}", _WHY, _FIX)
        return
    inner = envs.unwrapped
    yield check_passed(name, f"{type(inner).__name__}, {autoreset_mode(envs).name.lower()}")
    if isinstance(inner, PhysicsStateEnv):
        yield check_passed("physics state", "the env reports its true state and can be set to a recorded one")
    else:
        yield check_info(
            "physics state",
            "the env does not report its true state",
            "no probes of the representation, and no goal trials from held-out episodes",
        )
    if isinstance(inner, Checkpointable):
        yield check_passed("checkpoint", "the state of the env can be saved and restored")
    else:
        yield check_info("checkpoint", "a resumed run replays the recorded actions of the env")


def check_batch_matches_single(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Check that the first and the last sub-environment of a native batch equal single envs."""
    name = "batch matches single env"
    if not registry.is_native_batch(target.env_name):
        yield check_info(name, "not a native batch: every sub-environment is a separate env")
        return
    with target.monitor.call("construction of robossl's vector env", time_factor=10):
        envs = registry.make_envs(target.env_name, _COMPARED_ENVS, **copy.deepcopy(target.settings))
    singles = {index: target.make() for index in (0, _COMPARED_ENVS - 1)}
    with _closing(envs, *singles.values()):
        yield _compare_with_singles(name, target, envs, singles)


@contextmanager
def _closing(*envs: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for env in envs:
            env.close()


def _compare_with_singles(
    name: str, target: EnvUnderTest, envs: VectorEnv, singles: dict[int, gym.Env]
) -> CheckResult:
    envs.action_space.seed(0)
    with target.monitor.call("reset(seed=0) of the vector env", time_factor=2 * _COMPARED_ENVS):
        batch = [envs.reset(seed=0)[0]]
    results = {index: [target.reset(env, index)[0]] for index, env in singles.items()}
    for step in range(_NUM_STEPS + 1):
        for index, result in results.items():
            for value_name, in_batch, single in _pairs(envs, index, batch, result):
                if not np.array_equal(in_batch, single, equal_nan=np.asarray(in_batch).dtype.kind == "f"):
                    return check_failed(
                        name,
                        f"after {step} steps {value_name} of sub-environment {index} is {_short(in_batch)}; "
                        f"in a single env it is {_short(single)}",
                        "what an agent learns in a batch does not hold for a single env",
                        "compute every row from that row alone: no mean, sum, sort or matrix product over "
                        "sub-environments (axis 0)",
                    )
        if step == _NUM_STEPS or any(result[2:] and max(result[2:4]) for result in results.values()):
            break
        actions = envs.action_space.sample()
        with target.monitor.call("step(actions) of the vector env", time_factor=_COMPARED_ENVS):
            batch = list(envs.step(actions)[:4])
        results = {index: list(target.step(env, actions[index])[:4]) for index, env in singles.items()}
    return check_passed(
        name, f"sub-environments of a batch of {_COMPARED_ENVS} equal single envs bit for bit"
    )


def _pairs(
    envs: VectorEnv, index: int, batch: list[Any], single: list[Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, value in the batch, value in the single env): observation leaves, reward, flags."""
    space = envs.single_observation_space
    parts = flatten_by_path(space, single[0])
    for path, value in flatten_by_path(space, batch[0]).items():
        yield f"observation{f'[{path!r}]' if path else ''}", value[index], parts[path]
    names = ("the reward", "terminated", "truncated")
    for name, batch_values, single_value in zip(names, batch[1:], single[1:]):
        yield name, batch_values[index], single_value


def _short(value: Any) -> str:
    text = " ".join(str(np.asarray(value)).split())
    return text if len(text) <= 60 else text[:57] + "..."
