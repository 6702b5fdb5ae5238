"""Gymnasium spaces as named leaves: what a stream stores and what a model reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.core.errors import RequestError

Leaf = spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete
_GOAL_KEYS = {"observation", "achieved_goal", "desired_goal"}


def leaves(space: spaces.Space) -> dict[str, Leaf]:
    """The plain spaces inside `space` by path: `{"": space}` for a plain one, `{"arm.joints": ...}` for nested ones."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        found = {}
        for name, inner in _children(space):
            for path, leaf in leaves(inner).items():
                found[f"{name}.{path}" if path else name] = leaf
        return found
    if isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)):
        return {"": space}
    raise RequestError(
        f"a space of type {type(space).__name__} cannot be recorded; "
        "there are: Box, Discrete, MultiBinary, MultiDiscrete, Dict, Tuple"
    )


def _children(space: spaces.Dict | spaces.Tuple) -> list[tuple[str, spaces.Space]]:
    if isinstance(space, spaces.Dict):
        return [(str(key), inner) for key, inner in space.spaces.items()]
    return [(str(index), inner) for index, inner in enumerate(space.spaces)]


def split(space: spaces.Space, value: Any) -> dict[str, np.ndarray]:
    """One value, or a batch of values, of `space` as arrays by leaf path."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = {}
        for name, inner in _children(space):
            child = value[name] if isinstance(space, spaces.Dict) else value[int(name)]
            for path, array in split(inner, child).items():
                parts[f"{name}.{path}" if path else name] = array
        return parts
    return {"": np.asarray(value)}


def join(space: spaces.Space, parts: dict[str, Any]) -> Any:
    """The inverse of `split`: arrays by leaf path become a value (or a batch of values) of `space`."""
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        return parts[""]
    children = {}
    for name, inner in _children(space):
        below = {p[len(name) + 1 :]: v for p, v in parts.items() if p == name or p.startswith(name + ".")}
        children[name] = join(inner, below)
    return children if isinstance(space, spaces.Dict) else tuple(children.values())


def is_image(space: spaces.Space) -> bool:
    """A uint8 Box of shape (height, width, channels)."""
    return (
        isinstance(space, spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) == 3
        and space.shape[-1] <= 12
    )


def is_goal_space(space: spaces.Space) -> bool:
    """A goal env's observation: exactly observation, achieved_goal and desired_goal are there."""
    return isinstance(space, spaces.Dict) and set(space.spaces) >= _GOAL_KEYS


def encodable(space: spaces.Space) -> dict[str, Leaf]:
    """The leaves a world model reads. Of a goal env only `observation`: a goal is a wish, not a part of the world."""
    found = leaves(space)
    if is_goal_space(space):
        found = {p: s for p, s in found.items() if p.split(".")[0] not in {"achieved_goal", "desired_goal"}}
    return found


def to_json(space: spaces.Space) -> dict[str, Any]:
    """A space as plain JSON."""
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {k: to_json(s) for k, s in space.spaces.items()}}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [to_json(s) for s in space.spaces]}
    if isinstance(space, spaces.Box):
        low, high = (_bound(b) for b in (space.low, space.high))
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": low,
            "high": high,
        }
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": list(space.shape)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist()}
    raise RequestError(f"a space of type {type(space).__name__} cannot be written down")


def _bound(bound: np.ndarray) -> Any:
    """A Box bound, as one number where all are equal; infinities as words, since JSON has none."""
    flat = [str(float(b)) if not np.isfinite(b) else float(b) for b in bound.reshape(-1)]
    return flat[0] if flat and all(b == flat[0] for b in flat) else flat


def from_json(value: dict[str, Any]) -> spaces.Space:
    """The inverse of `to_json`."""
    kind = value.get("type")
    if kind == "Dict":
        return spaces.Dict({k: from_json(s) for k, s in value["spaces"].items()})
    if kind == "Tuple":
        return spaces.Tuple([from_json(s) for s in value["spaces"]])
    if kind == "Box":
        shape, dtype = tuple(value["shape"]), np.dtype(value["dtype"])
        low, high = (
            np.asarray(value[side], np.float64).astype(dtype)
            if np.ndim(value[side]) == 0
            else np.asarray(value[side], np.float64).astype(dtype).reshape(shape)
            for side in ("low", "high")
        )
        return spaces.Box(np.broadcast_to(low, shape), np.broadcast_to(high, shape), shape, dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(value["n"], start=value["start"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(value["n"] if len(value["n"]) > 1 else value["n"][0])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(np.asarray(value["nvec"]))
    raise RequestError(f"a space of type {kind!r} cannot be read")
