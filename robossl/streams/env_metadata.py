"""Where rows come from: what a stream needs to know of the envs it records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import PhysicsStateEnv
from robossl.rollout import autoreset_mode
from robossl.streams.schema import Schema

if TYPE_CHECKING:
    from robossl.streams.stream import Stream


def env_id(envs: VectorEnv) -> str:
    """The id the envs were made by, or the name of their class."""
    return envs.spec.id if envs.spec is not None else type(envs.unwrapped).__name__


def env_metadata(envs: VectorEnv) -> dict[str, Any]:
    """What else the header says of the envs: keyword arguments, time limit, reset mode, and who draws.

    `backend` is the metadata "render_backend" of envs that observe pictures: two of them draw two worlds.
    """
    spec = envs.spec
    kwargs = {} if spec is None else {k: _plain(v) for k, v in (spec.kwargs or {}).items()}
    limit = None if spec is None else spec.max_episode_steps
    mode = autoreset_mode(envs, required=True).name
    backend = envs.metadata.get("render_backend")
    return {"env_kwargs": kwargs, "max_episode_steps": limit, "autoreset_mode": mode, "backend": backend}


def _plain(value: Any) -> Any:
    """A value as JSON; what JSON cannot say, as text."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return str(value)


def physical(envs: VectorEnv) -> PhysicsStateEnv | None:
    """The innermost envs where they know the physical truth."""
    inner = envs.unwrapped
    return inner if isinstance(inner, PhysicsStateEnv) else None


def schema_from_env(
    envs: VectorEnv, info: Sequence[str] = (), units: Mapping[str, str] | None = None
) -> Schema:
    """The schema of a stream of these envs: spaces, and state and physics where the envs are `Physical`."""
    truth = physical(envs)
    state = {} if truth is None else {name: array.shape[1] for name, array in truth.privileged_state().items()}
    size = None if truth is None else truth.get_physics_state().shape[1]
    return Schema.of(envs.single_observation_space, envs.single_action_space, state, size, info, units)


def check_compatible(stream: Stream, envs: VectorEnv, first_lane: int) -> None:
    """`RequestError` where the stream was not made for such envs."""
    made = stream.header.get("env")
    if made is not None and made != env_id(envs):
        raise UsageError(f"{stream.path} records {made}; these envs are {env_id(envs)}")
    if not 0 <= first_lane <= stream.lanes - envs.num_envs:
        raise UsageError(
            f"{stream.path} has {stream.lanes} lanes; {envs.num_envs} from lane {first_lane} on do not fit"
        )
    given = {f.name: f for f in schema_from_env(envs).fields}
    for field in stream.schema.fields:
        if field.role == "info":
            continue
        other = given.pop(field.name, None)
        if other is None:
            raise UsageError(f"{stream.path} records {field.name!r}, which {env_id(envs)} does not give")
        if (other.dtype, other.shape) != (field.dtype, field.shape):
            raise UsageError(
                f"{stream.path} records {field.name!r} as {field.dtype} {field.shape}; "
                f"{env_id(envs)} gives {other.dtype} {other.shape}"
            )
    missing = [name for name, field in given.items() if field.role == "observation"]
    if missing:
        raise UsageError(f"{env_id(envs)} gives {missing[0]!r}, which {stream.path} does not record")
