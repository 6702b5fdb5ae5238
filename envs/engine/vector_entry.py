"""Envs that only have a vector entry point: the whole batch, or one of its sub-environments as a single env."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from robossl.core.spaces import leaves


def make_vector_entry(
    spec: EnvSpec, num_envs: int, mode: AutoresetMode, arguments: dict[str, Any]
) -> VectorEnv | None:
    """Make the batch of a spec with a vector entry point only; None if it is not as robossl needs it.

    It must have the requested autoreset mode, and actions and observations that can be recorded.
    """
    envs = _make(spec, num_envs, arguments)
    supported = isinstance(envs.single_action_space, (gymnasium.spaces.Box, gymnasium.spaces.Discrete))
    try:
        leaves(envs.single_observation_space)
    except ValueError:
        supported = False
    if supported and envs.metadata.get("autoreset_mode") == mode:
        return envs
    envs.close()
    return None


def _make(spec: EnvSpec, num_envs: int, arguments: dict[str, Any]) -> VectorEnv:
    return gymnasium.make_vec(
        copy.copy(spec), num_envs=num_envs, vectorization_mode="vector_entry_point", **arguments
    )


class SingleOfVector(gymnasium.Env):
    """A batch of one sub-environment as a single env."""

    def __init__(self, spec: EnvSpec, arguments: dict[str, Any]) -> None:
        """Make the batch of `spec`, with these arguments."""
        self._envs = _make(spec, 1, arguments)
        self.spec, self.metadata = spec, self._envs.metadata
        self.render_mode = self._envs.render_mode
        self.observation_space = self._envs.single_observation_space
        self.action_space = self._envs.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Reset the batch."""
        super().reset(seed=seed)
        observation, infos = self._envs.reset(seed=seed, options=options)
        return self._first(observation), _first_info(infos)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance the batch by one step."""
        out: Any = create_empty_array(self.action_space, 1)
        batch = concatenate(self.action_space, [action], out)
        observation, reward, terminated, truncated, infos = self._envs.step(batch)
        if "final_obs" in infos and (terminated[0] or truncated[0]):
            last = infos["final_obs"]
            observation = (
                last[0] if isinstance(last, np.ndarray) and last.dtype == object else self._first(last)
            )
            infos = infos.get("final_info", {})
        else:
            observation = self._first(observation)
        return observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first_info(infos)

    def _first(self, observation: Any) -> Any:
        return next(iter(iterate(self._envs.observation_space, observation)))

    def render(self) -> Any:
        """Return the frame of the sub-environment."""
        frames = self._envs.render()
        return None if frames is None or len(frames) == 0 else frames[0]

    def close(self) -> None:
        """Close the batch."""
        self._envs.close()


def _first_info(infos: dict[str, Any]) -> dict[str, Any]:
    """Return the info of sub-environment 0 from the infos of a batch."""
    info = {}
    for key, values in infos.items():
        if key.startswith("_") or not np.any(np.asarray(infos.get(f"_{key}", True)).reshape(-1)[:1]):
            continue
        info[key] = _first_info(values) if isinstance(values, dict) else values[0]
    return info
