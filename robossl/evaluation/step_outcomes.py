"""Steps of a vector env in any autoreset mode: which are real, which end an episode, which succeed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

_SUCCESS = "is_success"


@dataclass(frozen=True)
class Step:
    """One step of n lanes. Where `real` is false the lane was only being reset, and nothing here counts."""

    real: np.ndarray  # (n,) bool
    reward: np.ndarray  # (n,) float64
    done: np.ndarray  # (n,) bool: this step ended the lane's episode
    terminated: np.ndarray  # (n,) bool: and by itself, not by a time limit
    success: np.ndarray | None  # (n,) bool after this step; None where the env does not say
    observation: Any  # what the next action is chosen from


def steps(envs: Any, policy: Any, observation: Any, explore: bool = False) -> Iterator[Step]:
    """Endless steps of `policy` in `envs` from `observation`, which `envs.reset` or `envs.restore` gave."""
    mode = AutoresetMode(envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
    ended = np.zeros(envs.num_envs, bool)
    policy.reset(None)
    while True:
        real = ~ended if mode == AutoresetMode.NEXT_STEP else np.ones(envs.num_envs, bool)
        observation, reward, terminated, truncated, infos = envs.step(
            policy.act(observation, explore=explore)
        )
        terminated, truncated = np.asarray(terminated, bool) & real, np.asarray(truncated, bool) & real
        done = terminated | truncated
        success = successes(infos, done if mode == AutoresetMode.SAME_STEP else np.zeros_like(done))
        if mode == AutoresetMode.DISABLED and done.any():
            observation, _ = envs.reset(options={"reset_mask": done})
        begun = ended if mode == AutoresetMode.NEXT_STEP else done
        if begun.any():
            policy.reset(begun.copy())
        ended = done
        yield Step(real, np.asarray(reward, np.float64), done, terminated, success, observation)


def successes(infos: dict[str, Any], replaced: np.ndarray) -> np.ndarray | None:
    """`is_success` (n,) after a step; in `replaced` lanes that of the episode just ended."""
    final = infos.get("final_info", {})
    if _SUCCESS not in infos and _SUCCESS not in final:
        return None
    blank = np.zeros(len(replaced), bool)
    now = np.asarray(infos.get(_SUCCESS, blank)).astype(bool)
    last = np.asarray(final.get(_SUCCESS, now)).astype(bool)
    return np.where(replaced, last, now)
