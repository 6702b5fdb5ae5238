"""Gymnasium's sync and async vector envs with infos of any kind, and with less overhead in one process."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array

from robossl.core.errors import OperationError
from robossl.core.interfaces import UNUSABLE
from robossl.core.spaces import flatten_by_path, format_space, unflatten_by_path

from .standard_env import StandardEnv, mismatch, usable

_FINAL = "final_obs"


def merge_info(infos: dict[str, Any], info: dict[str, Any], env_index: int, num_envs: int) -> None:
    """Add the info of one sub-environment to the infos of a vector env, as arrays with masks.

    The result is that of Gymnasium where that can merge the values. Numbers of different types get a common one; values
    of different kinds or shapes become an array of objects.
    """
    for key, value in info.items():
        old = infos.get(key)
        mask = infos.get(f"_{key}")
        if mask is None:
            mask = infos[f"_{key}"] = np.zeros(num_envs, bool)
        if isinstance(value, dict) and key != _FINAL and (old is None or isinstance(old, dict)):
            if old is None:
                infos[key] = old = {}
            merge_info(old, value, env_index, num_envs)
        else:
            array = infos[key] = _array_for(value, old, mask, num_envs, key)
            array[env_index] = value
        mask[env_index] = True


def _array_for(value: Any, old: Any, mask: np.ndarray, num_envs: int, key: str) -> np.ndarray:
    """Return the array that holds the old values and can hold `value` too."""
    kind = _kind(value) if key != _FINAL else None
    if old is None and kind is not None:
        return np.zeros((num_envs, *kind[1]), kind[0])
    if isinstance(old, np.ndarray) and old.dtype != object and kind is not None and kind[1] == old.shape[1:]:
        common = np.result_type(old.dtype, kind[0])
        return old if common == old.dtype else old.astype(common)
    if isinstance(old, np.ndarray) and old.dtype == object and old.shape == (num_envs,):
        return old
    objects = np.full(num_envs, None, object)
    for env_index in np.flatnonzero(mask).tolist() if old is not None else ():
        objects[env_index] = (
            {k: v[env_index] for k, v in old.items() if not k.startswith("_") and old[f"_{k}"][env_index]}
            if isinstance(old, dict)
            else old[env_index]
        )
    return objects


def _kind(value: Any) -> tuple[np.dtype, tuple[int, ...]] | None:
    """Return dtype and shape of a number or numeric array; None for any other value."""
    if type(value) in (bool, int, float) or isinstance(value, (np.number, np.bool_)):
        dtype = np.dtype(type(value))
        exact = not isinstance(value, int) or -(2**63) <= value < 2**63
        return (dtype, ()) if exact else None
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubc":
        return value.dtype, value.shape
    return None


class _MergedInfos:
    """Mixin of a vector env: infos are merged by `merge_info`."""

    num_envs: int

    def _add_info(
        self, vector_infos: dict[str, Any], env_info: dict[str, Any], env_num: int
    ) -> dict[str, Any]:
        merge_info(vector_infos, env_info, env_num, self.num_envs)
        return vector_infos


class AsyncEnvs(_MergedInfos, AsyncVectorEnv):
    """A process for each sub-environment."""


class SyncEnvs(_MergedInfos, SyncVectorEnv):
    """All sub-environments in this process; the results are those of Gymnasium's class.

    It copies each observation once, into a new array, where Gymnasium copies three times. The action space of the
    sub-environments is a Box or a Discrete.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._checks_numbers = all(isinstance(env, StandardEnv) for env in self.envs)
        for env in self.envs if self._checks_numbers else ():
            env.checks_numbers = False  # type: ignore[attr-defined]
        self._previous: Any = None  # observations (n, ...) before the next step

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all sub-environments, or those of `options["reset_mask"]`."""
        observation, infos = super().reset(seed=seed, options=options)
        self._previous = copy.deepcopy(observation)
        return observation, infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance all sub-environments by one step."""
        mode, num_envs = self.autoreset_mode, self.num_envs
        resets = self._autoreset_envs if mode is AutoresetMode.NEXT_STEP else None
        if mode is AutoresetMode.DISABLED and self._autoreset_envs.any():
            index = int(np.flatnonzero(self._autoreset_envs)[0])
            raise AssertionError(f"the episode of sub-environment {index} has ended; reset it first")
        rewards = np.zeros(num_envs)
        terminations, truncations = np.zeros(num_envs, bool), np.zeros(num_envs, bool)
        infos: dict[str, Any] = {}
        observations = self._env_obs
        for index, (env, action) in enumerate(zip(self.envs, actions)):
            if resets is not None and resets[index]:
                observations[index], info = env.reset()
            else:
                observation, rewards[index], terminated, truncated, info = env.step(action)
                terminations[index], truncations[index] = terminated, truncated
                if mode is AutoresetMode.SAME_STEP and (terminated or truncated):
                    merge_info(infos, {_FINAL: observation, "final_info": info}, index, num_envs)
                    observation, info = env.reset()
                observations[index] = observation
            if info:
                merge_info(infos, info, index, num_envs)
        batch = self._stack(observations)
        if self._checks_numbers and not usable(batch, rewards, self.single_observation_space):
            batch = self._end_unusable(batch, rewards, terminations, truncations, infos)
        self._rewards, self._terminations, self._truncations = rewards, terminations, truncations
        self._autoreset_envs = terminations | truncations
        self._previous = batch
        returned = batch.copy() if isinstance(batch, np.ndarray) else copy.deepcopy(batch)
        return returned, rewards.copy(), terminations.copy(), truncations.copy(), infos

    def _end_unusable(
        self,
        batch: Any,
        rewards: np.ndarray,
        terminations: np.ndarray,
        truncations: np.ndarray,
        infos: dict[str, Any],
    ) -> Any:
        """End the episodes of steps with unusable numbers, as `StandardEnv` does; return the observations."""
        space = self.single_observation_space
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        for index, env in enumerate(self.envs):
            ended = bool(terminations[index] or truncations[index])
            last = infos[_FINAL][index] if ended and same_step else self._env_obs[index]
            fault = env.fault(last, float(rewards[index]))  # type: ignore[attr-defined]
            if not fault:
                continue
            rewards[index], terminations[index], truncations[index] = 0.0, False, True
            if not same_step:
                merge_info(infos, {UNUSABLE: fault}, index, self.num_envs)
                batch = _replaced(space, batch, self._previous, index)
                continue
            last = _selected_env(space, self._previous, index)
            final_info = {UNUSABLE: fault}
            merge_info(infos, {_FINAL: last, "final_info": final_info}, index, self.num_envs)
            if not ended:
                self._env_obs[index], info = env.reset()
                merge_info(infos, info, index, self.num_envs)
                batch = _replaced(space, batch, self._stack(self._env_obs), index)
        return batch

    def _stack(self, observations: list[Any]) -> Any:
        """Return the observations (n, ...) as new arrays."""
        space = self.single_observation_space
        try:
            with np.errstate(
                over="ignore"
            ):  # of a float64 that its float32 space cannot hold: found afterwards
                if isinstance(space, spaces.Box):
                    if all(type(o) is np.ndarray and o.dtype == space.dtype for o in observations):
                        batch = np.array(observations)  # faster than stack
                        if batch.shape == (self.num_envs, *space.shape):
                            return batch
                    return np.stack(observations, out=np.empty((self.num_envs, *space.shape), space.dtype))
                out: Any = create_empty_array(space, self.num_envs, fn=np.zeros)
                return concatenate(space, observations, out)
        except (ValueError, TypeError, KeyError) as error:
            texts = (mismatch(space, observation) for observation in observations if observation is not None)
            text = next((t for t in texts if "not in its space" not in t), None)
            text = text or f"an observation that is not in its space {format_space(space)}"
            raise OperationError(f"step returned {text}") from error


def _replaced(space: spaces.Space, batch: Any, other: Any, index: int) -> Any:
    """Return a batch of observations with that of one sub-environment from another batch."""
    parts = {path: np.array(values) for path, values in flatten_by_path(space, batch).items()}
    for path, values in flatten_by_path(space, other).items():
        parts[path][index] = values[index]
    return unflatten_by_path(space, parts)


def _selected_env(space: spaces.Space, batch: Any, index: int) -> Any:
    """Return the observation of one sub-environment."""
    parts = {path: np.array(values[index]) for path, values in flatten_by_path(space, batch).items()}
    return unflatten_by_path(space, parts)
