"""Toys with known answers: a linear system, its stream, and models whose metrics are known beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

DRIFT = np.array(
    [[1.0, 0.1, 0.0, 0.0], [-0.1, 0.95, 0.0, 0.0], [0.0, 0.0, 0.98, 0.2], [0.0, 0.0, -0.1, 0.97]]
)
PUSH = np.array([[0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5]])


@dataclass(frozen=True)
class Episode:
    """Time steps [start, stop) of a lane."""

    lane: int
    start: int
    stop: int
    ordinal: int


class ToyStream:
    """In-memory stream of a linear system under random actions: x' = x DRIFT + a PUSH."""

    def __init__(
        self, episodes: int = 40, steps: int = 60, discrete: bool = False, state: bool = True, seed: int = 0
    ):
        random = np.random.default_rng(seed)
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.action_space = spaces.Discrete(4) if discrete else spaces.Box(-1, 1, (2,), np.float32)
        self.episode_fields: list[dict[str, np.ndarray]] = []
        self.reads: list[int] = []  # ordinals of the episodes in the order of reading
        for _ in range(episodes):
            x = random.normal(size=4)
            states, actions = [x], []
            for _ in range(steps):
                action = int(random.integers(4)) if discrete else random.uniform(-1, 1, 2).astype(np.float32)
                actions.append(action)
                x = x @ DRIFT + forces(np.asarray(action))[0] @ PUSH
                states.append(x)
            actions.append(0 if discrete else np.zeros(2, np.float32))
            states_array = np.array(states)
            last = np.arange(steps + 1) == steps
            fields = {
                "observation": states_array.astype(np.float32),
                "action": np.array(actions),
                "valid": ~last,
                "is_last": last,
                "is_first": np.arange(steps + 1) == 0,
                "reward": np.zeros(steps + 1, np.float32),
            }
            if state:
                fields |= {
                    "state.position": states_array[:, [0, 2]],
                    "state.velocity": states_array[:, [1, 3]],
                }
                fields |= {"physics": states_array}
            self.episode_fields.append(fields)

    def episodes(self, split: str | None = None) -> list[Episode]:
        """Return the episodes of a split: every tenth one is in test, and so on. Each lane has one episode."""
        part = {7: "validation", 8: "probe", 9: "test"}
        names = [part.get(k % 10, "train") for k in range(len(self.episode_fields))]
        return [
            Episode(k, 0, len(fields["valid"]), k)
            for k, fields in enumerate(self.episode_fields)
            if split is None or names[k] == split
        ]

    def read(
        self, lane: int, start: int, stop: int, fields: list[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Return time steps of a lane."""
        self.reads.append(lane)
        return {
            name: values[start:stop]
            for name, values in self.episode_fields[lane].items()
            if not fields or name in fields
        }


def forces(action: np.ndarray) -> np.ndarray:
    """Return the force (N, 2) of actions: the action itself, or one of four directions."""
    if np.issubdtype(action.dtype, np.integer) or action.ndim == 0:
        return np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])[action.reshape(-1)]
    return action.reshape(-1, 2)


class PerfectModel:
    """Model with z = observation, the true dynamics and the exact inverse."""

    latent_dim = 4
    version = 1

    def encode(self, observation):
        return np.asarray(observation, np.float32)

    def predict(self, z, action):
        return (z @ DRIFT + forces(np.asarray(action)) @ PUSH).astype(np.float32)

    def imagine(self, z, actions):
        path = [z]
        for t in range(actions.shape[1]):
            path.append(self.predict(path[-1], actions[:, t]))
        return np.stack(path, 1)

    def infer_action(self, z, z_next):
        return (z_next - z @ DRIFT) @ np.linalg.pinv(PUSH)

    def decode(self, z):
        return z

    def uncertainty(self, z, action):
        return np.zeros(len(z))


class PerfectDiscreteModel(PerfectModel):
    """The same model for four discrete actions."""

    def infer_action(self, z, z_next):
        push = (z_next - z @ DRIFT) @ np.linalg.pinv(PUSH)
        return np.argmax(push @ forces(np.arange(4)).T, 1)


class ConstantModel(PerfectModel):
    """Model with a constant encoder."""

    def encode(self, observation):
        return np.ones((len(observation), 4), np.float32)

    def predict(self, z, action):
        return z

    def infer_action(self, z, z_next):
        return np.zeros((len(z), 2))


class IdentityModel(PerfectModel):
    """Model with a perfect encoder that predicts no change."""

    def predict(self, z, action):
        return z


class MixedModel(PerfectModel):
    """The perfect model in rotated and scaled coordinates."""

    def __init__(self, seed: int = 0):
        self.rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0] * 3.0
        self.inverse_rotation = np.linalg.inv(self.rotation)

    def encode(self, observation):
        return (observation @ self.rotation).astype(np.float32)

    def predict(self, z, action):
        return super().predict(z @ self.inverse_rotation, action) @ self.rotation

    def infer_action(self, z, z_next):
        return super().infer_action(z @ self.inverse_rotation, z_next @ self.inverse_rotation)

    def decode(self, z):
        return z @ self.inverse_rotation
