"""Whether a lane of a native batch lives as the env does alone: what makes streams and single envs comparable."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np

from robossl.core.spaces import split
from robossl.lab import plugins
from robossl.lab.checks.case import Case
from robossl.lab.checks.finding import Finding, bad, good, note

_NAME = "lanes live alone"
_LANES = 3
_STEPS = 12


def lanes(case: Case) -> Iterator[Finding]:
    """The last lane of a batch beside the env alone, under the same seed and actions."""
    if not plugins.native(case.spec):
        yield note(_NAME, "no native batch: the lanes are envs of their own")
        return
    with case.watch.call("robossl's batch", patience=10):
        envs = plugins.make_envs(case.spec.id, _LANES, **copy.deepcopy(case.settings))
    env = case.make()
    last = _LANES - 1
    envs.action_space.seed(0)
    with case.watch.call("the batch's reset(seed=0)", patience=2 * _LANES):
        together, _ = envs.reset(seed=0)
    alone, _ = case.reset(env, last)
    for step in range(_STEPS + 1):
        batch = {path: value[last] for path, value in split(envs.single_observation_space, together).items()}
        for path, value in split(env.observation_space, alone).items():
            if not np.array_equal(batch[path], value, equal_nan=value.dtype.kind == "f"):
                yield _differs(step, f"observation{f'[{path!r}]' if path else ''}", batch[path], value)
                return
        if step == _STEPS:
            break
        actions = envs.action_space.sample()
        with case.watch.call("the batch's step(actions)", patience=_LANES):
            together, rewards, *ends, _ = envs.step(actions)
        alone, reward, terminated, truncated, _ = case.step(env, actions[last])
        if rewards[last] != reward:
            yield _differs(step + 1, "the reward", rewards[last], reward)
            return
        if terminated or truncated or any(end[last] for end in ends):
            break
    yield good(_NAME, f"a lane of a batch of {_LANES} and the env alone live the same life to the bit")
    envs.close()
    case.close(env)


def _differs(step: int, what: str, batch: object, alone: object) -> Finding:
    return bad(
        _NAME,
        f"after {step} steps {what} of lane {_LANES - 1} in a batch is {_short(batch)}; alone it is {_short(alone)}",
        "what is learned from a batch does not hold for the env alone, and a seed does not give one life",
        "work out every row from that row alone: no mean, sum, sort or matrix product over the lanes (axis 0)",
    )


def _short(value: object) -> str:
    text = " ".join(str(np.asarray(value)).split())
    return text if len(text) <= 60 else text[:57] + "..."
