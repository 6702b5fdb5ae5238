"""Relabeling: write a stream again with the reward, termination and success of another task of the same robot.

A task is applied to the recorded physics, so its labels equal those of the env to the bit. Where a stream has no
physics, a function of transitions gives the reward, for example a learned reward model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, Observation, ProgressReporter
from robossl.streams.schema import Schema
from robossl.streams.stream import Stream
from robossl.streams.stream_header import header_metadata

Rows = dict[str, np.ndarray]  # by field name, (n, *shape)
# observation, action and next observation (n, ...) of transitions -> reward (n,)
RewardFunction = Callable[[Observation, np.ndarray, Observation], np.ndarray]

SUCCESS = "info.is_success"  # field with the success of a task in the state of each row
_REWARD_ROWS = 4096  # that a reward function gets at once


@dataclass
class RelabelSummary:
    """What was written."""

    rows: int = 0
    transitions: int = 0
    dropped_rows: int = 0  # recorded after the new task had terminated
    terminations: int = 0
    reward_sum: float = 0.0
    successes: int | None = None  # transitions that end in a success; None for a task without success

    def to_json(self) -> dict[str, Any]:
        """Return counts and means as JSON values."""
        count = max(self.transitions, 1)
        return {
            "rows": self.rows,
            "transitions": self.transitions,
            "dropped_rows": self.dropped_rows,
            "terminations": self.terminations,
            "reward_mean": self.reward_sum / count,
            "success_mean": None if self.successes is None else self.successes / count,
        }


class Labels(Protocol):
    """New labels of recorded rows."""

    schema: Schema  # of the new stream
    metadata: dict[str, Any]  # header of the new stream
    block_rows: int  # rows that are labeled at once

    def label(self, rows: Rows, episode: np.ndarray) -> Rows:
        """Return the new fields of consecutive rows of a lane.

        Args:
            rows: Recorded rows (n, *shape) by field name.
            episode: (n,) index of the episode of each row, in the order of `Stream.episodes`.

        Returns:
            `reward` and `terminated` (n - 1,) of the actions of all rows but the last; further fields (n, *shape).
        """


def relabel_stream(
    stream: Stream, folder: str | Path, labels: Labels, progress: ProgressReporter | None = None
) -> RelabelSummary:
    """Write a stream into `folder` with new labels; lanes, episodes and splits stay those of the recorded one.

    An episode ends where the new task terminates, and its later rows are left out. Where only the recorded task
    terminated, the episode is truncated. Time limits are those of the recording. An episode that is still running ends
    with its last complete transition.

    Args:
        stream: The recorded stream; it is not changed.
        folder: New folder of the stream.
        labels: The labels.
        progress: Receives the rows.
    """
    progress = progress or NullProgress()
    summary = RelabelSummary(successes=0 if SUCCESS in labels.schema.names else None)
    metadata = {**labels.metadata, "split_id": stream.header.get("split_id") or stream.id}
    bounds = np.array([(e.lane, e.start) for e in stream.episodes()], np.int64).reshape(-1, 2)  # (E, 2)
    with Stream.create(folder, labels.schema, stream.lanes, **metadata) as new:
        for lane in range(stream.lanes):
            first, starts = int(np.searchsorted(bounds[:, 0], lane)), bounds[bounds[:, 0] == lane, 1]
            writer = _LaneWriter(new, lane, summary)
            for start, count, rows in _blocks(stream, lane, labels.block_rows):
                position = start + np.arange(len(rows["reward"]))
                labeled = labels.label(rows, first + np.searchsorted(starts, position, "right") - 1)
                writer.write(rows, labeled, count)
                progress.update(count)
    return summary


def _blocks(stream: Stream, lane: int, block_rows: int) -> Iterator[tuple[int, int, Rows]]:
    """Yield first row, number of rows and rows of each block of a lane, with one row more if there is one."""
    length, size = int(stream.lengths[lane]), max(block_rows - 1, 1)
    for start in range(0, length, size):
        stop = min(start + size, length)
        yield start, stop - start, stream.read(lane, start, min(stop + 1, length))


class _LaneWriter:
    """Writes the rows of one lane block by block, and ends episodes where the new task terminates."""

    def __init__(self, stream: Stream, lane: int, summary: RelabelSummary) -> None:
        self._stream, self._lane, self._summary = stream, lane, summary
        # terminations in the running episode, before the last row written and before the next one
        self._before_last = self._before_next = 0

    def write(self, rows: Rows, labels: Rows, count: int) -> None:
        """Write the first `count` of n rows with their labels; there is a row more unless the lane ends."""
        new = {name: np.array(rows[name][:count]) for name in self._stream.schema.names if name in rows}
        new |= {name: value[:count] for name, value in labels.items() if name not in ("reward", "terminated")}
        valid = new["valid"]
        if len(rows["reward"]) == count and not new["is_last"][-1]:  # the lane ends in a running episode
            new["is_last"][-1], valid[-1] = True, False
        reward, terminated = np.zeros(count, np.float32), np.zeros(count, bool)
        known = min(count, len(labels["reward"]))
        reward[:known], terminated[:known] = labels["reward"][:known], labels["terminated"][:known]
        terminated &= valid
        kept, ending = self._episode_ends(terminated, new["is_first"])
        valid &= ~ending
        new["is_last"] |= ending
        terminated &= valid
        new["truncated"] = valid & (new["truncated"] | (new["terminated"] & ~terminated))
        new["reward"], new["terminated"] = np.where(valid, reward, np.float32(0)), terminated
        new["action"][new["is_last"] & ~rows["is_last"][:count]] = self._stream.schema.null_action
        self._stream.extend({name: value[kept] for name, value in new.items()}, self._lane)
        self._count(new, labels, kept)

    def _episode_ends(self, terminated: np.ndarray, is_first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) bool: the rows that are kept, and those right after the first termination of their episode."""
        index = np.arange(len(terminated))
        before = np.cumsum(terminated) - terminated  # terminations in the block before each row
        start = np.maximum.accumulate(np.where(is_first, index, 0))  # first row of the episode in the block
        carried = np.where(is_first[start], 0, self._before_next)
        before = before - before[start] + carried  # in the episode
        previous = np.append(self._before_last, before[:-1])
        ending = (before > 0) & (previous == 0) & ~is_first
        self._before_last, self._before_next = int(before[-1]), int(before[-1] + terminated[-1])
        return (before == 0) | ending, ending

    def _count(self, rows: Rows, labels: Rows, kept: np.ndarray) -> None:
        """Add the rows that were written to the summary."""
        summary, valid = self._summary, rows["valid"] & kept
        summary.rows += int(kept.sum())
        summary.dropped_rows += int((~kept).sum())
        summary.transitions += int(valid.sum())
        summary.terminations += int(rows["terminated"][kept].sum())
        summary.reward_sum += float(rows["reward"][kept].sum(dtype=np.float64))
        if summary.successes is not None:
            # the state after each transition; at the end of a block, that of the row more
            after = np.append(labels[SUCCESS][1:], np.float32(0))[: len(kept)] > 0.5
            summary.successes += int((after & valid).sum())


class RewardLabels:
    """Labels with the reward of a function; terminations stay as recorded, and success is left out."""

    def __init__(self, stream: Stream, reward: RewardFunction) -> None:
        """Create labels.

        Args:
            stream: The recorded stream.
            reward: Function of observation, action and next observation (n, ...) of transitions; returns (n,).
        """
        self._stream, self._reward = stream, reward
        self.block_rows = _REWARD_ROWS
        schema = stream.schema
        fields = tuple(field for field in schema.fields if field.name != SUCCESS)
        self.schema = Schema(schema.observation_space, schema.action_space, fields)
        self.name = getattr(reward, "__name__", type(reward).__name__)
        self.metadata = {
            **header_metadata(stream.header),
            "relabeled": {"source": stream.id, "env": stream.header.get("env"), "reward": self.name},
        }

    def label(self, rows: Rows, episode: np.ndarray) -> Rows:
        """Return the new fields, see `Labels`."""
        schema, valid = self._stream.schema, np.flatnonzero(rows["valid"][:-1])
        reward = np.zeros(len(rows["valid"]) - 1, np.float32)
        if len(valid):
            before, after = (
                schema.join_observation({name: rows[name][index] for name in schema.observations})
                for index in (valid, valid + 1)
            )
            value = np.asarray(self._reward(before, rows["action"][valid], after))
            if value.shape != (len(valid),) or not np.isfinite(value).all():
                got = (
                    f"shape {value.shape}" if value.shape != (len(valid),) else "numbers that are not finite"
                )
                raise UsageError(f"expected {len(valid)} finite rewards of {self.name}, got {got}")
            reward[valid] = value
        return {"reward": reward, "terminated": rows["terminated"][:-1]}
