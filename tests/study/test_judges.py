"""The transfer table puts a complete representation at the top and noise at chance, from real training."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import robossl

STEPS = 20  # of an episode
SIZES = {
    "stream_steps": 4096, "model_updates": 100, "offline_updates": 800, "online_steps": 24, "episodes": 40,
    "hidden": 32, "batch_size": 64, "goal_trials": 0,
}  # fmt: skip
ROWS = ("random", "observation", "scrambled_state", "noise", "random_latent", "time_shuffled")
TASKS = {"Center": 0.0, "Beside": 0.4}


class Unstable(gym.Env):
    """A point that drifts away from the center; only feedback keeps it at the target, which earns 1 per step."""

    def __init__(self, target: float) -> None:
        self.observation_space = spaces.Box(-10, 10, (3,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.target = target

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.choice([-1, 1]) * self.np_random.uniform(0.3, 0.9)
        self.count = 0
        return self.observe(), {}

    def step(self, action):
        self.x = float(np.clip(1.15 * self.x + 0.3 * np.clip(action, -1, 1)[0], -3, 3))
        self.count += 1
        return self.observe(), max(1 - 2 * abs(self.x - self.target), 0.0), False, self.count >= STEPS, {}

    def observe(self):
        return np.array([self.x, np.sin(3 * self.x), np.cos(3 * self.x)], np.float32)


for name, target in TASKS.items():
    if f"judge/{name}-v0" not in gym.registry:
        gym.register(f"judge/{name}-v0", entry_point=Unstable, kwargs={"target": target})


@pytest.mark.slow
def test_scrambled_state_is_at_the_top_and_noise_at_chance_and_shuffled_time_teaches_nothing(tmp_path):
    tasks = tuple(f"judge/{name}-v0" for name in TASKS)
    report = robossl.transfer(tasks=tasks, rows=ROWS, out=tmp_path / "study", agent_seeds=2, **SIZES)
    rows = report["transfer"]["rows"]
    returns = {
        row: np.array([task["return"]["mean"] for task in entry["tasks"].values()])
        for row, entry in rows.items()
    }
    top, chance = returns["observation"], returns["random"]
    assert (top > chance + 5).all()
    assert (returns["scrambled_state"] > chance + 0.85 * (top - chance)).all()
    assert (returns["noise"] < chance + 0.15 * (top - chance)).all()
    assert (returns["time_shuffled"] < returns["random_latent"] + 0.1 * (top - chance)).all()
