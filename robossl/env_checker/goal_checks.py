"""Whether a goal environment's compute_reward tells the reward that a step brought."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from robossl.core.spaces import is_goal_space
from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvUnderTest
from robossl.env_checker.random_rollout import random_rollout

_NAME = "compute_reward"
_STEPS = 40
_WHY = "learning from goals reached by chance asks it for rewards of goals that were never set"


def goal_reward(case: EnvUnderTest) -> Iterator[CheckResult]:
    """It is there, agrees with step, and takes a batch."""
    env = case.make()
    if not is_goal_space(env.observation_space):
        yield check_info(_NAME, "not a goal env")
        return
    compute = getattr(env.unwrapped, "compute_reward", None)
    if not callable(compute):
        yield check_failed(
            _NAME,
            f"{type(env.unwrapped).__name__} has no compute_reward",
            _WHY,
            "def compute_reward(self, achieved_goal, desired_goal, info):\n"
            "    return -np.linalg.norm(achieved_goal - desired_goal, axis=-1)",
        )
        return
    moments = random_rollout(case, env, _STEPS, 0, seconds=case.watch.seconds / 2).steps
    rewards = np.array([float(moment.reward) for moment in moments])  # (n,)
    infos = [moment.info for moment in moments]
    with case.watch.call("compute_reward(achieved_goal, desired_goal, info)"):
        single = [
            float(compute(m.observation["achieved_goal"], m.observation["desired_goal"], m.info))
            for m in moments
        ]
    off = np.flatnonzero(~np.isclose(single, rewards, rtol=1e-4, atol=1e-5))
    if len(off):
        moment = moments[off[0]]
        yield check_failed(
            _NAME,
            f"{moment.name}: the reward was {rewards[off[0]]:.6g}, "
            f"compute_reward of the same moment says {single[off[0]]:.6g}",
            _WHY,
            "at the end of step: reward = self.compute_reward(achieved_goal, desired_goal, info)",
        )
        return
    yield _batched(case, compute, moments, infos, rewards)


def _batched(
    case: EnvUnderTest, compute: Any, moments: list[Any], infos: list[Any], rewards: np.ndarray
) -> CheckResult:
    achieved, desired = (
        np.stack([m.observation[key] for m in moments]) for key in ("achieved_goal", "desired_goal")
    )  # (n, G)
    with case.watch.call("compute_reward of a batch"):
        batch = np.asarray(compute(achieved, desired, infos))
    if batch.shape == rewards.shape and np.allclose(batch, rewards, rtol=1e-4, atol=1e-5):
        return check_passed(_NAME, f"agrees with step at {len(rewards)} steps, one by one and as a batch")
    return check_failed(
        _NAME,
        f"for a batch of {len(rewards)} goals it gives shape {batch.shape}, and not the rewards of each",
        "goals are relabelled in batches",
        "reduce over the last axis only: np.linalg.norm(achieved_goal - desired_goal, axis=-1)",
    )
