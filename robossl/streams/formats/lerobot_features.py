"""LeRobot features: names and types of the fields of a stream."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from robossl.streams.schema import Field, Schema

STATE_FEATURE, IMAGES_PREFIX = "observation.state", "observation.images."
_NAMES = {"reward": "next.reward", "terminated": "next.terminated", "truncated": "next.truncated"}
_OMITTED = ("is_first", "is_last")  # implied by the episode boundaries
INDEX = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_CHANNELS = 3  # of images that mp4 and PNG can store


class Feature(NamedTuple):
    """A field of a stream and its LeRobot name."""

    field: Field
    name: str
    kind: str  # "video", "image", or a numpy dtype


def features_of(schema: Schema, images: str) -> list[Feature]:
    """Return the features of a schema; fields without elements are omitted.

    Args:
        schema: Fields of the stream.
        images: "video" or "png".
    """
    paths = [name.removeprefix("observation").removeprefix(".") for name in schema.observations]
    main = next((path for path in ("state", "observation", "") if path in paths), None)
    features = []
    for field in schema.fields:
        if field.name in _OMITTED or field.row_bytes == 0:
            continue
        is_image = field.role == "observation" and field.is_image and field.shape[2] == _CHANNELS
        kind = field.dtype if not is_image else "video" if images == "video" else "image"
        name = _NAMES.get(field.name, field.name)
        if field.role == "observation":
            path = field.name.removeprefix("observation").removeprefix(".")
            if is_image:
                name = IMAGES_PREFIX + (path or "camera")
            elif path == main:
                name = STATE_FEATURE
        features.append(Feature(field, name, kind))
    return features


def feature_spec(features: list[Feature], fps: float) -> dict[str, Any]:
    """Return the `features` entry of meta/info.json."""
    spec: dict[str, Any] = {}
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
            spec[name] = entry
        else:
            spec[name] = {"dtype": kind, "shape": list(field.shape) or [1], "names": None}
    for name in INDEX:
        dtype = "float32" if name == "timestamp" else "int64"
        spec[name] = {"dtype": dtype, "shape": [1], "names": None}
    return spec


def array_statistics(array: np.ndarray, is_image: bool) -> dict[str, np.ndarray]:
    """Return min, max, mean and std over the first axis of an array (n, *shape), and the count n.

    Images (n, H, W, C) are scaled to [0, 1], with statistics (C, 1, 1). Non-finite values are ignored; without a
    finite value the statistics are zero.
    """
    values = array.reshape(-1, array.shape[-1]) / 255.0 if is_image else array.reshape(len(array), -1)
    values = values.astype(np.float64)
    is_finite = np.isfinite(values)
    count = np.maximum(is_finite.sum(0), 1)
    mean = np.where(is_finite, values, 0.0).sum(0) / count
    result = {
        "min": np.where(is_finite, values, np.inf).min(0),
        "max": np.where(is_finite, values, -np.inf).max(0),
        "mean": mean,
        "std": np.sqrt((np.where(is_finite, values - mean, 0.0) ** 2).sum(0) / count),
    }
    shape = (-1, 1, 1) if is_image else array.shape[1:] or (1,)
    result = {
        name: np.where(is_finite.any(0), statistic, 0.0).reshape(shape) for name, statistic in result.items()
    }
    return result | {"count": np.array([len(array)])}


def merge_statistics(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the statistics over all episodes from those of each, weighted by length."""
    weight = np.array([part["count"][0] for part in parts], np.float64)
    weight = (weight / weight.sum()).reshape(-1, *[1] * parts[0]["mean"].ndim)
    means, stds = (np.stack([part[name] for part in parts]) for name in ("mean", "std"))
    mean = (weight * means).sum(0)
    variance = (weight * (stds**2 + (means - mean) ** 2)).sum(0)
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([sum(int(part["count"][0]) for part in parts)]),
    }
