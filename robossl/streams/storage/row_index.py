"""What memory knows of every row, in one byte: what may be sampled, where episodes begin and end."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robossl.core.errors import UsageError
from robossl.streams.episodes import Episode, Episodes
from robossl.streams.schema import FLAGS, Field
from robossl.streams.splits import SPLITS, Splits
from robossl.streams.storage.chunk_file import Chunk
from robossl.streams.storage.row_buffer import RowBuffer, ragged

_BIT = {name: np.uint8(1 << place) for place, name in enumerate(FLAGS)}  # then two bits for the split
_VALID, _FIRST, _LAST = _BIT["valid"], _BIT["is_first"], _BIT["is_last"]
_SPLIT = len(FLAGS)  # the place of the split


class RowIndex:
    """Lengths, flags and splits of all lanes.

    The flags differ from the recorded ones where a record breaks off (its writer died, or a chunk is lost):
    the row before the break is the last of its episode and begins no transition, and the row after it is
    the first of an episode.
    """

    def __init__(self, lanes: int, splits: Splits) -> None:
        """A ledger of nothing yet."""
        self._splits = splits
        self.lanes = lanes
        self.lengths = np.zeros(lanes, np.int64)  # (L,) rows that are here
        self.written = np.zeros(lanes, np.int64)  # (L,) rows that were ever written, lost ones included
        self.begun = np.zeros(lanes, np.int64)  # (L,) episodes begun
        self.counts = np.zeros(len(SPLITS), np.int64)  # (4,) valid rows in each split
        self._open = np.zeros(lanes, bool)  # (L,) an episode is going on
        self._torn = np.zeros(lanes, bool)  # (L,) the rows after the last one are lost
        self._split = np.zeros(lanes, np.uint8)  # (L,) the split of the newest episode
        self._episodes = Episodes()
        self._table = RowBuffer(lanes)
        self._table.add(Field("byte", "uint8", (), "flag"))

    @property
    def transitions(self) -> int:
        """How many rows have an action and the row that it led to."""
        lane = np.flatnonzero(self._open & (self.lengths > 0))
        waiting = self.flag("valid", self.bytes(lane, self.lengths[lane] - 1))
        return int(self.counts.sum()) - int(waiting.sum())

    # --- reading

    def bytes(self, lane: np.ndarray, position: np.ndarray) -> np.ndarray:
        """The bytes of rows given by lane and position, of shapes that broadcast."""
        return self._table.take("byte", lane * self._table.capacity + position)

    def pieces(self, lane: np.ndarray, start: np.ndarray, rows: int) -> np.ndarray:
        """The bytes of `rows` rows from `start` (B,) of `lane` (B,) on: (B, rows)."""
        return self._table.pieces("byte", self._table.flat(lane, start), rows)

    def lane_bytes(self, lane: int) -> np.ndarray:
        """The bytes of all rows of a lane, a view (T,)."""
        return self._table.columns["byte"][lane, : self.lengths[lane]]

    @staticmethod
    def flag(name: str, rows: np.ndarray) -> np.ndarray:
        """One flag from the bytes of rows, bool."""
        return (rows & _BIT[name]) != 0

    @staticmethod
    def begins(split: int | None, rows: np.ndarray) -> np.ndarray:
        """From the bytes of rows: does a transition of the split begin here? bool."""
        if split is None:
            return (rows & _VALID) != 0
        return (rows & (_VALID | np.uint8(3 << _SPLIT))) == (_VALID | np.uint8(split << _SPLIT))

    def episodes(self, split: int | None) -> list[Episode]:
        """All episodes, or those of a split, lane after lane."""
        lane, start, stop, ordinal = self._episodes.spans(self.lengths)
        keep = np.ones(len(lane), bool) if split is None else self._splits.of(ordinal) == split
        ended = self.flag("is_last", self.bytes(lane, stop - 1))
        columns = (column[keep].tolist() for column in (lane, start, stop, ordinal, ended))
        return [Episode(*row) for row in zip(*columns)]

    # --- writing

    def check(self, lane: np.ndarray, rows: Mapping[str, np.ndarray]) -> None:
        """`RequestError` where rows (k,), one for each `lane`, would break the law of episodes."""
        lost = ~rows["is_first"] & ~self._open[lane] & ~self._torn[lane]
        if lost.any():
            raise UsageError(f"lane {lane[lost][0]} is between episodes; its next row must have is_first")
        if (rows["valid"] & rows["is_last"]).any():
            raise UsageError("a last row cannot be valid: no action was taken there")

    def append(self, lane: np.ndarray, rows: Mapping[str, np.ndarray]) -> None:
        """One more row (k,) in each of the lanes `lane` (k,); `check` comes before."""
        first = rows["is_first"] | self._torn[lane]
        self._break(lane[first & self._open[lane]])
        if first.any():
            new = lane[first]
            ordinal = self.begun[new] * self.lanes + new
            self.begun[new] += 1
            self._split[new] = self._splits.of(ordinal)
            self._episodes.add(new, self.lengths[new], ordinal)
        position = self.lengths[lane]
        self._table.reserve(int(position.max()) + 1)
        self._put(lane, position, {**rows, "is_first": first}, self._split[lane])
        self._open[lane] = ~rows["is_last"]
        self._torn[lane] = False
        self.lengths[lane] += 1
        self.written[lane] += 1

    def check_run(self, lane: int, rows: Mapping[str, np.ndarray]) -> None:
        """`RequestError` where rows (n,), one after another in a lane, would break the law of episodes."""
        self.check(np.array([lane]), {name: rows[name][:1] for name in FLAGS})
        if (rows["valid"] & rows["is_last"]).any():
            raise UsageError("a last row cannot be valid: no action was taken there")
        if not np.array_equal(rows["is_first"][1:], rows["is_last"][:-1]):
            raise UsageError("an episode must begin where another one ends, and nowhere else")

    def extend(self, lane: int, rows: Mapping[str, np.ndarray]) -> None:
        """Rows (n,) one after another in a lane; `check_run` comes before."""
        one, length = np.array([lane]), self.lengths[lane]
        first = np.array(rows["is_first"])
        first[0] |= self._torn[lane]
        self._break(one[first[:1] & self._open[one]])
        position = length + np.arange(len(first))
        begun = self.begun[lane] + np.cumsum(first)  # episodes begun in the lane up to each row
        ordinal = np.maximum(begun - 1, 0) * self.lanes + lane
        split = self._splits.of(ordinal)
        self._episodes.add(np.full(int(first.sum()), lane), position[first], ordinal[first])
        self._table.reserve(int(position[-1]) + 1)
        self._put(np.full(len(first), lane), position, {**rows, "is_first": first}, split)
        self.begun[lane], self._split[lane] = begun[-1], split[-1]
        self._open[lane], self._torn[lane] = not rows["is_last"][-1], False
        self.lengths[lane] += len(first)
        self.written[lane] += len(first)

    def follows(self, chunk: Chunk) -> bool:
        """Does the chunk begin where the rows end, as far as anybody knows?"""
        return bool(((chunk.start == self.written) | self._torn).all())

    def load(self, chunk: Chunk, arrays: Mapping[str, np.ndarray]) -> None:
        """The rows of a chunk, whose flags are in `arrays`."""
        lane, position = ragged(chunk.rows, self.lengths)
        filled = np.flatnonzero(chunk.rows)
        begin = chunk.offset[filled]  # where each lane begins in the arrays
        recorded = arrays["is_first"]
        self._break(filled[self._open[filled] & recorded[begin]])
        first = np.array(recorded)
        first[begin] |= self._torn[filled]
        count = np.cumsum(recorded, dtype=np.int64)
        before = chunk.episodes[filled] - count[begin] + recorded[begin]
        begun = count + np.repeat(before, chunk.rows[filled])  # episodes begun in the lane up to each row
        ordinal = np.maximum(begun - 1, 0) * self.lanes + lane
        split = self._splits.of(ordinal)
        self._episodes.add(lane[first], position[first], ordinal[first])
        self._table.reserve(int((self.lengths + chunk.rows).max()))
        self._put(lane, position, {**arrays, "is_first": first}, split)
        end = begin + chunk.rows[filled] - 1
        self._open[filled] = ~arrays["is_last"][end]
        self._split[filled] = split[end]
        self._torn[filled] = False
        self.begun[filled] = begun[end]
        self.lengths += chunk.rows
        self.written[filled] = (chunk.start + chunk.rows)[filled]

    def lose(self, written: np.ndarray | None) -> None:
        """A chunk is lost; `written` (L,) rows were there after it, None where nobody knows."""
        torn = np.ones(self.lanes, bool) if written is None else written > self.written
        self._break(np.flatnonzero(torn & self._open))
        self._open &= ~torn
        self._torn |= torn
        if written is not None:
            self.written = np.maximum(self.written, written)

    def _put(
        self, lane: np.ndarray, position: np.ndarray, rows: Mapping[str, np.ndarray], split: np.ndarray
    ) -> None:
        """Write the bytes of rows (n,) and count them."""
        byte = split << np.uint8(_SPLIT)
        for name, bit in _BIT.items():
            byte |= rows[name].view(np.uint8) * bit
        self._table.put("byte", self._table.flat(lane, position), byte)
        self.counts += np.bincount(split[rows["valid"]], minlength=len(SPLITS))

    def _break(self, lane: np.ndarray) -> None:
        """The episodes going on in `lane` (k,) end with the rows they have."""
        if len(lane) == 0:
            return
        flat = self._table.flat(lane, self.lengths[lane] - 1)
        byte = self._table.take("byte", flat)
        self.counts -= np.bincount(byte[self.flag("valid", byte)] >> np.uint8(_SPLIT), minlength=len(SPLITS))
        self._table.put("byte", flat, (byte & ~_VALID) | _LAST)
