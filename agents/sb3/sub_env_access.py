"""Access to the sub-environments of a vector env: their infos, attributes and methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, VectorEnv
from stable_baselines3.common.env_util import is_wrapped

_FINAL = ("final_obs", "final_info")  # of SAME_STEP autoreset: not infos of the sub-environment itself


def split_infos(infos: Mapping[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Return Gymnasium's vector infos (arrays with masks) as one dict for each sub-environment.

    A sub-environment that the mask `_name` excludes has no `name`.
    """
    separate: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for name, values in infos.items():
        if name.startswith("_") or name in _FINAL:
            continue
        each = split_infos(values, num_envs) if isinstance(values, dict) else values
        mask = infos.get(f"_{name}")
        for env_index in range(num_envs) if mask is None else np.flatnonzero(mask):
            value = each[env_index]
            separate[env_index][name] = value.item() if isinstance(value, np.generic) else value
    return separate


class SubEnvAccess:
    """Attributes and methods of sub-environments, in this process, in other processes, or in one native batch.

    A native batch has no env object for a sub-environment; its vector env is used instead.
    """

    def __init__(self, envs: VectorEnv) -> None:
        self._envs = envs
        self._local: list[gym.Env] | None = getattr(envs.unwrapped, "envs", None)
        self._remote = envs.unwrapped if isinstance(envs.unwrapped, AsyncVectorEnv) else None

    def get(self, name: str, env_ids: list[int]) -> list[Any]:
        """Return an attribute of each of `env_ids`."""
        if self._local is not None:
            return [self._local[env_index].get_wrapper_attr(name) for env_index in env_ids]
        if self._remote is not None:
            values = self._remote.get_attr(name)
            return [values[env_index] for env_index in env_ids]
        return [getattr(self._envs, name)] * len(env_ids)

    def set(self, name: str, value: Any, env_ids: list[int]) -> None:
        """Set an attribute of each of `env_ids`; of a native batch, of the vector env."""
        if self._local is not None:
            for env_index in env_ids:
                self._local[env_index].set_wrapper_attr(name, value)
        elif self._remote is not None:
            old_values = self._remote.get_attr(name)
            self._remote.set_attr(name, [value if i in env_ids else old for i, old in enumerate(old_values)])
        else:
            setattr(self._envs.unwrapped, name, value)

    def call(self, name: str, env_ids: list[int], *args: Any, **kwargs: Any) -> list[Any]:
        """Return the results of a method in each of `env_ids`.

        In other processes the method is called in all sub-environments; of a native batch, once, on the vector env.
        """
        if self._local is not None:
            return [self._local[env_index].get_wrapper_attr(name)(*args, **kwargs) for env_index in env_ids]
        if self._remote is not None:
            results = self._remote.call(name, *args, **kwargs)
            return [results[env_index] for env_index in env_ids]
        return [getattr(self._envs, name)(*args, **kwargs)] * len(env_ids)

    def is_wrapped(self, wrapper: type, env_ids: list[int]) -> list[bool]:
        """Return whether each of `env_ids` is an object in this process that has this wrapper."""
        return [
            self._local is not None and is_wrapped(self._local[env_index], wrapper) for env_index in env_ids
        ]
