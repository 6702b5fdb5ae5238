"""Interfaces of a robot and its tasks: pure numpy functions over a batch of n sub-environments.

The robot defines model, observation and actions; a task defines initial states, reward, success and termination. All
tasks of a robot share its model, observation and actions, so one reward-free stream serves all of them. Row i of every
array is computed from row i alone, by elementwise operations: a batch of n and n batches of one then agree to the bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from robossl.core.errors import UsageError

from .arrays import as_array

if TYPE_CHECKING:
    from mujoco.batch import Batch

Pose = tuple[np.ndarray, np.ndarray]  # qpos (nq,), qvel (nv,)
Value = TypeVar("Value")
RobotT = TypeVar("RobotT", bound="Robot")


def cached_per_step(method: Callable[[Any], Value]) -> Callable[[Any], Value]:
    """Compute a method without arguments once in a step, for reward, success and observation.

    The result is kept in `self.step_cache`, which is None between a step's observation and the next step. Callers must
    not write into the result.

    Example:
        class MyRobot(robossl.envs.Robot):
            @robossl.envs.cached_per_step
            def height(self):
                return self.position[:, 2] - self.floor  # (n,), computed once in a step

    Args:
        method: Method of a robot or a task that returns an array for all sub-environments.
    """

    @wraps(method)
    def cached(owner: Any) -> Value:
        cache = owner.step_cache
        if cache is None:
            return method(owner)
        if method not in cache:
            cache[method] = method(owner)
        return cache[method]

    return cached


def to_column_major(goal: np.ndarray) -> np.ndarray:
    """Return goals (..., G) as float64 in column-major order, in which each column is contiguous."""
    return as_array(goal).astype(np.float64, "F")


@dataclass(frozen=True)
class Marker:
    """A translucent shape that shows a goal in rendered frames; it is not part of the physics.

    Example:
        marker = robossl.envs.Marker("sphere", position, (0.015,))  # position (3,) [m]
    """

    shape: str  # "sphere": size = (radius,); "capsule": size = (radius, half length); "box": half sizes
    position: np.ndarray  # (3,) [m]
    size: tuple[float, ...]  # [m]
    rotation: np.ndarray | None = None  # (3, 3)
    color: tuple[float, float, float, float] = (0.25, 0.85, 0.45, 0.3)  # red, green, blue, alpha in [0, 1]

    @classmethod
    def rod(cls, start: np.ndarray, end: np.ndarray, radius: float) -> Marker:
        """Return a capsule of `radius` [m] from point `start` to point `end`, both (3,) [m]."""
        direction = np.asarray(end, np.float64) - start
        length = float(np.sqrt(direction @ direction))
        axis = direction / max(length, 1e-12)
        helper = np.array([0.0, 0.0, 1.0]) if abs(axis[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
        normal = np.cross(helper, axis)
        normal /= np.sqrt(normal @ normal)
        rotation = np.stack([normal, np.cross(axis, normal), axis], axis=1)
        return cls("capsule", (np.asarray(start) + end) / 2, (radius, length / 2), rotation)


class Robot(ABC):
    """A robot simulated in n sub-environments; the base class of every robot file.

    A subclass binds the arrays that it reads (`batch.bind("xpos")`, ...) in its constructor.

    Example:
        class MyRobot(robossl.envs.Robot):
            ...  # binds arrays in its constructor and observes; envs/cartpole.py is a short, complete file

    Args:
        batch: The MuJoCo batch that simulates `model` n times.
    """

    model: ClassVar[str]  # MJCF file: a path inside robossl.assets, or an absolute path
    substeps: ClassVar[int]  # physics steps per control step
    # derived fields that are computed after a step: "none", "position", "velocity" or "acceleration"
    forward_stage: ClassVar[str] = "none"
    # names of the MuJoCo bodies of each group whose mass can be randomized
    mass_groups: ClassVar[dict[str, tuple[str, ...]]] = {}
    observation_limit: ClassVar[np.ndarray]  # (D,) the observation lies in [-limit, limit]

    def __init__(self, batch: Batch) -> None:
        self.qpos = batch.bind("qpos")  # (n, nq) view of the simulated state
        self.qvel = batch.bind("qvel")  # (n, nv) view of the simulated state
        self.step_cache: dict[Any, Any] | None = None  # results of `cached_per_step` methods

    @abstractmethod
    def observation(self) -> np.ndarray:
        """Return the proprioceptive observation (n, D), of about unit scale, without the goal."""

    @abstractmethod
    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return physical quantities by name for probes, never shown to a model.

        Returns:
            Arrays (n, k) in SI units. Angles are given as cosine and sine.
        """

    @classmethod
    def pose_from_observation(cls, observation: np.ndarray) -> np.ndarray | None:
        """Return the poses in which the robot observes `observation`, or None if the observation does not fix them.

        Args:
            observation: Observations (m, D), also decoded ones: a cosine and a sine may lie off the unit circle.

        Returns:
            qpos (m, nq) float64, or None.
        """
        return None


class Task(ABC, Generic[RobotT]):
    """Initial-state distribution, reward, success and termination for one robot.

    Example:
        class Balance(robossl.envs.Task):
            ...  # overrides the methods of the base class; envs/cartpole.py is a short, complete file
    """

    robot: type[RobotT]
    max_episode_steps: ClassVar[int]  # [control steps]
    # keyframe of the model that gives activations, controls and mocap poses of a new episode; -1: none
    keyframe: int = -1
    mocap: str | None = None  # further actions move mocap bodies: "position", "pose" or None

    @abstractmethod
    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return the initial qpos (nq,) and qvel (nv,) of one episode."""

    @abstractmethod
    def reward(self, robot: RobotT, action: np.ndarray) -> np.ndarray:
        """Return rewards (n,) in [0, 1] for the state after actions (n, A)."""

    @abstractmethod
    def success(self, robot: RobotT) -> np.ndarray | None:
        """Return (n,) bool: the task is solved in the current state; None for a task without success."""

    def terminated(self, robot: RobotT) -> np.ndarray:
        """Return (n,) bool: the current state is terminal; never by default."""
        return np.zeros(len(robot.qpos), bool)


class GoalTask(Task[RobotT]):
    """A task with a goal vector (G,) sampled in each episode.

    Example:
        class Reach(robossl.envs.GoalTask):
            ...  # overrides the methods of the base class; envs/reacher.py is a short, complete file
    """

    goal_limit: ClassVar[np.ndarray]  # (G,) goals lie in [-limit, limit]
    # columns of the observation that are the achieved goal, if any
    achieved_slice: ClassVar[slice | None] = None

    @abstractmethod
    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """Return one goal (G,)."""

    def achieved(self, robot: RobotT) -> np.ndarray:
        """Return the achieved goals (n, G) of the current state; override it where `achieved_slice` is None."""
        return robot.observation()[:, self.achieved_slice]

    @abstractmethod
    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return rewards (...,) in [0, 1] for goals (..., G) with any number of leading axes."""

    @abstractmethod
    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Return (...,) bool for goals (..., G): the desired goal is reached."""

    def reward_and_success(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `goal_reward` and `is_success`; override it to share their work."""
        return self.goal_reward(achieved, desired), self.is_success(achieved, desired)

    @abstractmethod
    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """Return poses qpos (m, nq) in which goals (m, G) are reached."""

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """Return the shapes that show goal (G,) in rendered frames; none by default."""
        return []

    def reward(self, robot: RobotT, action: np.ndarray) -> np.ndarray:
        """Raise NotImplementedError: the reward of a goal task is `goal_reward`."""
        raise NotImplementedError(
            "a goal task has no reward(robot, action); call goal_reward(achieved, desired)"
        )

    def success(self, robot: RobotT) -> np.ndarray:
        """Raise NotImplementedError: the success of a goal task is `is_success`."""
        raise NotImplementedError("a goal task has no success(robot); call is_success(achieved, desired)")


def compute_goal_reward(task: Task, achieved: np.ndarray, desired: np.ndarray) -> Any:
    """Return the rewards (...,) of goals (..., G); a float for two single goals (G,)."""
    if not isinstance(task, GoalTask):
        raise UsageError(f"expected a goal task, got {type(task).__name__}, which has no goals")
    reward = task.goal_reward(np.asarray(achieved), np.asarray(desired))
    return float(reward) if np.ndim(reward) == 0 else reward
