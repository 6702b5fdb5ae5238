"""The lanes of a vector env one by one: what they say in infos, and what they answer when asked."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, VectorEnv
from stable_baselines3.common.env_util import is_wrapped

_FINAL = ("final_obs", "final_info")  # of SAME_STEP autoreset: not what a lane says of itself


def split_infos(vector: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Gymnasium's infos, arrays with masks, as one dict for each of `count` lanes.

    A lane that `_name` masks out does not say `name`.
    """
    infos: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, values in vector.items():
        if name.startswith("_") or name in _FINAL:
            continue
        each = split_infos(values, count) if isinstance(values, dict) else values
        said = vector.get(f"_{name}")
        for lane in range(count) if said is None else np.flatnonzero(said):
            value = each[lane]
            infos[lane][name] = value.item() if isinstance(value, np.generic) else value
    return infos


class SubEnvAccess:
    """Asks lanes where they are objects of their own, here or in other processes; else the one env they share."""

    def __init__(self, envs: VectorEnv) -> None:
        self._envs = envs
        self._here: list[gym.Env] | None = getattr(envs.unwrapped, "envs", None)
        self._away = envs.unwrapped if isinstance(envs.unwrapped, AsyncVectorEnv) else None

    def get(self, name: str, lanes: list[int]) -> list[Any]:
        """An attribute of each of `lanes`."""
        if self._here is not None:
            return [self._here[lane].get_wrapper_attr(name) for lane in lanes]
        if self._away is not None:
            values = self._away.get_attr(name)
            return [values[lane] for lane in lanes]
        return [getattr(self._envs, name)] * len(lanes)

    def set(self, name: str, value: Any, lanes: list[int]) -> None:
        """Set an attribute of each of `lanes`; of the vector env they all share where they are no objects."""
        if self._here is not None:
            for lane in lanes:
                self._here[lane].set_wrapper_attr(name, value)
        elif self._away is not None:
            old = self._away.get_attr(name)
            self._away.set_attr(name, [value if lane in lanes else o for lane, o in enumerate(old)])
        else:
            setattr(self._envs.unwrapped, name, value)

    def call(self, name: str, lanes: list[int], *args: Any, **kwargs: Any) -> list[Any]:
        """What a method answers in each of `lanes`.

        Lanes in other processes are all asked, and so is, once, a vector env whose lanes are no objects.
        """
        if self._here is not None:
            return [self._here[lane].get_wrapper_attr(name)(*args, **kwargs) for lane in lanes]
        if self._away is not None:
            answers = self._away.call(name, *args, **kwargs)
            return [answers[lane] for lane in lanes]
        return [getattr(self._envs, name)(*args, **kwargs)] * len(lanes)

    def wrapped(self, wrapper: type, lanes: list[int]) -> list[bool]:
        """Whether each of `lanes` is an object here that is wrapped so."""
        return [self._here is not None and is_wrapped(self._here[lane], wrapper) for lane in lanes]
