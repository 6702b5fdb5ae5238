"""Convert the results of vector env steps into fields of a stream."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box

from robossl.core import spaces
from robossl.core.interfaces import UNUSABLE, FinalStateEnv, PhysicsStateEnv
from robossl.rollout import final_observation
from robossl.streams.schema import Schema, observation_name

_LARGEST_WHOLE = 2.0**24  # up to which float32 holds every whole number
_FEW = 256  # values for which BLAS uses no threads
_SMALLEST = 2.0**-148  # from which on a number does not become 0

FieldArrays = dict[str, np.ndarray]  # by field name, (n, ...)


class StepConverter:
    """Convert results of `count` sub-environments into arrays by field name. Arrays are copied: envs reuse theirs."""

    def __init__(self, schema: Schema, space: Space, physics: PhysicsStateEnv | None, count: int) -> None:
        """Create a converter.

        Args:
            schema: Fields to return.
            space: Observation space of one sub-environment.
            physics: Source of state and physics fields; None if the schema has none.
            count: Number of sub-environments.
        """
        self._schema, self._space, self._physics, self._count = schema, space, physics, count
        self._infos = [f.name for f in schema.fields if f.role == "info"]
        self._state_fields = [f.name for f in schema.fields if f.role in ("state", "physics")]
        self._fields = [f for f in schema.fields if f.role in ("observation", "state", "physics", "info")]
        self._arrays = [(f.name, np.dtype(f.dtype), (count, *f.shape)) for f in self._fields]
        self._is_single = isinstance(space, Box) and len(self._fields) == 1  # only an array of observations

    def convert(self, observation: Any, infos: Mapping[str, Any]) -> FieldArrays:
        """Return observations, state, physics and infos (n, ...) by field name."""
        if self._is_single:
            [(name, dtype, shape)] = self._arrays
            return {name: np.array(observation, dtype).reshape(shape)}
        parts = spaces.flatten_by_path(self._space, observation)
        values = {observation_name(path): value for path, value in parts.items()}
        if self._physics is not None and self._state_fields:
            values |= {f"state.{name}": value for name, value in self._physics.privileged_state().items()}
            values["physics"] = self._physics.get_physics_state()
        values |= self._info_arrays(infos)
        return {name: np.array(values[name], dtype).reshape(shape) for name, dtype, shape in self._arrays}

    def convert_final(self, lanes: np.ndarray, current: FieldArrays, infos: Mapping[str, Any]) -> FieldArrays:
        """Return `current` with the final observations of `lanes` (k,), which were reset within the step.

        State and physics of these rows come from a FinalStateEnv; from other envs they are NaN.
        """
        if len(lanes) == 0:
            return current
        final = {name: value.copy() for name, value in current.items()}
        for name, value in self._final_states().items():
            final[name][lanes] = value[lanes]
        for name, values in self._info_arrays(infos.get("final_info", {})).items():
            final[name][lanes] = values[lanes]
        for lane in lanes.tolist():
            value = final_observation(infos, lane)
            for path, leaf in spaces.flatten_by_path(self._space, value).items():
                final[observation_name(path)][lane] = leaf
        return final

    def _final_states(self) -> FieldArrays:
        """Return state and physics (n, k) by field name from before the reset; NaN if unknown."""
        if self._state_fields and isinstance(self._physics, FinalStateEnv):
            state, physics = self._physics.final_state()
            final_values = {"physics": physics} | {f"state.{name}": value for name, value in state.items()}
            return {name: final_values[name] for name in self._state_fields}
        shapes = {f.name: f.shape for f in self._fields if f.name in self._state_fields}
        return {name: np.full((self._count, *shape), np.nan) for name, shape in shapes.items()}

    def _info_arrays(self, infos: Mapping[str, Any]) -> FieldArrays:
        """Return infos (n,) float32 by field name; NaN where the env has none."""
        arrays = {}
        for name in self._infos:
            arrays[name] = np.full(self._count, np.nan, np.float32)
            values, mask = _find_info(infos, name.removeprefix("info."), np.ones(self._count, bool))
            if values is not None:
                arrays[name][mask] = _as_numbers(values)[mask]
        return arrays


def _find_info(infos: Mapping[str, Any], key: str, mask: np.ndarray) -> tuple[Any, np.ndarray]:
    """Return the values of an info (n,) and where it is set (n,) bool; a dotted key is an entry of a nested info."""
    if key in infos:
        return infos[key], mask & np.asarray(infos.get(f"_{key}", True), bool)
    first, dot, rest = key.partition(".")
    inner = infos.get(first)
    if not dot or not isinstance(inner, Mapping):
        return None, mask
    return _find_info(inner, rest, mask & np.asarray(infos.get(f"_{first}", True), bool))


def _as_numbers(values: Any) -> np.ndarray:
    """Return values (n,) as float32; NaN where a value is no number."""
    array = np.asarray(values)
    if array.ndim == 1 and array.dtype.kind in "fiub":
        return array.astype(np.float32)
    numbers = np.full(len(array), np.nan, np.float32)
    for lane, value in enumerate(array):
        if isinstance(value, (bool, int, float, np.number, np.bool_)):
            numbers[lane] = value
    return numbers


def non_finite_masks(current: FieldArrays, reward: np.ndarray | None = None) -> FieldArrays:
    """Return the lanes (n,) bool with a non-finite observation or reward, by field that has one."""
    checked = {
        n: v
        for n, v in current.items()
        if n.startswith("observation") and v.dtype.kind == "f" and not _surely_finite(v)
    }
    if reward is not None and not _surely_finite(reward):
        checked["reward"] = reward
    finite: FieldArrays = {name: np.asarray(np.isfinite(values)) for name, values in checked.items()}
    return {
        n: np.logical_not(f.reshape(len(f), -1).all(axis=1))
        for n, f in finite.items()
        if np.count_nonzero(f) < f.size  # much faster than `all` for small arrays
    }


def _surely_finite(values: np.ndarray) -> bool:
    """Return whether few values have a finite sum of squares, which takes half of the time of `isfinite`."""
    return values.size <= _FEW and math.isfinite(np.vdot(values, values))


def lost_by_rounding(reward: np.ndarray) -> tuple[float, float] | None:
    """Return a reward of (n,) that float32 cannot hold, and what it becomes; None if there is none.

    These are whole numbers above 2^24, and numbers that become 0.
    """
    if np.vdot(reward, reward) < _LARGEST_WHOLE**2:
        tiny = np.abs(reward) <= _SMALLEST
        if np.count_nonzero(tiny) == 0 or np.count_nonzero(reward[tiny]) == 0:
            return None
    with np.errstate(over="ignore"):
        rounded = reward.astype(np.float32).astype(np.float64)
    changed = (rounded != reward) & ((rounded == 0) | (reward == np.rint(reward))) & np.isfinite(rounded)
    if not changed.any():
        return None
    index = int(np.flatnonzero(changed)[0])
    return float(reward[index]), float(rounded[index])


def changed_masks(one: FieldArrays, other: FieldArrays) -> list[np.ndarray]:
    """Return for each observation field the lanes (n,) bool in which two observations differ."""
    names = [name for name in one if name.startswith("observation")]
    same = (
        (one[name] == other[name]) | ((one[name] != one[name]) & (other[name] != other[name]))
        for name in names
    )
    return [~equal.reshape(len(equal), -1).all(axis=1) for equal in same]


def replaced_observations(
    space: Space, observation: Any, parts: Mapping[str, np.ndarray], lanes: np.ndarray
) -> Any:
    """Return an observation (n, ...) whose `lanes` (n,) bool are those of `parts`, arrays (n, ...) by path."""
    values = {path: np.array(value) for path, value in spaces.flatten_by_path(space, observation).items()}
    for path, value in values.items():
        value[lanes] = parts[path][lanes].reshape(value[lanes].shape)
    return spaces.unflatten_by_path(space, values)


def with_final_observations(
    space: Space, infos: Mapping[str, Any], parts: Mapping[str, np.ndarray], lanes: np.ndarray
) -> dict[str, Any]:
    """Return infos of a SAME_STEP env with other last observations.

    Args:
        space: Observation space of one sub-environment.
        infos: Of the step.
        parts: Observations (n, ...) by path.
        lanes: (n,) bool, the sub-environments whose last observation is taken from `parts`.
    """
    known = np.full(len(lanes), "final_obs" in infos) & infos.get("_final_obs", True) & ~lanes
    final = np.full(len(lanes), None, object)
    for lane in np.flatnonzero(known).tolist():
        final[lane] = final_observation(infos, lane)
    for lane in np.flatnonzero(lanes).tolist():
        final[lane] = spaces.unflatten_by_path(
            space, {path: np.array(value[lane]) for path, value in parts.items()}
        )
    return {**infos, "final_obs": final, "_final_obs": known | lanes}


def any_mask(arrays: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Return the lanes (n,) bool that are in any of the masks."""
    return np.logical_or.reduce(arrays) if arrays else np.zeros(count, bool)


def unusable_mask(infos: Mapping[str, Any], same_step: bool, count: int) -> np.ndarray:
    """Return the lanes (n,) bool whose last step returned an unusable number, as their infos report."""
    found = infos.get("final_info", {}) if same_step else infos
    return np.array(found[f"_{UNUSABLE}"], bool) if UNUSABLE in found else np.zeros(count, bool)


def unusable_text(infos: Mapping[str, Any], lane: int) -> str:
    """Return which number of the last step of a lane was unusable."""
    found = infos if UNUSABLE in infos else infos.get("final_info", {})
    return str(found[UNUSABLE][lane])


def physics_errors(infos: Mapping[str, Any], same_step: bool) -> int:
    """Return in how many lanes the physics diverged in the last step, as the infos report.

    Of a third-party env, `physics_error` may be a number, which is something else.
    """
    errors = (infos.get("final_info", {}) if same_step else infos).get("physics_error")
    return int(np.count_nonzero(errors)) if isinstance(errors, np.ndarray) and errors.dtype == np.bool_ else 0
