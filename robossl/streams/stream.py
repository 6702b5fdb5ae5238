"""A stream: everything that a set of env lanes lived through, in order, on disk, append-only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation
from robossl.streams import restore
from robossl.streams.episodes import Episode
from robossl.streams.sampling import Sampler, Uniform, sample_starts
from robossl.streams.schema import Schema
from robossl.streams.splits import SPLITS, split_index
from robossl.streams.storage.store import Store
from robossl.streams.stream_header import facts_of, write_header
from robossl.streams.window import Window

MEMORY = 1 << 30  # [bytes] of small fields kept in memory for sampling; beyond, they are read from the files
_STEP = ("action", "reward", "terminated", "truncated", "valid")


class Stream(Store):
    """An append-only record of `lanes` lanes. One writer at a time, any number of readers.

    Row t of a lane holds observation[t], the action[t] taken there, and what it brought: reward[t],
    terminated[t], truncated[t]. The last row of an episode holds its final observation and no action.
    valid[t]: action[t] leads from row t to row t+1.
    """

    def __init__(self, path: str | Path, memory: int = MEMORY) -> None:
        """Open the stream in the folder `path`; `memory` bytes at most keep small fields at hand."""
        super().__init__(path, memory)

    @classmethod
    def open(cls, path: str | Path, memory: int = MEMORY) -> Stream:
        """Open an existing stream; the first append makes this object its writer."""
        return cls(path, memory)

    @classmethod
    def create(
        cls, path: str | Path, schema: Schema, lanes: int, memory: int = MEMORY, **facts: Any
    ) -> Stream:
        """Begin a stream of `lanes` lanes in a new folder and become its writer.

        `facts` go into the header: env, seed, policy, backend, variations and whatever else is worth knowing.
        """
        write_header(Path(path), schema, lanes, facts)
        stream = cls(path, memory)
        stream.acquire()
        return stream

    def like(self, path: str | Path, lanes: int, **facts: Any) -> Stream:
        """Begin an empty stream for the same envs; `facts` replace those of this one."""
        return Stream.create(path, self.schema, lanes, self._budget, **{**facts_of(self.header), **facts})

    def __enter__(self) -> Stream:
        """The stream itself; the end of the block closes it."""
        return self

    def __exit__(self, *reason: object) -> None:
        """Close."""
        self.close()

    # --- what there is

    @property
    def observation_space(self) -> Space:
        """The observation space of a single lane."""
        return self.schema.observation_space

    @property
    def action_space(self) -> Space:
        """The action space of a single lane."""
        return self.schema.action_space

    @property
    def lengths(self) -> np.ndarray:
        """Rows in each lane, (L,)."""
        return self._ledger.lengths.copy()

    @property
    def rows(self) -> int:
        """Rows in all lanes together."""
        return int(self._ledger.lengths.sum())

    @property
    def transitions(self) -> int:
        """Rows whose action and outcome are both here."""
        return self._ledger.transitions

    @property
    def counts(self) -> dict[str, int]:
        """Valid rows in each split."""
        return dict(zip(SPLITS, self._ledger.counts.tolist()))

    def episodes(self, split: str | None = None) -> list[Episode]:
        """All episodes, or those of a split, lane after lane; the ones still going on too."""
        return self._ledger.episodes(None if split is None else split_index(split))

    # --- reading

    def windows(
        self,
        batch: int,
        length: int,
        rng: np.random.Generator,
        split: str | None = "train",
        fields: Iterable[str] | None = None,
        sampler: Sampler | None = None,
    ) -> Window:
        """`batch` windows of `length` actions, drawn with replacement, waiting rows included.

        Each begins at a row of the split that begins a transition, every such row alike unless a `sampler`
        prefers some. A window may run into the next episode, see `Window.mask`. `fields` are read besides,
        [B, T+1, ...]. `RequestError` where nothing can be sampled.
        """
        if batch < 1 or length < 1:
            raise UsageError(f"windows({batch}, {length}) was asked for; both must be at least 1")
        extra = [self.schema[name].name for name in fields or ()]
        lane, start = sample_starts(self._ledger, batch, length, rng, split, sampler or Uniform())
        observed, step = [*self.schema.observations, *extra], [n for n in _STEP if n not in extra]
        found = self._fetch(lane, start, length + 1, observed, step, admit=True)
        action, reward, terminated, truncated, valid = (found[name][:, :length] for name in _STEP)
        return Window(
            self.schema.join(found),
            action,
            reward,
            terminated,
            truncated,
            valid,
            lane,
            start,
            {name: found[name] for name in extra},
        )

    def read(
        self, lane: int, start: int, stop: int, fields: Iterable[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Rows [start, stop) of a lane by field name, (stop - start, *shape) each."""
        if not 0 <= lane < self.lanes:
            raise UsageError(f"no lane {lane}; there are lanes 0 to {self.lanes - 1}")
        length = int(self._ledger.lengths[lane])
        if not 0 <= start <= stop <= length:
            raise UsageError(f"rows {start} to {stop} of lane {lane} were asked for; it has {length}")
        names = self.schema.names if fields is None else [self.schema[name].name for name in fields]
        found = self._fetch(np.array([lane]), np.array([start]), stop - start, names)
        return {name: found[name][0] for name in names}

    def take(self, lane: np.ndarray, position: np.ndarray, fields: Iterable[str]) -> dict[str, np.ndarray]:
        """Single rows of `lane` (B,) at `position` (B,) by field name, (B, *shape) each."""
        names = [self.schema[name].name for name in fields]
        lane, position = np.asarray(lane), np.asarray(position)
        absent = (lane < 0) | (lane >= self.lanes)
        absent = absent | (position < 0) | (position >= self.lengths[np.where(absent, 0, lane)])
        if absent.any():
            first = int(np.flatnonzero(absent)[0])
            raise UsageError(
                f"there is no row {position[first]} in lane {lane[first]}; "
                f"the lanes 0 to {self.lanes - 1} have {self.lengths.tolist()}"
            )
        found = self._fetch(lane, position, 1, names)
        return {name: found[name][:, 0] for name in names}

    def ahead(self, lane: np.ndarray, position: np.ndarray, reach: int) -> np.ndarray:
        """How many more rows each row's episode has so far, at most `reach`: (B,) int64."""
        lane = np.asarray(lane)[:, None]
        rows = np.asarray(position)[:, None] + np.arange(reach + 1)
        here = rows < self._ledger.lengths[lane]  # (B, reach + 1)
        flags = self._ledger.bytes(lane, np.minimum(rows, self._ledger.lengths[lane] - 1))
        over = ~here | (np.cumsum(self._ledger.flag("is_last", flags), axis=1) > 0)  # last row reached
        stop = np.where(over.any(1), over.argmax(1), reach)
        return stop - ~here[np.arange(len(stop)), stop]  # a row beyond the lane is none

    def observation(self, parts: Mapping[str, np.ndarray]) -> Any:
        """Arrays by field name, as `read` gives them, become an observation batch of the env."""
        return self.schema.join(parts)

    # --- going back

    def restore(self, envs: VectorEnv, lane: Any, position: Any, ids: Any = None) -> Observation:
        """Put lanes `ids` (m,) of `envs` where rows `position` of `lane` were, to the bit, goals included.

        `lane` and `position` are numbers or (m,); without `ids` one row goes into all lanes, m rows into the
        first m. The same actions then have the same future, except that a time limit counts from here.
        `envs` have the recorded body, with any task and number of lanes, and no variations; `RequestError`
        where no row can be entered. Returns what all lanes observe.
        """
        return restore.restore_env(self, envs, lane, position, ids)
