"""LaneView: some lanes of a recorded stream, to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robossl.core.errors import UsageError
from robossl.streams.episodes import Episode
from robossl.streams.splits import SPLITS
from robossl.streams.storage.row_index import RowIndex
from robossl.streams.stream import DEFAULT_CACHE_BYTES, Stream


class LaneView(Stream):
    """The lanes [first, stop) of a stream as they are now; the others are empty. It cannot be written.

    The lanes keep their numbers and their episodes keep their splits. In a run these are the lanes of the exploration
    policy, which no rewarded agent chose, or those of the agent.

    Example:
        exploration = robossl.streams.LaneView("runs/reacher/stream", 0, 64)
        model = robossl.pretrain(exploration, out="models/reacher")
    """

    def __init__(
        self, path: str | Path, first: int, stop: int, cache_bytes: int = DEFAULT_CACHE_BYTES
    ) -> None:
        """Open lanes of a stream.

        Args:
            path: Folder of the stream.
            first: The first lane.
            stop: The lane after the last one.
            cache_bytes: Limit of the memory for cached small fields.
        """
        self._shown = range(first, stop)
        super().__init__(path, cache_bytes)
        if not 0 <= first < stop <= self.lanes:
            raise UsageError(f"expected lanes within the {self.lanes} of {path}, got {first} to {stop}")

    def _load(self) -> None:
        super()._load()
        hidden = [lane for lane in range(self.lanes) if lane not in self._shown]
        for lane in hidden:
            flag_bytes = self._index.lane_flag_bytes(lane)
            self._index.counts -= [
                int(RowIndex.begins(code, flag_bytes).sum()) for code in range(len(SPLITS))
            ]
        self._index.lengths[np.array(hidden, np.int64)] = 0

    def episodes(self, split: str | None = None) -> list[Episode]:
        """Return all episodes of these lanes, or those of a split, sorted by lane and start."""
        shown = self._shown
        return [episode for episode in super().episodes(split) if episode.lane in shown]

    def acquire(self) -> None:
        """Refuse to become a writer."""
        raise UsageError(
            f"expected a stream to write to, got some lanes of {self.path}; open the stream itself"
        )

    def refresh(self) -> None:
        """Load what another process has committed since."""
        self._load()
