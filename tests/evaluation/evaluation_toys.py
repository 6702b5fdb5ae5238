"""Toys of known worth: a linear world, its stream, and models whose figures are known beforehand."""

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
    """Rows [start, stop) of a lane."""

    lane: int
    start: int
    stop: int
    ordinal: int


class ToyStream:
    """A linear world lived through under random actions, in memory: x' = x DRIFT + a PUSH."""

    def __init__(
        self, episodes: int = 40, steps: int = 60, discrete: bool = False, truth: bool = True, seed: int = 0
    ):
        random = np.random.default_rng(seed)
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.action_space = spaces.Discrete(4) if discrete else spaces.Box(-1, 1, (2,), np.float32)
        self.table: list[dict[str, np.ndarray]] = []
        self.reads: list[int] = []  # ordinals, in the order in which they were read
        for _ in range(episodes):
            x = random.normal(size=4)
            states, actions = [x], []
            for _ in range(steps):
                action = int(random.integers(4)) if discrete else random.uniform(-1, 1, 2).astype(np.float32)
                actions.append(action)
                x = x @ DRIFT + forces(np.asarray(action))[0] @ PUSH
                states.append(x)
            actions.append(0 if discrete else np.zeros(2, np.float32))
            state = np.array(states)
            last = np.arange(steps + 1) == steps
            rows = {
                "observation": state.astype(np.float32),
                "action": np.array(actions),
                "valid": ~last,
                "is_last": last,
                "is_first": np.arange(steps + 1) == 0,
                "reward": np.zeros(steps + 1, np.float32),
            }
            if truth:
                rows |= {"state.position": state[:, [0, 2]], "state.velocity": state[:, [1, 3]]}
                rows |= {"physics": state}
            self.table.append(rows)

    def episodes(self, split: str | None = None) -> list[Episode]:
        """Every tenth episode is a test one, and so on: a lane is an episode."""
        part = {7: "validation", 8: "probe", 9: "test"}
        names = [part.get(k % 10, "train") for k in range(len(self.table))]
        return [
            Episode(k, 0, len(rows["valid"]), k)
            for k, rows in enumerate(self.table)
            if split is None or names[k] == split
        ]

    def read(
        self, lane: int, start: int, stop: int, fields: list[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The rows of a lane."""
        self.reads.append(lane)
        return {
            name: values[start:stop]
            for name, values in self.table[lane].items()
            if not fields or name in fields
        }


def forces(action: np.ndarray) -> np.ndarray:
    """(N, 2) what actions push with: themselves, or one of four directions."""
    if np.issubdtype(action.dtype, np.integer) or action.ndim == 0:
        return np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])[action.reshape(-1)]
    return action.reshape(-1, 2)


class PerfectModel:
    """z is the observation, the dynamics are the true ones, the inverse is exact."""

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


class PerfectChooser(PerfectModel):
    """The same for a world with four choices."""

    def infer_action(self, z, z_next):
        push = (z_next - z @ DRIFT) @ np.linalg.pinv(PUSH)
        return np.argmax(push @ forces(np.arange(4)).T, 1)


class ConstantModel(PerfectModel):
    """An encoder that says the same of everything."""

    def encode(self, observation):
        return np.ones((len(observation), 4), np.float32)

    def predict(self, z, action):
        return z

    def infer_action(self, z, z_next):
        return np.zeros((len(z), 2))


class StillModel(PerfectModel):
    """Sees everything and believes that nothing moves."""

    def predict(self, z, action):
        return z


class MixedModel(PerfectModel):
    """The perfect model behind a rotation and a scale: as good, in other coordinates."""

    def __init__(self, seed: int = 0):
        self.turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0] * 3.0
        self.back = np.linalg.inv(self.turn)

    def encode(self, observation):
        return (observation @ self.turn).astype(np.float32)

    def predict(self, z, action):
        return super().predict(z @ self.back, action) @ self.turn

    def infer_action(self, z, z_next):
        return super().infer_action(z @ self.back, z_next @ self.back)

    def decode(self, z):
        return z @ self.back
