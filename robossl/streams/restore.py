"""Restore envs to recorded rows: the same actions then give the same future."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation, PhysicsStateEnv
from robossl.core.spaces import is_goal_space
from robossl.streams.env_metadata import env_id, env_metadata, physics_env

if TYPE_CHECKING:
    from robossl.streams.stream import Stream

_PHYSICS, _GOAL = "physics", "observation.desired_goal"


def restore_env(stream: Stream, envs: VectorEnv, lane: Any, position: Any, env_ids: Any) -> Observation:
    """What `Stream.restore` does."""
    inner = _physics_env(stream, envs)
    lane, position = np.broadcast_arrays(np.atleast_1d(lane), np.atleast_1d(position))
    lanes = _target_env_ids(envs.num_envs, len(lane), env_ids)
    goals = _GOAL in stream.schema.names and is_goal_space(envs.single_observation_space)
    rows = stream.gather(lane, position, [_PHYSICS, _GOAL] if goals else [_PHYSICS])
    unknown = np.flatnonzero(~np.isfinite(rows[_PHYSICS]).all(axis=1))
    if len(unknown):
        where = f"row {position[unknown[0]]} of lane {lane[unknown[0]]}"
        raise UsageError(f"{where} has no physics: its sub-environment was reset within the step before it")
    expanded = {n: np.broadcast_to(v, (len(lanes), *v.shape[1:])) for n, v in rows.items()}
    return inner.set_physics_state(expanded[_PHYSICS], lanes, expanded.get(_GOAL))


def _physics_env(stream: Stream, envs: VectorEnv) -> PhysicsStateEnv:
    """The innermost envs; UsageError where no row of the stream can be entered with them."""
    if _PHYSICS not in stream.schema.names:
        raise UsageError(f"{stream.path} records no physics; available:  {', '.join(stream.schema.names)}")
    inner = physics_env(envs)
    if inner is None:
        raise UsageError(f"{env_id(envs)} cannot be set to a recorded row: it has no set_physics_state")
    expected, actual = stream.schema[_PHYSICS].shape[0], inner.get_physics_state().shape[1]
    if expected != actual:
        raise UsageError(
            f"expected a physics state of size {expected}, recorded from {stream.header.get('env')} in {stream.path}; "
            f"got {actual} from {env_id(envs)}"
        )
    for metadata, source in ((stream.header, str(stream.path)), (env_metadata(envs), env_id(envs))):
        if (metadata.get("env_kwargs") or {}).get("randomization"):
            raise UsageError(f"{source} has randomization; rows do not contain the randomized parameters")
    return inner


def _target_env_ids(num_envs: int, rows: int, env_ids: Any) -> np.ndarray:
    """The lanes (m,) of the envs that so many rows go into."""
    lanes = np.arange(num_envs if rows == 1 else rows) if env_ids is None else np.atleast_1d(env_ids)
    if rows not in (1, len(lanes)) or len(lanes) > num_envs:
        raise UsageError(
            f"expected 1 row or one for each of {len(lanes)} sub-environments (of {num_envs}), got {rows} rows"
        )
    return lanes
