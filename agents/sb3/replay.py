"""A replay buffer of SB3 that holds nothing: it samples the stream that the recorder fills."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from robossl.core import spaces
from robossl.core.errors import UsageError
from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.streams import Stream

from .features import FeatureBuilder
from .hindsight import HindsightRelabeler


class StreamReplayBuffer(ReplayBuffer):
    """Transitions of some lanes of a stream, encoded by today's representation when they are drawn.

    Every step is already in the stream when SB3 hands it over, so `add` only counts. Observation and next
    observation are encoded in one batch. A transition bootstraps unless it terminated; a time limit, an
    interruption or the end of a round is no termination. Only the agent's own lanes are drawn from, so
    that agents with different representations learn from the same amount of experience.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: gym.Space,
        action_space: gym.Space,
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        *,
        stream: Stream,
        features: FeatureBuilder,
        first_lane: int = 0,
        seed: int = 0,
        hindsight: HindsightRelabeler | None = None,
    ) -> None:
        super().__init__(
            n_envs, observation_space, action_space, device, n_envs, False, handle_timeout_termination
        )
        self.stream, self.features, self._hindsight = stream, features, hindsight
        self._lanes = _Lanes(first_lane, n_envs)
        self._random = generator(seed, "replay")
        self._added = 0

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: Any) -> None:
        """Count the rows; they are in the stream."""
        self._added += self.n_envs

    @property
    def empty(self) -> bool:
        """Whether the agent's lanes hold no transition yet: of a lane's first row nobody knows where it led."""
        return not self._lanes.room(self.stream.lengths - 1).any()

    def size(self) -> int:
        """Transitions added so far."""
        return self._added

    def reset(self) -> None:
        """A stream forgets nothing."""

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """(B, F) observations and next observations, (B, A) actions in [-1, 1] as SB3 stores them, (B, 1) the rest."""
        window = self.stream.windows(batch_size, 1, self._random, split=None, sampler=self._lanes)
        assert self._lanes.hold(window.lane), "another agent's lane was drawn from"
        observation, reward = window.observation, window.reward
        if self._hindsight is not None:
            observation, reward = self._hindsight.relabel(window, self._random)
        space = self.features.space
        both = {
            path: values.reshape(2 * batch_size, *values.shape[2:])
            for path, values in spaces.flatten_by_path(space, observation).items()
        }
        seen = self.features(spaces.unflatten_by_path(space, both)).reshape(batch_size, 2, -1)
        samples = (
            seen[:, 0],
            self._stored(window.action[:, 0]),
            seen[:, 1],
            window.terminated.astype(np.float32),
            self._normalize_reward(reward, env).astype(np.float32),
        )
        return ReplayBufferSamples(*(self.to_torch(part) for part in samples))

    def _stored(self, action: np.ndarray) -> np.ndarray:
        """Env actions as SB3 keeps them: boxes scaled to [-1, 1], choices as a column and counted from 0."""
        if isinstance(self.stream.action_space, gym.spaces.Discrete):
            return action.reshape(len(action), 1) - int(self.stream.action_space.start)
        assert isinstance(self.action_space, gym.spaces.Box)
        low, high = self.action_space.low, self.action_space.high
        scaled = 2.0 * (action - low) / (high - low) - 1.0
        return np.clip(scaled, -1.0, 1.0).reshape(len(action), -1).astype(np.float32)

    def get_checkpoint(self) -> dict[str, Any]:
        """The generator and the count."""
        return {"random": generator_state(self._random), "added": self._added}

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was."""
        restore_generator(self._random, tree["random"])
        self._added = int(tree["added"])


class _Lanes:
    """Samples the rows of some lanes alike, and no others: `count` of them from `first` on."""

    def __init__(self, first: int, count: int) -> None:
        self._own = first + np.arange(count)

    def propose(
        self, rng: np.random.Generator, count: int, room: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lane and position (count,)."""
        own = self.room(room)
        if not own.any():
            raise UsageError("the agent's own lanes of the stream hold no transition to learn from yet")
        stop = np.cumsum(own)
        flat = rng.integers(stop[-1], size=count)
        index = np.searchsorted(stop, flat, "right")
        return self._own[index], flat - (stop - own)[index]

    def room(self, room: np.ndarray) -> np.ndarray:
        """What of `room` (L,) rows is in them, (n,)."""
        return np.maximum(room[self._own], 0)

    def hold(self, lane: np.ndarray) -> bool:
        """Whether all of `lane` (B,) are among them."""
        return bool(self._own[0] <= lane.min() and lane.max() <= self._own[-1])
