"""Whether an environment works in a batch: in Gymnasium's three autoreset modes, and as robossl makes one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from robossl import registry
from robossl.core.interfaces import Checkpointable, PhysicsStateEnv
from robossl.core.spaces import flatten_by_path, leaves
from robossl.env_checker.call_monitor import EnvCallError
from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvUnderTest

_LANES = 2
_STEPS = 12
_LIMIT = 5  # [steps] an episode may last here, so that resets are among the steps


def batches(case: EnvUnderTest) -> Iterator[CheckResult]:
    """gymnasium.make_vec, one env after another, in each mode."""
    spec = copy.deepcopy(case.spec)
    spec.max_episode_steps = min(_LIMIT, spec.max_episode_steps or _LIMIT)
    for mode in AutoresetMode:
        name = f"batch, {mode.name.lower()}"
        try:
            with case.watch.call(f"gymnasium.make_vec, {mode.name}", patience=6):
                envs = gym.make_vec(
                    spec,
                    num_envs=_LANES,
                    vectorization_mode="sync",
                    vector_kwargs={"autoreset_mode": mode},
                    **copy.deepcopy(case.settings),
                )
            resets = run(case, envs, mode)
        except EnvCallError as fault:
            yield check_failed(
                name,
                f"a batch of {_LANES}: {fault}",
                "every verb runs batches of envs",
                "first mend what the findings above say of observations and infos; then look at that line",
            )
            continue
        yield check_passed(name, f"{_LANES} envs, {_STEPS} steps, {resets} resets among them")


def run(case: EnvUnderTest, envs: VectorEnv, mode: AutoresetMode) -> int:
    """Random actions; the number of episodes that ended. What comes must have the shape of a batch."""
    envs.action_space.seed(0)
    with case.watch.call("the batch's reset(seed=0)", patience=2 * _LANES):
        observation, _ = envs.reset(seed=0)
        _fit(envs, observation)
    ended = 0
    for _ in range(_STEPS):
        with case.watch.call("the batch's step(actions)", patience=_LANES):
            observation, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
            _fit(envs, observation)
            assert np.shape(reward) == (_LANES,), f"rewards have shape {np.shape(reward)}, not ({_LANES},)"
        done = np.logical_or(terminated, truncated)
        ended += int(done.sum())
        if mode is AutoresetMode.DISABLED and done.any():
            with case.watch.call("the batch's reset(options={'reset_mask': mask})", patience=2 * _LANES):
                envs.reset(options={"reset_mask": done})
    with case.watch.call("the batch's close()"):
        envs.close()
    return ended


def _fit(envs: VectorEnv, observation: Any) -> None:
    for path, value in flatten_by_path(envs.single_observation_space, observation).items():
        leaf = leaves(envs.single_observation_space)[path]
        expected = (_LANES, *(leaf.shape or ()))
        assert value.shape == expected, f"observation {path!r} has shape {value.shape}, not {expected}"


def as_robossl(case: EnvUnderTest) -> Iterator[CheckResult]:
    """The batch every verb runs, what it knows of its physics, and whether its life can be taken up."""
    name = "batch, as robossl makes it"
    try:
        with case.watch.call("robossl's batch", patience=10):
            envs = registry.make_envs(case.spec.id, _LANES, **copy.deepcopy(case.settings))
        mode = envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        run(case, envs, mode)
    except EnvCallError as fault:
        yield check_failed(
            name,
            f"a batch of {_LANES}: {fault}",
            "every verb runs it",
            "mend what the findings above say first",
        )
        return
    inner = envs.unwrapped
    yield check_passed(name, f"{type(inner).__name__}, {mode.name.lower()}")
    if isinstance(inner, PhysicsStateEnv):
        yield check_passed("physical state", "the env tells its true state and can be put into it")
    else:
        yield check_info(
            "physical state",
            "the env does not tell its true state",
            "no probes of what the representation knows, and no goals taken up from held-out episodes",
        )
    if isinstance(inner, Checkpointable):
        yield check_passed("checkpoint", "the env's life can be saved and taken up")
    else:
        yield check_info("checkpoint", "a life is taken up by living its recorded actions again")
