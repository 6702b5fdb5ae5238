"""Returns and successes of a policy over a number of episodes fixed beforehand for every lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, ProgressReporter
from robossl.core.seeding import derive
from robossl.core.statistics import Estimate, mean_ci, proportion_ci
from robossl.evaluation.step_outcomes import steps

_PATIENCE = 100_000  # [steps] of one lane; an episode longer than this has no end


@dataclass(frozen=True)
class Episodes:
    """E episodes, lane by lane, in the order in which each lane lived them."""

    returns: np.ndarray  # (E,) float64, undiscounted
    lengths: np.ndarray  # (E,) int [steps]
    successes: np.ndarray | None  # (E,) bool at the episode's last step; None where the env does not say
    reached: np.ndarray | None  # (E,) bool at any step

    def summary(self, seed: int = 0) -> dict[str, Estimate]:
        """{"return", "length"} and, where the env tells, {"success", "success_any"}."""
        found = {"return": mean_ci(self.returns, seed=seed), "length": mean_ci(self.lengths, seed=seed)}
        if self.successes is not None and self.reached is not None:
            found["success"] = proportion_ci(int(self.successes.sum()), len(self.successes))
            found["success_any"] = proportion_ci(int(self.reached.sum()), len(self.reached))
        return found


def episodes_per_env(episodes: int, lanes: int) -> np.ndarray:
    """(lanes,) how many episodes each lane gives, decided before the first step.

    Taking the first that finish instead over-counts short episodes: where successes are short,
    a true 50 % can read 89 %.
    """
    return episodes // lanes + (np.arange(lanes) < episodes % lanes)


def evaluate_returns(
    envs: Any,
    policy: Any,
    episodes: int,
    seed: int = 0,
    explore: bool = False,
    progress: ProgressReporter | None = None,
) -> Episodes:
    """Let `policy` act in `envs` (any VectorEnv, any autoreset mode) for exactly `episodes` episodes.

    The lanes start from seeds of this evaluation's own. RequestError where an episode never ends.
    """
    if episodes < 1:
        raise UsageError(f"{episodes} episodes asked for; expected at least 1")
    progress = progress or NullProgress()
    quota = episodes_per_env(episodes, envs.num_envs)
    lanes: list[list[tuple[float, int, bool, bool]]] = [[] for _ in quota]
    total, length = np.zeros(envs.num_envs), np.zeros(envs.num_envs, np.int64)
    reached, told = np.zeros(envs.num_envs, bool), True
    observation, _ = envs.reset(seed=derive(seed, "evaluation") % 2**31)
    progress.start("evaluate", episodes, "episodes")
    for step in steps(envs, policy, observation, explore):
        success = np.zeros(envs.num_envs, bool) if step.success is None else step.success & step.real
        told &= step.success is not None or not step.done.any()  # some envs tell only at the end
        total += np.where(step.real, step.reward, 0.0)
        length += step.real
        reached |= success
        for lane in np.flatnonzero(step.done):
            if len(lanes[lane]) < quota[lane]:
                lanes[lane].append((total[lane], length[lane], success[lane], reached[lane]))
                progress.update(1)
        total[step.done], length[step.done], reached[step.done] = 0.0, 0, False
        if all(len(found) >= wanted for found, wanted in zip(lanes, quota)):
            break
        if length.max() > _PATIENCE:
            raise UsageError(
                f"an episode of lane {int(length.argmax())} is {_PATIENCE} steps long without an end"
            )
    progress.stop()
    returns, lengths, successes, any_success = (
        np.array(c) for c in zip(*(e for found in lanes for e in found))
    )
    return Episodes(returns, lengths, successes if told else None, any_success if told else None)
