"""A reward model on latents, fitted to labeled steps. The world model itself predicts no reward and no termination."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robossl.core.errors import UsageError
from robossl.core.seeding import derive, generator
from robossl.core.spaces import is_goal_space
from robossl.streams import Stream
from robossl.world_model.goal_predictor import ACHIEVED, DESIRED
from robossl.world_model.labeled_steps import MIN_REWARD_STD, LabeledSteps, read_labeled_steps
from robossl.world_model.model import WorldModel
from robossl.world_model.networks import MLP
from robossl.world_model.termination_model import TerminationModel

GoalReward = Callable[[np.ndarray, np.ndarray], np.ndarray]  # achieved, desired -> reward (n,)

DEFAULT_UPDATES = 2000
_BATCH = 512
_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 1e-3
_HIDDEN = (256, 256)


class RewardModel:
    """An MLP: (latent, action) -> reward (n,), trained on the standardized reward.

    In a goal env the reward depends on the achieved and the desired goal only, as in Gymnasium's `compute_reward`. The
    inputs are then both goals and their difference, and `goal_reward(achieved, desired)` returns the reward; in other
    envs `goal_reward` is None.

    Example:
        reward = robossl.world_model.RewardModel(model, stream, labeled_steps=10_000)
        reward.r2  # on held-out steps

    Args:
        model: The world model; it encodes and is not changed.
        stream: Recorded time steps with rewards, of which the train split is used; or labeled steps.
        updates: Gradient steps.
        seed: Seed of the labeled steps, the weights and the batches.
        labeled_steps: Number of steps of the stream whose reward is used, drawn uniformly; None: all.
        start: A reward model of the same env, whose weights the fit begins with; None: random weights.

    Attributes:
        r2: R2 on the validation split of the stream; None without a stream, or if it is empty or does not vary.
        num_labeled: Number of labeled steps.
        termination: Predicts which steps end an episode; None in a goal env, or if no labeled step did.

    Raises:
        UsageError: There are too few labeled steps, or their reward does not vary.
    """

    def __init__(
        self,
        model: WorldModel,
        stream: Stream | LabeledSteps,
        updates: int = DEFAULT_UPDATES,
        seed: int = 0,
        labeled_steps: int | None = None,
        start: RewardModel | None = None,
    ) -> None:
        labeled = (
            stream
            if isinstance(stream, LabeledSteps)
            else read_labeled_steps(model, stream, labeled_steps, seed)
        )
        labeled.check()
        self._prepare(model, labeled, seed)
        if start is not None:
            self.network.load_state_dict(start.network.state_dict())
        self._fit(labeled, updates, generator(seed, "world", "reward"))
        self.termination = None if self.has_goals else self._fit_termination(labeled, updates, seed, start)
        self.r2 = None if isinstance(stream, LabeledSteps) else self._validation_r2(stream, seed)

    def _prepare(self, model: WorldModel, labeled: LabeledSteps, seed: int) -> None:
        """Create the network and the scales of its inputs and output."""
        self.model, self.num_labeled = model, len(labeled.reward)
        self.has_goals = is_goal_space(model.observation_space)
        self.goal_reward: GoalReward | None = self._goal_reward if self.has_goals else None
        self.mean, self.std = float(labeled.reward.mean()), float(labeled.reward.std())
        if self.std < MIN_REWARD_STD:  # equal rewards: their unit is that of a step
            self.std = abs(self.mean)
        self.goal_scale = np.ones(1)  # (G,)
        input_dim = model.latent_dim + model.action_processor.dim
        if self.has_goals:
            assert labeled.desired is not None
            self.goal_scale = goal_scale(labeled.desired)
            input_dim = 3 * len(self.goal_scale)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(seed, "world", "reward"))
            self.network = MLP(input_dim, _HIDDEN, 1, model.config.linear_skip).to(model.device)

    def _fit(self, labeled: LabeledSteps, updates: int, random: np.random.Generator) -> None:
        features, target = self._features(labeled), (labeled.reward - self.mean) / self.std
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(updates, 1))
        for _ in range(updates):
            rows = torch.from_numpy(random.integers(len(target), size=_BATCH)).to(target.device)
            error = (self.network(features[rows])[:, 0] - target[rows]).square().mean()
            optimizer.zero_grad(set_to_none=True)
            error.backward()
            optimizer.step()
            schedule.step()
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None

    def _fit_termination(
        self, labeled: LabeledSteps, updates: int, seed: int, start: RewardModel | None
    ) -> TerminationModel | None:
        """Return a model of the steps that end episodes; None if none of them does, or all do."""
        rate = float(labeled.terminated.mean())
        if not 0 < rate < 1:
            return None
        features = self._features(labeled)
        model = TerminationModel(features.shape[1], rate, seed, features.device)
        if start is not None and start.termination is not None:
            model.network.load_state_dict(start.termination.network.state_dict())
        model.fit(features, labeled.terminated, updates, generator(seed, "world", "termination"))
        return model

    @torch.no_grad()
    def ends_episode(self, z: Tensor, action: Tensor) -> Tensor:
        """Return whether steps end the episode (...), bool, at latents (..., Z) for encoded actions (..., A)."""
        features = torch.cat([z, action], -1)
        if self.termination is None:
            return torch.zeros(features.shape[:-1], dtype=torch.bool, device=z.device)
        return self.termination(features) > 0.5

    def __call__(self, observation: Any, action: np.ndarray, next_observation: Any) -> np.ndarray:
        """Return rewards (n,) float64, in the unit of the env."""
        if self.has_goals:
            return self._goal_reward(next_observation[ACHIEVED], observation[DESIRED])
        with torch.no_grad():
            z = torch.as_tensor(self.model.encode(observation), device=self.model.device)
            return self.of_latents(z, self.model.action_processor(action)).cpu().numpy().astype(np.float64)

    def of_latents(self, z: Tensor, action: Tensor) -> Tensor:
        """Return rewards (...) at latents (..., Z) for encoded actions (..., A), in an env without goals."""
        return self._predict(torch.cat([z, action], -1))

    def of_goals(self, achieved: Tensor, desired: Tensor) -> Tensor:
        """Return rewards (...) for goals (..., G) in units of `goal_scale`, in a goal env."""
        return self._predict(torch.cat([achieved, desired, achieved - desired], -1))

    def _goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return rewards (n,) float64 for goals (n, *G)."""
        with torch.no_grad():
            goals = (scaled_goal(goal, self.goal_scale, self.model.device) for goal in (achieved, desired))
            return self.of_goals(*goals).cpu().numpy().astype(np.float64)

    def _predict(self, features: Tensor) -> Tensor:
        return self.network(features)[..., 0] * self.std + self.mean

    def _features(self, labeled: LabeledSteps) -> Tensor:
        """Return network inputs (N, F)."""
        if labeled.achieved is None or labeled.desired is None:
            return torch.cat([labeled.z, labeled.action], -1)
        achieved, desired = (
            scaled_goal(goal, self.goal_scale, self.model.device)
            for goal in (labeled.achieved, labeled.desired)
        )
        return torch.cat([achieved, desired, achieved - desired], -1)

    @torch.no_grad()
    def _validation_r2(self, stream: Stream, seed: int) -> float | None:
        try:
            heldout = read_labeled_steps(self.model, stream, None, derive(seed, "validation"), "validation")
        except UsageError:  # the validation split is empty
            return None
        variance = float(heldout.reward.var())
        error = (self._predict(self._features(heldout)) - heldout.reward).square().mean()
        return 1 - float(error) / variance if variance > 0 else None

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the weights and scales."""
        return {
            "network": {
                name: value.cpu().numpy().copy() for name, value in self.network.state_dict().items()
            },
            "goal_scale": self.goal_scale.copy(),
            "mean": self.mean,
            "std": self.std,
            "num_labeled": self.num_labeled,
            "r2": self.r2,
            "termination": None if self.termination is None else self.termination.get_checkpoint(),
        }

    @classmethod
    def from_checkpoint(cls, model: WorldModel, tree: Mapping[str, Any]) -> RewardModel:
        """Return the reward model whose `get_checkpoint` returned `tree`, for the same world model."""
        reward = cls.__new__(cls)
        empty = torch.zeros(int(tree["num_labeled"]))
        goals = np.zeros((1, len(tree["goal_scale"]))) if is_goal_space(model.observation_space) else None
        reward._prepare(model, LabeledSteps(empty, empty, empty, goals, goals, empty), 0)
        reward.network.load_state_dict({k: torch.tensor(np.array(v)) for k, v in tree["network"].items()})
        reward.network.requires_grad_(False)
        reward.goal_scale = np.array(tree["goal_scale"])
        reward.mean, reward.std = float(tree["mean"]), float(tree["std"])
        reward.r2 = None if tree["r2"] is None else float(tree["r2"])
        ends = tree.get("termination")  # older files have none
        reward.termination = None if ends is None else TerminationModel.from_checkpoint(ends, model.device)
        return reward


def goal_scale(desired: np.ndarray) -> np.ndarray:
    """Return the root mean square (G,) of desired goals (n, *G); 1 where it is 0."""
    goals = np.asarray(desired, np.float64)
    scale = np.sqrt(np.square(goals.reshape(len(goals), -1)).mean(0))
    return np.where(scale > 0, scale, 1.0)


def scaled_goal(goal: np.ndarray, scale: np.ndarray, device: torch.device) -> Tensor:
    """Return goals (n, *G) in units of `scale` as a tensor (n, G) float32."""
    flat = np.asarray(goal, np.float64).reshape(len(goal), -1) / scale
    return torch.as_tensor(flat, dtype=torch.float32, device=device)
