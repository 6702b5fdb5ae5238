"""Episodes as others keep them: T actions between T+1 observations, and what did not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robossl.core.errors import CorruptedFileError, UsageError
from robossl.streams.schema import FORMAT, Schema
from robossl.streams.stream import Stream
from robossl.streams.stream_header import facts_of

Rows = dict[str, np.ndarray]  # by field name, (T+1, *shape)


@dataclass(frozen=True)
class EpisodeData:
    """One episode: T+1 rows, in the last of which no action was taken."""

    lane: int
    ordinal: int
    rows: Rows

    @property
    def steps(self) -> int:
        """T."""
        return len(self.rows["is_first"]) - 1


class EpisodeReader:
    """The episodes of a stream in the order in which they began; counts what cannot go with them."""

    def __init__(self, stream: Stream) -> None:
        """All episodes of `stream` that have a step."""
        for name in stream.schema.names:
            if "/" in name:
                raise UsageError(f"the field {name!r} has a slash in its name, which has no place there")
        self._stream = stream
        self._losses: Counter[str] = Counter()
        self.episodes = sorted(
            (e for e in stream.episodes() if e.stop - e.start > 1), key=lambda e: e.ordinal
        )
        if not self.episodes:
            raise UsageError(f"{stream.path} has no episode with a step; there is nothing to export")
        self.rows = sum(e.stop - e.start for e in self.episodes)

    def __iter__(self) -> Iterator[EpisodeData]:
        """One after another, read when it is its turn."""
        idle = self._stream.schema.idle
        for episode in self.episodes:
            rows = self._stream.read(episode.lane, episode.start, episode.stop)
            if not episode.ended:
                self._losses["an episode is still going on: it is written as broken off"] += 1
            if not episode.ended or any(rows[name][-1].any() for name in ("valid", "reward", "action")):
                self._losses["the last action has no observation after it and is left out"] += 1
                rows["action"][-1], rows["reward"][-1] = idle, 0.0
                for name in ("valid", "terminated", "truncated"):
                    rows[name][-1] = False
                rows["is_last"][-1] = True
            yield EpisodeData(episode.lane, episode.ordinal, rows)

    def losses(self) -> list[str]:
        """In words, after all were read."""
        words = [f"{what} ({count} episodes)" for what, count in self._losses.items()]
        short = len(self._stream.episodes()) - len(self.episodes)
        if short:
            words.append(f"an episode without a step is left out ({short} episodes)")
        begun = Counter(e.lane for e in self.episodes)
        gaps = any(e.ordinal // self._stream.lanes >= begun[e.lane] for e in self.episodes)
        return (
            [*words, "episodes were lost: read back, the others may be in another split"] if gaps else words
        )


def build_episode(
    schema: Schema,
    observations: Mapping[str, np.ndarray],
    action: np.ndarray,
    outcomes: Mapping[str, np.ndarray],
    further: Mapping[str, np.ndarray],
) -> Rows:
    """Rows (T+1, *shape) of an episode of observations (T+1, ...) and actions (T, ...) by field name.

    `outcomes` are reward, terminated and truncated (T,); `further` fields are (T+1, ...), `valid` among them
    where every action does not lead to the next row.
    """
    steps = len(action)
    field, idle = schema["action"], schema.idle
    rows: Rows = {name: np.asarray(value) for name, value in {**observations, **further}.items()}
    given = np.asarray(action).reshape(steps, *field.shape).astype(field.dtype)
    rows["action"] = np.concatenate([given, idle[None]])
    for name in ("reward", "terminated", "truncated"):
        value = np.asarray(outcomes[name]).reshape(steps).astype(schema[name].dtype)
        rows[name] = np.append(value, np.zeros(1, value.dtype))
    rows.setdefault("valid", np.arange(steps + 1) < steps)
    rows["is_first"], rows["is_last"] = np.arange(steps + 1) == 0, np.arange(steps + 1) == steps
    for name in schema.names:  # numbers of a shape that the other format wrote otherwise
        if name in rows:
            rows[name] = rows[name].reshape(steps + 1, *schema[name].shape)
    return rows


def create_stream_like(folder: Path, header: Mapping[str, Any]) -> Stream:
    """An empty stream like the one a data set was made from, by the header that went with it."""
    if not isinstance(header.get("format"), int) or not isinstance(header.get("lanes"), int):
        raise CorruptedFileError("what the data set says of the stream it was made from is not readable")
    if header["format"] > FORMAT:
        raise UsageError(
            f"the data set was made from stream format {header['format']}; this robossl reads up to {FORMAT}"
        )
    facts = facts_of(dict(header))
    return Stream.create(folder, Schema.from_json(header), header["lanes"], **facts)


def finite(rows: Rows) -> bool:
    """Are all observations and rewards numbers?"""
    checked = (v for n, v in rows.items() if n == "reward" or n.startswith("observation"))
    return all(np.isfinite(value).all() for value in checked if value.dtype.kind == "f")
