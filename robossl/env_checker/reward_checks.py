"""Checks of what a step returns besides the observation: reward, termination, infos, success, goal rewards."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from robossl import registry
from robossl.core.errors import OperationError
from robossl.core.interfaces import UNUSABLE_FRACTION
from robossl.core.spaces import is_goal_space
from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.env_under_test import EnvCallError, EnvUnderTest
from robossl.env_checker.random_rollout import Rollout, StepRecord, random_rollout

_SUCCESS = "is_success"
_GOAL_STEPS = 40
_LIMIT_FIX = "--env.max_episode_steps 500, or register(..., max_episode_steps=500)"
_RELABELING = "hindsight relabeling calls it for goals that were never set"


def check_steps(
    rollout: Rollout, max_episode_steps: int | None, first_end: int | None = None
) -> Iterator[CheckResult]:
    """Run the checks of steps.

    Args:
        rollout: Random rollout, whose episodes may be cut.
        max_episode_steps: The registered time limit.
        first_end: Step at which an uncut episode ended by itself.
    """
    yield check_actions_not_mutated(rollout)
    yield check_reward(rollout)
    yield check_flags(rollout)
    yield check_info_keys(rollout)
    yield check_success(rollout)
    yield check_time_limit(rollout, max_episode_steps, first_end)


def check_unusable_numbers(space: gym.Space, rollout: Rollout, observe: Sequence[str] = ()) -> CheckResult:
    """Check that few steps have numbers that end their episode: not finite, or too large for float32."""
    name = "unusable numbers"
    space, _ = registry.recorded_parts(space, observe)
    faults: list[tuple[StepRecord, str]] = []
    ended, count = -1, 0  # episode that an unusable number ended, records until then
    for record in rollout.records:
        if record.episode == ended:
            continue
        count += 1
        try:
            fault = registry.unusable_number(space, record.observation, record.reward)
        except (KeyError, IndexError, TypeError, ValueError, OperationError):
            continue  # other checks report wrong structures
        if fault:
            faults.append((record, fault))
            ended = record.episode
    if not faults:
        return check_passed(name, f"none in {len(rollout.records)} observations and rewards")
    first = f"{faults[0][0].name}: {faults[0][1]}"
    share = len(faults) / count
    text = f"{first}; {len(faults)} of {count} observations and rewards have such numbers, and end their episodes"
    fix = (
        "find its cause (a division by 0, diverged physics), or replace it: np.clip(observation, -1e6, 1e6); for a "
        "number that stands for 'unknown' add a mask"
    )
    if share <= UNUSABLE_FRACTION:
        return check_info(name, text, "such a step ends its episode, and is counted", fix)
    return check_failed(
        name, text, f"recording ends where more than {UNUSABLE_FRACTION:.0%} of the steps are so", fix
    )


def check_actions_not_mutated(rollout: Rollout) -> CheckResult:
    """Check that the env does not write into its action argument."""
    name = "actions not mutated"
    for record in rollout.steps:
        if record.action_mutated:
            return check_failed(
                name,
                f"{record.name}: the env wrote into its action argument",
                "a replay buffer that keeps the action would hold a different one",
                "use a copy: action = gain * action, not action *= gain, nor np.clip(..., out=action)",
            )
    return check_passed(name, f"{len(rollout.steps)} actions are unchanged")


def check_reward(rollout: Rollout) -> CheckResult:
    """Check that every reward is a finite number."""
    values = []
    for record in rollout.steps:
        value = record.reward
        if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "fiub":
            value = value.reshape(-1)[0]  # accepted; `check_env` of Gymnasium reports it
        if not _is_number(value):
            shape = f", shape {value.shape}" if isinstance(value, np.ndarray) else ""
            return check_failed(
                "reward",
                f"{record.name}: the reward is of type {type(value).__name__}{shape}: {_short(value)}",
                "a reward is one number",
                "return float(reward)" if np.size(value) == 1 else "return float(np.sum(reward))",
            )
        if math.isfinite(float(value)):
            values.append(float(value))
    if not any(values):
        return check_info(
            "reward",
            f"0 at all {len(values)} random steps",
            "exploration and the world model need no reward; an agent needs one that is sometimes not 0",
            "if random actions never reach it, shape it: reward = 1.0 - np.tanh(distance)",
        )
    return check_passed("reward", f"{len(values)} finite numbers from {min(values):.4g} to {max(values):.4g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (numbers.Real, np.number, np.bool_))


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def check_flags(rollout: Rollout) -> CheckResult:
    """Check that terminated and truncated are booleans."""
    name = "termination flags"
    for record in rollout.steps:
        for flag, value in (("terminated", record.terminated), ("truncated", record.truncated)):
            if not isinstance(value, (bool, np.bool_)):
                return check_failed(
                    name,
                    f"{record.name}: {flag} is of type {type(value).__name__}: {_short(value)}",
                    "wrappers and agents expect a bool",
                    f"return bool({flag})",
                )
    return check_passed(name, "terminated and truncated are booleans")


def check_info_keys(rollout: Rollout) -> CheckResult:
    """Check that every info has the same keys; report those that can be recorded."""
    records_with: dict[str, list[StepRecord]] = {}
    for record in rollout.records:
        for key in record.info:
            records_with.setdefault(str(key), []).append(record)
    if not records_with:
        return check_info("info keys", "info is empty", "only observations and rewards can be recorded")
    numeric = sorted(
        k for k, records in records_with.items() if all(_is_number(r.info.get(k)) for r in records)
    )
    recordable = f"can be recorded: {', '.join(numeric)}" if numeric else "none of them is a number"
    varying = sorted(key for key, records in records_with.items() if len(records) < len(rollout.records))
    if not varying:
        return check_passed(
            "info keys", f"{', '.join(sorted(records_with))} at every step and reset; {recordable}"
        )
    key = varying[0]
    return check_info(
        "info keys",
        f"{key!r} is in {len(records_with[key])} of {len(rollout.records)} infos, "
        f"first at {records_with[key][0].name}; varying: {', '.join(varying)}; {recordable}",
        "a vector env writes 0 where the key is missing, which looks like a measured 0",
        f"set it in every step and in reset: info = {{{key!r}: value if known else np.nan}}",
    )


def check_success(rollout: Rollout) -> CheckResult:
    """Check that `info["is_success"]` reports whether the task is solved."""
    with_success = [record for record in rollout.steps if _SUCCESS in record.info]
    if not with_success:
        near = next((key for r in rollout.steps for key in r.info if "success" in str(key).lower()), None)
        condition = f"info[{near!r}]" if near else "distance < 0.05"
        return check_info(
            _SUCCESS,
            f"no info has is_success{f', but there is {near!r}' if near else ''}",
            "the report shows returns, but no success rate",
            f'info["is_success"] = bool({condition}), at every step and in reset',
        )
    values = [record.info[_SUCCESS] for record in with_success]
    wrong = next((v for v in values if not (_is_number(v) and float(v) in (0.0, 1.0))), None)
    if wrong is not None:
        return check_failed(
            _SUCCESS,
            f"is_success is {_short(wrong)}",
            "a success rate needs booleans",
            'info["is_success"] = bool(...)',
        )
    if len(with_success) < len(rollout.steps):
        return check_info(
            _SUCCESS,
            f"is_success is in the info of {len(with_success)} of {len(rollout.steps)} steps",
            "where it is missing, the step counts as no success",
            'info["is_success"] = bool(...) at every step and in reset',
        )
    return check_passed(_SUCCESS, f"true at {sum(bool(v) for v in values)} of {len(values)} random steps")


def check_physics(rollout: Rollout) -> CheckResult:
    """Check that the simulation did not diverge; native envs report it in their infos."""
    diverged = [record for record in rollout.steps if record.info.get("physics_error")]
    if not diverged:
        return check_passed("physics", f"stable for {len(rollout.steps)} random steps")
    episodes = len({record.episode for record in rollout.records})
    return check_failed(
        "physics",
        f"diverged in {len(diverged)} of {episodes} episodes, first at {diverged[0].name}",
        "the episode ends there, and the motion just before it was not physical",
        'a smaller time step (<option timestep="0.002"/>), weaker or limited motors (forcerange), '
        "joint damping or armature",
    )


def check_time_limit(
    rollout: Rollout, max_episode_steps: int | None, first_end: int | None = None
) -> CheckResult:
    """Check that episodes end, and that a time limit truncates instead of terminating."""
    ended = rollout.endings()
    if max_episode_steps is None and not ended and first_end is not None:
        return check_info(
            "time limit",
            f"no max_episode_steps; the first episode ended by itself at step {first_end}",
            "for an agent that avoids its end the episode may never end",
            _LIMIT_FIX,
        )
    if max_episode_steps is None and not ended:
        return check_failed(
            "time limit",
            f"no max_episode_steps is registered, and no episode ended in {len(rollout.steps)} random steps",
            "without episodes there is no held-out data and no return",
            _LIMIT_FIX,
        )
    lengths = [record.step for record in ended if record.terminated and not record.truncated]
    if len(lengths) >= 3 and len(lengths) == len(ended) and len(set(lengths)) == 1 and lengths[0] > 1:
        return check_info(
            "time limit",
            f"all {len(lengths)} episodes terminated at step {lengths[0]}",
            "if that is a time limit, an agent should bootstrap the value of what comes after it",
            f"leave it to register(..., max_episode_steps={lengths[0]}), and terminated = False",
        )
    if max_episode_steps is None:
        return check_info(
            "time limit",
            f"no max_episode_steps, but {len(ended)} episodes terminated in {len(rollout.steps)} random steps",
            "for an agent that avoids termination the episode would never end",
            _LIMIT_FIX,
        )
    return check_passed(
        "time limit",
        f"max_episode_steps is {max_episode_steps}; {len(ended)} episodes ended in {len(rollout.steps)} steps",
    )


def check_compute_reward(target: EnvUnderTest) -> Iterator[CheckResult]:
    """Check that `compute_reward` of a goal env agrees with step and accepts a batch."""
    name = "compute_reward"
    env = target.make()
    if not is_goal_space(env.observation_space):
        yield check_info(name, "not a goal env")
        return
    compute = getattr(env.unwrapped, "compute_reward", None)
    if not callable(compute):
        yield check_failed(
            name,
            f"{type(env.unwrapped).__name__} has no compute_reward",
            _RELABELING,
            "def compute_reward(self, achieved_goal, desired_goal, info):\n"
            "    return -np.linalg.norm(achieved_goal - desired_goal, axis=-1)",
        )
        return
    records = random_rollout(target, env, _GOAL_STEPS, 0, seconds=target.monitor.seconds / 2).steps
    rewards = np.array([float(record.reward) for record in records])  # (n,)
    with target.monitor.call("compute_reward(achieved_goal, desired_goal, info)"):
        computed = [
            float(compute(r.observation["achieved_goal"], r.observation["desired_goal"], r.info))
            for r in records
        ]
    wrong = np.flatnonzero(~np.isclose(computed, rewards, rtol=1e-4, atol=1e-5))
    if len(wrong):
        first = int(wrong[0])
        yield check_failed(
            name,
            f"{records[first].name}: the reward was {rewards[first]:.6g}, "
            f"compute_reward returns {computed[first]:.6g} for the same step",
            _RELABELING,
            "at the end of step: reward = self.compute_reward(achieved_goal, desired_goal, info)",
        )
        return
    goal_keys = ("achieved_goal", "desired_goal")
    achieved, desired = (np.stack([r.observation[key] for r in records]) for key in goal_keys)  # (n, G)
    try:
        with target.monitor.call("compute_reward of a batch"):
            batch = np.asarray(compute(achieved, desired, [record.info for record in records]))
    except EnvCallError:
        batch = np.empty(0)
    if batch.shape == rewards.shape and np.allclose(batch, rewards, rtol=1e-4, atol=1e-5):
        yield check_passed(name, f"agrees with step at {len(rewards)} steps, one by one and as a batch")
        return
    yield check_info(
        name,
        f"agrees with step one by one, but not as a batch of {len(rewards)} goals: it returns shape {batch.shape}",
        "it is called for one goal at a time, which is slow",
        "reduce over the last axis only: np.linalg.norm(achieved_goal - desired_goal, axis=-1)",
    )
