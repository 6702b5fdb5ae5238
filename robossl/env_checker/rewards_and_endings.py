"""What a step brings besides an observation: reward, endings, infos, and how episodes end."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np

from robossl.env_checker.check_result import CheckResult, check_failed, check_info, check_passed
from robossl.env_checker.random_rollout import Rollout, StepRecord

_SUCCESS = "is_success"


def outcomes(life: Rollout, limit: int | None) -> Iterator[CheckResult]:
    """All findings on what steps brought; `limit` is the registered time limit [steps]."""
    yield actions_not_mutated(life)
    yield reward(life)
    yield flags(life)
    yield keys(life)
    yield success(life)
    yield episode_ends(life, limit)


def actions_not_mutated(life: Rollout) -> CheckResult:
    """The action is read, not written to."""
    for moment in life.steps:
        if moment.action_changed:
            return check_failed(
                "actions are left alone",
                f"{moment.name}: the env wrote into the action it was given",
                "whoever keeps actions for learning would keep another one than was chosen",
                "work on a copy: action = gain * action, not action *= gain, nor np.clip(..., out=action)",
            )
    return check_passed("actions are left alone", f"{len(life.steps)} actions are what they were")


def reward(life: Rollout) -> CheckResult:
    """A finite number at every step."""
    values = []
    for moment in life.steps:
        value = moment.reward
        if not isinstance(value, (numbers.Real, np.number, np.bool_)):
            shape = f", shape {value.shape}" if isinstance(value, np.ndarray) else ""
            return check_failed(
                "reward",
                f"{moment.name}: the reward is of type {type(value).__name__}{shape}: {_short(value)}",
                "a reward is one number",
                "return float(reward)" if np.size(value) == 1 else "return float(np.sum(reward))",
            )
        if not np.isfinite(float(value)):
            return check_failed(
                "reward",
                f"{moment.name}: the reward is {float(value)}",
                "one such number spoils a value function; recording stops there",
                "find where it comes from, or return 0.0 there and end the episode: terminated = True",
            )
        values.append(float(value))
    if not any(values):
        return check_info(
            "reward",
            f"0 at all {len(values)} steps of random actions",
            "exploring and learning the world need none; learning to act needs one that comes now and then",
            "if random actions can never reach it, shape it: reward = 1.0 - np.tanh(distance)",
        )
    return check_passed("reward", f"{len(values)} finite numbers from {min(values):.4g} to {max(values):.4g}")


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def flags(life: Rollout) -> CheckResult:
    """terminated and truncated are true or false."""
    for moment in life.steps:
        for name, value in (("terminated", moment.terminated), ("truncated", moment.truncated)):
            if not isinstance(value, (bool, np.bool_)):
                return check_failed(
                    "endings",
                    f"{moment.name}: {name} is of type {type(value).__name__}: {_short(value)}",
                    "what is neither true nor false is read differently by everyone",
                    f"return bool({name})",
                )
    return check_passed("endings", "terminated and truncated are true or false")


def keys(life: Rollout) -> CheckResult:
    """The same info keys at every step; the numbers among them can be recorded."""
    seen: dict[str, list[StepRecord]] = {}
    for moment in life.moments:
        for key in moment.info:
            seen.setdefault(str(key), []).append(moment)
    if not seen:
        return check_info(
            "info keys", "info is empty", "nothing besides observation and reward can be recorded"
        )
    numeric = sorted(key for key, moments in seen.items() if all(_scalar(m.info.get(key)) for m in moments))
    recorded = f"can be recorded: {', '.join(numeric)}" if numeric else "none of them is a number"
    varying = sorted(key for key, moments in seen.items() if len(moments) < len(life.moments))
    if not varying:
        return check_passed("info keys", f"{', '.join(sorted(seen))} at every step and reset; {recorded}")
    key = varying[0]
    return check_info(
        "info keys",
        f"{key!r} came in {len(seen[key])} of {len(life.moments)} infos, first at {seen[key][0].name}; "
        f"varying: {', '.join(varying)}; {recorded}",
        "where a key does not come a batch of envs fills in 0, and nobody can tell it from a measured 0",
        f"give it in every step and in reset: info = {{{key!r}: value if known else np.nan}}",
    )


def _scalar(value: Any) -> bool:
    return isinstance(value, (numbers.Real, np.number, np.bool_))


def success(life: Rollout) -> CheckResult:
    """info["is_success"] says whether the task is done."""
    having = [moment for moment in life.steps if _SUCCESS in moment.info]
    if not having:
        near = next((key for m in life.steps for key in m.info if "success" in str(key).lower()), None)
        line = (
            f'info["is_success"] = bool(info[{near!r}])'
            if near
            else 'info["is_success"] = bool(distance < 0.05)'
        )
        return check_info(
            _SUCCESS,
            f"no info has is_success{f', but there is {near!r}' if near else ''}",
            "the report shows returns, and no share of episodes that succeeded",
            f"{line}, at every step and in reset",
        )
    values = [moment.info[_SUCCESS] for moment in having]
    wrong = next((value for value in values if not (_scalar(value) and float(value) in (0.0, 1.0))), None)
    if wrong is not None:
        return check_failed(
            _SUCCESS,
            f"is_success is {_short(wrong)}",
            "success is true or false; a share of episodes cannot be counted from anything else",
            'info["is_success"] = bool(...)',
        )
    if len(having) < len(life.steps):
        return check_info(
            _SUCCESS,
            f"is_success came at {len(having)} of {len(life.steps)} steps",
            "where it does not come it counts as no success",
            'info["is_success"] = bool(...) at every step and in reset',
        )
    return check_passed(
        _SUCCESS, f"true at {sum(bool(v) for v in values)} of {len(values)} steps of random actions"
    )


def physics(life: Rollout) -> CheckResult:
    """No simulation broke; of a native env, whose infos say so."""
    broken = [moment for moment in life.steps if moment.info.get("physics_error")]
    if not broken:
        return check_passed("physics", f"held for {len(life.steps)} steps of random actions")
    episodes = len({moment.episode for moment in life.moments})
    return check_failed(
        "physics",
        f"broke in {len(broken)} of {episodes} episodes, first at {broken[0].name}",
        "an episode ends where its physics breaks, and what came just before was no robot's motion any more",
        'a shorter step (<option timestep="0.002"/>), weaker or limited motors (forcerange), joint damping or armature',
    )


def episode_ends(life: Rollout, limit: int | None) -> CheckResult:
    """Episodes end: by the task, or by a time limit that is called one."""
    ended = life.endings()
    if limit is None and not ended:
        return check_failed(
            "time limit",
            f"no max_episode_steps is registered, and no episode ended in {len(life.steps)} random steps",
            "without episodes nothing can be held out and no return is ever complete",
            "register(..., max_episode_steps=500)",
        )
    lengths = [moment.step for moment in ended if moment.terminated and not moment.truncated]
    if len(lengths) >= 3 and len(lengths) == len(ended) and len(set(lengths)) == 1 and lengths[0] > 1:
        return check_info(
            "time limit",
            f"all {len(lengths)} episodes were terminated at step {lengths[0]}",
            "if that is a limit of time, the task did not end: what would come after it still has a value",
            f"leave it to register(..., max_episode_steps={lengths[0]}), and terminated = False",
        )
    words = (
        f"max_episode_steps is {limit}" if limit else "no max_episode_steps, but episodes end by themselves"
    )
    if limit is None:
        return check_info(
            "time limit",
            f"{words}: {len(ended)} in {len(life.steps)} steps of random actions",
            "an agent that avoids every ending would live one episode for ever",
            "register(..., max_episode_steps=500)",
        )
    return check_passed("time limit", f"{words}; {len(ended)} episodes ended in {len(life.steps)} steps")
