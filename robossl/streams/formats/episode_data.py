"""Episode data of other formats: T actions between T+1 observations, and what could not be converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.streams.schema import FORMAT, Schema
from robossl.streams.stream import Stream
from robossl.streams.stream_header import header_metadata

Rows = dict[str, np.ndarray]  # by field name, (T+1, *shape)


@dataclass(frozen=True)
class EpisodeData:
    """One episode of T+1 rows; the last row has no action."""

    lane: int
    ordinal: int
    rows: Rows

    @property
    def steps(self) -> int:
        """Return T, the number of actions."""
        return len(self.rows["is_first"]) - 1


class EpisodeReader:
    """Episodes of a stream in the order in which they began; counts what cannot be exported."""

    def __init__(self, stream: Stream) -> None:
        """Select all episodes of `stream` with at least one step."""
        self._stream = stream
        self.schema = exported_schema(stream.schema)  # with the names that episodes have
        self._losses: Counter[str] = Counter()
        self.episodes = sorted(
            (e for e in stream.episodes() if e.stop - e.start > 1), key=lambda e: e.ordinal
        )
        if not self.episodes:
            raise UsageError(f"expected episodes with at least one step, got none in {stream.path}")
        self.rows = sum(e.stop - e.start for e in self.episodes)

    def __iter__(self) -> Iterator[EpisodeData]:
        """Yield the episodes; each is read when it is needed."""
        null_action = self._stream.schema.null_action
        for episode in self.episodes:
            rows = self._stream.read(episode.lane, episode.start, episode.stop)
            if not episode.ended:
                self._losses["an episode is still running: it is written as broken off"] += 1
            if not episode.ended or any(rows[name][-1].any() for name in ("valid", "reward", "action")):
                self._losses["the last action has no next observation and is omitted"] += 1
                rows["action"][-1], rows["reward"][-1] = null_action, 0.0
                for name in ("valid", "terminated", "truncated"):
                    rows[name][-1] = False
                rows["is_last"][-1] = True
            rows = {exported_name(name): values for name, values in rows.items()}
            yield EpisodeData(episode.lane, episode.ordinal, rows)

    def losses(self) -> list[str]:
        """Return what could not be exported, as text; call it after the iteration."""
        messages = [f"{what} ({count} episodes)" for what, count in self._losses.items()]
        num_without_step = len(self._stream.episodes()) - len(self.episodes)
        if num_without_step:
            messages.append(f"an episode without a step is omitted ({num_without_step} episodes)")
        episodes_of_lane = Counter(e.lane for e in self.episodes)
        has_gaps = any(e.ordinal // self._stream.lanes >= episodes_of_lane[e.lane] for e in self.episodes)
        if has_gaps:
            messages.append("episodes were lost: after an import the others may be in another split")
        if self.schema.names != self._stream.schema.names:
            messages.append("names: a slash is written as %2F, as the format uses slashes itself")
        return messages


def exported_name(name: str) -> str:
    """Return the name of a field or of a part of an observation in other formats, which use slashes themselves."""
    return name.replace("%", "%25").replace("/", "%2F")


def exported_schema(schema: Schema) -> Schema:
    """Return a schema with the names of `exported_name`."""
    fields = (replace(field, name=exported_name(field.name)) for field in schema.fields)
    return Schema(_exported_space(schema.observation_space), schema.action_space, tuple(fields))


def _exported_space(space: gym.Space) -> gym.Space:
    if isinstance(space, gym.spaces.Dict):
        return gym.spaces.Dict([(exported_name(k), _exported_space(v)) for k, v in space.spaces.items()])
    if isinstance(space, gym.spaces.Tuple):
        return gym.spaces.Tuple([_exported_space(inner) for inner in space.spaces])
    return space


def build_episode(
    schema: Schema,
    observations: Mapping[str, np.ndarray],
    action: np.ndarray,
    outcomes: Mapping[str, np.ndarray],
    extra: Mapping[str, np.ndarray],
) -> Rows:
    """Return the rows (T+1, *shape) of an episode by field name.

    Args:
        schema: Fields of the stream.
        observations: (T+1, ...) by field name.
        action: (T, ...).
        outcomes: reward, terminated and truncated, (T,) each.
        extra: Further fields (T+1, ...); `valid` if some actions do not lead to the next row.
    """
    steps = len(action)
    field, null_action = schema["action"], schema.null_action
    rows: Rows = {name: np.asarray(value) for name, value in {**observations, **extra}.items()}
    actions = np.asarray(action).reshape(steps, *field.shape).astype(field.dtype)
    rows["action"] = np.concatenate([actions, null_action[None]])
    for name in ("reward", "terminated", "truncated"):
        value = np.asarray(outcomes[name]).reshape(steps).astype(schema[name].dtype)
        rows[name] = np.append(value, np.zeros(1, value.dtype))
    rows.setdefault("valid", np.arange(steps + 1) < steps)
    rows["is_first"], rows["is_last"] = np.arange(steps + 1) == 0, np.arange(steps + 1) == steps
    for name in schema.names:  # the other format may store another shape
        if name in rows:
            rows[name] = rows[name].reshape(steps + 1, *schema[name].shape)
    return rows


def create_stream_like(folder: Path, header: Mapping[str, Any]) -> Stream:
    """Create an empty stream like the one that a dataset was exported from.

    Args:
        folder: New folder of the stream.
        header: Header of the exported stream, from the dataset.
    """
    if not isinstance(header.get("format"), int) or not isinstance(header.get("lanes"), int):
        raise CorruptedFileError("the dataset has no valid header of the exported stream")
    if header["format"] != FORMAT:
        raise UsageError(
            f"expected a dataset of stream format {FORMAT}, got {header['format']}; "
            "use the robossl version that wrote it"
        )
    metadata = header_metadata(dict(header))
    return Stream.create(folder, Schema.from_json(header), header["lanes"], **metadata)


def all_finite(rows: Rows) -> bool:
    """Return whether all observations and rewards are finite."""
    checked = (v for n, v in rows.items() if n == "reward" or n.startswith("observation"))
    return all(np.isfinite(value).all() for value in checked if value.dtype.kind == "f")
