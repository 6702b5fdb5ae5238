"""Letting a policy live in recorded environments."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from robossl.core.interfaces import Policy, ProgressReporter


def collect_steps(
    recorder: gym.vector.VectorEnv, policy: Policy, steps: int, seed: int, progress: ProgressReporter
) -> int:
    """At least `steps` environment steps of `policy`, all lanes together, into the recorder's stream.

    Whole rows of all lanes are lived, so up to num_envs - 1 more; returns how many. A dummy step that an
    env in NEXT_STEP mode inserts after an episode is not counted.
    """
    observation, _ = recorder.reset(seed=seed)
    policy.reset()
    done = np.zeros(recorder.num_envs, dtype=bool)  # (n,)
    dummy = next_step(recorder)
    lived = 0
    while lived < steps:
        observation, _, terminated, truncated, _ = recorder.step(policy.act(observation))
        count = recorder.num_envs - (int(done.sum()) if dummy else 0)
        done = np.logical_or(terminated, truncated)
        if done.any():
            policy.reset(done)
            if disabled(recorder):
                observation, _ = recorder.reset(options={"reset_mask": done})
        lived += count
        progress.update(count)
    return lived


def mode(envs: object) -> str:
    """The autoreset mode of a vector env by its name; Gymnasium's default where it says nothing."""
    value = getattr(envs, "metadata", {}).get("autoreset_mode")
    return getattr(value, "name", "NEXT_STEP")


def next_step(envs: object) -> bool:
    """Whether the env inserts a dummy step after each episode."""
    return mode(envs) == "NEXT_STEP"


def disabled(envs: object) -> bool:
    """Whether whoever steps the env has to reset it."""
    return mode(envs) == "DISABLED"
