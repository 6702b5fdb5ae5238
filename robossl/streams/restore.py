"""Restore envs to recorded rows: the same actions then give the same future."""

from __future__ import annotations

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import ArrayLike

from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation, PhysicsStateEnv
from robossl.core.spaces import is_goal_space
from robossl.streams.env_metadata import env_id, env_metadata, physics_env
from robossl.streams.storage.store import Store

_PHYSICS, _GOAL = "physics", "observation.desired_goal"


def restore_env(
    stream: Store, envs: VectorEnv, lane: ArrayLike, position: ArrayLike, env_ids: ArrayLike | None
) -> Observation:
    """Set sub-environments of `envs` to recorded rows; see `Stream.restore`."""
    inner = _physics_env(stream, envs)
    lane, position = np.broadcast_arrays(np.atleast_1d(lane), np.atleast_1d(position))
    targets = _target_env_ids(envs.num_envs, len(lane), env_ids)
    goals = _GOAL in stream.schema.names and is_goal_space(envs.single_observation_space)
    rows = stream.gather(lane, position, [_PHYSICS, _GOAL] if goals else [_PHYSICS])
    unknown = np.flatnonzero(~np.isfinite(rows[_PHYSICS]).all(axis=1))
    if len(unknown):
        where = f"row {position[unknown[0]]} of lane {lane[unknown[0]]}"
        raise UsageError(f"{where} has no physics: its sub-environment was reset within the step before it")
    expanded = {n: np.broadcast_to(v, (len(targets), *v.shape[1:])) for n, v in rows.items()}
    return inner.set_physics_state(expanded[_PHYSICS], targets, expanded.get(_GOAL))


def _physics_env(stream: Store, envs: VectorEnv) -> PhysicsStateEnv:
    """Return the unwrapped envs; raise UsageError if they cannot be set to rows of the stream."""
    if _PHYSICS not in stream.schema.names:
        raise UsageError(f"{stream.path} records no physics; available: {', '.join(stream.schema.names)}")
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
            raise UsageError(
                f"{source} has randomization, whose parameters are not recorded; use envs without it"
            )
    return inner


def _target_env_ids(num_envs: int, rows: int, env_ids: ArrayLike | None) -> np.ndarray:
    """Return the sub-environments (m,) that `rows` rows are set in."""
    targets = np.arange(num_envs if rows == 1 else rows) if env_ids is None else np.atleast_1d(env_ids)
    if rows not in (1, len(targets)) or len(targets) > num_envs:
        raise UsageError(
            f"expected 1 row or one for each of {len(targets)} sub-environments (of {num_envs}), got {rows} rows"
        )
    return targets
