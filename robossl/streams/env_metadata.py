"""Metadata of vector envs: what a stream stores about the envs that it records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import PhysicsStateEnv
from robossl.core.step_duration import step_duration
from robossl.rollout import autoreset_mode
from robossl.streams.schema import Schema
from robossl.streams.storage.store import Store


def env_id(envs: VectorEnv) -> str:
    """Return the id that the envs were made with, or the name of their class."""
    return envs.spec.id if envs.spec is not None else type(envs.unwrapped).__name__


def env_metadata(envs: VectorEnv) -> dict[str, Any]:
    """Return the header metadata of envs: robot, arguments, time limit, duration of a step, autoreset mode, backend.

    `robot` is the metadata "robot" of envs whose tasks share a robot: streams of one robot serve all of its tasks.
    `backend` is the metadata "render_backend" of envs with image observations; images of two backends differ.
    """
    spec = envs.spec
    kwargs = {} if spec is None else {k: _as_json(v) for k, v in (spec.kwargs or {}).items()}
    limit = None if spec is None else spec.max_episode_steps
    mode = autoreset_mode(envs, required=True).name
    duration = step_duration(envs)
    return {
        "robot": envs.metadata.get("robot"),
        "env_kwargs": kwargs,
        "max_episode_steps": limit,
        "step_seconds": duration.seconds,  # [s]
        "step_source": duration.source,
        "fps": duration.fps,  # steps per second
        "autoreset_mode": mode,
        "backend": envs.metadata.get("render_backend"),
    }


def _as_json(value: Any) -> Any:
    """Return a value as JSON values; as text where JSON cannot represent it."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return str(value)


def physics_env(envs: VectorEnv) -> PhysicsStateEnv | None:
    """Return the unwrapped envs if they give access to their physics state, else None."""
    inner = envs.unwrapped
    return inner if isinstance(inner, PhysicsStateEnv) else None


def schema_from_env(
    envs: VectorEnv, info: Sequence[str] = (), units: Mapping[str, str] | None = None
) -> Schema:
    """Return the schema of a stream of these envs.

    Args:
        envs: Vector env; state and physics fields are included if it is a PhysicsStateEnv.
        info: Names of scalar infos to record.
        units: Unit by field name.
    """
    physics = physics_env(envs)
    state: dict[str, int] = {}
    physics_dim: int | None = None
    if physics is not None:
        state = {name: array.shape[1] for name, array in physics.privileged_state().items()}
        physics_dim = physics.get_physics_state().shape[1]
    return Schema.from_spaces(
        envs.single_observation_space, envs.single_action_space, state, physics_dim, info, units
    )


def check_compatible(stream: Store, envs: VectorEnv, first_lane: int) -> None:
    """Raise UsageError if the stream cannot record these envs from lane `first_lane` on."""
    recorded_env = stream.header.get("env")
    if recorded_env is not None and recorded_env != env_id(envs):
        raise UsageError(f"expected envs {recorded_env}, which {stream.path} records, got {env_id(envs)}")
    if not 0 <= first_lane <= stream.lanes - envs.num_envs:
        raise UsageError(
            f"expected {envs.num_envs} free lanes from lane {first_lane} on, got {stream.lanes} lanes in {stream.path}"
        )
    env_fields = {f.name: f for f in schema_from_env(envs).fields}
    for field in stream.schema.fields:
        if field.role == "info":
            continue
        env_field = env_fields.pop(field.name, None)
        if env_field is None:
            raise UsageError(f"{stream.path} records {field.name!r}, which {env_id(envs)} does not provide")
        if (env_field.dtype, env_field.shape) != (field.dtype, field.shape):
            raise UsageError(
                f"expected {field.name!r} as {field.dtype} {field.shape}, as in {stream.path}; "
                f"got {env_field.dtype} {env_field.shape} from {env_id(envs)}"
            )
    missing = [name for name, field in env_fields.items() if field.role == "observation"]
    if missing:
        raise UsageError(f"{env_id(envs)} provides {missing[0]!r}, which {stream.path} does not record")
