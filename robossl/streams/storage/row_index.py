"""Row index: one byte in memory for every row (its flag byte), with its flags and its split."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robossl.core.errors import UsageError
from robossl.streams.episodes import Episode, EpisodeTable
from robossl.streams.schema import FLAGS, Field
from robossl.streams.splits import SPLITS, Splits
from robossl.streams.storage.chunk_file import Chunk
from robossl.streams.storage.row_buffer import RowBuffer, list_rows

_BIT = {name: np.uint8(1 << bit) for bit, name in enumerate(FLAGS)}  # followed by two bits for the split
_VALID, _FIRST, _LAST = _BIT["valid"], _BIT["is_first"], _BIT["is_last"]
_SPLIT_SHIFT = len(FLAGS)  # position of the split bits


class RowIndex:
    """Lengths, flags and splits of all lanes.

    The flags differ from the recorded ones where a recording breaks off (its writer died, or a chunk is lost): the
    row before the break is the last of its episode and begins no transition, and the row after it is the first of an
    episode.
    """

    def __init__(self, lanes: int, splits: Splits) -> None:
        """Create an empty index."""
        self._splits = splits
        self.lanes = lanes
        self.lengths = np.zeros(lanes, np.int64)  # (L,) existing rows
        self.written = np.zeros(lanes, np.int64)  # (L,) rows written, lost ones included
        self.episodes_started = np.zeros(lanes, np.int64)  # (L,)
        self.counts = np.zeros(len(SPLITS), np.int64)  # (4,) valid rows in each split
        self.episode_open = np.zeros(lanes, bool)  # (L,) an episode is running
        self._gap_before = np.zeros(lanes, bool)  # (L,) the rows after the last one are lost
        self._split = np.zeros(lanes, np.uint8)  # (L,) split of the newest episode
        self._episodes = EpisodeTable()
        self._buffer = RowBuffer(lanes)
        self._buffer.add(Field("byte", "uint8", (), "flag"))

    @property
    def transitions(self) -> int:
        """Return the number of rows with an action and a next row."""
        lane = np.flatnonzero(self.episode_open & (self.lengths > 0))
        uncommitted = self.flag("valid", self.flag_bytes(lane, self.lengths[lane] - 1))
        return int(self.counts.sum()) - int(uncommitted.sum())

    # --- reading

    def flag_bytes(self, lane: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return the flag bytes of rows by lane and position, whose shapes must broadcast."""
        return self._buffer.gather("byte", lane * self._buffer.capacity + position)

    def pieces(self, lane: np.ndarray, start: np.ndarray, rows: int) -> np.ndarray:
        """Return the flag bytes of `rows` rows from `start` (B,) of `lane` (B,) on: (B, rows)."""
        return self._buffer.pieces("byte", self._buffer.flat_index(lane, start), rows)

    def lane_flag_bytes(self, lane: int) -> np.ndarray:
        """Return the flag bytes of all rows of a lane, a view (T,)."""
        return self._buffer.columns["byte"][lane, : self.lengths[lane]]

    @staticmethod
    def flag(name: str, rows: np.ndarray) -> np.ndarray:
        """Return one flag, bool, from the flag bytes of rows."""
        return (rows & _BIT[name]) != 0

    @staticmethod
    def begins(split: int | None, rows: np.ndarray) -> np.ndarray:
        """Return whether a transition of the split begins at each row, bool, from their flag bytes."""
        if split is None:
            return (rows & _VALID) != 0
        return (rows & (_VALID | np.uint8(3 << _SPLIT_SHIFT))) == (_VALID | np.uint8(split << _SPLIT_SHIFT))

    def episodes(self, split: int | None) -> list[Episode]:
        """Return all episodes, or those of a split, sorted by lane and start."""
        lane, start, stop, ordinal = self._episodes.spans(self.lengths)
        keep = np.ones(len(lane), bool) if split is None else self._splits.of(ordinal) == split
        ended = self.flag("is_last", self.flag_bytes(lane, stop - 1))
        columns = (column[keep].tolist() for column in (lane, start, stop, ordinal, ended))
        return [Episode(*row) for row in zip(*columns)]

    # --- writing

    def check(self, lane: np.ndarray, rows: Mapping[str, np.ndarray]) -> None:
        """Raise UsageError if rows (k,), one for each `lane`, are not valid next rows of their episodes."""
        unknown = (lane < 0) | (lane >= self.lanes)
        if np.count_nonzero(unknown):
            raise UsageError(f"expected lanes from 0 to {self.lanes - 1}, got {lane[unknown][0]}")
        without_first = ~(rows["is_first"] | self.episode_open[lane] | self._gap_before[lane])
        if np.count_nonzero(without_first):
            raise UsageError(
                f"lane {lane[without_first][0]} has no running episode; its next row must have is_first"
            )
        if np.count_nonzero(rows["valid"] & rows["is_last"]):
            raise UsageError("expected valid to be false in a last row: it has no action")

    def append(self, lane: np.ndarray, rows: Mapping[str, np.ndarray]) -> None:
        """Append one row (k,) to each of the lanes `lane` (k,), after `check`."""
        is_first = rows["is_first"] | self._gap_before[lane]
        if np.count_nonzero(is_first):
            self._break_off(lane[is_first & self.episode_open[lane]])
            starting = lane[is_first]
            ordinal = self.episodes_started[starting] * self.lanes + starting
            self.episodes_started[starting] += 1
            self._split[starting] = self._splits.of(ordinal)
            self._episodes.add(starting, self.lengths[starting], ordinal)
        position = self.lengths[lane]
        self._buffer.reserve(int(position.max()) + 1)
        flags = {name: rows[name] for name in FLAGS} | {"is_first": is_first}
        self._set_flags(lane, position, flags, self._split[lane])
        self.episode_open[lane] = ~rows["is_last"]
        self._gap_before[lane] = False
        self.lengths[lane] += 1
        self.written[lane] += 1

    def check_run(self, lane: int, rows: Mapping[str, np.ndarray]) -> None:
        """Raise UsageError if consecutive rows (n,) of a lane are not valid episodes."""
        self.check(np.array([lane]), {name: rows[name][:1] for name in FLAGS})
        if (rows["valid"] & rows["is_last"]).any():
            raise UsageError("expected valid to be false in a last row: it has no action")
        if not np.array_equal(rows["is_first"][1:], rows["is_last"][:-1]):
            raise UsageError("expected is_first exactly after each is_last")

    def extend(self, lane: int, rows: Mapping[str, np.ndarray]) -> None:
        """Append consecutive rows (n,) to a lane, after `check_run`."""
        lanes, length = np.array([lane]), self.lengths[lane]
        is_first = np.array(rows["is_first"])
        is_first[0] |= self._gap_before[lane]
        self._break_off(lanes[is_first[:1] & self.episode_open[lanes]])
        position = length + np.arange(len(is_first))
        started = self.episodes_started[lane] + np.cumsum(is_first)  # episodes started up to each row
        ordinal = np.maximum(started - 1, 0) * self.lanes + lane
        split = self._splits.of(ordinal)
        self._episodes.add(np.full(int(is_first.sum()), lane), position[is_first], ordinal[is_first])
        self._buffer.reserve(int(position[-1]) + 1)
        self._set_flags(np.full(len(is_first), lane), position, {**rows, "is_first": is_first}, split)
        self.episodes_started[lane], self._split[lane] = started[-1], split[-1]
        self.episode_open[lane], self._gap_before[lane] = not rows["is_last"][-1], False
        self.lengths[lane] += len(is_first)
        self.written[lane] += len(is_first)

    def is_next(self, chunk: Chunk) -> bool:
        """Return whether the chunk begins where the rows end, as far as known."""
        return bool(((chunk.start == self.written) | self._gap_before).all())

    def load(self, chunk: Chunk, arrays: Mapping[str, np.ndarray]) -> None:
        """Add the rows of a chunk, whose flags are in `arrays`."""
        lane, position = list_rows(chunk.rows, self.lengths)
        filled = np.flatnonzero(chunk.rows)
        begin = chunk.offset[filled]  # where each lane begins in the arrays
        recorded = arrays["is_first"]
        self._break_off(filled[self.episode_open[filled] & recorded[begin]])
        is_first = np.array(recorded)
        is_first[begin] |= self._gap_before[filled]
        count = np.cumsum(recorded, dtype=np.int64)
        episodes_before = chunk.episodes[filled] - count[begin] + recorded[begin]
        started = count + np.repeat(episodes_before, chunk.rows[filled])  # episodes started up to each row
        ordinal = np.maximum(started - 1, 0) * self.lanes + lane
        split = self._splits.of(ordinal)
        self._episodes.add(lane[is_first], position[is_first], ordinal[is_first])
        self._buffer.reserve(int((self.lengths + chunk.rows).max()))
        self._set_flags(lane, position, {**arrays, "is_first": is_first}, split)
        end = begin + chunk.rows[filled] - 1
        self.episode_open[filled] = ~arrays["is_last"][end]
        self._split[filled] = split[end]
        self._gap_before[filled] = False
        self.episodes_started[filled] = started[end]
        self.lengths += chunk.rows
        self.written[filled] = (chunk.start + chunk.rows)[filled]

    def mark_lost(self, written: np.ndarray | None) -> None:
        """Record that a chunk is lost.

        Args:
            written: (L,) rows written up to its end; None if unknown.
        """
        gap = np.ones(self.lanes, bool) if written is None else written > self.written
        self._break_off(np.flatnonzero(gap & self.episode_open))
        self.episode_open &= ~gap
        self._gap_before |= gap
        if written is not None:
            self.written = np.maximum(self.written, written)

    def _set_flags(
        self, lane: np.ndarray, position: np.ndarray, rows: Mapping[str, np.ndarray], split: np.ndarray
    ) -> None:
        """Write the flag bytes of rows (n,) and count the valid ones."""
        byte = split << np.uint8(_SPLIT_SHIFT)
        for name, bit in _BIT.items():
            if np.count_nonzero(rows[name]):
                byte |= rows[name].view(np.uint8) * bit
        self._buffer.set_rows("byte", self._buffer.flat_index(lane, position), byte)
        self.counts += np.bincount(split[rows["valid"]], minlength=len(SPLITS))

    def _break_off(self, lane: np.ndarray) -> None:
        """End the running episodes in `lane` (k,) at their current last row."""
        if len(lane) == 0:
            return
        flat = self._buffer.flat_index(lane, self.lengths[lane] - 1)
        byte = self._buffer.gather("byte", flat)
        self.counts -= np.bincount(
            byte[self.flag("valid", byte)] >> np.uint8(_SPLIT_SHIFT), minlength=len(SPLITS)
        )
        self._buffer.set_rows("byte", flat, (byte & ~_VALID) | _LAST)
