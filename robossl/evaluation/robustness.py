"""Robustness: the same policies in changed physics, and on observations with noise or a distractor.

Every condition has the same held-out episodes: the same seeds, and so the same initial states and goals. The difference
to the unchanged env is therefore computed within pairs of episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core import spaces
from robossl.core.errors import UsageError
from robossl.core.interfaces import Action, Observation, Policy
from robossl.core.seeding import generator
from robossl.core.statistics import mean_ci, paired_difference, proportion_ci
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.control import BASELINES, Episodes, evaluate_returns, in_order
from robossl.evaluation.policy_wrappers import FiniteObservationGuard
from robossl.evaluation.reward_free import reward_free_policies
from robossl.rollout import steps as rollout_steps

NOMINAL = "nominal"  # the unchanged env
RANGE = "test"  # of each parameter, which training with randomization "train" does not contain
NOISE_STD = 0.1  # of a number, in standard deviations of what random actions show
PIXEL_NOISE = 20.0  # [gray levels] standard deviation of the noise of a pixel
_MAX_ENVS = 32
_SCALE_STEPS = 200  # of random actions, from which the standard deviations are estimated
_BLOCK = 0.25  # edge of the distractor, over that of the image

Distortion = Callable[[str, np.ndarray], np.ndarray]  # path of a leaf, values (n, ...) -> changed values


def evaluate_robustness(context: EvaluationContext) -> dict[str, Any]:
    """Return the return of every policy of the control table in every condition.

    Args:
        context: Provides the agents, the world model and the env.

    Returns:
        {"episodes", "range", "conditions": {name: kind}, "rows": {row: {condition: {"return", "success",
        "difference": to the unchanged env, "retained": fraction of the return above random actions that is left}}}}.
        "success" only where the env reports it; "retained" only where the policy is better than random actions.

    Raises:
        UsageError: There is no policy to evaluate.
    """
    episodes, seed = context.episodes, context.evaluation_seed
    settings = context.observation_settings
    num_envs = min(episodes, _MAX_ENVS)
    measured: dict[str, dict[str, Episodes]] = {}
    nominal = context.envs(num_envs, **settings)
    try:
        randomized = getattr(nominal.unwrapped, "randomized_values", None)
        names = list(randomized()) if randomized is not None else []
        if not names:
            context.missing["robustness.conditions"] = "the physics of this env cannot be changed"
        distortions = _distortions(nominal, seed)
        if not set(_policies(context, nominal, seed)) - set(BASELINES):
            raise UsageError("no agent was given, and the world model has no goals to reach")
        measured[NOMINAL] = _evaluate(context, nominal, None, episodes, seed)
        for name, distort in distortions.items():
            measured[name] = _evaluate(context, nominal, distort, episodes, seed)
    finally:
        nominal.close()
    conditions = {NOMINAL: "unchanged", **dict.fromkeys(distortions, "observation")}
    for name in names:
        envs = context.envs(num_envs, randomization={name: RANGE}, **settings)
        try:
            found = _evaluate(context, envs, None, episodes, seed)
        finally:
            envs.close()
        if _unchanged(found, measured[NOMINAL]):  # images alone change, and none is observed
            continue
        measured[name], conditions[name] = found, "physics"
    return {
        "episodes": episodes,
        "range": RANGE,
        "conditions": conditions,
        "rows": in_order(_rows(measured, seed)),
    }


def _policies(context: EvaluationContext, envs: VectorEnv, seed: int) -> dict[str, Policy]:
    """Return the policies of the control table, in their initial state."""
    policies, reasons = reward_free_policies(envs, context.model, seed)
    context.missing.update({f"robustness.rows.{row}": reason for row, reason in reasons.items()})
    policies |= context.agents
    for row, name in BASELINES.items():
        policies[row] = registry.policy(name)(envs.single_action_space, envs.num_envs, seed=seed)
    return policies


def _evaluate(
    context: EvaluationContext, envs: VectorEnv, distort: Distortion | None, episodes: int, seed: int
) -> dict[str, Episodes]:
    """Return the episodes of each policy in one condition."""
    found = {}
    for row, policy in _policies(context, envs, seed).items():
        seen: Policy = FiniteObservationGuard(policy, envs)
        if distort is not None:
            seen = DistortedPolicy(seen, envs.single_observation_space, distort)
        found[row] = evaluate_returns(envs, seen, episodes, seed, progress=context.progress)
    return found


def _unchanged(found: Mapping[str, Episodes], nominal: Mapping[str, Episodes]) -> bool:
    return all(np.array_equal(found[row].returns, nominal[row].returns) for row in found)


def _rows(measured: Mapping[str, Mapping[str, Episodes]], seed: int) -> dict[str, dict[str, Any]]:
    """Return the estimates by row and condition."""
    nominal = measured[NOMINAL]
    rows: dict[str, dict[str, Any]] = {row: {} for row in nominal}
    for condition, found in measured.items():
        for row, each in found.items():
            entry: dict[str, Any] = {"return": mean_ci(each.returns, seed=seed)}
            if each.successes is not None:
                entry["success"] = proportion_ci(int(each.successes.sum()), len(each.successes))
            if condition != NOMINAL:
                entry["difference"] = paired_difference(each.returns, nominal[row].returns, seed)
                gain = nominal[row].returns - nominal["random"].returns
                if row not in BASELINES and mean_ci(gain, seed=seed)["low"] > 0:
                    kept = each.returns.mean() - found["random"].returns.mean()
                    entry["retained"] = float(kept / gain.mean())
            rows[row][condition] = entry
    return rows


# --- observations with noise


class DistortedPolicy:
    """Policy that receives changed observations; goals stay as they are."""

    def __init__(self, policy: Policy, space: gym.Space, distort: Distortion) -> None:
        self._policy, self._space, self._distort = policy, space, distort
        self._paths = set(spaces.model_inputs(space))

    def act(self, observation: Observation, explore: bool = True) -> Action:
        """Return the actions of the policy for the changed observation."""
        parts = spaces.flatten_by_path(self._space, observation)
        changed = {
            path: self._distort(path, values) if path in self._paths else values
            for path, values in parts.items()
        }
        return self._policy.act(spaces.unflatten_by_path(self._space, changed), explore=explore)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes."""
        self._policy.reset(mask)


def _distortions(envs: VectorEnv, seed: int) -> dict[str, Distortion]:
    """Return the changes of observations that apply to an env, by condition."""
    leaves = spaces.model_inputs(envs.single_observation_space)
    images = {path for path, leaf in leaves.items() if spaces.is_image(leaf)}
    floats = {
        path
        for path, leaf in leaves.items()
        if isinstance(leaf, gym.spaces.Box) and path not in images and leaf.dtype.kind == "f"  # type: ignore[union-attr]
    }
    random = generator(seed, "robustness", "noise")
    scale = _standard_deviations(envs, floats, seed) if floats else {}

    def noise(path: str, values: np.ndarray) -> np.ndarray:
        if path in floats:
            added = NOISE_STD * scale[path] * random.standard_normal(values.shape)
            return (values + added).astype(values.dtype)
        if path in images:
            added = PIXEL_NOISE * random.standard_normal(values.shape)
            return np.clip(values + added, 0, 255).astype(values.dtype)
        return values

    def distractor(path: str, values: np.ndarray) -> np.ndarray:
        return _with_block(values, random) if path in images else values

    found: dict[str, Distortion] = {}
    if floats or images:
        found["observation_noise_added"] = noise
    if images:
        found["distractor"] = distractor
    return found


def _standard_deviations(envs: VectorEnv, paths: set[str], seed: int) -> dict[str, np.ndarray]:
    """Return the standard deviations (...) of numbers under random actions, by path."""
    policy = registry.policy("random")(envs.single_action_space, envs.num_envs, seed=seed)
    observation, _ = envs.reset(seed=seed % 2**31)
    values: dict[str, list[np.ndarray]] = {path: [] for path in paths}
    for count, step in enumerate(rollout_steps(envs, policy, observation)):
        parts = spaces.flatten_by_path(envs.single_observation_space, step.observation)
        for path in paths:
            values[path].append(np.array(parts[path], np.float64))
        if count + 1 >= _SCALE_STEPS:
            break
    return {path: np.concatenate(each).std(0) for path, each in values.items()}


def _with_block(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return images (n, H, W, C) with a block of random color at a random place in each."""
    changed = np.array(images)
    height, width = images.shape[1:3]
    edge = max(round(_BLOCK * min(height, width)), 1)
    tops = random.integers(height - edge + 1, size=len(images))
    lefts = random.integers(width - edge + 1, size=len(images))
    colors = random.integers(256, size=(len(images), images.shape[3]))
    for image, top, left, color in zip(changed, tops, lefts, colors):
        image[top : top + edge, left : left + edge] = color
    return changed
