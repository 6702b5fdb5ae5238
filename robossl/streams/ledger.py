"""What memory knows of every row, in four bytes: what may be sampled, where episodes begin and end."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robossl.core.errors import RequestError
from robossl.streams.chunks import Chunk
from robossl.streams.schema import Field
from robossl.streams.splits import SPLITS, Splits
from robossl.streams.table import Table, ragged
from robossl.streams.window import Episode

NOTHING = 255  # the split code of a row that begins no transition
MARKS = ("valid", "is_first", "is_last")


class Ledger:
    """Lengths, episode marks and split codes of all lanes.

    The marks differ from the recorded ones in two cases: where a record breaks off (its writer died, or
    a chunk is lost) the row before the break is the last of its episode and begins no transition, and the
    row after it begins an episode.
    """

    def __init__(self, lanes: int, splits: Splits) -> None:
        """A ledger of nothing yet."""
        self._splits = splits
        self.lanes = lanes
        self.lengths = np.zeros(lanes, np.int64)  # (L,) rows that are here
        self.written = np.zeros(lanes, np.int64)  # (L,) rows that were ever written, lost ones included
        self.begun = np.zeros(lanes, np.int64)  # (L,) episodes begun
        self.counts = np.zeros(len(SPLITS), np.int64)  # (4,) rows that begin a transition
        self._open = np.zeros(lanes, bool)  # (L,) an episode is going on
        self._torn = np.zeros(lanes, bool)  # (L,) the rows after the last one are lost
        self._split = np.zeros(lanes, np.uint8)  # (L,) the split of the episode going on
        self._episodes = np.zeros((16, 3), np.int64)  # lane, first row, ordinal of each episode; grows
        self._listed = 0  # how many there are
        self._table = Table(lanes)
        for name in MARKS:
            self._table.add(Field(name, "bool", (), "flag"))
        self._table.add(Field("split", "uint8", (), "flag"))

    @property
    def transitions(self) -> int:
        """How many rows have an action and the row that it led to."""
        waiting = self._open & (self.lengths > 0)
        if waiting.any():
            lane = np.flatnonzero(waiting)
            waiting_valid = int(self.mark("valid", lane, self.lengths[lane] - 1).sum())
        else:
            waiting_valid = 0
        return int(self.counts.sum()) - waiting_valid

    def mark(self, name: str, lane: np.ndarray, position: np.ndarray) -> np.ndarray:
        """One mark, or "split", of rows given by lane and position."""
        return self._table.take(name, self._table.flat(lane, position))

    def column(self, name: str, lane: int) -> np.ndarray:
        """One mark of all rows of a lane, a view (T,)."""
        return self._table.columns[name][lane, : self.lengths[lane]]

    def check(self, lane: np.ndarray, rows: Mapping[str, np.ndarray]) -> None:
        """`RequestError` where rows `(k,)`, one for each `lane`, would break the law of episodes."""
        lost = ~rows["is_first"] & ~self._open[lane] & ~self._torn[lane]
        if lost.any():
            raise RequestError(
                f"lane {lane[lost][0]} has no episode going on; its next row must have is_first"
            )
        if (rows["valid"] & rows["is_last"]).any():
            raise RequestError("a last row cannot be valid: no action was taken there")

    def append(self, lane: np.ndarray, rows: Mapping[str, np.ndarray]) -> None:
        """One more row (k,) in each of the lanes `lane` (k,); `check` comes before."""
        first = rows["is_first"] | self._torn[lane]
        broken = lane[first & self._open[lane]]
        if len(broken):
            self._break(broken)
        if first.any():
            new = lane[first]
            self.begun[new] += 1
            ordinal = (self.begun[new] - 1) * self.lanes + new
            self._split[new] = self._splits.of(ordinal)
            self._list(new, self.lengths[new], ordinal)
        position = self.lengths[lane]
        self._table.reserve(int(position.max()) + 1)
        flat = self._table.flat(lane, position)
        code = np.where(rows["valid"], self._split[lane], np.uint8(NOTHING))
        for name, values in (
            ("valid", rows["valid"]),
            ("is_first", first),
            ("is_last", rows["is_last"]),
            ("split", code),
        ):
            self._table.put(name, flat, values)
        self.counts += np.bincount(code[rows["valid"]], minlength=len(SPLITS))
        self._open[lane] = ~rows["is_last"]
        self._torn[lane] = False
        self.lengths[lane] += 1
        self.written[lane] += 1

    def load(self, chunk: Chunk, arrays: Mapping[str, np.ndarray]) -> None:
        """The rows of a chunk, whose marks are in `arrays`."""
        lane, position = ragged(chunk.rows, self.lengths)
        if len(lane) == 0:
            return
        filled = np.flatnonzero(chunk.rows)
        head = chunk.offset[filled]  # where each lane begins in the arrays
        raw_first = arrays["is_first"]
        torn = self._torn[filled] | (chunk.start[filled] != self.written[filled])
        self._break(filled[self._open[filled] & (raw_first[head] | torn)])
        first = np.array(raw_first)
        first[head] |= torn | (self.lengths[filled] == 0)
        begun = np.cumsum(raw_first, dtype=np.int64)
        before = np.repeat(begun[head] - raw_first[head], chunk.rows[filled])
        episode = (
            np.repeat(chunk.episodes[filled], chunk.rows[filled]) + begun - before
        )  # begun up to each row
        ordinal = np.maximum(episode - 1, 0) * self.lanes + lane
        split = self._splits.of(ordinal)
        self._list(lane[first], position[first], ordinal[first])
        valid = arrays["valid"]
        code = np.where(valid, split, np.uint8(NOTHING))
        self._table.reserve(int((self.lengths + chunk.rows).max()))
        flat = self._table.flat(lane, position)
        for name, values in (
            ("valid", valid),
            ("is_first", first),
            ("is_last", arrays["is_last"]),
            ("split", code),
        ):
            self._table.put(name, flat, values)
        self.counts += np.bincount(code[valid], minlength=len(SPLITS))
        tail = head + chunk.rows[filled] - 1
        self._open[filled] = ~arrays["is_last"][tail]
        self._split[filled] = split[tail]
        self._torn[filled] = False
        self.begun[filled] = episode[tail]
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

    def _break(self, lane: np.ndarray) -> None:
        """The episodes going on in `lane` (k,) end with the rows they have."""
        flat = self._table.flat(lane, self.lengths[lane] - 1)
        code = self._table.take("split", flat)
        self.counts -= np.bincount(code[code != NOTHING], minlength=len(SPLITS))
        for name, value in (("valid", False), ("is_last", True), ("split", NOTHING)):
            self._table.put(name, flat, np.full(len(lane), value))

    def episodes(self, code: int | None) -> list[Episode]:
        """All episodes, or those of a split, lane after lane."""
        listed = self._episodes[: self._listed]
        lane, start, ordinal = listed[np.lexsort((listed[:, 1], listed[:, 0]))].T
        stop = np.append(start[1:], 0)
        final = np.append(lane[1:] != lane[:-1], True)[: len(lane)]
        stop = np.where(final, self.lengths[lane], stop[: len(lane)])
        ended = self.mark("is_last", lane, stop - 1)
        keep = np.ones(len(lane), bool) if code is None else self._splits.of(ordinal) == code
        rows = zip(*(column[keep].tolist() for column in (lane, start, stop, ordinal, ended)))
        return [Episode(*row) for row in rows]

    def _list(self, lane: np.ndarray, start: np.ndarray, ordinal: np.ndarray) -> None:
        """Write down that episodes (k,) begin."""
        stop = self._listed + len(lane)
        if stop > len(self._episodes):
            grown = np.zeros((max(stop, 2 * len(self._episodes)), 3), np.int64)
            grown[: self._listed] = self._episodes[: self._listed]
            self._episodes = grown
        self._episodes[self._listed : stop] = np.stack([lane, start, ordinal], axis=1)
        self._listed = stop
