"""Few-shot imitation: actions of a demonstrator, regressed on observations or on features of them.

The regression is in closed form: a ridge on the inputs and fixed random features, with its strength cross-validated
over episodes. It has no step size and no number of steps to tune, so it is the same for all inputs. Imitation with
ridge or linear heads on frozen features is a common test of representations (Arunachalam et al., 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces as gym_spaces
from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core import spaces
from robossl.core.encoding import encode
from robossl.core.errors import UsageError
from robossl.core.interfaces import Action, Observation, Policy
from robossl.core.seeding import derive, generator
from robossl.core.statistics import paired_difference
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.control import Episodes, evaluate_returns
from robossl.evaluation.metrics.ridge import fit_random_features
from robossl.evaluation.reward_free import reward_free_policies
from robossl.rollout import steps as rollout_steps
from robossl.world_model import WorldModel

DEMONSTRATIONS = (5, 25, 100)  # episodes that the actions are regressed on
_MAX_ENVS = 32
_CHOICE_EPISODES = 8  # of each policy, by which the demonstrator is chosen
_NUM_FEATURES = 512  # random ones of the regression
_MAX_STEPS = 20_000  # time steps of a regression; more are thinned out evenly
_MAX_DEMONSTRATION_STEPS = (
    1_000_000  # of one sub-environment; a demonstrator that never ends an episode is an error
)
Features = Callable[
    [Observation, Observation], np.ndarray
]  # observation and the one before it (n, ...) -> (n, X)


@dataclass(frozen=True)
class Demonstrations:
    """Time steps of E demonstrated episodes."""

    observation: dict[str, np.ndarray]  # by path, (N, ...)
    previous: dict[str, np.ndarray]  # one step earlier; of the first of an episode its own
    action: np.ndarray  # (N, *A)
    episode: np.ndarray  # (N,) number of the episode, from 0

    def first(self, count: int) -> Demonstrations:
        """Return the first `count` episodes, thinned out to at most `_MAX_STEPS` time steps."""
        index = np.flatnonzero(self.episode < count)
        index = index[:: -(-len(index) // _MAX_STEPS)]
        now, before = (
            {path: values[index] for path, values in each.items()}
            for each in (self.observation, self.previous)
        )
        return Demonstrations(now, before, self.action[index], self.episode[index])


def evaluate_imitation(
    context: EvaluationContext, counts: Sequence[int] = DEMONSTRATIONS, demonstrator: Policy | None = None
) -> dict[str, Any]:
    """Imitate a demonstrator from few episodes, on observations, on latents, and on latents of an untrained encoder.

    Args:
        context: Provides the env, the world model and the agents.
        counts: Numbers of demonstrated episodes.
        demonstrator: Acts in the demonstrations; None: the best policy of the context.

    Returns:
        {"episodes", "demonstrator", "counts", "rows": {"observation" | "latent" | "random_latent": {count: {"return",
        "success", "difference": to the first row}}, "demonstrator" | "random": {"return", "success"}}}.

    Raises:
        UsageError: There is no agent that demonstrates, or no world model.
    """
    model = context.model
    if model is None:
        raise UsageError("no world model was given")
    num_envs, seed = min(max(counts), _MAX_ENVS), context.evaluation_seed
    envs = context.envs(num_envs, **context.observation_settings)
    try:
        name = "given" if demonstrator is not None else None
        if demonstrator is None:
            name, demonstrator = _best_policy(context, envs, seed)
        recorded = record(envs, demonstrator, max(counts), derive(seed, "demonstrations") % 2**31)
        found = _imitate(envs, _features(envs, model, seed), recorded, counts, context, seed)
        random = registry.policy("random")(envs.single_action_space, num_envs, seed=seed)
        chance = evaluate_returns(envs, random, context.episodes, seed)
        expert = evaluate_returns(envs, demonstrator, context.episodes, seed)
    finally:
        envs.close()
    rows: dict[str, Any] = {}
    for row, by_count in found.items():
        rows[row] = {}
        for count, episodes in by_count.items():
            rows[row][str(count)] = dict(episodes.summary(seed))
            if row != (base_row := next(iter(found))):
                base = found[base_row][count]
                rows[row][str(count)]["difference"] = paired_difference(episodes.returns, base.returns, seed)
    rows |= {"demonstrator": dict(expert.summary(seed)), "random": dict(chance.summary(seed))}
    return {"episodes": context.episodes, "demonstrator": name, "counts": list(counts), "rows": rows}


def _best_policy(context: EvaluationContext, envs: VectorEnv, seed: int) -> tuple[str, Policy]:
    """Return the policy of the context with the highest return, trained or without reward, and the name of its row."""
    policies = {**reward_free_policies(envs, context.model, seed)[0], **context.agents}
    if not policies:
        raise UsageError("no agent was given, whose episodes could be imitated")
    episodes, choice = min(envs.num_envs, _CHOICE_EPISODES), derive(seed, "choice") % 2**31
    returns = {
        row: float(evaluate_returns(envs, policy, episodes, choice).returns.mean())
        for row, policy in policies.items()
    }
    best = max(returns, key=lambda row: returns[row])
    return best, policies[best]


def record(envs: VectorEnv, policy: Policy, episodes: int, seed: int) -> Demonstrations:
    """Record the first `episodes` episodes of a policy: equally many of each sub-environment, in turn."""
    space, num_envs = envs.single_observation_space, envs.num_envs
    quota = episodes // num_envs + (np.arange(num_envs) < episodes % num_envs)
    observation, _ = envs.reset(seed=seed)
    paths = list(spaces.model_inputs(space)) + [p for p in spaces.leaves(space) if p.endswith("desired_goal")]
    now = _copy(space, observation, paths)
    before = {path: values.copy() for path, values in now.items()}
    columns: dict[str, list[np.ndarray]] = {"action": [], "episode": []}
    parts: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = []
    done = np.zeros(num_envs, np.int64)
    for count, step in enumerate(rollout_steps(envs, policy, observation)):
        index = np.flatnonzero(step.real & (done < quota))
        parts.append(({p: v[index] for p, v in now.items()}, {p: v[index] for p, v in before.items()}))
        columns["action"].append(np.array(step.action)[index])
        columns["episode"].append(done[index] * num_envs + index)
        done += step.done
        if (done >= quota).all():
            break
        if count > _MAX_DEMONSTRATION_STEPS:
            raise UsageError(f"a demonstrated episode did not end within {_MAX_DEMONSTRATION_STEPS} steps")
        later = _copy(space, step.observation, paths)
        before = {p: np.where(_like(step.begins, v), later[p], v) for p, v in now.items()}
        now = later
    observations, previous = (
        {p: np.concatenate([part[side][p] for part in parts]) for p in paths} for side in (0, 1)
    )
    action, episode = (np.concatenate(columns[name]) for name in ("action", "episode"))
    return Demonstrations(observations, previous, action, episode)


def _copy(space: Any, observation: Observation, paths: Sequence[str]) -> dict[str, np.ndarray]:
    parts = spaces.flatten_by_path(space, observation)
    return {path: np.array(parts[path]) for path in paths}


def _like(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return a mask (n,) that broadcasts over values (n, ...)."""
    return mask.reshape(-1, *[1] * (values.ndim - 1))


# --- features and the imitating policy


def _features(envs: VectorEnv, model: WorldModel, seed: int) -> dict[str, Callable[..., np.ndarray]]:
    """Return the inputs of the regression by row; goals are beside the features in all of them."""
    leaves = spaces.leaves(envs.single_observation_space)
    inputs = spaces.model_inputs(envs.single_observation_space)
    goals = [path for path in leaves if path.endswith("desired_goal")]
    config = replace(model.config, encoder="network")
    untrained = WorldModel(
        config, model.observation_space, model.action_space, derive(seed, "random representation")
    )
    untrained.observation_processor.load_state_dict(model.observation_processor.state_dict())
    encoders = {"latent": model.frozen_copy(), "random_latent": untrained.to(model.device).frozen_copy()}

    def numbers(parts: Mapping[str, np.ndarray], paths: Sequence[str]) -> list[np.ndarray]:
        return [np.asarray(encode(leaves[path], parts[path]), np.float64) for path in paths]

    def raw(parts: Mapping[str, np.ndarray], _: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.concatenate(numbers(parts, [*inputs, *goals]), 1)

    def latent(encoder: WorldModel) -> Callable[..., np.ndarray]:
        def compute(parts: Mapping[str, np.ndarray], previous: Mapping[str, np.ndarray]) -> np.ndarray:
            z = encoder.encode(dict(parts), dict(previous) if encoder.observation_processor.images else None)
            return np.concatenate([np.asarray(z, np.float64), *numbers(parts, goals)], 1)

        return compute

    rows = {name: latent(encoder) for name, encoder in encoders.items()}
    if any(spaces.is_image(leaf) for leaf in inputs.values()):
        return {"random_latent": rows["random_latent"], "latent": rows["latent"]}
    return {"observation": raw, **rows}


class ImitatingPolicy:
    """Policy that returns the regressed action of each observation."""

    def __init__(
        self, envs: VectorEnv, features: Callable[..., np.ndarray], demonstrations: Demonstrations, seed: int
    ) -> None:
        """Fit the regression to demonstrations."""
        self._space, self._features = envs.single_observation_space, features
        self._action_space: Any = envs.single_action_space
        x = features(demonstrations.observation, demonstrations.previous)
        self._mean, std = x.mean(0), x.std(0)
        self._std = np.where(std > 1e-6 * (1 + np.abs(self._mean)), std, 1.0)
        targets = np.asarray(
            encode(self._action_space, demonstrations.action), np.float64
        )  # (N, A), or one-hot
        self._regressor = fit_random_features(
            self._scaled(x), targets, demonstrations.episode, generator(seed, "imitation"), _NUM_FEATURES
        )
        self._paths = list(demonstrations.observation)
        self._before: dict[str, np.ndarray] | None = None
        self._first = np.ones(envs.num_envs, bool)

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return np.clip((x - self._mean) / self._std, -10, 10)

    def act(self, observation: Observation, explore: bool = True) -> Action:
        """Return actions (n, *A)."""
        now = _copy(self._space, observation, self._paths)
        before = now if self._before is None else {
            path: np.where(_like(self._first, values), values, self._before[path]) for path, values in now.items()
        }  # fmt: skip
        self._before, self._first = now, np.zeros_like(self._first)
        predicted = self._regressor(self._scaled(self._features(now, before)))
        space = self._action_space
        if isinstance(space, gym_spaces.Discrete):
            return predicted.argmax(1) + int(space.start)
        return np.clip(predicted.reshape(-1, *space.shape), space.low, space.high).astype(space.dtype)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes."""
        self._first[slice(None) if mask is None else np.asarray(mask, bool)] = True


def _imitate(
    envs: VectorEnv,
    rows: Mapping[str, Callable[..., np.ndarray]],
    recorded: Demonstrations,
    counts: Sequence[int],
    context: EvaluationContext,
    seed: int,
) -> dict[str, dict[int, Episodes]]:
    """Return the held-out episodes of each row after each number of demonstrations."""
    context.progress.start("imitate", len(rows) * len(counts), "policies")
    found: dict[str, dict[int, Episodes]] = {row: {} for row in rows}
    for row, features in rows.items():
        for count in counts:
            policy = ImitatingPolicy(envs, features, recorded.first(count), seed)
            found[row][count] = evaluate_returns(envs, policy, context.episodes, seed)
            context.progress.update(1)
    context.progress.stop()
    return found
