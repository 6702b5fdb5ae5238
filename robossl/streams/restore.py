"""Back into a recorded row: the same actions give the same future, other actions another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation, PhysicsStateEnv
from robossl.core.spaces import is_goal_space
from robossl.streams.env_metadata import env_id, env_metadata, physical

if TYPE_CHECKING:
    from robossl.streams.stream import Stream

_PHYSICS, _GOAL = "physics", "observation.desired_goal"


def restore_env(stream: Stream, envs: VectorEnv, lane: Any, position: Any, ids: Any) -> Observation:
    """What `Stream.restore` does."""
    inner = _fitting(stream, envs)
    lane, position = np.broadcast_arrays(np.atleast_1d(lane), np.atleast_1d(position))
    lanes = _lanes(envs.num_envs, len(lane), ids)
    goals = _GOAL in stream.schema.names and is_goal_space(envs.single_observation_space)
    rows = stream.take(lane, position, [_PHYSICS, _GOAL] if goals else [_PHYSICS])
    blank = np.flatnonzero(~np.isfinite(rows[_PHYSICS]).all(axis=1))
    if len(blank):
        where = f"row {position[blank[0]]} of lane {lane[blank[0]]}"
        raise UsageError(f"{where} has no physics: its lane was reset within the step that led there")
    spread = {n: np.broadcast_to(v, (len(lanes), *v.shape[1:])) for n, v in rows.items()}
    return inner.set_physics_state(spread[_PHYSICS], lanes, spread.get(_GOAL))


def _fitting(stream: Stream, envs: VectorEnv) -> PhysicsStateEnv:
    """The innermost envs; `RequestError` where no row of the stream can be entered with them."""
    if _PHYSICS not in stream.schema.names:
        raise UsageError(f"{stream.path} records no physics; there are: {', '.join(stream.schema.names)}")
    inner = physical(envs)
    if inner is None:
        raise UsageError(f"{env_id(envs)} cannot be put into a recorded row: it does not know its physics")
    expected, given = stream.schema[_PHYSICS].shape[0], inner.get_physics_state().shape[1]
    if expected != given:
        raise UsageError(
            f"{env_id(envs)} has {given} numbers of physics; "
            f"{stream.path} records {expected}, of {stream.header.get('env')}"
        )
    for facts, whose in ((stream.header, str(stream.path)), (env_metadata(envs), env_id(envs))):
        if (facts.get("env_kwargs") or {}).get("randomization"):
            raise UsageError(
                f"{whose} has randomization; a row tells where a lane was, not in which of the worlds"
            )
    return inner


def _lanes(num_envs: int, rows: int, ids: Any) -> np.ndarray:
    """The lanes (m,) of the envs that so many rows go into."""
    lanes = np.arange(num_envs if rows == 1 else rows) if ids is None else np.atleast_1d(ids)
    if rows not in (1, len(lanes)) or len(lanes) > num_envs:
        raise UsageError(f"{rows} rows cannot go into {len(lanes)} lanes of {num_envs}")
    return lanes
