"""Gymnasium spaces as named leaves: what a stream stores and what a model reads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError

Leaf = spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete
_GOAL_KEYS = {"observation", "achieved_goal", "desired_goal"}


def leaves(space: spaces.Space) -> dict[str, Leaf]:
    """The plain spaces inside `space` by path: `{"": space}` for a plain one, else `{"arm.joints": ...}`."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        found: dict[str, Leaf] = {}
        for name, inner in _children(space):
            for path, leaf in leaves(inner).items():
                full = f"{name}.{path}" if path else name
                if full in found:
                    raise UsageError(f"two parts of the space are called {full!r}; a path names one")
                found[full] = leaf
        return found
    if isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)):
        return {"": space}
    raise UsageError(
        f"a space of type {type(space).__name__} cannot be recorded; "
        "there are: Box, Discrete, MultiBinary, MultiDiscrete, Dict, Tuple"
    )


def _children(space: spaces.Dict | spaces.Tuple) -> list[tuple[str, spaces.Space]]:
    if isinstance(space, spaces.Dict):
        for key in space.spaces:
            if not isinstance(key, str):
                raise UsageError(f"the keys of a Dict space are words; got {key!r}")
        return list(space.spaces.items())
    return [(str(index), inner) for index, inner in enumerate(space.spaces)]


def format_space(space: spaces.Space) -> str:
    """A space in one line, however many numbers it has.

    >>> told(spaces.Dict({"arm": spaces.Box(-1.0, np.array([1.0, 2.0], np.float32)), "tool": spaces.Discrete(3)}))
    'Dict(arm: Box(-1 to 2, (2,), float32), tool: Discrete(3))'
    """
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return f"{type(space).__name__}({', '.join(f'{name}: {format_space(inner)}' for name, inner in _children(space))})"
    if isinstance(space, spaces.Box):
        low, high = (space.low.min(), space.high.max()) if space.low.size else (0, 0)
        return f"Box({low:g} to {high:g}, {space.shape}, {space.dtype})"
    return " ".join(str(space).split())


def flatten_by_path(space: spaces.Space, value: Any) -> dict[str, np.ndarray]:
    """One value, or a batch of values, of `space` as arrays by leaf path."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = {}
        for name, inner in _children(space):
            child = value[name] if isinstance(space, spaces.Dict) else value[int(name)]
            for path, array in flatten_by_path(inner, child).items():
                parts[f"{name}.{path}" if path else name] = array
        return parts
    return {"": np.asarray(value)}


def unflatten_by_path(space: spaces.Space, parts: dict[str, Any]) -> Any:
    """The inverse of `split`: arrays by leaf path become a value (or a batch of values) of `space`."""
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        return parts[""]
    children = {}
    for name, inner in _children(space):
        below = {p[len(name) + 1 :]: v for p, v in parts.items() if p == name or p.startswith(name + ".")}
        children[name] = unflatten_by_path(inner, below)
    return children if isinstance(space, spaces.Dict) else tuple(children.values())


def is_image(space: spaces.Space) -> bool:
    """A uint8 Box of shape (height, width, channels), with at most 12 channels: four frames of three."""
    return (
        isinstance(space, spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) == 3
        and space.shape[-1] <= 12
    )


def is_goal_space(space: spaces.Space) -> bool:
    """A goal env's observation: at least observation, achieved_goal and desired_goal are there."""
    return isinstance(space, spaces.Dict) and set(space.spaces) >= _GOAL_KEYS


def model_inputs(space: spaces.Space) -> dict[str, Leaf]:
    """The leaves a world model reads: of a goal env only `observation`, a goal being no part of the world."""
    found = leaves(space)
    if is_goal_space(space):
        found = {p: s for p, s in found.items() if p.split(".")[0] not in {"achieved_goal", "desired_goal"}}
    return found


def to_json(space: spaces.Space) -> dict[str, Any]:
    """A space as plain JSON."""
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {name: to_json(inner) for name, inner in _children(space)}}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [to_json(inner) for inner in space.spaces]}
    if isinstance(space, spaces.Box):
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": _bound(space.low, space.bounded_below, "-inf"),
            "high": _bound(space.high, space.bounded_above, "inf"),
        }
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), **_dtype(space)}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.n)}
    if isinstance(space, spaces.MultiDiscrete):
        return {
            "type": "MultiDiscrete",
            "nvec": space.nvec.tolist(),
            "start": space.start.tolist(),
            "dtype": str(space.dtype),
        }
    raise UsageError(f"a space of type {type(space).__name__} cannot be written down")


def _dtype(space: spaces.Discrete) -> dict[str, str]:
    """The dtype of a Discrete where it has one of its own, which Gymnasium 1.2 does not know of."""
    return {} if space.dtype == np.int64 else {"dtype": str(space.dtype)}


def _bound(bound: np.ndarray, bounded: np.ndarray, infinity: str) -> Any:
    """A Box bound, as one value where all are equal; infinities as words, since JSON has none.

    A Box of integers has no infinities; one that is unbounded throughout is written as if it had.
    """
    if bounded.size and not bounded.any():
        return infinity
    flat = [v if not isinstance(v, float) or math.isfinite(v) else str(v) for v in bound.reshape(-1).tolist()]
    return flat[0] if flat and all(value == flat[0] for value in flat) else flat


def from_json(value: dict[str, Any]) -> spaces.Space:
    """The inverse of `to_json`; `RequestError` for JSON that describes no space."""
    try:
        return _read(value)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, OverflowError) as error:
        raise UsageError(f"no space is described by {value!r:.200} ({error})") from error


def _read(value: dict[str, Any]) -> spaces.Space:
    kind = value["type"]
    if kind == "Dict":  # pairs, for they keep their order
        return spaces.Dict([(name, _read(inner)) for name, inner in value["spaces"].items()])
    if kind == "Tuple":
        return spaces.Tuple([_read(inner) for inner in value["spaces"]])
    if kind == "Box":
        shape, dtype = tuple(value["shape"]), np.dtype(value["dtype"])
        low, high = (_read_bound(value[side], shape, dtype) for side in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Discrete":
        own = {"dtype": np.dtype(value["dtype"]).type} if "dtype" in value else {}
        return spaces.Discrete(value["n"], start=value["start"], **own)
    if kind == "MultiBinary":
        return spaces.MultiBinary(value["n"])
    if kind == "MultiDiscrete":
        nvec, start = (np.asarray(value[key]) for key in ("nvec", "start"))
        return spaces.MultiDiscrete(nvec, dtype=np.dtype(value["dtype"]).type, start=start)
    raise UsageError(
        f"a space of type {kind!r} cannot be read; "
        "there are: Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple"
    )


def _read_bound(bound: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """A bound as Gymnasium takes it: an infinity as a number, everything else as an array."""
    if isinstance(bound, str):
        return float(bound)
    if dtype.kind == "f":
        bound = np.asarray(bound, np.float64)
    return np.broadcast_to(np.asarray(bound, dtype).reshape(np.shape(bound) and shape), shape)
