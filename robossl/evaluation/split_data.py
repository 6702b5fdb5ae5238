"""Load a split of a stream as plain arrays: observations, values, actions, privileged state, episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.core.encoding import encode, encoded_dim
from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.spaces import (
    Leaf,
    is_goal_space,
    is_image,
    leaf_value,
    leaves,
    model_inputs,
    unflatten_by_path,
)
from robossl.streams import Stream

MAX_STEPS = 20_000  # time steps loaded from a split
MAX_INPUT_STEPS = 200_000  # time steps loaded if only model inputs are read; scales must include rare events
MAX_IMAGE_STEPS = 4_000  # time steps loaded when observations contain images
_IMAGE_GRID = 8  # an image is reduced to _IMAGE_GRID x _IMAGE_GRID mean intensities per channel


@dataclass(frozen=True)
class SplitData:
    """N time steps of whole episodes of one split, concatenated."""

    observation: Any  # (N, ...) batched as the env returns it
    values: np.ndarray  # (N, D) float64: the inputs of the world model as numbers
    names: list[str]  # (D,) a name for each value
    action: np.ndarray  # (N, A) or (N,)
    valid: np.ndarray  # (N,) bool: the action leads from this time step to the next one
    episode: np.ndarray  # (N,) int: index of the episode
    state: dict[str, np.ndarray]  # name -> (N, k) float64: privileged state; empty if the stream has none
    has_images: bool  # whether the world model reads images
    physics: np.ndarray | None  # (N, P) float64: complete physics state, if the stream has it
    reward: np.ndarray | None  # (N,) reward of each action; never an input of a model

    def starts(self, steps: int) -> np.ndarray:
        """Return the (M,) indices t for which t .. t + steps follow each other in one episode."""
        if steps >= len(self.valid):
            return np.zeros(0, np.int64)
        num_valid = np.concatenate([[0], np.cumsum(self.valid)])
        starts = np.arange(len(self.valid) - steps)
        return starts[num_valid[starts + steps] - num_valid[starts] == steps]


def load_split(
    stream: Stream,
    split: str | None,
    seed: int = 0,
    limit: int | None = None,
    inputs_only: bool = False,
) -> SplitData:
    """Load whole episodes drawn at random from a split.

    Args:
        stream: Recorded steps.
        split: "train", "validation", "probe" or "test"; None: all episodes.
        seed: Seed of the order in which episodes are drawn.
        limit: About how many time steps to load; at least one episode is always loaded.
        inputs_only: Leave out privileged state, physics and reward, which no model reads. The default `limit` is
            ten times as large then.

    Raises:
        UsageError: The split has no episode.
    """
    space = stream.observation_space
    has_images = any(is_image(leaf) for leaf in model_inputs(space).values())
    limit = limit or (MAX_IMAGE_STEPS if has_images else MAX_INPUT_STEPS if inputs_only else MAX_STEPS)
    names = [*map(field_name, leaves(space)), "action", "valid"] if inputs_only else None
    episodes = [e for e in stream.episodes(split) if e.stop - e.start >= 2]
    if not episodes:
        raise UsageError(
            f"the split {split!r} of this stream has no episode: expected about ten finished episodes in the stream, "
            f"got {len(stream.episodes())}; collect more steps"
        )
    order = generator(seed, "rows", split or "all").permutation(len(episodes))
    parts: list[dict[str, np.ndarray]] = []
    total = 0
    for index in order:
        episode = episodes[index]
        stop = min(episode.stop, episode.start + limit)
        parts.append(stream.read(episode.lane, episode.start, stop, names))
        total += stop - episode.start
        if total >= limit:
            break
    lengths = [len(part["valid"]) for part in parts]
    fields = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    valid = np.asarray(fields["valid"], bool).copy()
    valid[np.cumsum(lengths) - 1] = False  # no action leads from one episode into the next
    values, value_names = observation_values(space, fields)
    return SplitData(
        observation=join_observation(space, fields),
        values=values,
        names=value_names,
        action=fields["action"],
        valid=valid,
        episode=np.repeat(np.arange(len(parts)), lengths),
        state={
            name.removeprefix("state."): _columns(field)
            for name, field in fields.items()
            if name.startswith("state.")
        },
        has_images=has_images,
        physics=fields.get("physics"),
        reward=fields.get("reward"),
    )


def join_observation(space: spaces.Space, fields: dict[str, np.ndarray]) -> Any:
    """Return the observation (N, ...) built from the stored fields `observation` or `observation.<leaf>`."""
    return unflatten_by_path(space, {path: fields[field_name(path)] for path in leaves(space)})


def field_name(path: str) -> str:
    """Return the name of the stream field that stores an observation leaf."""
    return f"observation.{path}" if path else "observation"


def observation_values(space: spaces.Space, fields: dict[str, np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """Return the inputs of the world model as (N, D) float64 and their D names.

    Boxes are copied, images become 8 x 8 mean intensities per channel, categories become one-hot.
    """
    columns, names = [], []
    for path, leaf in model_inputs(space).items():
        block = _leaf_values(leaf, np.asarray(fields[field_name(path)]))
        columns.append(block)
        label = path.split(".")[-1] or "observation"
        names += [f"{label} {i}" for i in range(block.shape[1])]
    return np.concatenate(columns, 1), names


def decoded_values(space: spaces.Space, decoded: Any) -> np.ndarray:
    """Return an output of `model.decode` as (N, D'), in the order of `observation_values`, without images.

    Leading axes are flattened to N.
    """
    inner = space["observation"] if is_goal_space(space) and isinstance(space, spaces.Dict) else space
    columns = []
    for path, leaf in leaves(inner).items():
        if is_image(leaf):
            continue
        part = leaf_value(inner, decoded, path)
        columns.append(_leaf_values(leaf, np.asarray(part).reshape(-1, *(leaf.shape or ()))))
    return np.concatenate(columns, 1)


def decoded_mask(space: spaces.Space) -> np.ndarray:
    """Return (D,) bool: the values of `observation_values` that are also in `decoded_values`."""
    masks = []
    for leaf in model_inputs(space).values():
        if is_image(leaf):
            masks.append(np.zeros(_pool_images(np.zeros((1, *(leaf.shape or ())))).shape[1], bool))
        else:
            masks.append(np.ones(encoded_dim(leaf), bool))
    return np.concatenate(masks)


def _leaf_values(leaf: Leaf, batch: np.ndarray) -> np.ndarray:
    return _pool_images(batch) if is_image(leaf) else encode(leaf, batch, np.float64)


def _pool_images(images: np.ndarray) -> np.ndarray:
    """Return mean intensities (N, 8 * 8 * C) in [0, 1] of images (N, H, W, C)."""
    rows = np.array_split(np.arange(images.shape[1]), _IMAGE_GRID)
    columns = np.array_split(np.arange(images.shape[2]), _IMAGE_GRID)
    cells = [
        images[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1].mean((1, 2))
        for r in rows
        if len(r)
        for c in columns
        if len(c)
    ]
    return np.concatenate(cells, 1).astype(np.float64) / 255.0


def _columns(batch: np.ndarray) -> np.ndarray:
    return np.asarray(batch, np.float64).reshape(len(batch), -1)
