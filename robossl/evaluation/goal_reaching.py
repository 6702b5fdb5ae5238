"""Goal reaching without reward: from a held-out time step, reach what the same episode achieved some steps later."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, PhysicsStateEnv, Policy, ProgressReporter
from robossl.core.seeding import derive, generator
from robossl.core.statistics import Estimate, bootstrap_ratio, proportion_ci
from robossl.evaluation.context import EvaluationContext, recorded_settings
from robossl.evaluation.policy_wrappers import TimedPolicy, ZeroActionPolicy
from robossl.evaluation.reward_free import missing_goals_reason
from robossl.rollout import steps as rollout_steps
from robossl.streams import Stream

SUSTAINED_STEPS = 3  # [steps] in a row at the goal that count as sustained
CRITERIA = ("reached_any", "reached_final", "sustained")
_PHYSICS, _ACHIEVED = "physics", "observation.achieved_goal"


@dataclass(frozen=True)
class StartGoalPairs:
    """M starts and goals from held-out episodes, `horizon` steps apart."""

    physics: np.ndarray  # (M, P) physics state of the start
    goal: np.ndarray  # (M, G) achieved goal `horizon` steps later

    def select(self, index: np.ndarray) -> StartGoalPairs:
        """Return the pairs at `index`."""
        return StartGoalPairs(self.physics[index], self.goal[index])


@dataclass(frozen=True)
class Trials:
    """Results of M trials."""

    reached: dict[str, np.ndarray]  # criterion -> (M,) bool
    steps: np.ndarray  # (M,) [steps] until the goal was first reached; where it was not, the budget
    milliseconds: float  # [ms] per decision of one sub-environment; all sub-environments decide together


def evaluate_goal_reaching(
    context: EvaluationContext,
    make_policies: Callable[[VectorEnv], dict[str, Policy]],
    horizons: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Reach goals of held-out episodes without reward.

    Args:
        context: Provides the env, stream, goal horizons and number of trials.
        make_policies: Creates the policies to evaluate for the given envs, by row name.
        horizons: Steps between start and goal; those of the context if None.

    Returns:
        As `reach_goals`, with the rows "random" and "zero_action" after those of the policies. The reason why a horizon
        is not there is in `context.missing`.

    Raises:
        UsageError: The env has no goals, or cannot be set to recorded states.
    """
    stream = context.stream
    if stream is None:
        raise UsageError("no stream was given")
    if context.goal_trials == 0:
        raise UsageError("no trials were requested (goals.trials is 0)")
    if reason := missing_goals_reason(stream.observation_space):
        raise UsageError(reason)
    envs = context.envs(context.goal_trials, **recorded_settings(stream))
    seed = context.evaluation_seed
    try:
        if not isinstance(envs.unwrapped, PhysicsStateEnv):
            raise UsageError(
                "the env cannot be set to a recorded state (it does not implement PhysicsStateEnv)"
            )
        policies = make_policies(envs)
        policies["random"] = registry.policy("random")(envs.single_action_space, envs.num_envs, seed=seed)
        found, reasons = reach_goals(
            envs,
            stream,
            policies,
            horizons or context.goal_horizons,
            context.goal_trials,
            seed,
            context.progress,
        )
    finally:
        envs.close()
    context.missing |= {f"goal_reaching.horizons.{horizon}": reason for horizon, reason in reasons.items()}
    return found


def reach_goals(
    envs: VectorEnv,
    stream: Stream,
    policies: Mapping[str, Policy],
    horizons: Sequence[int] = (25,),
    trials: int = 200,
    seed: int = 0,
    progress: ProgressReporter | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Evaluate every policy on the same start-goal pairs, with a budget of `2 * horizon` steps.

    A start has exactly the recorded physics; a goal was reached in the recorded episode, so it is reachable. Pairs that
    the zero action solves within the budget are dropped and others are drawn. The env's `is_success` decides whether a
    goal is reached.

    Args:
        envs: Goal env that implements `PhysicsStateEnv`, with any number of sub-environments.
        stream: Stream with physics and achieved goals.
        policies: Policies by row name; "random" is required. A row "zero_action" is added.
        horizons: Steps between start and goal.
        trials: Number of pairs at each horizon.
        seed: Seed of the pairs.
        progress: Progress reporter.

    Returns:
        {"horizons": {"<horizon>": {"budget", "trials", "candidates", "solved_by_zero_action"}},
        "rows": {name: {"<horizon>": {"reached_any" | "reached_final" | "sustained": Estimate, "steps_to_goal",
        "ms_per_decision", "chance_normalized": {criterion: Estimate}}}}}. "chance_normalized" is
        (p - p_random) / (1 - p_random); "steps_to_goal" is the median over the goals reached, None if there are none.
        And the horizons that could not be evaluated with the reason.

    Raises:
        UsageError: Goals cannot be evaluated in these envs or on this stream, at any horizon.
    """
    if "random" not in policies:
        raise UsageError(f"expected 'random' among the policies, got {', '.join(policies) or 'none'}")
    if min(horizons) < 1 or trials < 1:
        raise UsageError(f"expected horizons >= 1 and trials >= 1, got {list(horizons)} and {trials} trials")
    progress = progress or NullProgress()
    evaluated: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {name: {} for name in (*policies, "zero_action")}
    reasons: dict[str, str] = {}
    progress.start("reach goals", len(horizons) * len(policies), "policies")
    for horizon in horizons:
        try:
            trial_info, found = _reach_at(envs, stream, policies, horizon, trials, seed, progress)
        except UsageError as error:
            reasons[str(horizon)] = str(error)
            continue
        evaluated[str(horizon)] = trial_info
        for name, row in found.items():
            rows[name][str(horizon)] = row
    progress.stop()
    if not evaluated:
        raise UsageError(next(iter(reasons.values())))
    return {"horizons": evaluated, "rows": rows}, reasons


def _reach_at(
    envs: VectorEnv,
    stream: Stream,
    policies: Mapping[str, Policy],
    horizon: int,
    trials: int,
    seed: int,
    progress: ProgressReporter,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the pairs of one horizon in numbers, and the row of each policy."""
    budget = 2 * horizon
    candidates = _draw_candidates(stream, horizon, limit=max(4 * trials, 400), seed=seed)
    pairs, num_tried, num_solved = _drop_solved_pairs(envs, candidates, trials, budget, seed)
    results = {}
    for name, policy in policies.items():
        results[name] = _run_trials(envs, policy, pairs, budget, seed)
        progress.update(1)
    # the zero action solves none of the remaining pairs
    unsolved = {criterion: np.zeros(len(pairs.goal), bool) for criterion in CRITERIA}
    results["zero_action"] = Trials(unsolved, np.full(len(pairs.goal), budget), 0.0)
    trial_info = {
        "budget": budget,
        "trials": len(pairs.goal),
        "candidates": num_tried,
        "solved_by_zero_action": num_solved,
        "pairs": hashlib.blake2b(pairs.physics.tobytes() + pairs.goal.tobytes(), digest_size=8).hexdigest(),
    }
    return trial_info, {name: _row(result, results["random"], seed) for name, result in results.items()}


def _draw_candidates(stream: Stream, horizon: int, limit: int, seed: int) -> StartGoalPairs:
    """Return pairs from all test episodes in random order, with the same probability for every time step."""
    physics, goals = [], []
    for episode in stream.episodes("test"):
        fields = stream.read(episode.lane, episode.start, episode.stop)
        for name in (_PHYSICS, _ACHIEVED):
            if name not in fields:
                raise UsageError(
                    f"the stream has no field {name!r}; goal reaching needs a goal env that implements PhysicsStateEnv"
                )
        physics.append(np.asarray(fields[_PHYSICS])[:-horizon])
        goals.append(np.asarray(fields[_ACHIEVED])[horizon:])
    count = sum(map(len, goals))
    if count == 0:
        raise UsageError(f'no episode of the split "test" has {horizon} steps; choose a shorter goal horizon')
    order = generator(seed, "pairs", horizon).permutation(count)[:limit]
    return StartGoalPairs(np.concatenate(physics)[order], np.concatenate(goals)[order])


def _drop_solved_pairs(
    envs: VectorEnv, candidates: StartGoalPairs, trials: int, budget: int, seed: int
) -> tuple[StartGoalPairs, int, int]:
    """Return the first `trials` pairs that the zero action does not solve, and how many were tried and solved."""
    solved = np.zeros(0, bool)  # of the candidates tried so far
    while len(solved) < len(candidates.goal) and (~solved).sum() < trials:
        chunk = np.arange(len(solved), min(len(solved) + envs.num_envs, len(candidates.goal)))
        result = _run_batch(envs, ZeroActionPolicy(envs), candidates.select(chunk), budget, seed)
        solved = np.concatenate([solved, result.reached["reached_any"]])
    index = np.flatnonzero(~solved)[:trials]
    if len(index) == 0:
        raise UsageError(
            f"the zero action solves all {len(solved)} candidate pairs; choose a longer goal horizon"
        )
    num_tried = int(index[-1]) + 1
    return candidates.select(index), num_tried, int(solved[:num_tried].sum())


def _run_trials(envs: VectorEnv, policy: Policy, pairs: StartGoalPairs, budget: int, seed: int) -> Trials:
    chunks = [
        np.arange(i, min(i + envs.num_envs, len(pairs.goal)))
        for i in range(0, len(pairs.goal), envs.num_envs)
    ]
    batches = [_run_batch(envs, policy, pairs.select(chunk), budget, seed) for chunk in chunks]
    reached = {
        criterion: np.concatenate([batch.reached[criterion] for batch in batches]) for criterion in CRITERIA
    }
    steps = np.concatenate([batch.steps for batch in batches])
    return Trials(reached, steps, float(np.mean([batch.milliseconds for batch in batches])))


def _run_batch(envs: VectorEnv, policy: Policy, pairs: StartGoalPairs, budget: int, seed: int) -> Trials:
    """Run at most `num_envs` trials; unused sub-environments repeat the first pairs and are not counted."""
    pair_index = np.arange(envs.num_envs) % len(pairs.goal)
    envs.reset(seed=derive(seed, "goals") % 2**31)
    physics_env = cast(PhysicsStateEnv, envs.unwrapped)
    observation = physics_env.set_physics_state(pairs.physics[pair_index], goal=pairs.goal[pair_index])
    timed = TimedPolicy(policy)
    history = np.zeros((budget, envs.num_envs), bool)
    running = np.ones(envs.num_envs, bool)
    for t, step in enumerate(rollout_steps(envs, timed, observation)):
        if step.success is None:
            raise UsageError("the env does not report is_success in its infos; goals cannot be evaluated")
        if (step.done & ~step.terminated & running).any() and t + 1 < budget:
            raise UsageError(f"the time limit of the env ended a trial after {t + 1} of {budget} steps")
        # a trial that terminated keeps its last result
        history[t] = np.where(running, step.success, history[t - 1] if t else False)
        running &= ~step.done
        if t + 1 == budget:
            break
    windows = np.lib.stride_tricks.sliding_window_view(history, min(SUSTAINED_STEPS, budget), axis=0)
    sustained = np.any(np.all(windows, axis=-1), axis=0)  # windows: (T', n, SUSTAINED_STEPS)
    count = len(pairs.goal)
    reached = {
        "reached_any": np.asarray(history.any(0))[:count],
        "reached_final": history[-1][:count],
        "sustained": np.asarray(sustained)[:count],
    }
    first = np.where(history.any(0), 1 + history.argmax(0), budget)[:count]
    return Trials(reached, first, timed.milliseconds)


def _row(result: Trials, chance: Trials, seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        criterion: proportion_ci(int(reached.sum()), len(reached))
        for criterion, reached in result.reached.items()
    }
    hits = result.reached["reached_any"]
    row["steps_to_goal"] = float(np.median(result.steps[hits])) if hits.any() else None
    row["ms_per_decision"] = result.milliseconds
    row["outcomes"] = {
        criterion: reached.astype(int).tolist() for criterion, reached in result.reached.items()
    }
    row["chance_normalized"] = {
        criterion: _chance_normalized(result.reached[criterion], chance.reached[criterion], seed)
        for criterion in CRITERIA
    }
    return row


def _chance_normalized(hits: np.ndarray, chance: np.ndarray, seed: int) -> Estimate | None:
    """Return (p - p_random) / (1 - p_random) over the same pairs; None if the random policy reaches all goals."""
    above_chance, max_above_chance = hits.astype(float) - chance, 1.0 - chance
    if max_above_chance.sum() == 0:
        return None
    low, high = bootstrap_ratio(above_chance, max_above_chance, seed=seed)
    mean = float(above_chance.sum() / max_above_chance.sum())
    return {"mean": mean, "low": low, "high": high, "n": len(hits)}
