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
from robossl.core.seeding import derive, generator, generator_state, restore_generator
from robossl.streams import Stream, Window
from robossl.streams.sampling import LaneRange
from robossl.world_model import WorldModel
from robossl.world_model.encoded_batch import random_shift

from .features import FeatureBuilder
from .hindsight import HindsightRelabeler
from .latent_cache import LatentCache, images_before


class StreamReplayBuffer(ReplayBuffer):
    """Transitions of some lanes of a stream, encoded by the current representation when they are sampled.

    Every step is in the stream when SB3 adds it, so `add` only counts. Observations and next observations are encoded
    in one batch. A transition bootstraps unless it terminated: a time limit or an interruption is no termination. Only
    the agent's own lanes are sampled, so that agents with different encoders learn from the same amount of experience.

    With `n_steps`, a transition has the discounted rewards of up to that many steps, and the observation after them; it
    ends with the episode. `random_shift` moves the images that an encoder of the policy reads (DrQ, arXiv 2004.13649).

    Attributes:
        gamma: Discount factor of returns over several steps.
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
        n_steps: int = 1,
        random_shift: int = 0,
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
            n_steps: Steps of a transition.
            random_shift: Largest shift of images [pixels]; those of one time step move together.
        """
        # not ReplayBuffer.__init__, which allocates arrays
        BaseBuffer.__init__(self, n_envs, observation_space, action_space, device, n_envs)
        self.optimize_memory_usage = False
        self.stream, self.features, self._hindsight = stream, features, hindsight
        self._lanes = LaneRange(first_lane, n_envs)
        self._latents = LatentCache(stream, features.image_paths, first_lane + np.arange(n_envs))
        self._rng = generator(seed, "replay")
        self._added = 0
        self.n_steps, self.gamma, self._shift = n_steps, 0.99, random_shift
        self._shift_random = torch.Generator().manual_seed(derive(seed, "replay", "random shift"))

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: Any) -> None:
        """Count the transitions; the recorder has written them."""
        self._added += self.n_envs

    @property
    def empty(self) -> bool:
        """Whether the agent's lanes hold no complete transition (the newest time step has no successor yet)."""
        return not self._lanes.has_rows(self.stream.lengths - self.n_steps)

    def size(self) -> int:
        """Return the number of transitions added."""
        return self._added

    def reset(self) -> None:
        """Keep everything; the stream is not deleted."""

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Return a batch.

        Observations and next observations are (B, F) or dicts, actions (B, A) in [-1, 1] as SB3 stores them, dones and
        rewards (B, 1).

        Raises:
            UsageError: The agent's lanes hold no complete transition.
        """
        if self.empty:
            raise UsageError(
                "the agent's lanes of the stream hold no transition yet; record some steps first"
            )
        window = self.stream.windows(batch_size, self.n_steps, self._rng, split=None, sampler=self._lanes)
        assert self._lanes.contains(window.lane), "a lane of another agent was sampled"
        observation, reward = window.observation, window.reward
        if self._hindsight is not None:
            observation, reward = self._hindsight.relabel(window, self._rng)
        returns, terminated, steps = discounted(window, reward, self.gamma)
        inputs = self._inputs(window, observation, steps)
        samples = (
            self._step(inputs, 0),
            self.to_torch(self.to_sb3_actions(window.action[:, 0])),
            self._step(inputs, 1),
            self.to_torch(terminated.astype(np.float32)),
            self.to_torch(self._normalize_reward(returns, env).astype(np.float32)),
            None if self.n_steps == 1 else self.to_torch((self.gamma**steps).astype(np.float32)),
        )
        samples_class: Any = DictReplayBufferSamples if isinstance(inputs, dict) else ReplayBufferSamples
        return samples_class(*samples)

    def _inputs(self, window: Window, observation: Any, steps: np.ndarray) -> Any:
        """Return the inputs (2 B, ...) of the algorithm before and after each transition of `steps` (B, 1) actions."""
        space, first = self.features.space, np.arange(len(steps))[:, None]  # (B, 1)
        ends = np.concatenate([np.zeros_like(steps), steps], 1)  # (B, 2)
        parts = spaces.flatten_by_path(space, observation)
        merged = {path: values[first, ends].reshape(-1, *values.shape[2:]) for path, values in parts.items()}
        lane, row = np.repeat(window.lane, 2), (window.start[:, None] + ends).reshape(-1)  # (2 B,)
        paths, representation = self.features.image_paths, self.features.representation
        if not paths:
            return self.features(spaces.unflatten_by_path(space, merged))
        if isinstance(representation, WorldModel):
            latents = self._latents.encode(representation, lane, row)
            return self.features(spaces.unflatten_by_path(space, merged), latents=latents)
        previous = images_before(self.stream, paths, lane, row)
        if self._shift:
            merged, previous = self._shifted(merged, previous)
        return self.features(spaces.unflatten_by_path(space, merged), previous)

    def _shifted(
        self, images: dict[str, np.ndarray], previous: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return observations and previous images (2 B, ...), those of each time step moved by a random shift."""
        paths = self.features.image_paths
        pairs = {
            path: tuple(
                torch.from_numpy(np.ascontiguousarray(each[path]))[:, None] for each in (images, previous)
            )
            for path in paths
        }
        fraction = self._shift / max(pairs[path][0].shape[2] for path in paths)
        moved = random_shift(pairs, fraction, self._shift_random)  # type: ignore[arg-type]
        now, before = ({path: moved[path][i][:, 0].numpy() for path in paths} for i in range(2))
        return {**images, **now}, before

    def _step(self, inputs: Any, index: int) -> Any:
        """Return the observations (index 0) or next observations (1) of inputs (2 B, ...) as tensors (B, ...)."""
        if isinstance(inputs, dict):
            return {key: self._step(values, index) for key, values in inputs.items()}
        return self.to_torch(inputs.reshape(-1, 2, *inputs.shape[1:])[:, index])

    def to_sb3_actions(self, action: np.ndarray) -> np.ndarray:
        """Return env actions as SB3 stores them: Box scaled to [-1, 1], Discrete as a column that starts at 0."""
        if isinstance(self.stream.action_space, gym.spaces.Discrete):
            return action.reshape(len(action), 1) - int(self.stream.action_space.start)
        assert isinstance(self.action_space, gym.spaces.Box)
        low, high = self.action_space.low, self.action_space.high
        scaled = 2.0 * (action - low) / (high - low) - 1.0
        return np.clip(scaled, -1.0, 1.0).reshape(len(action), -1).astype(np.float32)

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the state of the sampling and the count."""
        state = self._shift_random.get_state().numpy().copy()
        return {"generator": generator_state(self._rng), "added": self._added, "random_shift": state}

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`."""
        restore_generator(self._rng, tree["generator"])
        self._added = int(tree["added"])
        self._shift_random.set_state(torch.from_numpy(np.array(tree["random_shift"], np.uint8)))


def discounted(window: Window, reward: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the discounted sums of rewards, whether the episode terminated, and the number of steps, (B, 1) each.

    Args:
        window: Windows of T actions; steps after the end of the episode do not count.
        reward: [B, T].
        gamma: Discount factor.
    """
    mask = window.mask  # [B, T]
    returns = (reward * mask * gamma ** np.arange(mask.shape[1], dtype=np.float32)).sum(1, keepdims=True)
    return returns, (window.terminated & mask).any(1, keepdims=True), mask.sum(1, keepdims=True)
