"""Gymnasium spaces as named leaves, and as JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError

Leaf = spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete
_SUPPORTED = "Box, Discrete, MultiBinary, MultiDiscrete, Dict, Tuple"
_MAX_DIMENSIONS, _MAX_ELEMENTS, _MAX_COUNT = 16, 1 << 26, 1 << 31  # of a space that is read from a file
_GOAL_KEYS = {"observation", "achieved_goal", "desired_goal"}


def leaves(space: spaces.Space) -> dict[str, Leaf]:
    """Return the leaf spaces of `space` by path: `{"": space}` for a leaf, else `{"arm.joints": ...}`."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        leaf_spaces: dict[str, Leaf] = {}
        for name, inner in _children(space):
            for path, leaf in leaves(inner).items():
                full_path = f"{name}.{path}" if path else name
                if full_path in leaf_spaces:
                    raise UsageError(
                        f"two leaves of the space have the path {full_path!r}; rename one of them"
                    )
                leaf_spaces[full_path] = leaf
        return leaf_spaces
    if isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)):
        return {"": space}
    raise UsageError(f"a space of type {type(space).__name__} cannot be recorded; available: {_SUPPORTED}")


def _children(space: spaces.Dict | spaces.Tuple) -> list[tuple[str, spaces.Space]]:
    if isinstance(space, spaces.Dict):
        for key in space.spaces:
            if not isinstance(key, str):
                raise UsageError(f"expected strings as keys of a Dict space, got {key!r}")
        return list(space.spaces.items())
    return [(str(index), inner) for index, inner in enumerate(space.spaces)]


def format_space(space: spaces.Space) -> str:
    """Return a space on one line, however many numbers it has.

    >>> format_space(spaces.Dict({"arm": spaces.Box(-1.0, 2.0, (2,)), "tool": spaces.Discrete(3)}))
    'Dict(arm: Box(-1 to 2, (2,), float32), tool: Discrete(3))'
    """
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = (f"{name}: {format_space(inner)}" for name, inner in _children(space))
        return f"{type(space).__name__}({', '.join(parts)})"
    if isinstance(space, spaces.Box):
        low, high = (space.low.min(), space.high.max()) if space.low.size else (0, 0)
        return f"Box({low:g} to {high:g}, {space.shape}, {space.dtype})"
    return " ".join(str(space).split())


def flatten_by_path(space: spaces.Space, value: Any) -> dict[str, np.ndarray]:
    """Return a value of `space`, or a batch of values, as arrays by leaf path."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = {}
        for name, inner in _children(space):
            child = value[name] if isinstance(space, spaces.Dict) else value[int(name)]
            for path, array in flatten_by_path(inner, child).items():
                parts[f"{name}.{path}" if path else name] = array
        return parts
    return {"": np.asarray(value)}


def unflatten_by_path(space: spaces.Space, parts: dict[str, Any]) -> Any:
    """Return the value (or batch of values) of `space` from arrays by leaf path: inverse of `flatten_by_path`."""
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        return parts[""]
    children = {}
    for name, inner in _children(space):
        inner_parts = {
            p[len(name) + 1 :]: v for p, v in parts.items() if p == name or p.startswith(name + ".")
        }
        children[name] = unflatten_by_path(inner, inner_parts)
    return children if isinstance(space, spaces.Dict) else tuple(children.values())


def leaf_value(space: spaces.Space, value: Any, path: str) -> Any:
    """Return the leaf at `path` of a value of `space`, or of a batch of values; keys may have dots.

    Raises:
        KeyError: The space has no such leaf.
    """
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        if path:
            raise KeyError(path)
        return value
    for name, inner in _children(space):
        rest = path[len(name) + 1 :] if path.startswith(f"{name}.") else ""
        if (path == name or rest) and rest in leaves(inner):
            return leaf_value(inner, value[name if isinstance(space, spaces.Dict) else int(name)], rest)
    raise KeyError(path)


def is_image(space: spaces.Space) -> bool:
    """Return whether `space` is a uint8 Box (height, width, channels) with at most 12 channels (4 RGB frames)."""
    return (
        isinstance(space, spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) == 3
        and space.shape[-1] <= 12
    )


def is_goal_space(space: spaces.Space) -> bool:
    """Return whether `space` is the Dict of a goal env: observation, achieved_goal and desired_goal."""
    return isinstance(space, spaces.Dict) and set(space.spaces) >= _GOAL_KEYS


def goal_box(space: spaces.Space) -> spaces.Box | None:
    """Return the space of the goals of a goal env; None if the env has no goals.

    Raises:
        UsageError: The goals are not a Box of numbers.
    """
    if not (isinstance(space, spaces.Dict) and is_goal_space(space)):
        return None
    desired, achieved = space["desired_goal"], space["achieved_goal"]
    for name, goals in (("desired_goal", desired), ("achieved_goal", achieved)):
        if not isinstance(goals, spaces.Box) or is_image(goals):
            raise UsageError(f"{name}: expected a Box of numbers, got {format_space(goals)}")
    assert isinstance(achieved, spaces.Box)
    return achieved


def model_inputs(space: spaces.Space) -> dict[str, Leaf]:
    """Return the leaves that a world model reads; of a goal env only `observation`, without the goals."""
    leaf_spaces = leaves(space)
    if is_goal_space(space):
        leaf_spaces = {
            p: s for p, s in leaf_spaces.items() if p.split(".")[0] not in {"achieved_goal", "desired_goal"}
        }
    return leaf_spaces


def to_json(space: spaces.Space) -> dict[str, Any]:
    """Return a space as JSON values."""
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
    raise UsageError(
        f"a space of type {type(space).__name__} cannot be written as JSON; available: {_SUPPORTED}"
    )


def _dtype(space: spaces.Discrete) -> dict[str, str]:
    """Return the dtype of a Discrete if it is not int64, which is the only one in Gymnasium 1.2."""
    return {} if space.dtype == np.int64 else {"dtype": str(space.dtype)}


def _bound(bound: np.ndarray, bounded: np.ndarray, infinity: str) -> Any:
    """Return a Box bound as JSON: one value if all are equal, infinities as text.

    An integer Box has no infinities; if it is unbounded everywhere, its bounds are written as infinities.
    """
    if bounded.size and not bounded.any():
        return infinity
    flat = [v if not isinstance(v, float) or math.isfinite(v) else str(v) for v in bound.reshape(-1).tolist()]
    return flat[0] if flat and all(value == flat[0] for value in flat) else flat


def from_json(value: dict[str, Any]) -> spaces.Space:
    """Return the space that `to_json` described; raise UsageError for JSON that describes no space."""
    try:
        return _space_from_json(value)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, OverflowError) as error:
        raise UsageError(f"expected the JSON of a space, got {value!r:.200} ({error})") from error


def _space_from_json(value: dict[str, Any]) -> spaces.Space:
    kind = value["type"]
    if kind == "Dict":  # pairs keep their order
        return spaces.Dict([(name, _space_from_json(inner)) for name, inner in value["spaces"].items()])
    if kind == "Tuple":
        return spaces.Tuple([_space_from_json(inner) for inner in value["spaces"]])
    if kind == "Box":
        shape, dtype = _read_shape(value["shape"]), np.dtype(value["dtype"])
        if dtype.kind not in "fiub":
            raise ValueError(f"a Box of {dtype}")
        low, high = (_read_bound(value[side], shape, dtype) for side in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Discrete":
        extra = {"dtype": np.dtype(value["dtype"]).type} if "dtype" in value else {}
        _check_count(value["n"])
        return spaces.Discrete(value["n"], start=value["start"], **extra)
    if kind == "MultiBinary":
        _read_shape(value["n"] if isinstance(value["n"], list) else [value["n"]])
        return spaces.MultiBinary(value["n"])
    if kind == "MultiDiscrete":
        nvec, start = (np.asarray(value[key]) for key in ("nvec", "start"))
        return spaces.MultiDiscrete(nvec, dtype=np.dtype(value["dtype"]).type, start=start)
    raise UsageError(f"a space of type {kind!r} cannot be read; available: {_SUPPORTED}")


def _read_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape; raise ValueError if it is none, or has more elements than an observation can have."""
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"expected a shape, got {shape!r:.100}")
    for size in shape:
        _check_count(size, 0)
    if math.prod(shape) > _MAX_ELEMENTS:
        raise ValueError(f"expected at most {_MAX_ELEMENTS:,} elements, got shape {shape!r:.100}")
    return tuple(shape)


def _check_count(count: Any, low: int = 1) -> None:
    if type(count) is not int or not low <= count <= _MAX_COUNT:
        raise ValueError(f"expected a number from {low} to {_MAX_COUNT:,}, got {count!r:.100}")


def _read_bound(bound: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """Return a bound as Gymnasium expects it: an infinity as a number, anything else as an array."""
    if isinstance(bound, str):
        return float(bound)
    if dtype.kind == "f":
        bound = np.asarray(bound, np.float64)
    return np.broadcast_to(np.asarray(bound, dtype).reshape(np.shape(bound) and shape), shape)
