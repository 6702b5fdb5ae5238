"""Trial of one third-party env: which of its infos can be recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from robossl.core.errors import UsageError

_MAX_STEPS, _MAX_TIME = 200, 0.5  # of the trial [steps], [s]; the first end of an episode ends it too
_ALWAYS = ("is_success", "cost")  # recorded where the env has them
_COSTS = "cost_"  # first letters of further costs


def recordable_infos(env: gymnasium.Env, requested: Sequence[str]) -> list[str]:
    """Return the keys of the infos to record: success, costs, and the requested ones.

    Args:
        env: One env; it is reset and stepped with random actions.
        requested: Keys; a dotted one is an entry of a nested info.

    Raises:
        UsageError: If a requested key is no number.
    """
    found: dict[str, Any] = {}
    env.action_space.seed(0)
    _, info = env.reset(seed=0)
    found |= flat_info(info)
    end = time.monotonic() + _MAX_TIME
    for _ in range(_MAX_STEPS):
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        found |= flat_info(info)
        if terminated or truncated or time.monotonic() > end:
            break
    numbers = [key for key, value in found.items() if is_number(value)]
    for key in requested:
        if key in found and key not in numbers:
            raise UsageError(
                f"info {key!r} is a {type(found[key]).__name__}; expected a number; available: "
                f"{', '.join(numbers) or 'none'}"
            )
        if key not in found and any(name.startswith(f"{key}.") for name in found):
            raise UsageError(f"info {key!r} is a dict; expected one of its numbers: {', '.join(numbers)}")
    always = [key for key in numbers if key in _ALWAYS or key.startswith(_COSTS)]
    return list(dict.fromkeys([*always, *requested]))


def flat_info(info: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return an info with dotted keys for nested ones."""
    flat: dict[str, Any] = {}
    for key, value in info.items():
        flat |= flat_info(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def is_number(value: Any) -> bool:
    """Return whether a value is one number or bool."""
    return isinstance(value, (bool, int, float, np.number, np.bool_)) and not isinstance(
        value, np.complexfloating
    )
