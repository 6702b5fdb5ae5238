"""Latent table: the latents, actions and achieved goals of whole episodes of a stream, encoded once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.seeding import generator
from robossl.core.spaces import flatten_by_path, goal_box, unflatten_by_path
from robossl.streams import Stream
from robossl.world_model.goal_predictor import ACHIEVED
from robossl.world_model.model import WorldModel

MAX_ROWS = 400_000  # time steps; more are not needed and take memory
MAX_IMAGE_ROWS = 50_000  # time steps with images, which take long to encode
_BLOCK = 1024  # observations in one call of the encoder


@dataclass(frozen=True)
class LatentTable:
    """N time steps of whole episodes, one after the other."""

    z: Tensor  # (N, Z)
    action: Tensor  # (N, A) encoded; not valid where `steps_left` is 0
    goal: np.ndarray  # (N, G) float64 achieved goals, not normalized; (N, 0) in an env without goals
    steps_left: np.ndarray  # (N,) int64 transitions until the end of the episode

    @property
    def starts(self) -> np.ndarray:
        """Indices (M,) of time steps that a transition of the same episode follows."""
        return np.flatnonzero(self.steps_left > 0)


@torch.no_grad()
def encode_stream(
    model: WorldModel, stream: Stream, split: str, seed: int, max_rows: int | None = None
) -> LatentTable:
    """Encode whole episodes of a split, drawn at random, up to a number of time steps.

    Args:
        model: The world model; images are encoded with the image one step earlier.
        stream: Recorded episodes.
        split: Name of the split.
        seed: Seed of the draw.
        max_rows: Largest number of time steps; the default is smaller with images.

    Raises:
        UsageError: The split has no transition, or the goals are no Box.
    """
    has_images = bool(model.observation_processor.images)
    limit = max_rows or (MAX_IMAGE_ROWS if has_images else MAX_ROWS)
    names = [*stream.schema.observations, "action", "valid"]
    has_goals = goal_box(stream.observation_space) is not None
    episodes = [episode for episode in stream.episodes(split) if episode.stop - episode.start >= 2]
    latents, actions, goals, left, total = [], [], [], [], 0
    for index in generator(seed, "goal heads", "episodes", split).permutation(len(episodes)):
        if total >= limit:
            break
        episode = episodes[index]
        fields = stream.read(episode.lane, episode.start, min(episode.stop, episode.start + limit), names)
        observation = stream.schema.join_observation(fields)
        latents.append(
            _encode(model, stream.observation_space, observation, len(fields["valid"]), has_images)
        )
        actions.append(model.action_processor(fields["action"]))
        if has_goals:
            goals.append(np.asarray(observation[ACHIEVED], np.float64).reshape(len(fields["valid"]), -1))
        left.append(_steps_left(np.asarray(fields["valid"], bool)))
        total += len(fields["valid"])
    steps_left = np.concatenate([*left, np.zeros(0, np.int64)])
    if not steps_left.any():
        raise UsageError(
            f"goal heads: the split {split!r} of the stream has no transition; collect more steps"
        )
    goal = np.concatenate(goals) if has_goals else np.zeros((total, 0))
    if not np.isfinite(goal).all():
        raise UsageError("goal heads: expected finite achieved goals, got nan or infinity in the stream")
    return LatentTable(torch.cat(latents), torch.cat(actions), goal, steps_left)


def _encode(model: WorldModel, space: spaces.Space, observation: Any, count: int, has_images: bool) -> Tensor:
    """Return z (N, Z) of the observations of one episode."""
    leaves = flatten_by_path(space, observation)
    blocks = []
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        now = unflatten_by_path(space, {path: values[rows] for path, values in leaves.items()})
        before = None
        if has_images:  # the first image of an episode is its own previous image
            earlier = np.maximum(rows - 1, 0)
            before = unflatten_by_path(space, {path: values[earlier] for path, values in leaves.items()})
        blocks.append(torch.as_tensor(model.encode(now, before), device=model.device))
    return torch.cat(blocks)


def _steps_left(valid: np.ndarray) -> np.ndarray:
    """Return the number of consecutive valid transitions (N,) from each time step of an episode on."""
    last = np.append(valid[:-1], False)  # no transition leads out of the episode
    ends = np.flatnonzero(~last)
    return ends[np.searchsorted(ends, np.arange(len(valid)))] - np.arange(len(valid))
