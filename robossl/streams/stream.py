"""Stream: the append-only record of vector envs on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.vector import VectorEnv
from numpy.typing import ArrayLike

from robossl.core.errors import UsageError
from robossl.core.interfaces import Observation
from robossl.core.small_files import as_path
from robossl.streams import restore
from robossl.streams.episodes import Episode
from robossl.streams.sampling import Sampler, Uniform, sample_starts
from robossl.streams.schema import Schema
from robossl.streams.splits import SPLITS, split_index
from robossl.streams.storage.store import Store
from robossl.streams.stream_display import stream_dataframe, stream_html, stream_text
from robossl.streams.stream_header import header_metadata, write_header
from robossl.streams.window import Window

DEFAULT_CACHE_BYTES = 1 << 30  # [bytes] of small fields cached for sampling; the rest is read from the files
_TRANSITION_FIELDS = ("action", "reward", "terminated", "truncated", "valid")


class Stream(Store):
    """Append-only record of `lanes` lanes. One writer at a time, any number of readers.

    A lane is the sequence of time steps of one sub-environment; one stored time step is a row. Row t of a lane has
    observation[t], the action[t] taken there, and its result: reward[t], terminated[t], truncated[t]. The last row of
    an episode has its final observation and no action. valid[t]: action[t] leads from row t to row t+1.

    Example:
        stream = robossl.load("streams/reacher")
        stream.to_dataframe(["action", "reward"])
    """

    def __init__(self, path: str | Path, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        """Open the stream in the folder `path`.

        Args:
            path: Folder of the stream.
            cache_bytes: Limit of the memory for cached small fields.
        """
        super().__init__(path, cache_bytes)

    @classmethod
    def open(cls, path: str | Path, cache_bytes: int = DEFAULT_CACHE_BYTES) -> Stream:
        """Open an existing stream, or shards; the first append makes this object its writer."""
        path = as_path(path, "a stream or the folder of one")
        for name, reader in _READERS.items():
            if (path / name).is_file():
                return reader(path, cache_bytes)
        return cls(path, cache_bytes)

    @classmethod
    def create(
        cls,
        path: str | Path,
        schema: Schema,
        lanes: int,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        **metadata: Any,
    ) -> Stream:
        """Create a stream in a new folder and become its writer.

        Args:
            path: New folder.
            schema: Fields of the stream.
            lanes: Number of lanes.
            cache_bytes: Limit of the memory for cached small fields.
            metadata: Entries of the header, such as env, seed, policy, backend, randomization.
        """
        write_header(Path(path), schema, lanes, metadata)
        stream = cls(path, cache_bytes)
        stream.acquire()
        return stream

    def create_like(self, path: str | Path, lanes: int, **metadata: Any) -> Stream:
        """Create an empty stream for the same envs; `metadata` replaces entries of the header."""
        entries = {**header_metadata(self.header), **metadata}
        if lanes != self.lanes:
            entries.pop("lane_groups", None)
        return Stream.create(path, self.schema, lanes, self._cache_bytes, **entries)

    def __enter__(self) -> Stream:
        """Return the stream; the end of the block closes it."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the stream."""
        self.close()

    def __repr__(self) -> str:
        return stream_text(self)

    def _repr_html_(self) -> str:
        """Return the content and the fields as HTML, for a notebook."""
        return stream_html(self)

    # --- size and spaces

    @property
    def observation_space(self) -> Space:
        """Return the observation space of a single lane."""
        return self.schema.observation_space

    @property
    def action_space(self) -> Space:
        """Return the action space of a single lane."""
        return self.schema.action_space

    @property
    def rows(self) -> int:
        """Return the number of rows in all lanes."""
        return int(self._index.lengths.sum())

    @property
    def transitions(self) -> int:
        """Return the number of rows with an action and a next row."""
        return self._index.transitions

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of valid rows (transitions) in each split."""
        return dict(zip(SPLITS, self._index.counts.tolist()))

    def episodes(self, split: str | None = None) -> list[Episode]:
        """Return all episodes, or those of a split, sorted by lane and start; running ones included."""
        return self._index.episodes(None if split is None else split_index(split))

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
        """Sample `batch` windows of `length` actions with replacement, uncommitted rows included.

        Each window begins at a row of the split that begins a transition. A window may run into the next episode, see
        `Window.mask`.

        Args:
            batch: Number of windows B.
            length: Actions in a window T.
            rng: Source of randomness.
            split: Split to sample from; None for all episodes.
            fields: Names of further fields to read, [B, T+1, ...].
            sampler: Distribution of the start rows; uniform by default.

        Raises:
            UsageError: If no window can be sampled.
        """
        if batch < 1 or length < 1:
            raise UsageError(f"expected batch and length of at least 1, got windows({batch}, {length})")
        extra = [self.schema[name].name for name in fields or ()]
        lane, start = sample_starts(self._index, batch, length, rng, split, sampler or Uniform())
        full = [*self.schema.observations, *extra]  # T + 1 rows; the other fields have T
        shorter = [name for name in _TRANSITION_FIELDS if name not in extra]
        rows_by_field = self._fetch(lane, start, length + 1, full, shorter, cache=True)
        action, reward, terminated, truncated, valid = (
            rows_by_field[name][:, :length] for name in _TRANSITION_FIELDS
        )
        return Window(
            self.schema.join_observation(rows_by_field),
            action,
            reward,
            terminated,
            truncated,
            valid,
            lane,
            start,
            {name: rows_by_field[name] for name in extra},
        )

    def steps_until_end(self, lane: np.ndarray, position: np.ndarray, limit: int) -> np.ndarray:
        """Return the number of later rows that each row's episode has so far, at most `limit`: (B,) int64."""
        lane = np.asarray(lane)[:, None]
        rows = np.asarray(position)[:, None] + np.arange(limit + 1)
        exists = rows < self._index.lengths[lane]  # (B, limit + 1)
        flags = self._index.flag_bytes(lane, np.minimum(rows, self._index.lengths[lane] - 1))
        is_end = ~exists | (np.cumsum(self._index.flag("is_last", flags), axis=1) > 0)  # last row reached
        stop = np.where(is_end.any(1), is_end.argmax(1), limit)
        return stop - ~exists[np.arange(len(stop)), stop]  # a row beyond the end of the lane does not count

    def to_dataframe(self, fields: Iterable[str] | None = None, limit: int = 100_000) -> Any:
        """Return time steps as a pandas DataFrame, one row each, sorted by lane and step.

        Args:
            fields: Names of fields, or one name; None: all without images and physics.
            limit: Largest number of rows, from the beginning of the first lane.

        Returns:
            Columns lane, episode (its number in the stream), step (in the episode), then one column for each element of
            each field: `action_0`, `action_1`, ...

        Raises:
            UsageError: pandas is not installed, or a field is unknown.
        """
        return stream_dataframe(self, fields, limit)

    # --- restoring

    def restore(
        self, envs: VectorEnv, lane: ArrayLike, position: ArrayLike, env_ids: ArrayLike | None = None
    ) -> Observation:
        """Set sub-environments of `envs` to exactly the recorded physics and goals of rows.

        The same actions then give the same future, except that a time limit counts from here. `envs` must have the
        recorded robot; the task and the number of sub-environments may differ.

        Args:
            envs: Vector env that is a PhysicsStateEnv, without randomization.
            lane: Lane, or lanes (m,).
            position: Row, or rows (m,).
            env_ids: (m,) sub-environments; by default one row is set in all of them, m rows in the first m.

        Returns:
            The observation of all sub-environments.

        Raises:
            UsageError: If a row cannot be restored.
        """
        return restore.restore_env(self, envs, lane, position, env_ids)


_READERS: dict[str, type[Stream]] = {}  # file in a folder -> class that reads such a folder


def reader_of(file_name: str) -> Callable[[type[Stream]], type[Stream]]:
    """Return a decorator for the class that reads folders with this file, for `Stream.open`."""

    def register(reader: type[Stream]) -> type[Stream]:
        _READERS[file_name] = reader
        return reader

    return register
