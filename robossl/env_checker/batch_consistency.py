"""Whether a lane of a native batch lives as the env does alone: what makes streams and single envs comparable."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.spaces import flatten_by_path
from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvUnderTest

_NAME = "lanes live alone"
_LANES = 3
_STEPS = 12


def lanes(case: EnvUnderTest) -> Iterator[CheckResult]:
    """The first and the last lane of a batch, each beside the env alone, under the same seeds and actions."""
    if not registry.is_native(case.spec):
        yield check_info(_NAME, "no native batch: the lanes are envs of their own")
        return
    with case.watch.call("robossl's batch", patience=10):
        envs = registry.make_envs(case.spec.id, _LANES, **copy.deepcopy(case.settings))
    singles = {lane: case.make() for lane in (0, _LANES - 1)}
    try:
        yield _compared(case, envs, singles)
    finally:
        envs.close()
        for env in singles.values():
            env.close()


def _compared(case: EnvUnderTest, envs: VectorEnv, singles: dict[int, gym.Env]) -> CheckResult:
    envs.action_space.seed(0)
    with case.watch.call("the batch's reset(seed=0)", patience=2 * _LANES):
        together = [envs.reset(seed=0)[0]]
    alone = {lane: [case.reset(env, lane)[0]] for lane, env in singles.items()}
    for step in range(_STEPS + 1):
        for lane, answers in alone.items():
            for name, batch, single in _pairs(envs, lane, together, answers):
                if not _same(batch, single):
                    return _differs(step, lane, name, batch, single)
        if step == _STEPS or any(answers[2:] and max(answers[2:4]) for answers in alone.values()):
            break
        actions = envs.action_space.sample()
        with case.watch.call("the batch's step(actions)", patience=_LANES):
            together = list(envs.step(actions)[:4])
        alone = {lane: list(case.step(env, actions[lane])[:4]) for lane, env in singles.items()}
    return check_passed(
        _NAME, f"lanes of a batch of {_LANES} and the env alone live the same life to the bit"
    )


def _pairs(
    envs: VectorEnv, lane: int, together: list[Any], alone: list[Any]
) -> Iterator[tuple[str, Any, Any]]:
    """What a lane of the batch got and the env alone: observation parts, reward, endings."""
    space = envs.single_observation_space
    single = flatten_by_path(space, alone[0])
    for path, value in flatten_by_path(space, together[0]).items():
        yield f"observation{f'[{path!r}]' if path else ''}", value[lane], single[path]
    for name, batch, own in zip(("the reward", "terminated", "truncated"), together[1:], alone[1:]):
        yield name, batch[lane], own


def _same(batch: Any, alone: Any) -> bool:
    return np.array_equal(batch, alone, equal_nan=np.asarray(batch).dtype.kind == "f")


def _differs(step: int, lane: int, what: str, batch: Any, alone: Any) -> CheckResult:
    return check_failed(
        _NAME,
        f"after {step} steps {what} of lane {lane} in a batch is {_short(batch)}; alone it is {_short(alone)}",
        "what is learned from a batch does not hold for the env alone, and a seed does not give one life",
        "work out every row from that row alone: no mean, sum, sort or matrix product over the lanes (axis 0)",
    )


def _short(value: Any) -> str:
    text = " ".join(str(np.asarray(value)).split())
    return text if len(text) <= 60 else text[:57] + "..."
