"""A task on a batch of simulations: reset, step, observe, save, restore; all physics runs here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding

from robossl.core.errors import UsageError
from robossl.core.seeding import generator_state, restore_generator

from ..shared.reward_shaping import as_scalar_array
from . import physics_errors
from .domain_randomization import DomainRandomization
from .mujoco_setup import load_model, load_mujoco
from .observation_builder import Observation, ObservationBuilder, box, within
from .task import GoalTask, Task, cached_per_step
from .task_validation import check_declared, dry_run

_LEAST, _MOST = as_scalar_array(-1.0), as_scalar_array(1.0)  # of an action
_UNSTABLE = slice(3, 6)  # MuJoCo's warnings of a bad qpos, qvel and qacc


class StepResult(NamedTuple):
    """What one step brought, lane by lane."""

    reward: np.ndarray  # (n,) float64
    terminated: np.ndarray  # (n,) bool
    success: np.ndarray | None  # (n,) bool, of a task that can succeed
    physics_error: np.ndarray  # (n,) bool: the physics broke; the lane stands where it was before the step


class Simulation:
    """`task` on `num_envs` lanes, each with its own random generator; `nthread` = 0 takes all CPUs."""

    def __init__(
        self,
        task: Task,
        num_envs: int,
        nthread: int = 0,
        pixels: Sequence[int] | None = None,
        proprioception: bool = False,
        camera: str | None = None,
        randomization: Any = None,
        substeps: int | None = None,
    ) -> None:
        mujoco = load_mujoco()
        from mujoco.batch import Batch, SimulationError

        if num_envs < 1 or nthread < 0:
            raise UsageError(f"expected num_envs >= 1 and nthread >= 0, got {num_envs} and {nthread}")
        if substeps is not None and substeps < 1:
            raise UsageError(f"substeps is {substeps}; expected 1 or more physics steps a control step")
        check_declared(task)
        self.task = task
        self.substeps = substeps or task.robot.substeps  # physics steps per control step
        self.num_envs = num_envs
        self.model = load_model(task.robot.model)
        if self.model.nu == 0:
            raise UsageError(
                f"{task.robot.model} has no actuators: a robot that learns needs one <actuator> or more"
            )
        dry_run(task, self.model)
        self.batch = Batch(self.model, num_envs, nthread)
        self.robot = task.robot(self.batch)
        self.step_cache: dict[Any, Any] | None = None  # as the body's: the same answers, for as long
        self.randomization = DomainRandomization(task.robot, self.model, self.batch, randomization)
        self.control_step = self.substeps * self.model.opt.timestep  # [s]
        self.generators: list[np.random.Generator | None] = [None] * num_envs

        stages = {"none": "mjSTAGE_NONE", "position": "mjSTAGE_POS", "velocity": "mjSTAGE_VEL"}
        self._stage = int(getattr(mujoco.mjtStage, stages[task.robot.forward_stage]))
        self._simulation_error = SimulationError
        self._control = self.batch.bind("ctrl")  # (n, nu)
        limited = self.model.actuator_ctrllimited.astype(bool)
        low, high = np.where(limited, self.model.actuator_ctrlrange.T, [[-1.0], [1.0]])
        self._middle, self._half = (low + high) / 2, (high - low) / 2  # (nu,)
        self._stretched = bool(np.any(self._middle) or np.any(self._half != 1.0))
        self._rows = self.batch.state  # (n, P) live
        self._moving = self._rows[:, 1 : 1 + self.model.nq + self.model.nv]  # positions and velocities
        self._before = self._rows.copy()
        self._warned = self.batch.warning[:, _UNSTABLE, 1]  # (n, 3) live
        self._mishaps = physics_errors.PhysicsErrorLog(type(task).__name__)
        self._action = np.zeros((num_envs, self.model.nu))
        self.senses = ObservationBuilder(task, self.model, pixels, proprioception, camera)
        self._goal: np.ndarray | None = None  # (n, G) float32
        self._sensed: slice | None = None  # where in the observation the achieved goal is
        if isinstance(task, GoalTask):
            if type(task).achieved is GoalTask.achieved:
                self._sensed = task.achieved_slice
                if self._sensed is None:
                    raise UsageError(
                        f"the goal task {type(task).__name__} does not tell what is achieved; expected "
                        "achieved(robot), or achieved_slice = slice(...) of the observation"
                    )
            self._goal = np.zeros((num_envs, len(task.goal_limit)), np.float32)

    # --- spaces

    def observation_space(self) -> spaces.Space:
        """Of one lane."""
        return self.senses.space()

    def action_space(self) -> spaces.Box:
        """Of one lane: [-1, 1] for every actuator, stretched to its control range if it has one."""
        return box(np.ones(self.model.nu))

    # --- life

    def seed(self, lane: int, seed: int) -> None:
        """A fresh generator for a lane; any non-negative integer."""
        self.generators[lane] = seeding.np_random(seed)[0]

    def generator(self, lane: int) -> np.random.Generator:
        """The lane's own generator, seeded by chance if nobody has seeded it."""
        random = self.generators[lane]
        if random is None:
            random = self.generators[lane] = seeding.np_random()[0]
        return random

    def reset(self, ids: np.ndarray) -> None:
        """Begin a new life in lanes `ids` (sorted)."""
        self.batch.reset(ids, stage=0)
        for lane in ids:
            random = self.generator(lane)
            if self.randomization.active:
                self.randomization.begin(lane, random)
            self.robot.qpos[lane], self.robot.qvel[lane] = self.task.sample_initial_state(random)
            if self._goal is not None:
                self._goal[lane] = self.task.sample_goal(random)  # type: ignore[attr-defined]
        self._settle(ids)
        if self.randomization.active:
            self.randomization.sense(ids)

    def _settle(self, ids: np.ndarray) -> None:
        """Make what the body reads agree with state rows just written."""
        self.step_cache = self.robot.step_cache = None
        if self._stage:
            self.batch.forward(ids, self._stage)

    def step(self, action: np.ndarray, ids: np.ndarray | None = None) -> StepResult:
        """Advance lanes `ids` (all without) by one control step; `action` is (n, nu), checked and float."""
        self._action[...] = action
        action = np.minimum(np.maximum(self._action, _LEAST, out=self._action), _MOST, out=self._action)
        if self.randomization.active:
            action = self.randomization.acted(action, ids)
        control = self.control(action)
        if ids is None:
            self._control[...] = control
        else:
            self._control[ids] = control[ids]
        physics_error = self._advance(ids)
        if self.randomization.active:
            self.randomization.sense(np.arange(self.num_envs) if ids is None else ids)
        return self._judge(action, physics_error)

    def control(self, action: np.ndarray) -> np.ndarray:
        """What actions (n, A) within [-1, 1] are to the actuators, each in its own unit."""
        return self._middle + self._half * action if self._stretched else action

    def _advance(self, ids: np.ndarray | None) -> np.ndarray:
        """Step the physics; (n,) bool of the lanes that broke, put back to where they were."""
        self._before[...] = self._rows
        reasons: dict[int, str] = {}  # by lane that broke
        try:
            self.batch.step(ids, self.substeps, self._stage)
        except self._simulation_error as error:
            reasons = dict.fromkeys(map(int, error.ids), " ".join(str(error).split()))
        if np.count_nonzero(self._warned):
            reasons |= {int(lane): physics_errors.WARNINGS[kind] for lane, kind in np.argwhere(self._warned)}
            self.batch.warning[list(reasons)] = 0
        if (
            np.count_nonzero(np.isfinite(self._rows)) < self._rows.size
        ):  # one piece of memory: quicker than a part
            broken = np.flatnonzero(~np.isfinite(self._moving).all(axis=1))
            reasons = dict.fromkeys(map(int, broken), physics_errors.NOT_FINITE) | reasons
        physics_error = np.zeros(self.num_envs, bool)
        if reasons:
            lanes = np.array(sorted(reasons))
            physics_error[lanes] = True
            self.batch.state[lanes] = self._before[lanes]
            spoilt = lanes[~np.isfinite(self._before[lanes]).all(axis=1)]
            if spoilt.size:  # by somebody who wrote into the state between two steps
                self.batch.reset(spoilt, stage=0)
            self._settle(lanes)
            self._mishaps.tell(reasons, self._before[:, 0])
        return physics_error

    def _judge(self, action: np.ndarray, physics_error: np.ndarray) -> StepResult:
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
        """(n,) bool: the wish is fulfilled right now; None where there is no wish."""
        task: Any = self.task
        return task.success(self.robot) if self._goal is None else task.is_success(self._achieved(), self._goal)

    @cached_per_step
    def _achieved(self) -> np.ndarray:
        """(n, G) float32."""
        task: Any = self.task
        if self._sensed is not None:
            return self._held()[:, self._sensed]
        return within(task.achieved(self.robot), -task.goal_limit, task.goal_limit)

    @cached_per_step
    def _held(self) -> np.ndarray:
        """(n, D) float32: what the bodies sense, without noise."""
        return self.senses.held(self.robot.observation())

    def observation(self, lanes: np.ndarray | None = None) -> Observation:
        """What the lanes (all without) observe now: fresh arrays."""
        rows, goals = self._rows, None
        if self._goal is not None:
            goals = self._achieved().copy(), self._goal.copy()
        if self.randomization.active:
            numbers = self.senses.held(self.randomization.sensed(self.robot.observation()))
        else:
            numbers = self._held()
        self.step_cache = self.robot.step_cache = None  # the step is over: whoever asks now may have moved the lanes
        if lanes is not None:
            numbers, rows = numbers[lanes], rows[lanes]
            goals = None if goals is None else (goals[0][lanes], goals[1][lanes])
        return self.senses.observe(numbers, rows, self.randomization.looks(lanes), goals)

    def goal(self, lane: int) -> np.ndarray:
        """The goal (G,) of a lane of a goal task."""
        assert self._goal is not None
        return self._goal[lane]

    # --- truth

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Privileged quantities by name, (n, k) float64."""
        return self.robot.privileged_state()

    def get_physics_state(self) -> np.ndarray:
        """(n, P) float64: the complete physics of each lane."""
        return self.batch.state.copy()

    def set_physics_state(self, physics: np.ndarray, ids: Any = None, goal: np.ndarray | None = None) -> np.ndarray:
        """Put lanes `ids` into physics rows (m, P), with goals (m, G) if given; the sorted ids (m,)."""
        lanes = np.arange(self.num_envs) if ids is None else np.asarray(ids)
        order = _checked_order(lanes, self.num_envs)
        rows = np.asarray(physics, np.float64)
        if rows.shape != (len(lanes), self.batch.nstate) or not np.isfinite(rows).all():
            raise UsageError(
                f"expected finite physics rows of shape {(len(lanes), self.batch.nstate)}, got {rows.shape}"
            )
        if goal is not None:
            self._set_goal(lanes, goal)
        self.batch.state[lanes] = rows
        self.batch.warning[lanes] = 0
        self.randomization.quiet(lanes)
        self._settle(lanes[order])
        return lanes[order]

    def _set_goal(self, lanes: np.ndarray, goal: np.ndarray) -> None:
        if self._goal is None:
            raise UsageError(f"the task {type(self.task).__name__} has no goals to set")
        goals = np.asarray(goal, np.float32)
        expected = (len(lanes), self._goal.shape[1])
        if goals.shape != expected or not np.isfinite(goals).all():
            raise UsageError(f"expected finite goals of shape {expected}, got {goals.shape}")
        self._goal[lanes] = goals

    def goal_observation(self, goal: np.ndarray, lanes: np.ndarray | None = None) -> Observation:
        """What the robot observes, but for goals, when it rests at goals (m, G), in the looks of `lanes` (m,)."""
        if not isinstance(self.task, GoalTask):
            raise UsageError(f"the task {type(self.task).__name__} has no goals")
        goals = np.asarray(goal, np.float64)
        if goals.ndim != 2 or goals.shape[1] != len(self.task.goal_limit) or not np.isfinite(goals).all():
            raise UsageError(
                f"expected finite goals of shape (m, {len(self.task.goal_limit)}), got {goals.shape}"
            )
        scratch = self._at_rest(self.task.goal_pose(goals))
        robot = self.task.robot(scratch)
        scratch.forward(stage=self._stage)
        looks = repeat({}) if lanes is None else self.randomization.looks(lanes)
        return self.senses.observe(self.senses.held(robot.observation()), scratch.state, looks, None)

    def physics_from_observation(self, observation: np.ndarray) -> np.ndarray | None:
        """(m, P): the physics of a body at rest in the poses that observations (m, D) tell; None if they do not."""
        seen = np.asarray(observation, np.float64)
        if seen.ndim != 2 or seen.shape[1] != len(self.senses.bound) or not np.isfinite(seen).all():
            raise UsageError(
                f"expected finite observations of shape (m, {len(self.senses.bound)}), got {seen.shape}"
            )
        pose = self.task.robot.pose(seen)
        return None if pose is None else self._at_rest(pose).state.copy()

    def _at_rest(self, pose: np.ndarray) -> Any:
        """A batch of its own, of simulations at rest in poses (m, nq)."""
        from mujoco.batch import Batch

        scratch = Batch(self.model, len(pose), 1)
        scratch.bind("qpos")[:] = pose
        return scratch

    # --- being saved

    def get_checkpoint(self) -> dict[str, Any]:
        """Everything that decides the future of the physics and the goals."""
        return {
            "physics": self.get_physics_state(),
            "goal": None if self._goal is None else self._goal.copy(),
            "randomization": self.randomization.get_checkpoint(),
            "generators": [generator_state(self.generator(lane)) for lane in range(self.num_envs)],
        }

    def set_checkpoint(self, tree: dict[str, Any]) -> None:
        """Go on where `get_checkpoint` was."""
        if len(tree["generators"]) != self.num_envs:
            raise UsageError(
                f"the checkpoint has {len(tree['generators'])} lanes, these envs {self.num_envs}"
            )
        self.randomization.become(tree["randomization"])
        self.set_physics_state(tree["physics"], goal=tree["goal"])
        self.randomization.set_checkpoint(tree["randomization"])
        for lane, state in enumerate(tree["generators"]):
            restore_generator(self.generator(lane), state)


def _checked_order(lanes: np.ndarray, num_envs: int) -> np.ndarray:
    """The order that sorts distinct lane numbers (m,)."""
    proper = lanes.ndim == 1 and lanes.size and np.issubdtype(lanes.dtype, np.integer)
    if not proper or len(set(lanes.tolist())) < len(lanes) or lanes.min() < 0 or lanes.max() >= num_envs:
        raise UsageError(f"expected distinct lanes from 0 to {num_envs - 1}, got {lanes.tolist()}")
    return np.argsort(lanes)


def checked_action(action: Any, shape: Sequence[int] | None) -> np.ndarray:
    """Actions as an array of the expected shape, all finite."""
    array = np.asarray(action)
    if array.dtype.kind not in "fiu":
        raise UsageError(f"expected actions that are numbers, got {array.dtype}")
    if array.shape != shape:
        raise UsageError(f"expected actions of shape {shape}, got {array.shape}")
    finite = np.isfinite(array)
    if np.count_nonzero(finite) < finite.size:
        raise UsageError(f"expected finite actions, got {array[~finite][0]}")
    return array
