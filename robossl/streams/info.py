"""Summary of a stream, as `robossl stream info` prints it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from robossl.streams.schema import Field
from robossl.streams.splits import SPLITS
from robossl.streams.storage.chunk_reader import ChunkReader
from robossl.streams.storage.memory_map import will_read
from robossl.streams.stream import Stream


def describe_stream(path: str | Path) -> dict[str, Any]:
    """Return the summary of the committed rows of the stream at `path` as JSON values.

    Example:
        robossl.streams.describe_stream("streams/reacher")["transitions"]

    Args:
        path: Folder of the stream.

    Keys: {"path", "env", "rows", "transitions", "episodes", "lanes", "lengths", "episode_rows": {"min", "mean",
    "max"}, "splits": {name: {"episodes", "transitions"}}, "policy", "seed", "backend", "randomization", "versions",
    "format", "id", "chunks", "lost_chunks", "bytes", "fields": [{"name", "dtype", "shape", "role", "unit", "min",
    "mean", "max"}]}. Statistics of actions and rewards are over rows with an action. They are over all elements of a
    field; images have none.
    """
    stream = Stream.open(path)
    episodes = stream.episodes()
    rows = np.array([e.stop - e.start for e in episodes])
    header, counts = stream.header, stream.counts
    chunk_reader = stream.chunk_reader
    return {
        "path": str(stream.path),
        "env": header.get("env"),
        "rows": stream.rows,
        "transitions": stream.transitions,
        "episodes": len(episodes),
        "lanes": stream.lanes,
        "lengths": stream.lengths.tolist(),
        "episode_rows": _statistics(rows) if len(rows) else {},
        "splits": {n: {"episodes": len(stream.episodes(n)), "transitions": counts[n]} for n in SPLITS},
        **{name: header.get(name) for name in ("policy", "seed", "backend", "randomization", "versions")},
        "format": header["format"],
        "id": stream.id,
        "chunks": len(chunk_reader.chunks),
        "lost_chunks": [entry["chunk"] for entry in header["lost_chunks"]],
        "bytes": sum(file.stat().st_size for file in stream.path.rglob("chunk-*.safetensors")),
        "fields": [_field_info(field, chunk_reader) for field in stream.schema.fields],
    }


def _statistics(values: np.ndarray) -> dict[str, float]:
    return {"min": float(values.min()), "mean": float(values.mean()), "max": float(values.max())}


def _field_info(field: Field, chunk_reader: ChunkReader) -> dict[str, Any]:
    """Return one field and its statistics, computed chunk by chunk."""
    info: dict[str, Any] = {
        "name": field.name,
        "dtype": field.dtype,
        "shape": list(field.shape),
        "role": field.role,
        "unit": field.unit,
        "min": None,
        "mean": None,
        "max": None,
    }
    if field.is_image or field.row_bytes == 0:
        return info
    minimum, maximum, total, count = np.inf, -np.inf, 0.0, 0
    for index in range(len(chunk_reader.chunks)):
        arrays = chunk_reader.arrays(index)
        values = arrays[field.name]
        will_read(values, 0, len(values))
        if field.role in ("action", "reward"):
            values = values[~arrays["is_last"]]
        values = values[np.isfinite(values)]
        if values.size:
            minimum, maximum = min(minimum, float(values.min())), max(maximum, float(values.max()))
            total, count = total + float(values.sum(dtype=np.float64)), count + values.size
    return info | ({"min": minimum, "mean": total / count, "max": maximum} if count else {})
