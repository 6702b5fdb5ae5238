"""Prioritized sampling: windows start at rows in proportion to their priority."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.errors import UsageError

_MIN_PRIORITY = 1e-3  # added to every priority, so that a row with zero error is still sampled


class Prioritized:
    """Sample rows in proportion to `(priority + 0.001) ** exponent`, with priorities set by `update`.

    Schaul et al., "Prioritized Experience Replay", 2016, proportional variant. A row without a priority gets the
    largest priority so far, so that it is sampled soon. Rows that begin no transition of the split get zero priority
    when they are first sampled: use one sampler for one split of one stream.

    Example:
        sampler = robossl.streams.Prioritized(exponent=0.6)
        window = stream.windows(256, 1, rng, sampler=sampler)
    """

    def __init__(self, exponent: float = 0.6) -> None:
        """Create a sampler.

        Args:
            exponent: 0 samples all rows equally, 1 in proportion to their priority.
        """
        if not exponent >= 0:
            raise UsageError(f"expected an exponent of 0 or more, got {exponent}")
        self.exponent = float(exponent)
        self._max_priority = 1.0
        self._clear()

    def _clear(self) -> None:
        self._count = 0  # N, rows in the tree
        self._num_known = np.zeros(0, np.int64)  # (L,) rows of each lane in the tree
        self._leaf_by_row: list[np.ndarray] = []  # for each lane (capacity,): the leaf of each row
        self._rows = np.zeros((1, 2), np.int64)  # (C, 2) lane and position of each leaf
        self._tree = np.zeros(2)  # (2C,) sum tree: root at 1, C leaves at the end

    def propose(
        self, rng: np.random.Generator, count: int, limits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lane and position (count or fewer,)."""
        self._add_new_rows(limits)
        num_leaves, mass = len(self._tree) // 2, rng.random(count) * self._tree[1]
        node = np.ones(count, np.int64)
        while node[0] < num_leaves:
            node *= 2
            left = self._tree[node]
            right = mass >= left
            mass -= np.where(right, left, 0.0)
            node += right
        lane, position = self._rows[node - num_leaves].T
        is_valid = (self._tree[node] > 0) & (position < limits[lane])
        return lane[is_valid], position[is_valid]

    def mark_invalid(self, lane: np.ndarray, position: np.ndarray) -> None:
        """Exclude rows (B,), which begin no requested transition, from further proposals."""
        self._set(self._leaves(lane, position), np.zeros(len(lane)))

    def update(self, lane: np.ndarray, position: np.ndarray, priority: np.ndarray) -> None:
        """Set the priorities of rows.

        Args:
            lane: (B,) lanes, such as `window.lane`.
            position: (B,) rows, such as `window.start`.
            priority: (B,) finite and 0 or more, such as a prediction error.
        """
        priority = np.asarray(priority, np.float64)
        if priority.shape != np.shape(lane):
            raise UsageError(
                f"expected priorities of shape {np.shape(lane)}, one for each row, got {priority.shape}"
            )
        if not (finite := np.isfinite(priority) & (priority >= 0)).all():
            raise UsageError(f"expected finite priorities of 0 or more, got {priority[~finite][0]}")
        self._max_priority = max(self._max_priority, float(priority.max(initial=0.0)))
        self._set(self._leaves(lane, position), (priority + _MIN_PRIORITY) ** self.exponent)

    def weights(self, lane: np.ndarray, position: np.ndarray, exponent: float = 0.4) -> np.ndarray:
        """Return importance weights (B,) for the loss, at most 1; rarely sampled rows weigh more.

        Args:
            lane: (B,) lanes.
            position: (B,) rows.
            exponent: 1 fully corrects the sampling bias up to a constant factor, 0 not at all.
        """
        mass = self._tree[len(self._tree) // 2 + self._leaves(lane, position)]
        return (mass.min() / mass) ** exponent

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the priorities (N,) with their lanes and positions (N, 2)."""
        num_leaves = len(self._tree) // 2
        return {
            "rows": self._rows[: self._count].copy(),
            "mass": self._tree[num_leaves : num_leaves + self._count].copy(),
            "max_priority": self._max_priority,
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        self._clear()
        self._max_priority = float(tree["max_priority"])
        rows, mass = np.array(tree["rows"], np.int64).reshape(-1, 2), np.array(tree["mass"], np.float64)
        if len(rows):
            self._add(rows, mass)

    def _add_new_rows(self, limits: np.ndarray) -> None:
        """Add the rows that are not in the tree yet."""
        self._reserve_lanes(len(limits))
        new = np.maximum(limits - self._num_known, 0)
        if new.any():
            lane = np.repeat(np.arange(len(limits)), new)
            first = np.repeat(self._num_known - (np.cumsum(new) - new), new)
            rows = np.stack([lane, first + np.arange(len(lane))], 1)
            self._add(rows, np.full(len(rows), (self._max_priority + _MIN_PRIORITY) ** self.exponent))

    def _reserve_lanes(self, count: int) -> None:
        """Grow the tables to `count` lanes."""
        self._leaf_by_row += [np.zeros(0, np.int64) for _ in range(count - len(self._leaf_by_row))]
        self._num_known = np.concatenate(
            [self._num_known, np.zeros(max(count - len(self._num_known), 0), np.int64)]
        )

    def _add(self, rows: np.ndarray, mass: np.ndarray) -> None:
        """Add rows (n, 2), sorted by lane and position."""
        self._reserve_lanes(int(rows[:, 0].max()) + 1)
        leaf = self._count + np.arange(len(rows))
        for lane in np.unique(rows[:, 0]):
            lane_leaves = leaf[rows[:, 0] == lane]
            begin, end = int(self._num_known[lane]), int(self._num_known[lane]) + len(lane_leaves)
            if end > len(self._leaf_by_row[lane]):
                self._leaf_by_row[lane] = _enlarged_rows(self._leaf_by_row[lane], end)
            self._leaf_by_row[lane][begin:end], self._num_known[lane] = lane_leaves, end
        self._count += len(rows)
        if self._count > len(self._rows):
            self._rows = _enlarged_rows(self._rows, self._count)
            self._tree = _enlarged_tree(self._tree, len(self._rows))
        self._rows[leaf] = rows
        self._set(leaf, mass)

    def _leaves(self, lane: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return the leaves (B,) of rows that have been proposed."""
        lane, position = np.asarray(lane), np.asarray(position)
        if (lane >= len(self._num_known)).any() or (position >= self._num_known[lane]).any():
            raise UsageError("expected rows that this sampler has proposed, got another row")
        return np.array([self._leaf_by_row[i][p] for i, p in zip(lane, position)], np.int64)

    def _set(self, leaf: np.ndarray, mass: np.ndarray) -> None:
        """Set the masses (B,) of leaves (B,) and update the sums above them."""
        node = len(self._tree) // 2 + leaf
        self._tree[node] = mass
        while len(node) and node[0] > 1:
            node = np.unique(node // 2)
            self._tree[node] = self._tree[2 * node] + self._tree[2 * node + 1]


def _enlarged_rows(array: np.ndarray, num_rows: int) -> np.ndarray:
    """Return the array with space for `num_rows` rows or more, a power of two."""
    larger = np.zeros((1 << (num_rows - 1).bit_length(), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


def _enlarged_tree(tree: np.ndarray, num_leaves: int) -> np.ndarray:
    """Return the sum tree with more leaves, a power of two."""
    old = len(tree) // 2
    enlarged = np.zeros(2 * num_leaves)
    enlarged[num_leaves : num_leaves + old] = tree[old:]
    level = num_leaves
    while level > 1:
        enlarged[level // 2 : level] = enlarged[level : 2 * level].reshape(-1, 2).sum(1)
        level //= 2
    return enlarged
