"""Returns and successes of a policy; the number of episodes of each sub-environment is fixed before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.agent_observation import ROWS
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, Policy, ProgressReporter
from robossl.core.seeding import derive
from robossl.core.statistics import Estimate, mean_ci, proportion_ci
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.policy_wrappers import FiniteObservationGuard, TimedPolicy
from robossl.evaluation.reward_free import REWARD_FREE, reward_free_policies
from robossl.rollout import steps as rollout_steps

_MAX_ENVS = 32  # sub-environments that share the episodes of a row
BASELINES = {"random": "random", "zero_action": "zero"}  # row -> policy
_MAX_EPISODE_STEPS = 10_000  # [steps] of an env without a time limit; a longer episode is an error
_ENDLESS_STEPS = 2_000  # [steps] of a recorded episode without an end, in a stream where no episode has one
_LIMIT_HINT = "give one: --env.max_episode_steps 1000"


def evaluate_control(
    context: EvaluationContext,
    episodes: int | None = None,
    reward_free: bool = True,
    baselines: bool = True,
    rows: dict[str, dict[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the rows of the control table, all on the same held-out episodes with the env's own goals.

    The reason why a row could not be measured is stored in `context.missing`.

    Args:
        context: Provides the world model, the agents and the env.
        episodes: Number of episodes; that of the context if None.
        reward_free: Whether to add the rows of `REWARD_FREE`: policies of the world model, without reward.
        baselines: Whether to add the rows "random" and "zero_action".
        rows: Rows that were measured before, to which the others are added; None: measure all.
    """
    episodes = context.episodes if episodes is None else episodes
    num_envs, seed = min(episodes, _MAX_ENVS), context.evaluation_seed
    settings = context.observation_settings
    policies: dict[str, Policy] = {}
    rows = {} if rows is None else rows
    if reason := _endless_reason(context):
        raise UsageError(reason)
    envs = context.envs(num_envs, **settings)
    try:
        if reward_free and not context.reward_free_control:
            reason = "not requested (goals.control is false)"
            context.missing |= {f"control.{row}": reason for row in REWARD_FREE}
        elif reward_free:
            policies, reasons = reward_free_policies(envs, context.model, seed)
            context.missing |= {f"control.{row}": reason for row, reason in reasons.items()}
        policies |= context.agents
        for row, name in BASELINES.items() if baselines else ():
            policies[row] = registry.policy(name)(envs.single_action_space, num_envs, seed=seed)
        for row, policy in ((row, policy) for row, policy in policies.items() if row not in rows):
            timed = TimedPolicy(FiniteObservationGuard(policy, envs))
            try:
                measured = evaluate_returns(envs, timed, episodes, seed, progress=context.progress)
                rows[row] = {
                    **measured.summary(seed),
                    "ms_per_decision": timed.milliseconds,
                    "episodes": measured.values(),
                }
                if row in context.agent_names:
                    rows[row]["agent"] = context.agent_names[row]
                context.save()
            except UsageError as error:
                context.missing[f"control.{row}"] = str(error)
    finally:
        envs.close()
    return in_order(rows)


def in_order(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Return rows in the order of the table: without reward, by what the agent observes, then the baselines."""
    order = [*REWARD_FREE, *ROWS, *(name for name in rows if name not in BASELINES), *BASELINES]
    return {name: rows[name] for name in dict.fromkeys(order) if name in rows}


def time_limit_warning(env: str) -> str | None:
    """Return what the evaluation of an env without a time limit does; None if it has one."""
    if registry.env_spec(env).max_episode_steps is not None:
        return None
    return (
        f"{env} has no time limit: where an episode does not end within {_MAX_EPISODE_STEPS:,} steps, there is no "
        f"return; {_LIMIT_HINT}"
    )


def _endless_reason(context: EvaluationContext) -> str | None:
    """Return why no episode of the env will end; None if one may."""
    if context.stream is None or registry.env_spec(context.env).max_episode_steps is not None:
        return None
    episodes = context.stream.episodes()
    longest = max((episode.stop - episode.start for episode in episodes), default=0)
    if longest < _ENDLESS_STEPS:
        return None
    for episode in episodes:
        rows = context.stream.read(*episode[:3], ["terminated", "truncated"])
        if rows["terminated"].any() or rows["truncated"].any():
            return None
    return (
        f"the env has no time limit, and none of the {len(episodes)} recorded episodes ended; {_LIMIT_HINT}"
    )


def _longest_episode(envs: VectorEnv) -> int:
    """Return after how many steps an episode must have ended."""
    limit = None if envs.spec is None else envs.spec.max_episode_steps
    return max(_MAX_EPISODE_STEPS, limit or 0)


@dataclass(frozen=True)
class Episodes:
    """E episodes, by sub-environment, in the order in which each sub-environment finished them."""

    returns: np.ndarray  # (E,) float64, undiscounted
    lengths: np.ndarray  # (E,) int [steps]
    successes: np.ndarray | None  # (E,) bool at the last step; None if the env does not report success
    any_success: np.ndarray | None  # (E,) bool at any step

    def summary(self, seed: int = 0) -> dict[str, Estimate]:
        """Return {"return", "length"} and, if the env reports success, {"success", "success_any"}."""
        estimates = {"return": mean_ci(self.returns, seed=seed), "length": mean_ci(self.lengths, seed=seed)}
        if self.successes is not None and self.any_success is not None:
            estimates["success"] = proportion_ci(int(self.successes.sum()), len(self.successes))
            estimates["success_any"] = proportion_ci(int(self.any_success.sum()), len(self.any_success))
        return estimates

    def values(self) -> dict[str, list[float]]:
        """Return the values of each episode, by which reports of the same episodes are compared in pairs."""
        values = {"return": self.returns.tolist()}
        if self.successes is not None:
            values["success"] = self.successes.astype(float).tolist()
        return values


def episodes_per_env(episodes: int, num_envs: int) -> np.ndarray:
    """Return the (num_envs,) number of episodes of each sub-environment, fixed before the first step.

    Counting the first episodes that finish instead over-represents short ones: if successes are short, a true rate of
    50 % can be measured as 89 %.
    """
    return episodes // num_envs + (np.arange(num_envs) < episodes % num_envs)


def evaluate_returns(
    envs: VectorEnv,
    policy: Policy,
    episodes: int,
    seed: int = 0,
    explore: bool = False,
    progress: ProgressReporter | None = None,
) -> Episodes:
    """Run `policy` in `envs` for exactly `episodes` episodes.

    Args:
        envs: Vector env with any autoreset mode.
        policy: Policy for all sub-environments.
        episodes: Number of episodes over all sub-environments.
        seed: Seed of the episodes; training uses other seeds.
        explore: Whether the policy adds exploration noise.
        progress: Progress reporter.

    Raises:
        UsageError: `episodes` is below 1, or an episode does not end.
    """
    if episodes < 1:
        raise UsageError(f"expected at least 1 episode, got {episodes}")
    progress = progress or NullProgress()
    quota, longest = episodes_per_env(episodes, envs.num_envs), _longest_episode(envs)
    finished: list[list[tuple[float, int, bool, bool]]] = [[] for _ in quota]
    total, length = np.zeros(envs.num_envs), np.zeros(envs.num_envs, np.int64)
    any_success, reports_success = np.zeros(envs.num_envs, bool), True
    observation, _ = envs.reset(seed=derive(seed, "evaluation") % 2**31)
    progress.start("run episodes", episodes, "episodes")
    for step in rollout_steps(envs, policy, observation, explore):
        success = np.zeros(envs.num_envs, bool) if step.success is None else step.success & step.real
        # some envs report success at the end of an episode only
        reports_success &= step.success is not None or not step.done.any()
        total += np.where(step.real, step.reward, 0.0)
        length += step.real
        any_success |= success
        for env_index in np.flatnonzero(step.done):
            if len(finished[env_index]) < quota[env_index]:
                finished[env_index].append(
                    (total[env_index], length[env_index], success[env_index], any_success[env_index])
                )
                progress.update(1)
        total[step.done], length[step.done], any_success[step.done] = 0.0, 0, False
        missing = quota > [len(done) for done in finished]
        if not missing.any():
            break
        counted = np.where(missing, length, 0)  # others only go on because all step together
        if counted.max() > longest:
            raise UsageError(
                f"the episode of sub-environment {int(counted.argmax())} did not end within {longest:,} steps; "
                "a shorter time limit: --env.max_episode_steps 1000"
            )
    progress.stop()
    returns, lengths, successes, successes_any = (
        np.array(column) for column in zip(*(episode for done in finished for episode in done))
    )
    if not reports_success:
        return Episodes(returns, lengths, None, None)
    return Episodes(returns, lengths, successes, successes_any)
