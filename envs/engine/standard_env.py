"""A third-party env as agents and streams expect it: its actions, observations, success, and unusable numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import UNUSABLE
from robossl.core.spaces import flatten_by_path, format_space, leaves

from .action_conversion import convert_actions

LARGEST = 1e18  # of an observation: the square of a larger number is not finite in float32
_LARGEST_REWARD = float(np.finfo(np.float32).max)
_RESETS = 10  # tries to get a usable first observation
# keys of the infos of vector envs
_RESERVED = {"final_obs", "_final_obs", "final_info", "_final_info", UNUSABLE, f"_{UNUSABLE}"}
_SUCCESS = ("is_success", "success")  # keys of infos, the first one that is there counts


class StandardEnv(gymnasium.Wrapper):
    """One env with a Box or Discrete action space and observations that can be recorded.

    * Other actions are converted (`convert_actions`).
    * Parts of a Dict or Tuple observation that have no fixed shape, such as Text, are left out, and all but `observe`.
    * `info["is_success"]` is set from the key `success`, or from `info["success"]`.
    * A number that is not finite, or too large for float32, ends the episode: the step is truncated, its observation is
      the one before, its reward 0, and `info["robossl_unusable"]` names the number.

    Args:
        env: The env.
        observe: Parts of the observation that are kept; empty: all that can be recorded.
        success: Key of the info that reports that the task is solved.

    Raises:
        UsageError: If nothing of the observation can be recorded, or no agent can choose the actions.
    """

    def __init__(self, env: gymnasium.Env, observe: Sequence[str] = (), success: str | None = None) -> None:
        super().__init__(env)
        actions = convert_actions(env.action_space)
        self.action_space, self._to_env = actions.space, actions.to_env
        self.observation_space, self.left_out = select_parts(env.observation_space, observe)
        self._selects = self.observation_space is not env.observation_space
        self._success = (success,) if success else _SUCCESS
        self._floats = [p for p, s in leaves(self.observation_space).items() if s.dtype.kind == "f"]  # type: ignore[union-attr]
        self._last: dict[str, np.ndarray] = {}  # float parts of the last usable observation
        self.checks_numbers = True  # False: the caller does it for many envs at once

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Reset the env, again if its observation has unusable numbers."""
        fault = ""
        for _ in range(_RESETS):
            result = self.env.reset(seed=seed, options=options)
            if not (isinstance(result, tuple) and len(result) == 2):
                raise OperationError(f"reset returned {_count(result)}, expected 2: observation, info")
            observation = self._select(result[0])
            fault = self._observation_fault(observation, "reset")
            if not fault:
                return observation, self._with_success(_as_info(result[1]))
            seed = None
        raise OperationError(f"{_RESETS} resets in a row returned unusable numbers: {fault}")

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance the env by one step."""
        result = self._step(self._to_env(action))
        observation, reward, terminated, truncated, info = result
        if self._selects:
            observation = self._select(observation)
        value = reward if type(reward) is float else _number(reward)
        if type(terminated) is not bool or type(truncated) is not bool:
            terminated, truncated = _as_flag("terminated", terminated), _as_flag("truncated", truncated)
        info = self._with_success(_as_info(info))
        if self.checks_numbers and (fault := self.fault(observation, value)):
            return self._replace_unusable(observation), 0.0, False, True, {**info, UNUSABLE: fault}
        return observation, value, terminated, truncated, info

    def fault(self, observation: Any, reward: float) -> str:
        """Return which number of a step is unusable; "" if none is."""
        return self._observation_fault(observation) or _reward_fault(reward)

    def _step(self, action: Any) -> Any:
        try:
            result = self.env.step(action)
        except ValueError as error:
            if "values to unpack" not in str(error):
                raise
            result = None  # a wrapper of Gymnasium could not take the result apart
        if not (isinstance(result, tuple) and len(result) == 5):
            got = "another number of values" if result is None else _count(result)
            raise OperationError(
                f"step returned {got}, expected 5: observation, reward, terminated, truncated, info"
            )
        return result

    def selected(self, observation: Any) -> Any:
        """Return the parts of an observation of the env that are kept."""
        return self._select(observation)

    def _select(self, observation: Any) -> Any:
        return _selected(self.observation_space, observation) if self._selects else observation

    def _with_success(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return the info with `is_success`, if the env reports success."""
        for key in self._success:
            if key in info:
                return info if key == "is_success" else {**info, "is_success": bool(np.any(info[key]))}
        return info

    def _observation_fault(self, observation: Any, call: str = "step") -> str:
        """Return which number of an observation of `call` is unusable; "" if all are finite and at most `LARGEST`."""
        if not self._floats:
            return ""
        try:
            parts = (
                {"": np.asarray(observation)}
                if self._floats == [""]
                else flatten_by_path(self.observation_space, observation)
            )
            for path in self._floats:
                array = parts[path]
                # the maximum of an array with NaN is NaN
                usable = array.size == 0 or float(np.abs(array).max()) <= LARGEST
                if not usable and (fault := _first_fault(path, array)):
                    return fault
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise OperationError(
                f"{call} returned {mismatch(self.observation_space, observation)}"
            ) from error
        if self.checks_numbers:
            for path in self._floats:
                self._last[path] = np.array(parts[path])
        return ""

    def _replace_unusable(self, observation: Any, space: spaces.Space | None = None, prefix: str = "") -> Any:
        """Return an observation with the float parts of the last usable one."""
        space = self.observation_space if space is None else space
        if isinstance(space, spaces.Dict):
            return {
                k: self._replace_unusable(observation[k], s, f"{prefix}{k}.") for k, s in space.spaces.items()
            }
        if isinstance(space, spaces.Tuple):
            children = enumerate(space.spaces)
            return tuple(self._replace_unusable(observation[i], s, f"{prefix}{i}.") for i, s in children)
        return self._last.get(prefix[:-1], observation)


def step_fault(space: spaces.Space, observation: Any, reward: Any) -> str:
    """Return which number of a step is unusable; "" if none is. `space` has only parts that can be recorded."""
    for path, array in flatten_by_path(space, _selected(space, observation)).items():
        if array.dtype.kind == "f" and (fault := _first_fault(path, array)):
            return fault
    return "" if reward is None else _reward_fault(_number(reward))


def usable(observation: Any, rewards: np.ndarray, space: spaces.Space) -> bool:
    """Return whether all numbers of a batch of observations (n, ...) and rewards (n,) are usable."""
    parts = {"": observation} if isinstance(space, spaces.Box) else flatten_by_path(space, observation)
    floats = (array for array in parts.values() if array.dtype.kind == "f" and array.size)
    return _within(rewards, _LARGEST_REWARD) and all(_within(array, LARGEST) for array in floats)


def _within(array: np.ndarray, limit: float) -> bool:
    """Return whether all numbers are finite and at most `limit`."""
    # of a small array the sum of squares takes a fifth of the time of the maximum; it may overflow or be nan. As Python
    # numbers: in float16 and float32 the limit itself may be infinite
    return float(np.vdot(array, array)) <= limit * limit or float(np.abs(array).max()) <= limit


def select_parts(space: spaces.Space, observe: Sequence[str] = ()) -> tuple[spaces.Space, list[str]]:
    """Return the space of the parts that are kept, and the names of those that cannot be recorded.

    Raises:
        UsageError: If nothing is left, or a name of `observe` is no part.
    """
    names, unreadable = _leaf_names(space), _unreadable(space)
    for name in observe:
        if not any(_is_within(leaf, name) for leaf in names):
            raise UsageError(f"no part {name!r} in the observation; available: {', '.join(names) or 'none'}")
        if bad := [leaf for leaf in unreadable if _is_within(leaf, name)]:
            raise UsageError(
                f"part {bad[0]!r} of the observation is {unreadable[bad[0]]}, which cannot be recorded"
            )
    kept = [
        leaf
        for leaf in names
        if leaf not in unreadable and (not observe or any(_is_within(leaf, o) for o in observe))
    ]
    if not kept:
        raise UsageError(
            f"the observation is {format_space(space)}, which cannot be recorded; expected Box, Discrete, MultiBinary, "
            "MultiDiscrete, or a Dict or Tuple of them; wrap the env to return numbers: --wrap module:Wrapper"
        )
    if kept == names:
        return space, []
    return _subspace(space, set(kept), ""), sorted(unreadable)


def _is_within(leaf: str, name: str) -> bool:
    return leaf == name or leaf.startswith(f"{name}.")


def _leaf_names(space: spaces.Space, prefix: str = "") -> list[str]:
    children = _children(space)
    if children is None:
        return [prefix[:-1]]
    return [name for key, inner in children for name in _leaf_names(inner, f"{prefix}{key}.")]


def _unreadable(space: spaces.Space, prefix: str = "") -> dict[str, str]:
    """Return the type of each leaf that cannot be recorded."""
    children = _children(space)
    if children is not None:
        return {n: t for key, inner in children for n, t in _unreadable(inner, f"{prefix}{key}.").items()}
    readable = isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete))
    if readable and math.prod(space.shape or ()) == 0:
        return {prefix[:-1]: f"a {type(space).__name__} without numbers"}
    return {} if readable else {prefix[:-1]: type(space).__name__}


def _children(space: spaces.Space) -> list[tuple[Any, spaces.Space]] | None:
    if isinstance(space, spaces.Dict):
        return list(space.spaces.items())
    return list(enumerate(space.spaces)) if isinstance(space, spaces.Tuple) else None


def _subspace(space: spaces.Space, kept: set[str], prefix: str) -> spaces.Space:
    """Return the space with the leaves `kept`; a Tuple becomes a Dict by position, so that names stay."""
    children = _children(space)
    if children is None:
        return space
    inner = [
        (str(key), _subspace(child, kept, f"{prefix}{key}."))
        for key, child in children
        if any(name in kept for name in _leaf_names(child, f"{prefix}{key}."))
    ]
    return spaces.Dict(inner)


def _selected(space: spaces.Space, observation: Any) -> Any:
    """Return the parts of an observation that are in a space of `_subspace`."""
    if not isinstance(space, spaces.Dict):
        return observation
    if isinstance(observation, tuple):
        return {key: _selected(inner, observation[int(key)]) for key, inner in space.spaces.items()}
    return {key: _selected(inner, observation[key]) for key, inner in space.spaces.items()}


def _number(reward: Any) -> float:
    """Return a reward as a number; arrays of one element are accepted."""
    array = np.asarray(reward)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise OperationError(
            f"the reward is {type(reward).__name__} of shape {array.shape}, expected one number; a wrapper can join "
            "them: --wrap module:Wrapper"
        )
    return float(array.reshape(-1)[0])


def _as_flag(name: str, value: Any) -> bool:
    """Return a flag of a step as a bool; arrays of one element are accepted."""
    if isinstance(value, (float, np.floating)) and math.isnan(value):
        raise OperationError(f"{name} is nan, expected True or False")
    if np.size(value) != 1:
        raise OperationError(f"{name} has {np.size(value)} values, expected one True or False")
    return bool(np.asarray(value).reshape(-1)[0])


def _as_info(info: Any) -> dict[str, Any]:
    """Return an info as a dict without the keys that vector envs use themselves; None is an empty one."""
    if not isinstance(info, dict):
        if info is not None and not isinstance(info, Mapping):
            raise OperationError(f"the info is a {type(info).__name__}, expected a dict")
        info = dict(info or {})
    if _RESERVED.isdisjoint(info):
        return info
    return {key: value for key, value in info.items() if key not in _RESERVED}


def mismatch(space: spaces.Space, observation: Any) -> str:
    """Return how an observation that does not fit its space differs from it."""
    expected, space_text = leaves(space), f"expected {format_space(space)[:300]}"
    try:
        parts = flatten_by_path(space, observation)
    except KeyError as error:
        return f"an observation without the part {error}, {space_text}"
    except (IndexError, TypeError, ValueError):
        return f"an observation of type {type(observation).__name__}, {space_text}"
    for path, array in parts.items():
        name = f"observation.{path}" if path else "observation"
        if array.dtype == object:
            return f"{name} with elements that are no numbers, {space_text}"
        if array.shape != expected[path].shape:
            return f"{name} of shape {array.shape}, expected {expected[path].shape}"
    return f"an observation that is not in its space, {space_text}"


def _reward_fault(reward: float) -> str:
    return "" if math.isfinite(reward) and abs(reward) <= _LARGEST_REWARD else f"reward is {reward:g}"


def _first_fault(path: str, array: np.ndarray) -> str:
    """Return the first unusable number of a float array, as `observation.pose[3] is nan`; "" if there is none."""
    unusable = np.argwhere(~(np.abs(array.astype(np.float64)) <= LARGEST))
    if len(unusable) == 0:
        return ""
    index = tuple(unusable[0].tolist())
    where = f"[{', '.join(map(str, index))}]" if index else ""
    return f"observation{f'.{path}' if path else ''}{where} is {float(array[index]):g}"


def _count(result: Any) -> str:
    return f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
