"""Tables for people: environments, streams, what validation found."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym

from robossl import registry
from robossl.core import spaces
from robossl.core.errors import OperationError, UsageError

Row = dict[str, Any]


def rows(ids: list[str], containing: str | None) -> list[Row]:
    """What there is to know of each env; one that cannot be made says why instead of stopping the others."""
    chosen = [i for i in ids if containing is None or containing.lower() in i.lower()]
    if not chosen:
        raise UsageError(f"no env id contains {containing!r}; there are: {', '.join(ids)}")
    return [_row(i) if registry.is_native(gym.spec(i)) else _stranger(i) for i in chosen]


def _row(env: str) -> Row:
    spec = gym.spec(env)
    try:
        made = gym.make_vec(env, num_envs=1)
    except (UsageError, OperationError) as error:
        return {"id": env, "max_episode_steps": spec.max_episode_steps, "about": str(error)}
    try:
        task = made.unwrapped.simulation.task  # type: ignore[attr-defined]
        leaves = spaces.model_inputs(made.single_observation_space).values()
        observed = sum(math.prod(leaf.shape or (1,)) for leaf in leaves)
        return {
            "id": env,
            "robot": task.robot.__name__,
            "goal": spaces.is_goal_space(made.single_observation_space),
            "observation": observed,
            "action": math.prod(made.single_action_space.shape or (1,)),
            "step_seconds": 1.0 / made.metadata["render_fps"],
            "max_episode_steps": spec.max_episode_steps,
            "about": (type(task).__doc__ or "").strip().split("\n")[0],
            "randomization": [factor.to_json() for factor in made.unwrapped.randomized_parameters.values()],  # type: ignore[attr-defined]
        }
    finally:
        made.close()


def _stranger(env: str) -> Row:
    spec = gym.spec(env)
    return {"id": env, "max_episode_steps": spec.max_episode_steps, "about": str(spec.entry_point)}


def table(found: list[Row]) -> str:
    """One line each."""
    width = max(len(row["id"]) for row in found)
    lines = []
    for row in found:
        if "robot" not in row:
            lines.append(f"{row['id']:{width}}  {row['about']}")
            continue
        facts = (
            f"{row['observation']:3} observed  {row['action']:2} actions  "
            f"{row['step_seconds'] * 1000:3.0f} ms a step  {row['max_episode_steps']:4} steps"
        )
        lines.append(f"{row['id']:{width}}  {facts}  {row['about']}")
    return "\n".join(lines)


def stream_text(found: Row) -> str:
    """What `stream show` prints."""
    lines = []
    for name, value in found.items():
        if name == "fields":
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{k} {_inner(v)}" for k, v in value.items())
        elif isinstance(value, list) and len(value) > 12:
            value = f"{', '.join(map(str, value[:12]))}, ... ({len(value)})"
        lines.append(f"{name:12} {value if name == 'seed' else _short(value)}")
    lines.append("fields")
    for entry in found["fields"]:
        unit = f" [{entry['unit']}]" if entry.get("unit") else ""
        span = ""
        if entry.get("min") is not None:
            span = f"  from {_short(entry['min'])} to {_short(entry['max'])}, mean {_short(entry['mean'])}"
        shape = "x".join(map(str, entry["shape"])) or "1"
        lines.append(f"  {entry['name']:28} {entry['dtype']:8} {shape:>8}{unit}{span}")
    return "\n".join(lines)


def validation_text(found: Row) -> str:
    """What `stream validate` prints."""
    words = found["words"]
    return "\n".join(words) if isinstance(words, list) else str(words)


def _inner(value: Any) -> str:
    """A value inside a value: `236 episodes and 44,950 transitions` for a dict of counts."""
    if isinstance(value, dict):
        return " and ".join(f"{_short(v)} {k}" for k, v in value.items())
    return _short(value)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_short(v) for v in value) + "]"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
