"""Batched simulation of one task: reset, step, observe, set the physics state, checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding

from robossl.core.errors import UsageError, one_line
from robossl.core.limits import LARGEST_THREADS, check_count
from robossl.core.seeding import generator_state, restore_generator

from .control_ranges import control_ranges
from .domain_randomization import DomainRandomization
from .input_checks import check_env_ids, check_finite_rows
from .mocap_action import MocapAction
from .mujoco_setup import load_batch, load_mujoco
from .observation_builder import Observation, ObservationBuilder, box, clip_to_float32
from .physics_errors import PhysicsStepper
from .randomization_spec import RandomizationArgument
from .rest_states import RestStates
from .robot_files import load_model, model_digest
from .task import GoalTask, Robot, Task, cached_per_step
from .task_validation import check_declared, dry_run

_ACTION_LOW, _ACTION_HIGH = np.array(-1.0), np.array(1.0)
_STAGES = {
    "none": "mjSTAGE_NONE",
    "position": "mjSTAGE_POS",
    "velocity": "mjSTAGE_VEL",
    "acceleration": "mjSTAGE_ACC",
}


class StepResult(NamedTuple):
    """Results of one control step, by sub-environment."""

    reward: np.ndarray  # (n,) float64
    terminated: np.ndarray  # (n,) bool
    success: np.ndarray | None  # (n,) bool; None for a task without success
    physics_error: np.ndarray  # (n,) bool: the physics diverged; the state is the one before the step


class Simulation:
    """Batch of `num_envs` sub-environments of one task, each with its own random generator.

    Args:
        task: The task.
        num_envs: Number of sub-environments n.
        nthread: Threads that step the physics; 0 takes all CPUs.
        pixels: Size (height, width) of image observations; None observes numbers.
        proprioception: Observe the numbers beside the image.
        camera: Name of the camera of image observations; None takes the first.
        randomization: Domain randomization: "train", "test", a dict by parameter, or a list of one for each
            sub-environment.
        substeps: Physics steps per control step; None takes the robot's.
    """

    def __init__(
        self,
        task: Task,
        num_envs: int,
        nthread: int = 0,
        pixels: Sequence[int] | None = None,
        proprioception: bool = False,
        camera: str | None = None,
        randomization: RandomizationArgument = None,
        substeps: int | None = None,
    ) -> None:
        mujoco = load_mujoco()
        check_count("num_envs", num_envs)
        check_count("nthread", nthread, 0, LARGEST_THREADS)
        if substeps is not None:
            check_count("substeps", substeps)
        check_declared(task)
        self.task = task
        self.num_envs = num_envs
        load_batch()  # raises for an old MuJoCo before the model is compiled
        self.model = load_model(task.robot.model)
        if self.model.nu == 0 and task.mocap is None:
            raise UsageError(
                f"expected a robot with actuators, got {task.robot.model}, which has no actuators; add one <actuator>"
            )
        try:
            self.batch = load_batch().Batch(self.model, num_envs, nthread)
        except (ValueError, MemoryError, mujoco.FatalError) as error:
            reason = one_line(error)
            if isinstance(error, MemoryError) or "bad_alloc" in reason:
                reason = f"{num_envs:,} sub-environments do not fit in the memory"
            raise UsageError(f"MuJoCo cannot simulate {task.robot.model} as a batch: {reason}") from error
        dry_run(task, self.model)
        self.robot = task.robot(self.batch)
        self.step_cache: dict[Any, Any] | None = None  # set together with that of the robot
        self.substeps = substeps or task.robot.substeps
        self.control_step = self.substeps * self.model.opt.timestep  # [s]
        self._mocap: MocapAction | None = None
        if task.mocap is not None:
            self._mocap = MocapAction(self.model, self.batch, task.keyframe, task.mocap, self.control_step)
        self._action_dim = self.model.nu + (0 if self._mocap is None else self._mocap.size)
        self.randomization = DomainRandomization(
            task.robot, self.model, self.batch, randomization, self._action_dim
        )
        self.generators: list[np.random.Generator | None] = [None] * num_envs

        self._stage = stage_number(task.robot)
        self.stepper = PhysicsStepper(self.batch, self.model, self.substeps, self._stage, type(task).__name__)
        self._rest_states = RestStates(task, self.model, self._stage)
        self._state = self.batch.state  # (n, P) view of the batch
        self._control = self.batch.bind("ctrl")  # (n, nu) view of the batch
        home = self.model.key_qpos[task.keyframe] if task.keyframe >= 0 else self.model.qpos0
        ranges = control_ranges(self.model, home)
        self._control_center = (ranges.low + ranges.high) / 2  # (nu,)
        self._control_half_range = (ranges.high - ranges.low) / 2  # (nu,)
        self._scale_actions = bool(np.any(self._control_center) or np.any(self._control_half_range != 1.0))
        self._action = np.zeros((num_envs, self._action_dim))
        self.observation_builder = ObservationBuilder(task, self.model, pixels, proprioception, camera)
        self._goal: np.ndarray | None = None  # (n, G) float32
        self._achieved_slice: slice | None = None
        if isinstance(task, GoalTask):
            self._achieved_slice = achieved_columns(task)
            self._goal = np.zeros((num_envs, len(task.goal_limit)), np.float32)

    # --- spaces

    def observation_space(self) -> spaces.Space:
        """Return the observation space of one sub-environment."""
        return self.observation_builder.space()

    def action_space(self) -> spaces.Box:
        """Return the action space of one sub-environment.

        It is [-1, 1] for each control, scaled to its range, and for each velocity of mocap bodies that actions move.
        """
        return box(np.ones(self._action_dim))

    def metadata(self) -> dict[str, Any]:
        """Return the metadata that single and vector envs share: robot, rates, backend of image observations."""
        return {
            "robot": robot_name(self.task.robot.model),
            "render_fps": round(1 / self.control_step),
            "step_seconds": self.control_step,
            "render_backend": self.observation_builder.backend,
        }

    # --- episodes

    def seed(self, env_index: int, seed: int) -> None:
        """Replace the generator of a sub-environment by one with this seed, any non-negative integer."""
        self.generators[env_index] = seeding.np_random(seed)[0]

    def generator(self, env_index: int) -> np.random.Generator:
        """Return the generator of a sub-environment, randomly seeded if `seed` was not called."""
        random = self.generators[env_index]
        if random is None:
            random = self.generators[env_index] = seeding.np_random()[0]
        return random

    def reset(self, env_ids: np.ndarray) -> None:
        """Start a new episode in sub-environments `env_ids` (sorted)."""
        self.batch.reset(env_ids, self.task.keyframe, stage=0)
        for env_index in env_ids:
            random = self.generator(env_index)
            if self.randomization.active:
                self.randomization.sample(env_index, random)
            qpos, qvel = self.task.sample_initial_state(random)
            self.robot.qpos[env_index], self.robot.qvel[env_index] = qpos, qvel
            if self._goal is not None:
                self._goal[env_index] = self.task.sample_goal(random)  # type: ignore[attr-defined]
        self._refresh_derived(env_ids)
        if self.randomization.active:
            self.randomization.sample_noise(env_ids)

    def _refresh_derived(self, env_ids: np.ndarray) -> None:
        """Compute derived fields and drop cached results after a write into the state."""
        self.step_cache = self.robot.step_cache = None
        if self._stage:
            self.batch.forward(env_ids, self._stage)

    def step(self, action: np.ndarray, env_ids: np.ndarray | None = None) -> StepResult:
        """Advance sub-environments by one control step.

        Args:
            action: Actions (n, A), finite; clipped to [-1, 1].
            env_ids: The sub-environments to advance; None advances all.
        """
        self._action[...] = action
        action = np.minimum(
            np.maximum(self._action, _ACTION_LOW, out=self._action), _ACTION_HIGH, out=self._action
        )
        if self.randomization.active:
            action = self.randomization.delay_action(action, env_ids)
        if self._mocap is None:
            control = self.control(action)
        else:
            self._mocap.apply(action[:, self.model.nu :], env_ids)
            control = self.control(action[:, : self.model.nu])
        if env_ids is None:
            self._control[...] = control
        else:
            self._control[env_ids] = control[env_ids]
        physics_error = self.stepper.step(env_ids)
        if self.randomization.active:
            self.randomization.sample_noise(np.arange(self.num_envs) if env_ids is None else env_ids)
        return self._reward_and_success(action, physics_error)

    def control(self, action: np.ndarray) -> np.ndarray:
        """Return the actuator controls (n, nu), in each actuator's unit, of actions (n, nu) in [-1, 1]."""
        return self._control_center + self._control_half_range * action if self._scale_actions else action

    def _reward_and_success(self, action: np.ndarray, physics_error: np.ndarray) -> StepResult:
        task: Any = self.task
        self.step_cache = self.robot.step_cache = {}
        if self._goal is not None:
            reward, success = task.reward_and_success(self._achieved(), self._goal)
        else:
            reward, success = task.reward(self.robot, action), task.success(self.robot)
        terminated = task.terminated(self.robot)
        if np.count_nonzero(physics_error):
            reward = np.where(np.isfinite(reward), reward, 0.0)
            terminated = terminated & ~physics_error
        return StepResult(reward, terminated, success, physics_error)

    def success(self) -> np.ndarray | None:
        """Return (n,) bool: the task is solved in the current state; None for a task without success."""
        task: Any = self.task
        return (
            task.success(self.robot) if self._goal is None else task.is_success(self._achieved(), self._goal)
        )

    # --- observations

    @cached_per_step
    def _achieved(self) -> np.ndarray:
        """Return the achieved goals (n, G) float32."""
        task: Any = self.task
        if self._achieved_slice is not None:
            return self._proprioception()[:, self._achieved_slice]
        return clip_to_float32(task.achieved(self.robot), -task.goal_limit, task.goal_limit)

    @cached_per_step
    def _proprioception(self) -> np.ndarray:
        """Return the observed numbers (n, D) float32, without noise."""
        return self.observation_builder.clip(self.robot.observation())

    def observation(self, env_ids: np.ndarray | None = None) -> Observation:
        """Return the current observation of `env_ids` (None: all) as new arrays."""
        state, goals = self._state, None
        if self._goal is not None:
            goals = self._achieved().copy(), self._goal.copy()
        if self.randomization.active:
            numbers = self.observation_builder.clip(self.randomization.add_noise(self.robot.observation()))
        else:
            numbers = self._proprioception()
        self.step_cache = self.robot.step_cache = None  # the user may write into the state from now on
        if env_ids is not None:
            numbers, state = numbers[env_ids], state[env_ids]
            goals = None if goals is None else (goals[0][env_ids], goals[1][env_ids])
        return self.observation_builder.observe(numbers, state, self.randomization.visuals(env_ids), goals)

    def goal(self, env_index: int) -> np.ndarray:
        """Return the goal (G,) of a sub-environment of a goal task."""
        assert self._goal is not None
        return self._goal[env_index]

    def goal_observation(self, goal: np.ndarray, env_ids: np.ndarray | None = None) -> Observation:
        """Return the observation, without goals, of the robot at rest at `goal`.

        Args:
            goal: Goals (m, G).
            env_ids: Sub-environments (m,) whose visual randomization the images show; None shows the nominal model.
        """
        numbers, physics = self._rest_states.at_goal(goal)
        visuals = repeat({}) if env_ids is None else self.randomization.visuals(env_ids)
        numbers = self.observation_builder.clip(numbers)
        return self.observation_builder.observe(numbers, physics, visuals, None)

    # --- physics state

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return physical quantities by name, each (n, k) float64."""
        return self.robot.privileged_state()

    def get_physics_state(self) -> np.ndarray:
        """Return the complete physics state (n, P) float64."""
        return self.batch.state.copy()

    def set_physics_state(
        self, physics: np.ndarray, env_ids: np.ndarray | None = None, goal: np.ndarray | None = None
    ) -> np.ndarray:
        """Put sub-environments into given physics states.

        Args:
            physics: Physics states (m, P), as `get_physics_state` returns them.
            env_ids: Distinct sub-environments (m,); None means all.
            goal: Goals (m, G); None keeps the goals.

        Returns:
            The sorted `env_ids` (m,).
        """
        ids = check_env_ids(env_ids, self.num_envs)
        state = check_finite_rows("physics states", physics, (len(ids), self.batch.nstate), np.float64)
        if goal is not None:
            if self._goal is None:
                raise UsageError(
                    f"expected no goal, got one for {type(self.task).__name__}, which has no goals"
                )
            self._goal[ids] = check_finite_rows("goals", goal, (len(ids), self._goal.shape[1]), np.float32)
        self.batch.state[ids] = state
        self.batch.warning[ids] = 0
        self.randomization.clear(ids)
        ids = ids[np.argsort(ids)]
        self._refresh_derived(ids)
        return ids

    def outcome_of(self, physics: np.ndarray, action: np.ndarray, goal: np.ndarray | None) -> StepResult:
        """Put the first m sub-environments into states and return the results of the steps that ended there.

        Args:
            physics: Physics states (m, P) after the steps.
            action: Actions (m, A) of the steps.
            goal: Goals (m, G); None keeps the goals.

        Returns:
            The result of all n sub-environments; only the first m count.
        """
        ids = self.set_physics_state(physics, np.arange(len(physics)), goal)
        self._action[:] = 0.0
        self._action[ids] = check_finite_rows("actions", action, (len(ids), self._action_dim), np.float64)
        np.minimum(np.maximum(self._action, _ACTION_LOW, out=self._action), _ACTION_HIGH, out=self._action)
        return self._reward_and_success(self._action, np.zeros(self.num_envs, bool))

    def physics_from_observation(self, observation: np.ndarray) -> np.ndarray | None:
        """Return physics states (m, P) of the robot at rest in the poses of `observation`.

        Args:
            observation: Observed numbers (m, D), without goals.

        Returns:
            The states, or None if the robot's observation does not fix its pose.
        """
        return self._rest_states.from_observation(observation)

    # --- checkpoints

    def model_digest(self) -> str:
        """Return a digest of the compiled model."""
        return model_digest(self.model)

    def get_checkpoint(self) -> dict[str, Any]:
        """Return everything that determines the future of physics, goals, randomization and generators."""
        return {
            "physics": self.get_physics_state(),
            "goal": None if self._goal is None else self._goal.copy(),
            "randomization": self.randomization.get_checkpoint(),
            "generators": [generator_state(self.generator(env_index)) for env_index in range(self.num_envs)],
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Continue from `get_checkpoint`, to the same bits."""
        if len(tree["generators"]) != self.num_envs:
            raise UsageError(
                f"expected a checkpoint of {self.num_envs} sub-environments, got {len(tree['generators'])}; "
                f"make the envs with num_envs={len(tree['generators'])}"
            )
        self.randomization.apply(tree["randomization"])
        self.set_physics_state(tree["physics"], goal=tree["goal"])
        self.randomization.set_checkpoint(tree["randomization"])
        for env_index, state in enumerate(tree["generators"]):
            restore_generator(self.generator(env_index), state)


def stage_number(robot: type[Robot]) -> int:
    """Return MuJoCo's stage of the derived fields that a robot needs after a step; 0 for none."""
    return int(getattr(load_mujoco().mjtStage, _STAGES[robot.forward_stage]))


def robot_name(model: str) -> str:
    """Return the name of a robot, equal on every machine: its MJCF file, without the folder of an absolute path."""
    return os.path.basename(model) if os.path.isabs(model) else model


def achieved_columns(task: GoalTask) -> slice | None:
    """Return the columns of the observation that are the achieved goal; None if the task computes it."""
    if type(task).achieved is not GoalTask.achieved:
        return None
    if task.achieved_slice is None:
        raise UsageError(
            f"expected {type(task).__name__}.achieved_slice or {type(task).__name__}.achieved(robot), got neither; "
            "define achieved_slice = slice(...) of the observation, or override achieved"
        )
    return task.achieved_slice
