"""What a split of a stream holds, as plain arrays: observations, numbers, actions, truth, episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.spaces import Leaf, is_goal_space, is_image, leaves, model_inputs, unflatten_by_path

ROWS = 20_000  # a split gives at most so many rows
SEEN_ROWS = 200_000  # or these, of only what a model sees: units and floors know what is rare
IMAGE_ROWS = 4_000  # and any where there are images
_POOL = 8  # an image counts as _POOL x _POOL mean brightnesses a channel


@dataclass(frozen=True)
class SplitData:
    """N rows of whole episodes of one split, one after the other."""

    observation: Any  # (N, ...) as the env gives it, batched
    numbers: np.ndarray  # (N, D) float64: what the world model reads, as plain numbers
    names: list[str]  # (D,) a name for each number
    action: np.ndarray  # (N, A) or (N,)
    valid: np.ndarray  # (N,) bool: the action leads from this row to the next one
    episode: np.ndarray  # (N,) int: which episode
    truth: dict[str, np.ndarray]  # name -> (N, k) float64: privileged state, where the stream has it
    images: bool  # whether the world model reads any
    physics: np.ndarray | None  # (N, P) float64: the complete physics, where the stream has it
    reward: np.ndarray | None  # (N,) what the action brought; no model ever sees it

    def pairs(self, gap: int) -> np.ndarray:
        """(M,) starts t for which the rows t .. t + gap follow each other in one episode."""
        if gap >= len(self.valid):
            return np.zeros(0, np.int64)
        run = np.concatenate([[0], np.cumsum(self.valid)])
        starts = np.arange(len(self.valid) - gap)
        return starts[run[starts + gap] - run[starts] == gap]


def load_split(
    stream: Any, split: str, seed: int = 0, limit: int | None = None, only_seen: bool = False
) -> SplitData:
    """The rows of whole episodes drawn from `split`, at most about `limit` (always at least one episode).

    With `only_seen` without truth, physics and reward, which no model sees; at most ten times as many rows then.
    """
    space = stream.observation_space
    images = any(is_image(leaf) for leaf in model_inputs(space).values())
    limit = limit or (IMAGE_ROWS if images else SEEN_ROWS if only_seen else ROWS)
    wanted = [*map(field_name, leaves(space)), "action", "valid"] if only_seen else None
    episodes = [e for e in stream.episodes(split) if e.stop - e.start >= 2]
    if not episodes:
        raise UsageError(
            f"the split {split!r} of this stream has no episode; it needs about ten finished episodes, "
            f"it has {len(stream.episodes())}"
        )
    order = generator(seed, "rows", split).permutation(len(episodes))
    parts: list[dict[str, np.ndarray]] = []
    total = 0
    for index in order:
        episode = episodes[index]
        stop = min(episode.stop, episode.start + limit)
        parts.append(stream.read(episode.lane, episode.start, stop, wanted))
        total += stop - episode.start
        if total >= limit:
            break
    lengths = [len(part["valid"]) for part in parts]
    fields = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    valid = np.asarray(fields["valid"], bool).copy()
    valid[np.cumsum(lengths) - 1] = False  # nothing leads from one episode into the next
    numbers, names = as_numbers(space, fields)
    return SplitData(
        observation=join_observation(space, fields),
        numbers=numbers,
        names=names,
        action=fields["action"],
        valid=valid,
        episode=np.repeat(np.arange(len(parts)), lengths),
        truth={
            name.removeprefix("state."): _columns(values)
            for name, values in fields.items()
            if name.startswith("state.")
        },
        images=images,
        physics=fields.get("physics"),
        reward=fields.get("reward"),
    )


def join_observation(space: spaces.Space, fields: dict[str, np.ndarray]) -> Any:
    """The observation (N, ...) from its stored fields `observation` or `observation.<leaf>`."""
    return unflatten_by_path(space, {path: fields[field_name(path)] for path in leaves(space)})


def field_name(path: str) -> str:
    """Under which name a stream stores a leaf of the observation."""
    return f"observation.{path}" if path else "observation"


def as_numbers(space: spaces.Space, fields: dict[str, np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """What the world model reads, as (N, D) float64 with D names.

    Boxes as they are, images as 8 x 8 mean brightnesses a channel, categories one-hot.
    """
    columns, names = [], []
    for path, leaf in model_inputs(space).items():
        block = _leaf_numbers(leaf, np.asarray(fields[field_name(path)]))
        columns.append(block)
        label = path.split(".")[-1] or "observation"
        names += [f"{label} {i}" for i in range(block.shape[1])]
    return np.concatenate(columns, 1), names


def decoded_numbers(space: spaces.Space, value: Any) -> np.ndarray:
    """What `model.decode` gave (..., leading axes flattened to N) as (N, D), in the order of `as_numbers`.

    Images are not decoded and have no numbers here.
    """
    inner = space["observation"] if is_goal_space(space) and isinstance(space, spaces.Dict) else space
    columns = []
    for path, leaf in leaves(inner).items():
        if is_image(leaf):
            continue
        part = value
        for key in path.split(".") if path else []:
            part = part[int(key) if isinstance(part, tuple) else key]
        flat = np.asarray(part).reshape(-1, *(leaf.shape or ()))
        columns.append(_leaf_numbers(leaf, flat))
    return np.concatenate(columns, 1)


def decoded_columns(space: spaces.Space) -> np.ndarray:
    """(D,) bool: which of the numbers of `as_numbers` are among those of `decoded_numbers`."""
    columns = []
    for leaf in model_inputs(space).values():
        least = leaf.start if isinstance(leaf, spaces.Discrete) else 0
        row = _leaf_numbers(leaf, np.full((1, *(leaf.shape or ())), least, leaf.dtype))
        columns.append(np.full(row.shape[1], not is_image(leaf)))
    return np.concatenate(columns)


def _leaf_numbers(leaf: Leaf, values: np.ndarray) -> np.ndarray:
    if isinstance(leaf, spaces.Discrete):
        return np.eye(int(leaf.n))[values.reshape(-1).astype(np.int64) - int(leaf.start)]
    if isinstance(leaf, spaces.MultiDiscrete):
        flat = values.reshape(len(values), -1).astype(np.int64)
        return np.concatenate([np.eye(int(n))[flat[:, i]] for i, n in enumerate(leaf.nvec.reshape(-1))], 1)
    return _pooled(values) if is_image(leaf) else _columns(values)


def _pooled(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) as mean brightnesses (N, 8 * 8 * C) in [0, 1]."""
    rows = np.array_split(np.arange(images.shape[1]), _POOL)
    columns = np.array_split(np.arange(images.shape[2]), _POOL)
    cells = [
        images[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1].mean((1, 2))
        for r in rows
        if len(r)
        for c in columns
        if len(c)
    ]
    return np.concatenate(cells, 1).astype(np.float64) / 255.0


def _columns(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float64).reshape(len(values), -1)
