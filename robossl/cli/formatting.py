"""Text tables: environments, streams, and results of a stream validation."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym

from robossl import registry
from robossl.core import spaces
from robossl.core.errors import OperationError, UsageError

EnvInfo = dict[str, Any]


def describe_envs(ids: list[str], containing: str | None) -> list[EnvInfo]:
    """Return the properties of each env whose id contains a text; for an env that cannot be made, the error."""
    selected = [i for i in ids if containing is None or containing.lower() in i.lower()]
    if not selected:
        raise UsageError(f"no env id contains {containing!r}; available: {', '.join(ids)}")
    return [_native_env(i) if registry.is_native(gym.spec(i)) else _other_env(i) for i in selected]


def _native_env(env: str) -> EnvInfo:
    spec = gym.spec(env)
    try:
        envs = gym.make_vec(env, num_envs=1)
    except (UsageError, OperationError) as error:
        return {"id": env, "max_episode_steps": spec.max_episode_steps, "about": str(error)}
    try:
        task = envs.unwrapped.simulation.task  # type: ignore[attr-defined]
        leaves = spaces.model_inputs(envs.single_observation_space).values()
        parameters = envs.unwrapped.randomized_parameters.values()  # type: ignore[attr-defined]
        return {
            "id": env,
            "robot": task.robot.__name__,
            "goal": spaces.is_goal_space(envs.single_observation_space),
            "observation": sum(math.prod(leaf.shape or (1,)) for leaf in leaves),
            "action": math.prod(envs.single_action_space.shape or (1,)),
            "step_seconds": 1.0 / envs.metadata["render_fps"],
            "max_episode_steps": spec.max_episode_steps,
            "about": (type(task).__doc__ or "").strip().split("\n")[0],
            "randomized_parameters": [parameter.to_json() for parameter in parameters],
        }
    finally:
        envs.close()


def _other_env(env: str) -> EnvInfo:
    spec = gym.spec(env)
    return {"id": env, "max_episode_steps": spec.max_episode_steps, "about": str(spec.entry_point)}


def format_envs(envs: list[EnvInfo]) -> str:
    """Return one line for each env."""
    width = max(len(env["id"]) for env in envs)
    lines = []
    for env in envs:
        if "robot" not in env:
            lines.append(f"{env['id']:{width}}  {env['about']}")
            continue
        properties = (
            f"{env['observation']:3} observations  {env['action']:2} actions  "
            f"{env['step_seconds'] * 1000:3.0f} ms per step  {env['max_episode_steps']:4} steps"
        )
        lines.append(f"{env['id']:{width}}  {properties}  {env['about']}")
    return "\n".join(lines)


def format_stream(info: dict[str, Any]) -> str:
    """Return the text of `stream info`."""
    lines = []
    for name, value in info.items():
        if name == "fields":
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{k} {_nested_value(v)}" for k, v in value.items())
        elif isinstance(value, list) and len(value) > 12:
            value = f"{', '.join(map(str, value[:12]))}, ... ({len(value)})"
        lines.append(f"{name:12} {value if name == 'seed' else _value(value)}")
    lines.append("fields")
    for field in info["fields"]:
        unit = f" [{field['unit']}]" if field.get("unit") else ""
        value_range = ""
        if field.get("min") is not None:
            value_range = (
                f"  from {_value(field['min'])} to {_value(field['max'])}, mean {_value(field['mean'])}"
            )
        shape = "x".join(map(str, field["shape"])) or "1"
        lines.append(f"  {field['name']:28} {field['dtype']:8} {shape:>8}{unit}{value_range}")
    return "\n".join(lines)


def format_validation(result: dict[str, Any]) -> str:
    """Return the text of `stream validate`."""
    messages = result["messages"]
    return "\n".join(messages) if isinstance(messages, list) else str(messages)


def _nested_value(value: Any) -> str:
    """Format a value inside a value: `236 episodes and 44,950 transitions` for a dict of counts."""
    if isinstance(value, dict):
        return " and ".join(f"{_value(v)} {k}" for k, v in value.items())
    return _value(value)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
