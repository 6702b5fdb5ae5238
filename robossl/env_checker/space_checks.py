"""What an environment offers: its action space and its observation space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError
from robossl.core.spaces import format_space, is_goal_space, is_image, leaves
from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvUnderTest

_LARGE = 10_000  # numbers in a vector observation, beyond which it is probably an image


def actions(case: EnvUnderTest) -> Iterator[CheckResult]:
    """The action space is one that robossl can act in."""
    env = case.make()
    space = getattr(env.unwrapped, "action_space", None)
    if not isinstance(space, gym.Space):
        yield _absent("actions", "action_space", space, "spaces.Box(-1.0, 1.0, (2,), np.float32)")
        return
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        yield check_passed("actions", f"{format_space(space)}")
        yield check_passed("actions bounded", f"{space.n} actions")
        return
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        yield check_failed(
            "actions",
            f"the action space is {format_space(space)}",
            "robossl acts in a Box of float numbers or in a Discrete",
            _other_actions(space),
        )
        return
    if 0 in space.shape:
        yield check_failed(
            "actions",
            f"the action space is {format_space(space)}: it holds no numbers",
            "a robot that cannot act has nothing to learn",
            "give it the numbers it can set: spaces.Box(-1.0, 1.0, (2,), np.float32)",
        )
        return
    yield check_passed("actions", f"{format_space(space)}")
    if space.is_bounded("both") and np.all(space.high > space.low):
        yield check_passed("actions bounded", "every action has a finite low and high")
        return
    yield check_failed(
        "actions bounded",
        f"the action space is {format_space(space)}",
        "exploring and learning to act need to know how far an action can go",
        "give every action its limits: self.action_space = spaces.Box(-limit, limit, dtype=np.float32)",
    )


def _other_actions(space: gym.Space) -> str:
    if isinstance(space, spaces.MultiDiscrete):
        count = int(np.prod(space.nvec))
        return (
            f"number the combinations: spaces.Discrete({count}), and in step "
            f"action = np.unravel_index(action, {tuple(int(n) for n in space.nvec.reshape(-1))})"
        )
    if isinstance(space, spaces.MultiBinary):
        return (
            f"number the combinations: spaces.Discrete(2 ** {space.n}), and in step "
            f"action = (action >> np.arange({space.n})) & 1"
        )
    if isinstance(space, spaces.Box):
        return (
            "use float numbers: spaces.Box(low, high, dtype=np.float32), and in step action = np.rint(action)"
        )
    return "flatten it into one Box: spaces.flatten_space(space), and in step spaces.unflatten(space, action)"


def observations(case: EnvUnderTest) -> Iterator[CheckResult]:
    """The observation space is one that robossl can record and encode."""
    env = case.make()
    space = getattr(env.unwrapped, "observation_space", None)
    if not isinstance(space, gym.Space):
        line = "spaces.Box(-np.inf, np.inf, (8,), np.float32)"
        yield _absent("observations", "observation_space", space, line)
        return
    space = env.observation_space
    try:
        found = leaves(space)
    except UsageError as error:
        yield check_failed(
            "observations",
            f"the observation space is {format_space(space)}: {error}",
            "a stream records arrays of a fixed shape",
            "give numbers instead: spaces.Box, or spaces.Dict of named ones",
        )
        return
    dotted = [name for name in _keys(space) if "." in name]
    if dotted:
        yield check_failed(
            "observations",
            f"the observation has the key {dotted[0]!r}",
            "a dot separates the levels of nested observations in a stream",
            f"name it without a dot: {dotted[0].replace('.', '_')!r}",
        )
        return
    words = f"{format_space(space)}" if len(found) == 1 else f"{type(space).__name__} of {', '.join(found)}"
    yield check_passed("observations", " ".join(words.split()))
    yield from _images(found)
    yield _goals(space)


def _keys(space: gym.Space) -> Iterator[str]:
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield str(key)
            yield from _keys(inner)
    elif isinstance(space, spaces.Tuple):
        for inner in space.spaces:
            yield from _keys(inner)


def _absent(name: str, attribute: str, value: Any, line: str) -> CheckResult:
    return check_failed(
        name,
        f"env.{attribute} is {value!r}",
        "nothing can be recorded or learned without knowing what comes and goes",
        f"in __init__: self.{attribute} = {line}",
    )


def _images(found: dict[str, Any]) -> Iterator[CheckResult]:
    """Images come as uint8, height x width x channels."""
    images = [path for path, leaf in found.items() if is_image(leaf)]
    faults = [fault for path, leaf in found.items() for fault in _image_fault(path, leaf)]
    yield from faults
    if images and not faults:
        yield check_passed(
            "images", f"{_named(images[0])} is uint8 {found[images[0]].shape}, height x width x channels"
        )
    elif not faults:
        yield check_info("images", "the observation holds no images")


def _named(path: str) -> str:
    return f"observation[{path!r}]" if path else "the observation"


def _image_fault(path: str, leaf: gym.Space) -> Iterator[CheckResult]:
    if not isinstance(leaf, spaces.Box) or is_image(leaf):
        return
    shape, who = leaf.shape, _named(path)
    given = f"{who} is {leaf.dtype} of shape {shape}"
    reason = (
        "an image is recognised as uint8, height x width x channels; as anything else it is a long vector"
    )
    if len(shape) == 3 and leaf.dtype == np.uint8 and shape[0] <= 12:
        turn = "np.ascontiguousarray(image.transpose(1, 2, 0))"
        yield check_failed(
            "images", f"{given}: channels come first", reason, f"put them last: {turn}, also in the space"
        )
    elif len(shape) == 2 and leaf.dtype == np.uint8 and min(shape) >= 16:
        yield check_failed(
            "images", f"{given}: no channels", reason, "give it one: image[..., None], also in the space"
        )
    elif len(shape) == 3 and np.issubdtype(leaf.dtype, np.floating) and min(shape[:2]) >= 16:
        yield check_failed(
            "images",
            f"{given}: an image as float numbers",
            reason,
            "(image * 255).astype(np.uint8), and spaces.Box(0, 255, shape, np.uint8)",
        )
    elif np.prod(shape, dtype=int) > _LARGE:
        yield check_info(
            "images",
            f"{given}: {np.prod(shape, dtype=int):,} numbers",
            "so long a vector is slow to learn from",
        )


def _goals(space: gym.Space) -> CheckResult:
    if is_goal_space(space):
        return check_passed("goals", "the observation holds observation, achieved_goal and desired_goal")
    return check_info(
        "goals",
        "the observation holds no desired_goal",
        "the report has no part on reaching goals",
        "if the task has goals: a Dict of observation, achieved_goal and desired_goal, and compute_reward",
    )
