"""Replay buffer for SB3 without storage: it samples the stream that the recorder writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples

from robossl.core import spaces
from robossl.core.errors import UsageError
from robossl.core.seeding import generator, generator_state, restore_generator
from robossl.streams import Stream

from .features import FeatureBuilder
from .hindsight import HindsightRelabeler


class StreamReplayBuffer(ReplayBuffer):
    """Transitions of some lanes of a stream, encoded by the current representation when they are sampled.

    Every step is in the stream when SB3 adds it, so `add` only counts. Observations and next observations are encoded
    in one batch. A transition bootstraps unless it terminated: a time limit or an interruption is no termination. Only
    the agent's own lanes are sampled, so that agents with different encoders learn from the same amount of experience.
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
        """Create the buffer; SB3 passes the positional arguments.

        Args:
            buffer_size: Not used, as `optimize_memory_usage` and `handle_timeout_termination`.
            observation_space: Observation space of the algorithm.
            action_space: Action space of the algorithm.
            device: Device of the samples.
            n_envs: Number of sub-environments, which is the number of lanes.
            stream: The stream.
            features: Converts observations of the stream to those of the algorithm.
            first_lane: First lane of the agent.
            seed: Seed of the sampling.
            hindsight: Relabels goals, or None.
        """
        # not ReplayBuffer.__init__, which allocates arrays
        BaseBuffer.__init__(self, n_envs, observation_space, action_space, device, n_envs)
        self.optimize_memory_usage = False
        self.stream, self.features, self._hindsight = stream, features, hindsight
        self._lanes = _LaneSampler(first_lane, n_envs)
        self._rng = generator(seed, "replay")
        self._added = 0

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: Any) -> None:
        """Count the transitions; the recorder has written them."""
        self._added += self.n_envs

    @property
    def empty(self) -> bool:
        """Whether the agent's lanes hold no complete transition (the newest time step has no successor yet)."""
        return not self._lanes.available(self.stream.lengths - 1).any()

    def size(self) -> int:
        """Return the number of transitions added."""
        return self._added

    def reset(self) -> None:
        """Keep everything; the stream is not deleted."""

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Return a batch.

        Observations and next observations are (B, F) or dicts, actions (B, A) in [-1, 1] as SB3 stores them, dones and
        rewards (B, 1).
        """
        window = self.stream.windows(batch_size, 1, self._rng, split=None, sampler=self._lanes)
        assert self._lanes.contain(window.lane), "a lane of another agent was sampled"
        observation, reward = window.observation, window.reward
        if self._hindsight is not None:
            observation, reward = self._hindsight.relabel(window, self._rng)
        space = self.features.space
        merged = {
            path: values.reshape(2 * batch_size, *values.shape[2:])
            for path, values in spaces.flatten_by_path(space, observation).items()
        }
        inputs = self.features(spaces.unflatten_by_path(space, merged))
        samples = (
            self._step(inputs, 0),
            self.to_torch(self._to_sb3_actions(window.action[:, 0])),
            self._step(inputs, 1),
            self.to_torch(window.terminated.astype(np.float32)),
            self.to_torch(self._normalize_reward(reward, env).astype(np.float32)),
        )
        samples_class: Any = DictReplayBufferSamples if isinstance(inputs, dict) else ReplayBufferSamples
        return samples_class(*samples)

    def _step(self, inputs: Any, index: int) -> Any:
        """Return the observations (index 0) or next observations (1) of inputs (2 B, ...) as tensors (B, ...)."""
        if isinstance(inputs, dict):
            return {key: self._step(values, index) for key, values in inputs.items()}
        return self.to_torch(inputs.reshape(-1, 2, *inputs.shape[1:])[:, index])

    def _to_sb3_actions(self, action: np.ndarray) -> np.ndarray:
        """Return env actions as SB3 stores them: Box scaled to [-1, 1], Discrete as a column that starts at 0."""
        if isinstance(self.stream.action_space, gym.spaces.Discrete):
            return action.reshape(len(action), 1) - int(self.stream.action_space.start)
        assert isinstance(self.action_space, gym.spaces.Box)
        low, high = self.action_space.low, self.action_space.high
        scaled = 2.0 * (action - low) / (high - low) - 1.0
        return np.clip(scaled, -1.0, 1.0).reshape(len(action), -1).astype(np.float32)

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the state of the sampling and the count."""
        return {"generator": generator_state(self._rng), "added": self._added}

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        restore_generator(self._rng, tree["generator"])
        self._added = int(tree["added"])


class _LaneSampler:
    """Samples time steps of `count` lanes from `first` on, uniformly; see `streams.sampling.Sampler`."""

    def __init__(self, first: int, count: int) -> None:
        self._lanes = first + np.arange(count)  # (n,)

    def propose(
        self, rng: np.random.Generator, count: int, limits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lanes and positions (count,)."""
        counts = self.available(limits)
        if not counts.any():
            raise UsageError(
                "the agent's lanes of the stream hold no transition yet; record some steps first"
            )
        stop = np.cumsum(counts)
        flat = rng.integers(stop[-1], size=count)
        index = np.searchsorted(stop, flat, "right")
        return self._lanes[index], flat - (stop - counts)[index]

    def available(self, limits: np.ndarray) -> np.ndarray:
        """Return the numbers of candidate time steps (n,) of these lanes, given those of all lanes (L,)."""
        return np.maximum(limits[self._lanes], 0)

    def contain(self, lane: np.ndarray) -> bool:
        """Return whether all of `lane` (B,) are among these."""
        return bool(self._lanes[0] <= lane.min() and lane.max() <= self._lanes[-1])
