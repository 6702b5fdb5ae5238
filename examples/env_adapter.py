"""An adapter for an environment of another package, in one file: state, restore and goals give every report section.

The environment is a cart that a force pushes along a line to a goal; it knows nothing of robossl. Run it with
`python examples/env_adapter.py`; it takes some seconds on a CPU. A package offers the same adapter through the
entry-point group `robossl.env_adapters`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from robossl.envs import EnvAdapter

import robossl
from robossl.training.config import AgentConfig, EvaluateConfig, ExploreConfig, GoalsConfig, PretrainConfig

GOAL = spaces.Box(-2.0, 2.0, (1,), np.float32)


class PushCart(gym.Env):
    """A cart on a line; the action is a force. The task is to stand at the goal."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Dict(
            observation=spaces.Box(-5.0, 5.0, (2,), np.float32), achieved_goal=GOAL, desired_goal=GOAL
        )
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.velocity = float(self.np_random.uniform(-1, 1)), 0.0
        self.target = float(self.np_random.uniform(-1, 1))
        return self.observe(), {"is_success": False}

    def step(self, action):
        self.velocity = 0.9 * self.velocity + 0.05 * float(np.clip(action[0], -1, 1))
        self.position = float(np.clip(self.position + self.velocity, -2, 2))
        observation = self.observe()
        reward = float(self.compute_reward(observation["achieved_goal"], observation["desired_goal"], {}))
        return observation, reward, False, False, {"is_success": reward > -0.1}

    def observe(self):
        parts = {
            "observation": [self.position, self.velocity],
            "achieved_goal": [self.position],
            "desired_goal": [self.target],
        }
        return {name: np.array(value, np.float32) for name, value in parts.items()}

    def compute_reward(self, achieved_goal, desired_goal, info):
        return -np.linalg.norm(achieved_goal - desired_goal, axis=-1)

    def render(self):
        frame = np.full((64, 64, 3), 40, np.uint8)
        for position, color in ((self.target, (230, 160, 60)), (self.position, (80, 190, 200))):
            column = int(np.interp(position, [-2, 2], [2, 61]))
            frame[24:40, column - 2 : column + 3] = color
        return frame


class PushCartAdapter(EnvAdapter):
    """Saves and sets the state of the cart, and its goal; `self.env` is the `PushCart`."""

    def get_state(self):
        """Return position and velocity (2,): all that the future depends on."""
        return np.array([self.env.position, self.env.velocity])

    def set_state(self, state):
        """Set position and velocity."""
        self.env.position, self.env.velocity = map(float, state)

    def observation(self):
        """Return the observation of the current state."""
        return self.env.observe()

    def privileged_state(self):
        """Return what probes look for in the representation."""
        return {"position": np.array([self.env.position]), "velocity": np.array([self.env.velocity])}

    def set_goal(self, goal):
        """Set the desired goal (1,)."""
        self.env.target = float(goal[0])

    def goal_observation(self, goal):
        """Return what is observed at rest at a goal (optional, for planning by latents)."""
        return np.array([goal[0], 0.0])


def main() -> None:
    """Run all phases in small and print what the report has."""
    gym.register("example/PushCart-v0", PushCart, max_episode_steps=40)
    robossl.register("env_adapters", "example/PushCart-v0", PushCartAdapter)
    config = robossl.LearnConfig(
        env="example/PushCart-v0",
        steps=2_200,
        threads=1,
        explore=ExploreConfig(num_envs=8, steps=2_000),
        pretrain=PretrainConfig(updates=40, updates_per_iteration=5),
        agent=AgentConfig(num_iterations=1, num_envs=4, learning_starts=100, rows=()),
        goals=GoalsConfig(horizons=(5,), trials=2, head_updates=20),
        evaluate=EvaluateConfig(episodes=1, curve_episodes=1),
    )
    with tempfile.TemporaryDirectory() as folder:
        report = robossl.learn(config, out=Path(folder) / "run")
        print("sections:", ", ".join(name for name, value in report.items() if isinstance(value, dict)))
        print("explained variance of the true state:", report["world_model"]["probes"])
        print("goal trials at these distances:", ", ".join(report["goal_reaching"]["horizons"]))


if __name__ == "__main__":
    main()
