"""Goal-reaching planner: iCEM in a latent world model, without reward."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from robossl.core.errors import CorruptedFileError, UsageError, unknown_name_error
from robossl.core.interfaces import MetricLogger, Observation, ProgressReporter
from robossl.core.io import read_json, write_json
from robossl.rollout import StepLoop
from robossl.world_model import WorldModel
from robossl.world_model.device import resolve

from .shared.cem import PRESETS, DynamicsModel, Planner, PlannerConfig, slices
from .shared.planning_costs import Cost, GoalDistance

_ENCODED_PER_CALL = 16  # observations; each call of the encoder gets equally many, as in `Planner`
_DEFAULT_COSTS: tuple[Cost, ...] = (GoalDistance(),)
_FORMAT = 1


class PlanningModel(DynamicsModel, Protocol):
    """A model that encodes observations and imagines."""

    def encode(self, observation: Any, *previous: Any) -> Any:
        """Return latents [..., Z] of observations; of images also given the previous images."""


class GoalPlanner:
    """Agent that plans towards goals: `desired_goal` of each sub-environment, or one given observation.

    It has no parameters to train: `learn` acts, so that its steps can be recorded.
    """

    needs_representation = True

    def __init__(
        self,
        envs: VectorEnv,
        representation: PlanningModel | None = None,
        seed: int = 0,
        device: str = "auto",
        preset: str = "cpu",
        goal_observation: np.ndarray | Sequence[float] | None = None,
        costs: Sequence[Cost] = _DEFAULT_COSTS,
        **settings: Any,
    ) -> None:
        """Create a planner for `envs`.

        Args:
            envs: The envs to act in.
            representation: A world model; it encodes and imagines.
            seed: Seed of the search.
            device: Device of the world model; `auto` does not move it.
            preset: `cpu` or `paper`.
            goal_observation: Observation (D,) or (n, D) to reach. None: `envs.goal_observation(goals (m, G))` returns
                the observations (m, D) at the goals of the env.
            costs: Cost functions, added up.
            settings: Fields of `PlannerConfig`, in place of those of the preset.

        Raises:
            UsageError: For unknown settings, actions other than Box, an env without goal observations, or no model.
        """
        self.check_settings({"preset": preset, **settings})
        config = dataclasses.replace(PRESETS[preset], **settings)
        if representation is None:
            raise UsageError("the planner needs a world model; expected representation, got None")
        if device != "auto" and isinstance(representation, WorldModel):
            representation = representation.to(resolve(device))
        self.model, self.envs, self.seed = representation, envs, int(seed)
        self._goal_to_observation: Callable[[np.ndarray], np.ndarray] | None = None
        self._goal: np.ndarray | None = None
        if goal_observation is None:
            self._goal_to_observation = getattr(envs.unwrapped, "goal_observation", None)
            if self._goal_to_observation is None:
                raise UsageError(
                    f"{type(envs.unwrapped).__name__} has no method goal_observation (goals to observations); "
                    "pass goal_observation, an observation to reach"
                )
        else:
            goal = np.asarray(goal_observation)
            self._goal = np.broadcast_to(goal, (envs.num_envs, goal.shape[-1]))
        self._costs, self._action_space = tuple(costs), envs.single_action_space
        self._config = config
        self._loop = StepLoop(envs, self.seed)
        self._set_num_envs(envs.num_envs)

    def _set_num_envs(self, num_envs: int) -> None:
        """Create the state of `num_envs` sub-environments."""
        self.num_envs = num_envs
        self.planner = Planner(self.model, self._config, self._action_space, num_envs, self.seed, self._costs)
        self._action = np.zeros((num_envs, *(self._action_space.shape or ())), np.float32)
        self._steps_left = np.zeros(num_envs, np.int64)  # (n,) steps that the current action is repeated
        self._previous: np.ndarray | None = None  # (n, H, W, C) the last images, for image observations
        self._first = np.ones(num_envs, bool)  # (n,) whether there is no previous image
        self._other_sizes: dict[int, GoalPlanner] = {}  # for batches of another size, as in an evaluation

    def _of_size(self, num_envs: int) -> GoalPlanner:
        """Return a planner with the same settings for another number of sub-environments."""
        if num_envs not in self._other_sizes:
            other = copy.copy(self)
            if self._goal is not None:
                if (self._goal != self._goal[0]).any():
                    raise UsageError(
                        f"expected observations of {self.num_envs} sub-environments, which have goals of their own, "
                        f"got {num_envs}"
                    )
                other._goal = np.broadcast_to(self._goal[0], (num_envs, *self._goal[0].shape))
            other._set_num_envs(num_envs)
            self._other_sizes[num_envs] = other
        return self._other_sizes[num_envs]

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Check names and values of settings.

        Raises:
            UsageError: For an unknown setting or preset, or an invalid value.
        """
        fields = [field.name for field in dataclasses.fields(PlannerConfig)]
        known = ["preset", "goal_observation", "costs", *fields]
        for name in settings:
            if name not in known:
                raise unknown_name_error("planner setting", name, known)
        preset = settings.get("preset", "cpu")
        if preset not in PRESETS:
            raise unknown_name_error("planner preset", preset, PRESETS)
        dataclasses.replace(PRESETS[preset], **{k: v for k, v in settings.items() if k in fields})

    # --- acting

    def act(self, observation: Observation, explore: bool = True) -> np.ndarray:
        """Return actions (n, *A) for any n; make a new plan where the action was repeated often enough."""
        inputs = np.asarray(observation["observation"] if isinstance(observation, dict) else observation)
        if len(inputs) != self.num_envs:
            return self._of_size(len(inputs)).act(observation, explore)
        env_ids = np.flatnonzero(self._steps_left == 0)
        previous = self._previous_images(inputs)
        if len(env_ids):
            goal = self._goal_observations(observation, env_ids).astype(inputs.dtype)
            z = self._encode(inputs[env_ids], None if previous is None else previous[env_ids])
            self._action[env_ids] = self.planner.plan(z, self._encode(goal), env_ids)
            self._steps_left[env_ids] = self.planner.config.action_repeat
        self._steps_left -= 1
        return self._action.copy()

    def _previous_images(self, inputs: np.ndarray) -> np.ndarray | None:
        """Return the images (n, H, W, C) one step earlier, in new episodes the same images; None for vectors."""
        if inputs.ndim < 4:
            return None
        first = self._first.reshape(-1, 1, 1, 1)
        previous = inputs if self._previous is None else np.where(first, inputs, self._previous)
        self._previous, self._first = inputs.copy(), np.zeros_like(self._first)
        return previous

    def _goal_observations(self, observation: Observation, env_ids: np.ndarray) -> np.ndarray:
        """Return the observations (m, D) at the goals."""
        if self._goal is not None:
            return self._goal[env_ids]
        assert self._goal_to_observation is not None
        return np.asarray(self._goal_to_observation(np.asarray(observation["desired_goal"])[env_ids]))

    def _encode(self, inputs: np.ndarray, previous: np.ndarray | None = None) -> Tensor:
        """Return z (m, Z) of observations (m, D), or of images and previous images; all calls have the same size."""
        arrays, latents = [inputs] if previous is None else [inputs, previous], []
        with torch.inference_mode():
            for part in slices(len(inputs), _ENCODED_PER_CALL):
                chunk = [values[part] for values in arrays]
                padding = _ENCODED_PER_CALL - len(chunk[0])
                padded = [np.concatenate([values, np.repeat(values[:1], padding, 0)]) for values in chunk]
                latents.append(torch.as_tensor(self.model.encode(*padded))[: len(chunk[0])])
        return torch.cat(latents)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Start new episodes in the sub-environments of `mask` (n,) bool, or in all; discard their plans."""
        if mask is None:
            self._other_sizes.clear()
        elif len(mask) != self.num_envs:
            self._of_size(len(mask)).reset(mask)
            return
        chosen = slice(None) if mask is None else np.asarray(mask, bool)
        self._steps_left[chosen], self._first[chosen] = 0, True
        self.planner.reset(mask)

    # --- the agent protocol

    def learn(
        self,
        envs: VectorEnv,
        steps: int,
        progress: ProgressReporter | None = None,
        logger: MetricLogger | None = None,
    ) -> None:
        """Act in `envs` for `steps` environment steps, summed over the sub-environments; nothing is trained."""
        if envs is not self.envs:
            raise UsageError("a planner acts in the envs it was created with")
        for _ in self._loop.steps(self, steps, progress):
            pass

    def set_representation(self, representation: PlanningModel) -> None:
        """Switch to a newer version of the model and discard the plans made with the old one."""
        self.model = self.planner.model = representation
        self.reset()

    def reset_envs(self, envs: VectorEnv) -> None:
        """Reset `envs` before the next step of `learn`."""
        self._loop.reset_envs()

    def get_checkpoint(self) -> dict[str, Any]:
        """Return the state of the search, of the repeated actions and of `learn`."""
        return {
            "planner": self.planner.get_checkpoint(),
            "action": self._action.copy(),
            "steps_left": self._steps_left.copy(),
            "previous": None if self._previous is None else self._previous.copy(),
            "first": self._first.copy(),
            "loop": self._loop.get_checkpoint(),
        }

    def set_checkpoint(self, tree: Mapping[str, Any]) -> None:
        """Continue from `get_checkpoint`, to the same bits."""
        self.planner.set_checkpoint(tree["planner"])
        self._action[...], self._steps_left[...] = tree["action"], tree["steps_left"]
        self._previous = None if tree["previous"] is None else np.array(tree["previous"])
        self._first = np.array(tree["first"], bool)
        self._loop.set_checkpoint(tree["loop"])

    def save(self, folder: str | Path) -> None:
        """Write planner.json and the world model, in the subfolder `representation`."""
        if not isinstance(self.model, WorldModel):
            raise UsageError(f"expected a WorldModel to save a planner, got {type(self.model).__name__}")
        if self.planner.costs != _DEFAULT_COSTS:
            raise UsageError("a planner with custom costs cannot be saved; expected the default costs")
        self.model.save(Path(folder) / "representation")
        settings = {
            **dataclasses.asdict(self.planner.config),
            "goal_observation": self._saved_goal(),
        }
        write_json(
            Path(folder) / "planner.json", {"format": _FORMAT, "seed": self.seed, "settings": settings}
        )

    def _saved_goal(self) -> list[Any] | None:
        """Return the given goal observation as JSON; one where all sub-environments have the same."""
        if self._goal is None:
            return None
        shared = (self._goal == self._goal[0]).all()
        return (self._goal[0] if shared else self._goal).tolist()

    @classmethod
    def load(cls, folder: str | Path, envs: VectorEnv, device: str = "auto") -> GoalPlanner:
        """Return the planner that `save` wrote, ready to act in `envs`."""
        path = Path(folder) / "planner.json"
        saved = read_json(path)
        if not isinstance(saved, dict) or saved.get("format") != _FORMAT:
            raise UsageError(f"{path}: expected a planner of format {_FORMAT}")
        if not isinstance(saved.get("seed"), int) or not isinstance(saved.get("settings"), dict):
            raise CorruptedFileError(f"{path} is damaged: expected an integer seed and an object of settings")
        model = WorldModel.load(Path(folder) / "representation", device).frozen_copy()
        return cls(envs, model, saved["seed"], **saved["settings"])


AGENTS = {"planner": GoalPlanner}
