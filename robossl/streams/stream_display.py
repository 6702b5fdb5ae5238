"""Text, HTML and DataFrame of a stream (untyped here: the stream imports this module)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from robossl.core.display import byte_size, dataframe, html_table, one_line, plural
from robossl.core.limits import check_count


def stream_text(stream: Any) -> str:
    """Return one line: env, size and policy of a stream."""
    header = stream.header
    return one_line(
        "Stream",
        header.get("env"),
        plural(stream.lanes, "lane"),
        plural(stream.transitions, "step"),
        plural(len(stream.episodes()), "episode"),
        byte_size(_stored_bytes(stream)),
        header.get("policy"),
    )


def stream_html(stream: Any) -> str:
    """Return tables of the content and the fields of a stream as HTML."""
    header = stream.header
    episodes = stream.episodes()
    lengths = [episode.stop - episode.start - 1 for episode in episodes]
    rows = [
        ("env", header.get("env")),
        ("policy", header.get("policy")),
        ("steps", f"{stream.transitions:,}"),
        ("lanes", stream.lanes),
        ("episodes", f"{len(episodes):,}"),
        ("steps in an episode", f"{min(lengths)} to {max(lengths)}" if lengths else "-"),
        ("size", byte_size(_stored_bytes(stream))),
        ("folder", stream.path),
    ]
    fields = [
        (f.name, f.role, f.dtype, " x ".join(map(str, f.shape)) or "1", f.unit) for f in stream.schema.fields
    ]
    title = f"Stream of {header.get('env')}"
    return html_table(title, rows) + html_table("Fields", fields, ("name", "role", "type", "shape", "unit"))


def stream_dataframe(stream: Any, fields: Iterable[str] | None, limit: int) -> Any:
    """Return time steps as a pandas DataFrame; see `Stream.to_dataframe`."""
    check_count("limit", limit)
    fields = [fields] if isinstance(fields, str) else fields
    schema = stream.schema
    names = (
        [f.name for f in schema.fields if not f.is_image and f.role != "physics"]
        if fields is None
        else [schema[name].name for name in fields]
    )
    parts: list[dict[str, np.ndarray]] = []
    remaining = limit
    for episode in stream.episodes():
        stop = min(episode.stop, episode.start + remaining)
        if stop <= episode.start:
            break
        count = stop - episode.start
        values = stream.read(episode.lane, episode.start, stop, names)
        index = {
            "lane": np.full(count, episode.lane),
            "episode": np.full(count, episode.ordinal),
            "step": np.arange(count),
        }
        parts.append({**index, **{k: v for name, value in values.items() for k, v in _columns(name, value)}})
        remaining -= count
    keys = parts[0] if parts else {}
    return dataframe({key: np.concatenate([part[key] for part in parts]) for key in keys})


def _columns(name: str, values: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
    """Return one column for each element of a field (n, ...): `action_0`, `action_1`, ..."""
    flat = values.reshape(len(values), -1)
    if values.ndim == 1:
        return [(name, values)]
    return [(f"{name}_{i}", flat[:, i]) for i in range(flat.shape[1])]


def _stored_bytes(stream: Any) -> int:
    return sum(file.stat().st_size for file in stream.path.glob("chunk-*.safetensors"))
