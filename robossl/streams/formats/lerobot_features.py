"""How LeRobot calls and types what a stream holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from robossl.streams.schema import Field, Schema

STATE, PICTURES = "observation.state", "observation.images."
_NAMES = {"reward": "next.reward", "terminated": "next.terminated", "truncated": "next.truncated"}
_LEFT_OUT = ("is_first", "is_last")  # the episode's borders say it
INDEX = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_CHANNELS = 3  # of a picture that mp4 and PNG can hold


class Feature(NamedTuple):
    """A field of a stream under its name in LeRobot."""

    field: Field
    name: str
    kind: str  # "video", "image", or a numpy dtype


def features_of(schema: Schema, images: str) -> list[Feature]:
    """The features that hold a stream; fields without a number are left out."""
    paths = [name.removeprefix("observation").removeprefix(".") for name in schema.observations]
    main = next((path for path in ("state", "observation", "") if path in paths), None)
    found = []
    for field in schema.fields:
        if field.name in _LEFT_OUT or field.row_bytes == 0:
            continue
        picture = field.role == "observation" and field.is_image and field.shape[2] == _CHANNELS
        kind = field.dtype if not picture else "video" if images == "video" else "image"
        name = _NAMES.get(field.name, field.name)
        if field.role == "observation":
            path = field.name.removeprefix("observation").removeprefix(".")
            if picture:
                name = PICTURES + (path or "camera")
            elif path == main:
                name = STATE
        found.append(Feature(field, name, kind))
    return found


def feature_spec(features: list[Feature], fps: int) -> dict[str, Any]:
    """The `features` of meta/info.json."""
    found: dict[str, Any] = {}
    for field, name, kind in features:
        if kind in ("video", "image"):
            height, width, channels = field.shape
            entry: dict[str, Any] = {
                "dtype": kind,
                "shape": list(field.shape),
                "names": ["height", "width", "channels"],
            }
            if kind == "video":
                size = {"video.height": height, "video.width": width, "video.channels": channels}
                entry["info"] = {
                    "video.fps": fps, "video.codec": "h264", "has_audio": False, "is_depth_map": False, **size
                }  # fmt: skip
            found[name] = entry
        else:
            found[name] = {"dtype": kind, "shape": list(field.shape) or [1], "names": None}
    for name in INDEX:
        dtype = "float32" if name == "timestamp" else "int64"
        found[name] = {"dtype": dtype, "shape": [1], "names": None}
    return found


def statistics(value: np.ndarray, picture: bool) -> dict[str, np.ndarray]:
    """Figures of values (n, *shape), each of the shape of one; of pictures (n, H, W, C) in [0, 1], (C, 1, 1).

    What is not finite does not count; where nothing is, the figures are zero.
    """
    numbers = value.reshape(-1, value.shape[-1]) / 255.0 if picture else value.reshape(len(value), -1)
    numbers = numbers.astype(np.float64)
    known = np.isfinite(numbers)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, numbers, 0.0).sum(0) / count
    found = {
        "min": np.where(known, numbers, np.inf).min(0),
        "max": np.where(known, numbers, -np.inf).max(0),
        "mean": mean,
        "std": np.sqrt((np.where(known, numbers - mean, 0.0) ** 2).sum(0) / count),
    }
    shape = (-1, 1, 1) if picture else value.shape[1:] or (1,)
    found = {name: np.where(known.any(0), figure, 0.0).reshape(shape) for name, figure in found.items()}
    return found | {"count": np.array([len(value)])}


def merge_statistics(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The figures of all episodes from those of each, weighted by their length."""
    weight = np.array([part["count"][0] for part in parts], np.float64)
    weight = (weight / weight.sum()).reshape(-1, *[1] * parts[0]["mean"].ndim)
    means, spreads = (np.stack([part[name] for part in parts]) for name in ("mean", "std"))
    mean = (weight * means).sum(0)
    variance = (weight * (spreads**2 + (means - mean) ** 2)).sum(0)
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([sum(int(part["count"][0]) for part in parts)]),
    }
