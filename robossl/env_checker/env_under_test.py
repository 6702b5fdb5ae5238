"""The environment under check, made and called as robossl makes and calls it, every call under watch."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from robossl.env_checker.call_monitor import CallMonitor


class EnvUnderTest:
    """One env id with its settings. Every probe makes an env of its own."""

    def __init__(self, spec: EnvSpec, settings: dict[str, Any], watch: CallMonitor) -> None:
        self.spec = spec
        self.settings = settings
        self.watch = watch

    def make(self, **more: Any) -> gym.Env:
        """The env with its time limit, as `gymnasium.make` gives it, without the checker around it."""
        with self.watch.call("making it", patience=6):  # a first import, a first compile
            return gym.make(
                copy.deepcopy(self.spec), disable_env_checker=True, **{**copy.deepcopy(self.settings), **more}
            )

    def reset(self, env: gym.Env, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """`env.reset(seed=seed)`."""
        with self.watch.call(f"reset(seed={seed})", patience=2):
            return env.reset(seed=seed)

    def step(self, env: gym.Env, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """`env.step(action)`."""
        with self.watch.call("step(action)"):
            return env.step(action)

    def close(self, env: gym.Env) -> None:
        """`env.close()`."""
        with self.watch.call("close()"):
            env.close()
