"""Where windows begin when some rows matter more than others: in proportion to a priority that is given to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from robossl.core.errors import UsageError

_LEAST = 1e-3  # added to every priority: a row without error may come again


class Prioritized:
    """Rows in proportion to `(priority + 0.001) ** exponent`, as `update` last set it.

    Schaul et al., "Prioritized Experience Replay", 2016, the proportional variant. A row that nobody has judged yet
    has the largest priority given so far, so that it comes soon. Rows that begin no transition of the split are
    forgotten when they are first drawn: one sampler serves one split of one stream.
    """

    def __init__(self, exponent: float = 0.6) -> None:
        """`exponent` 0 draws every row alike, 1 in proportion to its priority."""
        if not exponent >= 0:
            raise UsageError(f"exponent is {exponent}; expected 0 or more")
        self.exponent = float(exponent)
        self._top = 1.0  # largest priority so far
        self._forget()

    def _forget(self) -> None:
        self._count = 0  # N, rows that have a place
        self._known = np.zeros(0, np.int64)  # (L,) how many of each lane
        self._places: list[np.ndarray] = []  # of each lane, (its rows or more,) where they are in the tree
        self._rows = np.zeros((1, 2), np.int64)  # (C, 2) lane and position of each place
        self._tree = np.zeros(2)  # (2C,) sums over pairs, the whole at 1, the C leaves at the end

    def propose(
        self, rng: np.random.Generator, count: int, room: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lane and position (count or fewer,)."""
        self._meet(room)
        leaves, mass = len(self._tree) // 2, rng.random(count) * self._tree[1]
        node = np.ones(count, np.int64)
        while node[0] < leaves:
            node *= 2
            left = self._tree[node]
            right = mass >= left
            mass -= np.where(right, left, 0.0)
            node += right
        lane, position = self._rows[node - leaves].T
        fits = (self._tree[node] > 0) & (position < room[lane])
        return lane[fits], position[fits]

    def refused(self, lane: np.ndarray, position: np.ndarray) -> None:
        """These rows (B,) begin nothing that was asked for; they will not be proposed again."""
        self._set(self._place(lane, position), np.zeros(len(lane)))

    def update(self, lane: np.ndarray, position: np.ndarray, priority: np.ndarray) -> None:
        """New priorities (B,), 0 or more, of rows (B,): `window.lane`, `window.start` and an error, say."""
        priority = np.asarray(priority, np.float64)
        if priority.shape != np.shape(lane):
            raise UsageError(f"priorities of shape {priority.shape} for rows of shape {np.shape(lane)}")
        if not (good := np.isfinite(priority) & (priority >= 0)).all():
            raise UsageError(f"a priority is {priority[~good][0]}; expected finite numbers, 0 or more")
        self._top = max(self._top, float(priority.max(initial=0.0)))
        self._set(self._place(lane, position), (priority + _LEAST) ** self.exponent)

    def weights(self, lane: np.ndarray, position: np.ndarray, exponent: float = 0.4) -> np.ndarray:
        """(B,) what a loss is to be weighed with, at most 1: the rarer a row is drawn, the more.

        `exponent` 1 makes the mean of the weighed loss that of all rows, but for a factor; 0 leaves it as drawn.
        """
        mass = self._tree[len(self._tree) // 2 + self._place(lane, position)]
        return (mass.min() / mass) ** exponent

    def get_checkpoint(self) -> dict[str, Any]:
        """Priorities (N,) by lane and position (N, 2)."""
        leaves = len(self._tree) // 2
        return {
            "rows": self._rows[: self._count].copy(),
            "mass": self._tree[leaves : leaves + self._count].copy(),
            "top": self._top,
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was."""
        self._forget()
        self._top = float(tree["top"])
        rows, mass = np.array(tree["rows"], np.int64).reshape(-1, 2), np.array(tree["mass"], np.float64)
        if len(rows):
            self._add(rows, mass)

    def _meet(self, room: np.ndarray) -> None:
        """A place for every row that is new."""
        self._lanes(len(room))
        new = np.maximum(room - self._known, 0)
        if new.any():
            lane = np.repeat(np.arange(len(room)), new)
            first = np.repeat(self._known - (np.cumsum(new) - new), new)
            rows = np.stack([lane, first + np.arange(len(lane))], 1)
            self._add(rows, np.full(len(rows), (self._top + _LEAST) ** self.exponent))

    def _lanes(self, count: int) -> None:
        """Room for so many lanes."""
        self._places += [np.zeros(0, np.int64) for _ in range(count - len(self._places))]
        self._known = np.concatenate([self._known, np.zeros(max(count - len(self._known), 0), np.int64)])

    def _add(self, rows: np.ndarray, mass: np.ndarray) -> None:
        """Places for rows (n, 2), lane by lane in order of position."""
        self._lanes(int(rows[:, 0].max()) + 1)
        place = self._count + np.arange(len(rows))
        for lane in np.unique(rows[:, 0]):
            own = place[rows[:, 0] == lane]
            begin, end = int(self._known[lane]), int(self._known[lane]) + len(own)
            if end > len(self._places[lane]):
                self._places[lane] = _longer(self._places[lane], end)
            self._places[lane][begin:end], self._known[lane] = own, end
        self._count += len(rows)
        if self._count > len(self._rows):
            self._rows = _longer(self._rows, self._count)
            self._tree = _grown(self._tree, len(self._rows))
        self._rows[place] = rows
        self._set(place, mass)

    def _place(self, lane: np.ndarray, position: np.ndarray) -> np.ndarray:
        """(B,) places of rows that have been proposed."""
        lane, position = np.asarray(lane), np.asarray(position)
        if (lane >= len(self._known)).any() or (position >= self._known[lane]).any():
            raise UsageError("a row was judged that this sampler has not proposed")
        return np.array([self._places[i][p] for i, p in zip(lane, position)], np.int64)

    def _set(self, place: np.ndarray, mass: np.ndarray) -> None:
        """New masses (B,) and the sums above them."""
        node = len(self._tree) // 2 + place
        self._tree[node] = mass
        while len(node) and node[0] > 1:
            node = np.unique(node // 2)
            self._tree[node] = self._tree[2 * node] + self._tree[2 * node + 1]


def _longer(array: np.ndarray, least: int) -> np.ndarray:
    """The same rows with room for `least` of them or more, a power of two."""
    longer = np.zeros((1 << (least - 1).bit_length(), *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


def _grown(tree: np.ndarray, leaves: int) -> np.ndarray:
    """The same sums over more leaves, a power of two."""
    old = len(tree) // 2
    grown = np.zeros(2 * leaves)
    grown[leaves : leaves + old] = tree[old:]
    level = leaves
    while level > 1:
        grown[level // 2 : level] = grown[level : 2 * level].reshape(-1, 2).sum(1)
        level //= 2
    return grown
