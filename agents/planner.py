"""Goal-reaching planner: iCEM in a latent world model, without reward."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.interfaces import Observation
from robossl.world_model import WorldModel
from robossl.world_model.device import resolve

from .shared.cem import PRESETS, DynamicsModel, Planner, PlannerConfig
from .shared.goal_source import GoalSource, goal_determines_posture
from .shared.loop_agent import LoopAgent
from .shared.observation_encoder import ObservationEncoder, batch_size
from .shared.planning_costs import Cost, cost_weights, resolve_costs
from .shared.settings_file import read_settings, write_settings

_HEADER = {"format": 2}  # of planner.json


class PlanningModel(DynamicsModel, Protocol):
    """A model that encodes observations and imagines."""

    def encode(self, observation: Any, *previous: Any) -> Any:
        """Return latents [..., Z] of observations; of images also given the previous images."""


class GoalPlanner(LoopAgent):
    """Agent that plans towards goals: `desired_goal` of each sub-environment, or one given observation.

    With goal heads (`robossl.world_model.goal_heads`) it acts in any goal env; without, it needs an env with a method
    `goal_observation`, and compares latents. Nothing is trained: `learn` acts, so that its steps
    can be recorded.

    Example:
        model = robossl.from_pretrained("reacher")
        agent = robossl.agents.GoalPlanner(envs, model, seed=0)
        action = agent.act(observation, explore=False)
    """

    name = "planner"
    needs_representation = True

    def __init__(
        self,
        envs: VectorEnv,
        representation: PlanningModel | None = None,
        seed: int = 0,
        device: str = "auto",
        preset: str = "cpu",
        goal_observation: np.ndarray | Sequence[float] | None = None,
        cost: str | Mapping[str, float] = "auto",
        costs: Sequence[Cost] | None = None,
        **settings: Any,
    ) -> None:
        """Create a planner for `envs`.

        Args:
            envs: The envs to act in.
            representation: A world model; it encodes and imagines.
            seed: Seed of the search.
            device: Device of the world model; `auto` does not move it.
            preset: `cpu` or `paper`.
            goal_observation: Observation (D,) or (n, D) to reach. None: the goals of the env.
            cost: What plans minimize: `latent` (distance of latents), `goal` (distance of predicted achieved goals),
                `temporal` (predicted steps to the goal), `auto` (`latent` if the env has `goal_observation` and a goal
                has more numbers than an action, as a pose has, or without goal heads; else `temporal`), or weights of
                costs by name, which are added up: latent, goal, temporal, control, disagreement.
            costs: Cost functions of latents in place of `cost`, added up. Goals are then latents.
            settings: Fields of `PlannerConfig`, in place of those of the preset.

        Raises:
            UsageError: For unknown settings, no model, no goals, or goal heads that `cost` needs and the model has not.
        """
        self.check_settings({"preset": preset, "cost": cost, **settings})
        config = dataclasses.replace(PRESETS[preset], **settings)
        if representation is None:
            raise UsageError("the planner needs a world model; expected representation, got None")
        if device != "auto" and isinstance(representation, WorldModel):
            representation = representation.to(resolve(device))
        super().__init__(envs, seed)
        self.model = representation
        self._cost, self._custom_costs = cost, None if costs is None else tuple(costs)
        self._goal_observation = goal_observation
        self._action_space, self._config = envs.single_action_space, config
        self._resolve_costs()
        self._set_num_envs(envs.num_envs)

    def _resolve_costs(self) -> None:
        """Set the cost functions and the goals that they compare, for the present model."""
        if self._custom_costs is not None:
            self._costs, heads = self._custom_costs, None
        else:
            latent_goals = self._goal_observation is not None or goal_determines_posture(self.envs)
            self._costs, heads = resolve_costs(cost_weights(self._cost), self.model, latent_goals)
        self._goals = GoalSource(self.envs, heads, self._goal_observation)
        self._proposal = None if heads is None else self._policy_plans

    def _set_num_envs(self, num_envs: int) -> None:
        """Create the state of `num_envs` sub-environments."""
        self.num_envs = num_envs
        self.planner = Planner(
            self.model, self._config, self._action_space, num_envs, self.seed, self._costs, self._proposal
        )
        shape, dtype = self._action_space.shape or (), self._action_space.dtype
        self._action = np.zeros((num_envs, *shape), dtype)
        self._steps_left = np.zeros(num_envs, np.int64)  # (n,) steps that the current action is repeated
        self._encoder = ObservationEncoder(self.model, self.envs.single_observation_space, num_envs)
        self._other_sizes: dict[int, GoalPlanner] = {}  # for batches of another size, as in an evaluation

    def _of_size(self, num_envs: int) -> GoalPlanner:
        """Return a planner with the same settings for another number of sub-environments."""
        if num_envs not in self._other_sizes:
            self._goals.check_size(num_envs)
            other = copy.copy(self)
            other._set_num_envs(num_envs)
            self._other_sizes[num_envs] = other
        return self._other_sizes[num_envs]

    @property
    def costs(self) -> tuple[Cost, ...]:
        """Cost functions that plans minimize, added up."""
        return self._costs

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Check names and values of settings.

        Raises:
            UsageError: For an unknown setting or preset, or an invalid value.
        """
        fields = [field.name for field in dataclasses.fields(PlannerConfig)]
        known = ["preset", "goal_observation", "cost", "costs", *fields]
        for name in settings:
            if name not in known:
                raise unknown_name_error("planner setting", name, known)
        preset = settings.get("preset", "cpu")
        if preset not in PRESETS:
            raise unknown_name_error("planner preset", preset, PRESETS)
        cost_weights(settings.get("cost", "auto"))
        dataclasses.replace(PRESETS[preset], **{k: v for k, v in settings.items() if k in fields})

    # --- acting

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A) for any n; make a new plan where the action was repeated often enough."""
        num_envs = batch_size(observation)
        if num_envs != self.num_envs:
            return self._of_size(num_envs).act(observation, explore)
        env_ids = np.flatnonzero(self._steps_left == 0)
        inputs, previous = self._encoder.step(observation)
        if len(env_ids):
            z = self._encoder.encode(inputs, previous, env_ids)
            goals = self._goals.goals(observation, env_ids, self._encoder)
            self._action[env_ids] = self.planner.plan(z, goals, env_ids)
            self._steps_left[env_ids] = self.planner.config.action_repeat
        self._steps_left -= 1
        return self._action.copy()

    def _policy_plans(self, z: Tensor, goal: Tensor) -> Tensor:
        """Return plans (m, H, A) of the inverse policy in imagination, from z (m, Z) to goals (m, G)."""
        heads, config, model = self._goals.heads, self._config, self.model
        assert heads is not None
        assert isinstance(model, WorldModel)
        z, goal, actions = z.to(heads.device), goal.to(heads.device), []
        for _ in range(config.num_decisions):
            actions.append(heads.act(z, heads.achieved(z), goal))
            for _ in range(config.action_repeat):
                z = model.step(z, actions[-1], "first")
        return torch.stack(actions, 1)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes in the sub-environments of `mask` (n,) bool, or in all; discard their plans."""
        if mask is None:
            self._other_sizes.clear()
        elif len(mask) != self.num_envs:
            self._of_size(len(mask)).reset(mask)
            return
        chosen = slice(None) if mask is None else np.asarray(mask, bool)
        self._steps_left[chosen] = 0
        self._encoder.reset(mask)
        self.planner.reset(mask)

    # --- the agent protocol

    def set_representation(self, representation: PlanningModel) -> None:
        """Switch to a newer version of the model and discard the plans made with the old one."""
        self.model = self.planner.model = self._encoder.model = representation
        self._resolve_costs()
        self.planner.costs, self.planner.proposal = self._costs, self._proposal
        self.reset()

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the state of the search, of the repeated actions and of `learn`."""
        return {
            "planner": self.planner.get_checkpoint(),
            "action": self._action.copy(),
            "steps_left": self._steps_left.copy(),
            "encoder": self._encoder.get_checkpoint(),
            "loop": self._loop.get_checkpoint(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`, to the same bits."""
        self.planner.set_checkpoint(tree["planner"])
        self._action[...], self._steps_left[...] = tree["action"], tree["steps_left"]
        self._encoder.set_checkpoint(tree["encoder"])
        self._loop.set_checkpoint(tree["loop"])

    def save(self, folder: str | Path) -> None:
        """Write planner.json and the world model, in the subfolder `representation`."""
        if not isinstance(self.model, WorldModel):
            raise UsageError(f"expected a WorldModel to save a planner, got {type(self.model).__name__}")
        if self._custom_costs is not None:
            raise UsageError(
                "a planner with custom costs cannot be saved; expected the setting cost, got costs"
            )
        self.model.save(Path(folder) / "representation")
        settings = {
            **dataclasses.asdict(self.planner.config),
            "goal_observation": self._goals.saved(),
            "cost": self._cost if isinstance(self._cost, str) else dict(self._cost),
        }
        write_settings(Path(folder) / "planner.json", _HEADER, self.seed, settings)

    @classmethod
    def load(cls, folder: str | Path, envs: VectorEnv, device: str = "auto") -> GoalPlanner:
        """Return the planner that `save` wrote, ready to act in `envs`."""
        seed, settings = read_settings(Path(folder) / "planner.json", _HEADER, "a planner")
        model = WorldModel.load(Path(folder) / "representation", device).frozen_copy()
        return cls(envs, model, seed, **settings)


AGENTS = {"planner": GoalPlanner}
