"""Checks of the action space and the observation space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from robossl import registry
from robossl.core.env_ids import EnvName
from robossl.core.errors import UsageError
from robossl.core.spaces import format_space, is_goal_space, is_image, leaves
from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvUnderTest

_LARGE = 10_000  # a vector observation with more numbers is probably an image


def check_action_space(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Check that robossl supports the action space, and that it is bounded."""
    env = target.make()
    space = getattr(env.unwrapped, "action_space", None)
    if not isinstance(space, gym.Space):
        yield _missing_space("action space", "action_space", space, "spaces.Box(-1.0, 1.0, (2,), np.float32)")
        return
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        yield check_passed("action space", f"{format_space(space)}")
        yield check_passed("action bounds", f"{space.n} actions")
        return
    try:
        description = registry.describe_actions(space)
    except UsageError as error:
        yield check_failed("action space", str(error), "no agent can choose such actions", _ACTIONS_FIX)
        return
    if description:
        yield check_passed("action space", description)
        yield check_passed("action bounds", "every number and every choice has bounds")
        return
    assert isinstance(space, spaces.Box)
    if 0 in space.shape:
        yield check_failed(
            "action space",
            f"the action space is {format_space(space)}: it has no dimensions",
            "a robot without actions has nothing to learn",
            "add its actuators: spaces.Box(-1.0, 1.0, (2,), np.float32)",
        )
        return
    yield check_passed("action space", f"{format_space(space)}")
    if space.is_bounded("both") and np.all(space.high > space.low):
        yield check_passed("action bounds", "every action has a finite low and high")
        return
    yield check_failed(
        "action bounds",
        f"the action space is {format_space(space)}",
        "exploration and agents scale their actions by the bounds",
        "set finite bounds: self.action_space = spaces.Box(-limit, limit, dtype=np.float32)",
    )


_ACTIONS_FIX = "use Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of them"


def check_observation_space(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Check that robossl can record and encode the observation space; report images and goals."""
    env = target.make()
    space = getattr(env.unwrapped, "observation_space", None)
    if not isinstance(space, gym.Space):
        line = "spaces.Box(-np.inf, np.inf, (8,), np.float32)"
        yield _missing_space("observation space", "observation_space", space, line)
        return
    space = env.observation_space
    try:
        space, left_out = registry.recorded_parts(space, EnvName.parse(target.env_name).observe)
        parts = leaves(space)
    except UsageError as error:
        yield check_failed(
            "observation space",
            str(error),
            "a stream records arrays of a fixed shape",
            "return numbers instead: spaces.Box, or a spaces.Dict of them",
        )
        return
    if left_out:
        yield check_info(
            "parts left out",
            f"{', '.join(left_out)} cannot be recorded: no fixed shape",
            "the world model and the agents do not see them",
            "wrap the env so that they become numbers: --wrap module:Wrapper",
        )
    text = f"{format_space(space)}" if len(parts) == 1 else f"{type(space).__name__} of {', '.join(parts)}"
    yield check_passed("observation space", " ".join(text.split()))
    yield from _check_images(parts)
    yield _check_goals(space)


def _missing_space(name: str, attribute: str, value: Any, line: str) -> CheckResult:
    return check_failed(
        name,
        f"env.{attribute} is {value!r}",
        "recording and learning need the space",
        f"in __init__: self.{attribute} = {line}",
    )


def _check_images(parts: dict[str, Any]) -> Iterator[CheckResult]:
    """Check that images are uint8 (height, width, channels)."""
    images = [path for path, leaf in parts.items() if is_image(leaf)]
    results = [result for path, leaf in parts.items() for result in _image_problem(path, leaf)]
    yield from results
    if images and not results:
        shape = parts[images[0]].shape
        yield check_passed("images", f"{_part_name(images[0])} is uint8 {shape} (height, width, channels)")
    elif not results:
        yield check_info("images", "the observation has no images")


def _part_name(path: str) -> str:
    return f"observation[{path!r}]" if path else "the observation"


def _image_problem(path: str, leaf: gym.Space) -> Iterator[CheckResult]:
    if not isinstance(leaf, spaces.Box) or is_image(leaf):
        return
    shape = leaf.shape
    form = f"{_part_name(path)} is {leaf.dtype} of shape {shape}"
    reason = "only uint8 (height, width, channels) is an image; everything else is treated as a vector"
    if len(shape) == 3 and leaf.dtype == np.uint8 and shape[0] <= 12 and shape[0] < min(shape[1:]):
        line = "np.ascontiguousarray(image.transpose(1, 2, 0))"
        yield check_failed(
            "images", f"{form}: channels come first", reason, f"move them last: {line}, also in the space"
        )
    elif len(shape) == 2 and leaf.dtype == np.uint8 and min(shape) >= 16:
        yield check_failed(
            "images",
            f"{form}: it has no channel axis",
            reason,
            "add one: image[..., None], also in the space",
        )
    elif len(shape) == 3 and np.issubdtype(leaf.dtype, np.floating) and min(shape[:2]) >= 16:
        yield check_failed(
            "images",
            f"{form}: an image of floats",
            reason,
            "(image * 255).astype(np.uint8), and spaces.Box(0, 255, shape, np.uint8)",
        )
    elif np.prod(shape, dtype=int) > _LARGE:
        yield check_info(
            "images",
            f"{form}: {np.prod(shape, dtype=int):,} numbers",
            "learning from so long a vector is slow",
        )


def _check_goals(space: gym.Space) -> CheckResult:
    if is_goal_space(space):
        return check_passed("goals", "the observation has observation, achieved_goal and desired_goal")
    return check_info(
        "goals",
        "the observation has no desired_goal",
        "the report has no section on reaching goals",
        "if the task has goals: a Dict of observation, achieved_goal and desired_goal, and compute_reward",
    )
