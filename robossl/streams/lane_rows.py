"""Rows of the lanes of one recorder: the pending observations and the running episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from robossl.core.errors import OperationError
from robossl.streams.step_converter import FieldArrays, any_mask, non_finite_masks
from robossl.streams.stream import Stream


class LaneRows:
    """Writes rows of some lanes of a stream. The last observation of each lane is pending until its row is complete.

    Args:
        stream: Stream to write to; None: nothing is written.
        lanes: (n,) lanes of the stream.
    """

    def __init__(self, stream: Stream | None, lanes: np.ndarray) -> None:
        count = len(lanes)
        self._stream, self._lanes, self._count = stream, lanes, count
        self.pending: FieldArrays = {}  # (n, ...) observation, state and infos of the next row of each lane
        self.in_episode = np.zeros(count, bool)  # (n,) lanes with a running episode
        self.steps = np.zeros(count, np.int64)  # (n,) actions taken in the running episode
        self.unusable_first = np.zeros(count, bool)  # (n,) lanes whose first observation is not finite

    def begin(self, lanes: np.ndarray, current: FieldArrays) -> None:
        """Begin episodes in `lanes` (n,) bool with the `current` observations, where these are finite."""
        if not self.pending:
            self.pending = current
        elif self.pending is not current:
            for name, value in current.items():
                self.pending[name][lanes] = value[lanes]
        if not np.count_nonzero(lanes):
            return
        self.steps[lanes] = 0
        faulty = lanes & any_mask(list(non_finite_masks(current).values()), self._count)
        self.in_episode = self.in_episode | (lanes & ~faulty)
        self.unusable_first = (self.unusable_first & ~lanes) | faulty

    def end(self, lanes: np.ndarray) -> None:
        """End the episodes in `lanes` (n,) bool: the pending observation becomes the last row, if they have a step."""
        if not np.count_nonzero(lanes):
            return
        assert self._stream is not None
        null_action = self._stream.schema.null_action
        all_false = np.zeros(self._count, bool)
        self.write(
            lanes & (self.steps > 0),
            action=np.broadcast_to(null_action, (self._count, *null_action.shape)),
            reward=np.zeros(self._count, np.float32),
            terminated=all_false,
            truncated=all_false,
            valid=all_false,
            is_first=all_false,
            is_last=~all_false,
        )
        self.in_episode = self.in_episode & ~lanes

    def write(self, lanes: np.ndarray, **row: np.ndarray) -> None:
        """Write one row in each of `lanes` (n,) bool: the pending values and `row` (n, ...)."""
        assert self._stream is not None
        rows = {**self.pending, **row}
        try:
            if np.count_nonzero(lanes) == self._count:
                self._stream.append(rows, self._lanes)
            else:
                selected = {name: value[lanes] for name, value in rows.items()}
                self._stream.append(selected, self._lanes[lanes])
        except OperationError:  # disk full: the running episodes end here; a reset begins new ones
            self.forget()
            raise

    def forget(self) -> None:
        """Forget the pending observations and the running episodes; a reset begins new ones."""
        self.pending, self.in_episode = {}, np.zeros(self._count, bool)
        self.unusable_first = np.zeros(self._count, bool)

    def get_checkpoint(self) -> dict[str, Any]:
        """Return copies of the pending rows and of the state of the episodes."""
        return {
            "pending": {name: value.copy() for name, value in self.pending.items()},
            "in_episode": self.in_episode.copy(),
            "steps": self.steps.copy(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        self.forget()
        self.pending = {name: np.array(value) for name, value in tree["pending"].items()}
        self.in_episode = np.array(tree["in_episode"], bool)
        self.steps = np.array(tree["steps"], np.int64)
