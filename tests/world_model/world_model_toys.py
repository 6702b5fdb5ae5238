"""Toy worlds held in memory: enough of a Stream for the learner, with a truth that is known."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium import spaces

from robossl.world_model import WorldModelConfig

DREAMER = WorldModelConfig(
    latent_dim=16,
    encoder_hidden=(64,),
    dynamics_hidden=(64,),
    inverse_hidden=(64,),
    decoder_hidden=(64,),
    ensemble_size=3,
    batch_size=96,
    unroll_steps=3,
)
_SPLITS = ("train",) * 7 + ("validation", "probe", "test")


@dataclass
class ToyStream:
    """E episodes of T actions, each T+1 rows, one after the other in one lane."""

    observation_space: spaces.Space
    action_space: spaces.Space
    observation: Any  # (E, T+1, ...) or a dict of such
    action: np.ndarray  # (E, T, ...)
    reward: np.ndarray  # (E, T)

    @property
    def transitions(self) -> int:
        return int(np.prod(self.action.shape[:2]))

    def windows(self, batch: int, length: int, rng: np.random.Generator, split: str | None = "train") -> Any:
        """Starts anywhere in an episode; steps past its end continue in the next one and are not valid."""
        count, steps = self.action.shape[:2]
        chosen = [e for e in range(count) if split is None or _SPLITS[e % 10] == split]
        episode = rng.choice(chosen, batch)
        start = rng.integers(steps, size=batch)
        rows = start[:, None] + np.arange(length + 1)  # (B, T+1), counted in rows of this episode
        lane = episode[:, None] + rows // (steps + 1)
        row = rows % (steps + 1)
        valid = row[:, :-1] < steps
        lane %= count
        observation = _pick(self.observation, lane, row)
        action = self.action[lane[:, :-1], np.minimum(row[:, :-1], steps - 1)].copy()
        action[~valid] = 0
        return SimpleNamespace(
            lane=lane[:, 0],
            start=row[:, 0],
            observation=observation,
            action=action,
            valid=valid,
            reward=self.reward[lane[:, :-1], np.minimum(row[:, :-1], steps - 1)],
        )


def _pick(observation: Any, lane: np.ndarray, row: np.ndarray) -> Any:
    if isinstance(observation, dict):
        return {k: _pick(v, lane, row) for k, v in observation.items()}
    return observation[lane, row]


def linear(
    episodes: int = 100, steps: int = 20, seed: int = 0, discrete: bool = False, axes: int = 2
) -> ToyStream:
    """A mass that is pushed along so many axes: position += velocity, velocity decays and is pushed by the action."""
    random = np.random.default_rng(seed)
    action_space: spaces.Space = spaces.Discrete(5) if discrete else spaces.Box(-2.0, 2.0, (axes,))
    push = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], float)
    if discrete:
        action: np.ndarray = random.integers(5, size=(episodes, steps))
        force = 2 * push[action]
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


def dots(episodes: int = 20, steps: int = 8, seed: int = 0) -> ToyStream:
    """A bright square on a dark 64 x 64 image, moved by the action up to 6 pixels; and its speed beside it."""
    random = np.random.default_rng(seed)
    action = random.uniform(-1, 1, (episodes, steps, 2)).astype(np.float32)
    place = np.full((episodes, steps + 1, 2), 32.0)
    for t in range(steps):
        place[:, t + 1] = np.clip(place[:, t] + 6 * action[:, t], 4, 60)
    row = np.arange(64)
    near = np.abs(row - place[..., None]) < 4  # (E, T+1, 2, 64)
    lit = near[:, :, 0, :, None] & near[:, :, 1, None, :]
    image = np.repeat((200 * lit).astype(np.uint8)[..., None], 3, -1)
    speed = np.diff(place, axis=1, prepend=32.0).astype(np.float32)
    space = spaces.Dict(
        {"eye": spaces.Box(0, 255, (64, 64, 3), np.uint8), "speed": spaces.Box(-np.inf, np.inf, (2,))}
    )
    action_space = spaces.Box(-1.0, 1.0, (2,))
    return ToyStream(space, action_space, {"eye": image, "speed": speed}, action, np.zeros((episodes, steps)))


def pictures(kind: str, episodes: int = 40, steps: int = 8, seed: int = 0) -> ToyStream:
    """Images alone: the square of `dots` before a wall and a floor in some light ("floor"), or blots ("noise")."""
    stream = dots(episodes, steps, seed)
    image = stream.observation["eye"]
    if kind == "floor":
        light = np.random.default_rng(seed).uniform(10, 120, (episodes, 1, 1, 1, 1))
        floor = np.where(np.arange(64) < 40, 0, 100).reshape(-1, 1, 1)
        image = np.maximum(image, light + floor).astype(np.uint8)
    else:
        shape = (*image.shape[:2], 16, 16, 1)
        coarse = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
        image = np.repeat(np.repeat(np.repeat(coarse, 4, 2), 4, 3), 3, 4)
    return ToyStream(
        stream.observation_space["eye"], stream.action_space, image, stream.action, stream.reward
    )


def noise(episodes: int = 100, steps: int = 20, seed: int = 0) -> ToyStream:
    """Nothing follows from anything."""
    random = np.random.default_rng(seed)
    return ToyStream(
        spaces.Box(-np.inf, np.inf, (4,)),
        spaces.Box(-1.0, 1.0, (2,)),
        random.normal(size=(episodes, steps + 1, 4)).astype(np.float32),
        random.uniform(-1, 1, (episodes, steps, 2)).astype(np.float32),
        random.normal(size=(episodes, steps)),
    )


def fickle(episodes: int = 100, steps: int = 20, seed: int = 0) -> ToyStream:
    """As `linear`, but where the first position is right of 0 a blow that nobody can foresee joins the action."""
    random, stream = np.random.default_rng(seed), linear(episodes, steps, seed)
    position, velocity = np.split(stream.observation.astype(float), 2, -1)
    for t in range(steps):
        blow = 2 * random.normal(size=(episodes, 2)) * (position[:, t, :1] > 0)
        velocity[:, t + 1] = 0.8 * velocity[:, t] + 0.5 * stream.action[:, t] + blow
        position[:, t + 1] = position[:, t] + 0.5 * velocity[:, t + 1]
    stream.observation = np.concatenate([position, velocity], -1).astype(np.float32)
    return stream
