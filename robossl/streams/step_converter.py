"""What an env gave at a step, as fields of a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import Space

from robossl.core import spaces
from robossl.core.interfaces import FinalStateEnv, PhysicsStateEnv
from robossl.rollout import final_observation
from robossl.streams.schema import Schema, observation_name

Batch = dict[str, np.ndarray]  # by field name, (n, ...)


class StepConverter:
    """Turns what envs of `count` lanes return into arrays by field name. Copies: envs reuse theirs."""

    def __init__(self, schema: Schema, space: Space, truth: PhysicsStateEnv | None, count: int) -> None:
        """For envs of single observation `space`, whose `truth` is recorded where the schema asks for it."""
        self._schema, self._space, self._truth, self._count = schema, space, truth, count
        self._infos = [f.name for f in schema.fields if f.role == "info"]
        self._hidden = [f.name for f in schema.fields if f.role in ("state", "physics")]
        self._fields = [f for f in schema.fields if f.role in ("observation", "state", "physics", "info")]

    def batch(self, observation: Any, infos: Mapping[str, Any]) -> Batch:
        """What the next rows begin with."""
        parts = spaces.flatten_by_path(self._space, observation)
        given = {observation_name(path): value for path, value in parts.items()}
        if self._truth is not None and self._hidden:
            given |= {f"state.{name}": value for name, value in self._truth.privileged_state().items()}
            given["physics"] = self._truth.get_physics_state()
        given |= self._scalars(infos)
        return {f.name: np.array(given[f.name], f.dtype).reshape(self._count, *f.shape) for f in self._fields}

    def final(self, lanes: np.ndarray, arrived: Batch, infos: Mapping[str, Any]) -> Batch:
        """`arrived`, with the final observations of `lanes` (k,), which were reset within the step.

        The physical truth of these rows is told by envs that recall it; else state and physics are NaN.
        """
        if len(lanes) == 0:
            return arrived
        final = {name: value.copy() for name, value in arrived.items()}
        for name, value in self._truth_of_ends().items():
            final[name][lanes] = value[lanes]
        for name, values in self._scalars(infos.get("final_info", {})).items():
            final[name][lanes] = values[lanes]
        for lane in lanes.tolist():
            value = final_observation(infos, lane)
            for path, leaf in spaces.flatten_by_path(self._space, value).items():
                final[observation_name(path)][lane] = leaf
        return final

    def _truth_of_ends(self) -> Batch:
        """State and physics (n, k) by field name as they were before the reset; NaN where nobody knows."""
        if self._hidden and isinstance(self._truth, FinalStateEnv):
            state, physics = self._truth.final_state()
            known = {"physics": physics} | {f"state.{name}": value for name, value in state.items()}
            return {name: known[name] for name in self._hidden}
        blank = {f.name: f.shape for f in self._fields if f.name in self._hidden}
        return {name: np.full((self._count, *shape), np.nan) for name, shape in blank.items()}

    def _scalars(self, infos: Mapping[str, Any]) -> Batch:
        """Infos (n,) float32 by field name; NaN where the env gave none."""
        found = {}
        for name in self._infos:
            key = name.removeprefix("info.")
            value = np.asarray(infos.get(key, np.full(self._count, np.nan)), np.float32)
            found[name] = np.where(infos.get(f"_{key}", True), value, np.float32(np.nan))
        return found


def non_finite_masks(arrived: Batch, reward: np.ndarray | None = None) -> Batch:
    """By field, the lanes (n,) bool whose observation or reward is not finite."""
    checked = {n: v for n, v in arrived.items() if n.startswith("observation") and v.dtype.kind == "f"}
    if reward is not None:
        checked["reward"] = reward
    return {n: np.any(~np.isfinite(v).reshape(len(v), -1), axis=1) for n, v in checked.items()}


def any_mask(found: Sequence[np.ndarray], count: int) -> np.ndarray:
    """The lanes (n,) bool that are in any of the masks."""
    return np.logical_or.reduce([np.zeros(count, bool), *found])
