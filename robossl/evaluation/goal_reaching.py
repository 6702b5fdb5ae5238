"""Goals without reward: from a held-out row, reach what the same episode achieved some steps later."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from robossl.core.errors import UsageError
from robossl.core.interfaces import NullProgress, Policy, ProgressReporter
from robossl.core.seeding import derive, generator
from robossl.core.statistics import Estimate, bootstrap_ratio, proportion_ci
from robossl.evaluation.step_outcomes import steps

HOLD = 3  # [steps] in a row at the goal count as having held it
_CRITERIA = ("any", "final", "held")
_PHYSICS, _ACHIEVED = "physics", "observation.achieved_goal"


@dataclass(frozen=True)
class StartGoalPairs:
    """M starts and goals from held-out episodes, `offset` rows apart."""

    physics: np.ndarray  # (M, P) where to start
    goal: np.ndarray  # (M, G) what was achieved `offset` rows later

    def take(self, index: np.ndarray) -> StartGoalPairs:
        """Some of them."""
        return StartGoalPairs(self.physics[index], self.goal[index])


@dataclass(frozen=True)
class Trials:
    """How M attempts went, by criterion, and what a decision cost."""

    reached: dict[str, np.ndarray]  # criterion -> (M,) bool
    milliseconds: float  # [ms] for one decision of one lane, all lanes deciding together


class ZeroActionPolicy:
    """Does nothing: the zero action, for ever."""

    def __init__(self, envs: Any) -> None:
        self._action = np.zeros_like(envs.action_space.sample())

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        """Zeros (n, A)."""
        return self._action

    def reset(self, mask: np.ndarray | None = None) -> None:
        """There is nothing to forget."""


def reach_goals(
    envs: Any,
    stream: Any,
    policies: dict[str, Policy],
    offset: int = 25,
    pairs: int = 200,
    seed: int = 0,
    progress: ProgressReporter | None = None,
) -> dict[str, Any]:
    """Every policy on the same pairs, with a budget of twice the offset; the env's own `is_success` judges.

    `envs` is a Physical goal env, any number of lanes; all lanes start together. `policies` must hold
    "random"; a row "do_nothing" is added. Pairs that doing nothing solves, at once or within the budget, are
    dropped and others drawn. The start has the stream's physics, bit by bit; the goal is a position
    that was really reached, so it can be reached.

    Gives {"offset", "budget", "pairs", "dropped": {"candidates", "solved_by_nothing"}, "rows": {name:
    {"any", "final", "held": Figure, "ms_per_decision", "over_chance": {criterion: Figure}}}}.
    "over_chance" is (p - p_random) / (1 - p_random).
    """
    if "random" not in policies:
        raise UsageError(f"policies {', '.join(policies) or 'none'} given; expected 'random' among them")
    if offset < 1 or pairs < 1:
        raise UsageError(f"offset {offset} and {pairs} pairs given; expected at least 1 of each")
    progress = progress or NullProgress()
    candidates = _candidates(stream, offset, limit=max(4 * pairs, 400), seed=seed)
    kept, tried, solved = _unsolved(envs, candidates, pairs, 2 * offset, seed)
    progress.start("goals", len(policies), "policies")
    attempts = {}
    for name, policy in policies.items():
        attempts[name] = _attempt_all(envs, policy, kept, 2 * offset, seed)
        progress.update(1)
    progress.stop()
    nothing = {name: np.zeros(len(kept.goal), bool) for name in _CRITERIA}  # by choice of the pairs
    attempts["do_nothing"] = Trials(nothing, 0.0)
    return {
        "offset": offset,
        "budget": 2 * offset,
        "pairs": len(kept.goal),
        "dropped": {"candidates": tried, "solved_by_nothing": solved},
        "rows": {name: _row(found, attempts["random"], seed) for name, found in attempts.items()},
    }


def _candidates(stream: Any, offset: int, limit: int, seed: int) -> StartGoalPairs:
    """Starts and goals from all test episodes, in random order, an equal chance for every row."""
    physics, goals = [], []
    for episode in stream.episodes("test"):
        fields = stream.read(episode.lane, episode.start, episode.stop)
        for name in (_PHYSICS, _ACHIEVED):
            if name not in fields:
                raise UsageError(
                    f"the stream has no field {name!r}; goals need a goal env that knows its physics"
                )
        physics.append(np.asarray(fields[_PHYSICS])[:-offset])
        goals.append(np.asarray(fields[_ACHIEVED])[offset:])
    if sum(map(len, goals)) == 0:
        raise UsageError(f'no episode of the split "test" is {offset} steps long')
    order = generator(seed, "pairs", offset).permutation(sum(map(len, goals)))[:limit]
    return StartGoalPairs(np.concatenate(physics)[order], np.concatenate(goals)[order])


def _unsolved(
    envs: Any, candidates: StartGoalPairs, wanted: int, budget: int, seed: int
) -> tuple[StartGoalPairs, int, int]:
    """The first `wanted` candidates that doing nothing does not solve; how many were tried and solved."""
    easy = np.zeros(0, bool)  # of the candidates tried so far
    while len(easy) < len(candidates.goal) and (~easy).sum() < wanted:
        chunk = np.arange(len(easy), min(len(easy) + envs.num_envs, len(candidates.goal)))
        found = _attempt(envs, ZeroActionPolicy(envs), candidates.take(chunk), budget, seed)
        easy = np.concatenate([easy, found.reached["any"]])
    index = np.flatnonzero(~easy)[:wanted]
    if len(index) == 0:
        raise UsageError(f"doing nothing solves all {len(easy)} candidate pairs; choose a longer offset")
    tried = int(index[-1]) + 1
    return candidates.take(index), tried, int(easy[:tried].sum())


def _attempt_all(envs: Any, policy: Policy, pairs: StartGoalPairs, budget: int, seed: int) -> Trials:
    parts = [
        _attempt(
            envs, policy, pairs.take(np.arange(i, min(i + envs.num_envs, len(pairs.goal)))), budget, seed
        )
        for i in range(0, len(pairs.goal), envs.num_envs)
    ]
    reached = {name: np.concatenate([part.reached[name] for part in parts]) for name in _CRITERIA}
    return Trials(reached, float(np.mean([part.milliseconds for part in parts])))


def _attempt(envs: Any, policy: Policy, pairs: StartGoalPairs, budget: int, seed: int) -> Trials:
    """One batch, at most as many pairs as lanes; spare lanes repeat the first pairs and are not counted."""
    lanes = np.arange(envs.num_envs) % len(pairs.goal)
    envs.reset(seed=derive(seed, "goals") % 2**31)
    observation = envs.restore(pairs.physics[lanes], goal=pairs.goal[lanes])
    clock = _TimedPolicy(policy)
    history = np.zeros((budget, envs.num_envs), bool)
    alive = np.ones(envs.num_envs, bool)
    for t, step in enumerate(steps(envs, clock, observation)):
        if step.success is None:
            raise UsageError("the env does not put is_success into its infos; goals cannot be judged")
        if (step.done & ~step.terminated & alive).any() and t + 1 < budget:
            raise UsageError(f"the env's time limit cut an attempt after {t + 1} of {budget} steps")
        # an attempt that ended by itself stays as it was when it ended
        history[t] = np.where(alive, step.success, history[t - 1] if t else False)
        alive &= ~step.done
        if t + 1 == budget:
            break
    runs = np.lib.stride_tricks.sliding_window_view(history, min(HOLD, budget), axis=0)  # (., n, HOLD)
    held = np.any(np.all(runs, axis=-1), axis=0)
    count = len(pairs.goal)
    reached = {
        "any": np.asarray(history.any(0))[:count],
        "final": history[-1][:count],
        "held": np.asarray(held)[:count],
    }
    return Trials(reached, 1000 * clock.seconds / (clock.decisions * envs.num_envs))


class _TimedPolicy:
    """A policy with a watch."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.seconds, self.decisions = 0.0, 0

    def act(self, observation: Any, explore: bool = True) -> np.ndarray:
        start = time.perf_counter()
        action = self._policy.act(observation, explore=explore)
        self.seconds += time.perf_counter() - start
        self.decisions += 1
        return action

    def reset(self, mask: np.ndarray | None = None) -> None:
        self._policy.reset(mask)


def _row(found: Trials, chance: Trials, seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: proportion_ci(int(hits.sum()), len(hits)) for name, hits in found.reached.items()
    }
    row["ms_per_decision"] = found.milliseconds
    row["over_chance"] = {name: _over(found.reached[name], chance.reached[name], seed) for name in _CRITERIA}
    return row


def _over(hits: np.ndarray, chance: np.ndarray, seed: int) -> Estimate | None:
    """(p - p_random) / (1 - p_random) over the same pairs; None where the random policy reaches all."""
    top, bottom = hits.astype(float) - chance, 1.0 - chance
    if bottom.sum() == 0:
        return None
    low, high = bootstrap_ratio(top, bottom, seed=seed)
    return {"mean": float(top.sum() / bottom.sum()), "low": low, "high": high, "n": len(hits)}
