"""HostWarpEnv: the envs of MuJoCo Warp with numpy arrays, as `MujocoVectorEnv` has them, for recorders and agents."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from robossl.core.errors import UsageError
from robossl.core.interfaces import StateOutcome

from ..engine.input_checks import check_action, check_finite_rows
from ..engine.observation_builder import clip_to_float32, separate
from ..engine.rest_states import RestStates
from ..engine.robot_files import model_digest
from ..engine.simulation import stage_number
from .warp_simulation import Tensors
from .warp_step import tree_of
from .warp_vector_env import WarpVectorEnv


class HostWarpEnv(WarpVectorEnv):
    """`WarpVectorEnv` with numpy arrays in and out: each step copies its results to the host.

    It has the methods of `MujocoVectorEnv` that recorders, agents and evaluation use.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.simulation.with_privileged = True
        self._final_state: tuple[dict[str, np.ndarray], np.ndarray] | None = None
        self._rest: RestStates | None = None

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start new episodes; see `WarpVectorEnv.reset`."""
        observation, infos = super().reset(seed=seed, options=options)
        return to_numpy(observation), to_numpy(infos)

    def step(self, actions: Any) -> Any:
        """Advance every sub-environment by one control step; `actions` is (n, A), finite, clipped to [-1, 1]."""
        checked = check_action(actions, self.action_space.shape)
        return super().step(torch.from_numpy(np.array(checked, np.float32)))

    def _transition(self, result: Tensors) -> Any:
        observation, reward, terminated, truncated, infos = super()._transition(result)
        infos = to_numpy(infos)
        if "final_obs" in infos:
            ended = infos["_final_obs"]
            if not ended.any():
                for key in ("final_obs", "final_info"):
                    del infos[key], infos[f"_{key}"]
            else:
                infos["final_obs"] = separate(infos["final_obs"], np.arange(self.num_envs), self.num_envs)
                infos["final_obs"][~ended] = None
                privileged = to_numpy(tree_of(result, "privileged"))
                state = {name: value.astype(np.float64) for name, value in privileged.items()}
                self._final_state = state, result["final_physics"].cpu().numpy().astype(np.float64)
        arrays = (to_numpy(value) for value in (observation, reward, terminated, truncated))
        new_observation, new_reward, new_terminated, new_truncated = arrays
        return new_observation, new_reward.astype(np.float64), new_terminated, new_truncated, infos

    def observation(self) -> Any:
        """Return the current observation."""
        return to_numpy(super().observation())

    def success(self) -> Any:
        """Return (n,) bool: the task is solved in the current state; None for a task without success."""
        return to_numpy(super().success())

    def compute_reward(self, achieved: Any, desired: Any, info: Any = None) -> Any:
        """Return the rewards (...,) of goals (..., G), for hindsight relabeling; `info` is not used."""
        goals = (torch.as_tensor(np.asarray(goal), dtype=torch.float32) for goal in (achieved, desired))
        first, second = (goal.to(self.device) for goal in goals)
        return super().compute_reward(first, second).cpu().numpy().astype(np.float64)

    def randomized_values(self) -> Any:
        """Return the current value (n,) of each randomized parameter."""
        return to_numpy(super().randomized_values())

    # --- physics state

    def privileged_state(self) -> Any:
        """Return physical quantities by name, each (n, k) float64."""
        return {
            name: value.cpu().numpy().astype(np.float64) for name, value in super().privileged_state().items()
        }

    def get_physics_state(self) -> Any:
        """Return the complete physics state (n, P) float64."""
        return super().get_physics_state().cpu().numpy().astype(np.float64)

    def outcome_of(
        self, physics: np.ndarray, action: np.ndarray, goal: np.ndarray | None = None
    ) -> StateOutcome:
        """Put the first m sub-environments into states and return the results of the steps that ended there.

        Args:
            physics: Physics states (m, P) after the steps, m at most `num_envs`.
            action: Actions (m, A) of the steps.
            goal: Goals (m, G); None keeps the goals.
        """
        count = len(physics)
        self.set_physics_state(physics, np.arange(count), goal)
        shape = (self.num_envs, self.simulation.action_dim)
        given = check_finite_rows("actions", action, (count, shape[1]), np.float32)
        actions = torch.zeros(shape, device=self.device)
        actions[:count] = torch.from_numpy(np.array(given, np.float32)).to(self.device)
        result = to_numpy(self.simulation.outcome(actions))
        observation, success = self.observation(), result.get("success")
        return StateOutcome(
            {k: v[:count] for k, v in observation.items()}
            if isinstance(observation, dict)
            else observation[:count],
            result["reward"][:count].astype(np.float64),
            result["terminated"][:count],
            None if success is None else success[:count],
        )

    def final_state(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return privileged and physics state at the end of the last SAME_STEP step in which an episode ended."""
        if self._final_state is None:
            raise UsageError("no episode has ended and been reset in the same step yet; step the envs first")
        return self._final_state

    def physics_from_observation(self, observation: np.ndarray) -> np.ndarray | None:
        """Return physics states (m, P) at rest in the poses of observations (m, D); None if they fix no pose."""
        return self._rest_states().from_observation(observation)

    def goal_observation(self, goal: np.ndarray, env_ids: np.ndarray | None = None) -> np.ndarray:
        """Return the observed numbers (m, D), without goals, of the robot at rest at goals (m, G)."""
        if self.simulation.images is not None:
            raise UsageError(
                "expected an env that observes numbers for goal images with backend='warp', got pixels; use "
                "backend='mujoco'"
            )
        limit = self.simulation.task.robot.observation_limit
        numbers, _ = self._rest_states().at_goal(goal)
        return clip_to_float32(numbers, -limit, limit)

    def _rest_states(self) -> RestStates:
        if self._rest is None:
            simulation = self.simulation
            self._rest = RestStates(simulation.task, simulation.model, stage_number(simulation.task.robot))
        return self._rest

    def model_digest(self) -> str:
        """Return a digest of the compiled model."""
        return model_digest(self.simulation.model)

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generator of each sub-environment, after the starts of its episodes so far."""
        return tuple(self.simulation.bank.generator(env_index) for env_index in range(self.num_envs))


def to_numpy(tree: Any) -> Any:
    """Return tensors, also within dicts, as numpy arrays."""
    if isinstance(tree, dict):
        return {key: to_numpy(value) for key, value in tree.items()}
    return tree.cpu().numpy() if isinstance(tree, torch.Tensor) else tree
