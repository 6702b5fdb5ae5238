"""In-memory streams of simple systems with known dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.world_model import WorldModel, WorldModelConfig, WorldModelTrainer

SMALL_CONFIG = WorldModelConfig(
    latent_dim=16,
    encoder_hidden=(64,),
    dynamics_hidden=(64,),
    inverse_hidden=(64,),
    decoder_hidden=(64,),
    ensemble_size=3,
    batch_size=96,
    unroll_steps=3,
)
TINY_CONFIG = WorldModelConfig(
    latent_dim=8,
    encoder_hidden=(16,),
    dynamics_hidden=(16,),
    inverse_hidden=(16,),
    decoder_hidden=(16,),
    ensemble_size=2,
    batch_size=24,
    unroll_steps=3,
)
_SPLITS = ("train",) * 7 + ("validation", "probe", "test")  # of an episode, by its last digit


@dataclass
class ToyStream:
    """E episodes of T actions and T+1 observations; what a trainer uses of `Stream`."""

    observation_space: spaces.Space
    action_space: spaces.Space
    observation: Any  # (E, T+1, ...), or a dict of such
    action: np.ndarray  # (E, T, ...)
    reward: np.ndarray  # (E, T)
    terminated: np.ndarray | None = None  # (E, T) bool; None: nowhere

    @property
    def transitions(self) -> int:
        return int(np.prod(self.action.shape[:2]))

    def windows(
        self,
        batch: int,
        length: int,
        rng: np.random.Generator,
        split: str | None = "train",
        sampler: None = None,
    ) -> Any:
        """Return windows that start anywhere in an episode; steps beyond its end continue in the next one, invalid."""
        count, steps = self.action.shape[:2]
        candidates = [e for e in range(count) if split is None or _SPLITS[e % 10] == split]
        first_episode = rng.choice(candidates, batch)
        start = rng.integers(steps, size=batch)
        offsets = start[:, None] + np.arange(length + 1)  # (B, T+1), in steps of the first episode
        episode = (first_episode[:, None] + offsets // (steps + 1)) % count
        step = offsets % (steps + 1)
        valid = step[:, :-1] < steps
        transition = episode[:, :-1], np.minimum(step[:, :-1], steps - 1)
        action = self.action[transition].copy()
        action[~valid] = 0
        return SimpleNamespace(
            lane=episode[:, 0],
            start=step[:, 0],
            observation=_gather(self.observation, episode, step),
            action=action,
            valid=valid,
            reward=self.reward[transition],
            terminated=np.zeros(valid.shape, bool)
            if self.terminated is None
            else self.terminated[transition],
        )


def _gather(observation: Any, episode: np.ndarray, step: np.ndarray) -> Any:
    if isinstance(observation, dict):
        return {key: _gather(value, episode, step) for key, value in observation.items()}
    return observation[episode, step]


def make_trainer(
    stream: ToyStream, config: WorldModelConfig = SMALL_CONFIG, seed: int = 0, **settings: Any
) -> WorldModelTrainer:
    """Return a trainer of a new model on the CPU."""
    model = WorldModel(config, stream.observation_space, stream.action_space, seed)
    return WorldModelTrainer(model, stream, seed, **{"device": "cpu", **settings})


def linear(
    episodes: int = 100, steps: int = 20, seed: int = 0, discrete: bool = False, axes: int = 2
) -> ToyStream:
    """A point mass: the action accelerates it, the velocity decays; observations are position and velocity."""
    random = np.random.default_rng(seed)
    action_space: spaces.Space = spaces.Discrete(5) if discrete else spaces.Box(-2.0, 2.0, (axes,))
    directions = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], float)
    if discrete:
        action: np.ndarray = random.integers(5, size=(episodes, steps))
        force = 2 * directions[action]
    else:
        action = random.uniform(-2, 2, (episodes, steps, axes)).astype(np.float32)
        force = action
    position, velocity = np.zeros((2, episodes, steps + 1, axes))
    position[:, 0], velocity[:, 0] = random.normal(size=(2, episodes, axes))
    for t in range(steps):
        velocity[:, t + 1] = 0.8 * velocity[:, t] + 0.5 * force[:, t]
        position[:, t + 1] = position[:, t] + 0.5 * velocity[:, t + 1]
    observation = np.concatenate([position, velocity], -1).astype(np.float32)
    space = spaces.Box(-np.inf, np.inf, (2 * axes,))
    return ToyStream(space, action_space, observation, action, random.normal(size=(episodes, steps)))


def impulses(episodes: int = 100, steps: int = 20, seed: int = 0) -> ToyStream:
    """As `linear`, but a random impulse adds to the action wherever the first position is positive."""
    random, stream = np.random.default_rng(seed), linear(episodes, steps, seed)
    position, velocity = np.split(stream.observation.astype(float), 2, -1)
    for t in range(steps):
        impulse = 2 * random.normal(size=(episodes, 2)) * (position[:, t, :1] > 0)
        velocity[:, t + 1] = 0.8 * velocity[:, t] + 0.5 * stream.action[:, t] + impulse
        position[:, t + 1] = position[:, t] + 0.5 * velocity[:, t + 1]
    stream.observation = np.concatenate([position, velocity], -1).astype(np.float32)
    return stream


def noise(episodes: int = 100, steps: int = 20, seed: int = 0) -> ToyStream:
    """Independent random observations and actions."""
    random = np.random.default_rng(seed)
    return ToyStream(
        spaces.Box(-np.inf, np.inf, (4,)),
        spaces.Box(-1.0, 1.0, (2,)),
        random.normal(size=(episodes, steps + 1, 4)).astype(np.float32),
        random.uniform(-1, 1, (episodes, steps, 2)).astype(np.float32),
        random.normal(size=(episodes, steps)),
    )


def moving_square(episodes: int = 20, steps: int = 8, seed: int = 0) -> ToyStream:
    """A bright square on a dark 64 x 64 image that the action moves by up to 6 pixels, and its speed as a vector."""
    random = np.random.default_rng(seed)
    action = random.uniform(-1, 1, (episodes, steps, 2)).astype(np.float32)
    center = np.full((episodes, steps + 1, 2), 32.0)
    for t in range(steps):
        center[:, t + 1] = np.clip(center[:, t] + 6 * action[:, t], 4, 60)
    pixel = np.arange(64)
    near = np.abs(pixel - center[..., None]) < 4  # (E, T+1, 2, 64)
    bright = near[:, :, 0, :, None] & near[:, :, 1, None, :]
    image = np.repeat((200 * bright).astype(np.uint8)[..., None], 3, -1)
    speed = np.diff(center, axis=1, prepend=32.0).astype(np.float32)
    space = spaces.Dict(
        {"camera": spaces.Box(0, 255, (64, 64, 3), np.uint8), "speed": spaces.Box(-np.inf, np.inf, (2,))}
    )
    return ToyStream(
        space,
        spaces.Box(-1.0, 1.0, (2,)),
        {"camera": image, "speed": speed},
        action,
        np.zeros((episodes, steps)),
    )


def images_only(stream: ToyStream) -> ToyStream:
    """Return the stream of `moving_square` with the image as its only observation."""
    return ToyStream(
        stream.observation_space["camera"],
        stream.action_space,
        stream.observation["camera"],
        stream.action,
        stream.reward,
    )


def scenes(kind: str, episodes: int = 40, steps: int = 8, seed: int = 0) -> ToyStream:
    """Images alone: "floor" is the square of `moving_square` above a floor in varying light, "noise" random blocks."""
    stream = images_only(moving_square(episodes, steps, seed))
    if kind == "floor":
        light = np.random.default_rng(seed).uniform(10, 120, (episodes, 1, 1, 1, 1))
        floor = np.where(np.arange(64) < 40, 0, 100).reshape(-1, 1, 1)
        stream.observation = np.maximum(stream.observation, light + floor).astype(np.uint8)
    else:
        shape = (*stream.observation.shape[:2], 16, 16, 1)
        coarse = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
        stream.observation = np.repeat(np.repeat(np.repeat(coarse, 4, 2), 4, 3), 3, 4)
    return stream
