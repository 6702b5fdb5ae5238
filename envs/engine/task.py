"""What a robot is (Body) and what is wished of it (Task): pure functions over a batch of lanes, numpy only.

Dynamics come from the body, wishes from the task. All tasks of a body share its model, its observation and
its actions, so one reward-free stream serves them all. Lane i of every array is computed from lane i alone,
by elementwise operations: then a batch of n and n batches of one agree to the last bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, TypeVar

import numpy as np

Pose = tuple[np.ndarray, np.ndarray]  # qpos (nq,), qvel (nv,)
Answer = TypeVar("Answer")


def cached_per_step(method: Callable[[Any], Answer]) -> Callable[[Any], Answer]:
    """Within a step this answer is worked out once, for reward, success and observation; do not write into it."""

    @wraps(method)
    def answer(asked: Any) -> Answer:
        known = asked.step_cache
        if known is None:
            return method(asked)
        if method not in known:
            known[method] = method(asked)
        return known[method]

    return answer


@dataclass(frozen=True)
class Marker:
    """A translucent shape drawn where a goal is; it is no part of the physics."""

    shape: str  # "sphere": size = (radius,); "capsule": size = (radius, half length); "box": half sizes
    position: np.ndarray  # (3,) [m]
    size: tuple[float, ...]  # [m]
    rotation: np.ndarray | None = None  # (3, 3)
    color: tuple[float, float, float, float] = (0.25, 0.85, 0.45, 0.3)

    @classmethod
    def rod(cls, start: np.ndarray, end: np.ndarray, radius: float) -> Marker:
        """A capsule from one point to another, both (3,) [m]."""
        along = np.asarray(end, np.float64) - start
        length = float(np.sqrt(along @ along))
        axis = along / max(length, 1e-12)
        helper = np.array([0.0, 0.0, 1.0]) if abs(axis[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
        across = np.cross(helper, axis)
        across /= np.sqrt(across @ across)
        rotation = np.stack([across, np.cross(axis, across), axis], axis=1)
        return cls("capsule", (np.asarray(start) + end) / 2, (radius, length / 2), rotation)


class Robot(ABC):
    """A robot on a batch of n simulations, answering in the body's own words.

    `batch` is a `mujoco.batch.Batch`; a body binds in its constructor what it reads.
    """

    model: ClassVar[str]  # MJCF inside robossl.assets
    substeps: ClassVar[int]  # physics steps per control step
    forward_stage: ClassVar[str] = "none"  # derived fields to be current after a step: "none", "position", "velocity"
    mass_groups: ClassVar[dict[str, tuple[str, ...]]] = {}  # links by name, whose masses may vary by themselves
    observation_limit: ClassVar[np.ndarray]  # (D,) the observation lies in [-bound, bound]

    def __init__(self, batch: Any) -> None:
        self.qpos = batch.bind("qpos")  # (n, nq) live
        self.qvel = batch.bind("qvel")  # (n, nv) live
        self.step_cache: dict[Any, Any] | None = None  # answers to `once` methods, from a step to its observation

    @abstractmethod
    def observation(self) -> np.ndarray:
        """(n, D): what the robot senses, about unit scale; no goal in it."""

    @abstractmethod
    def privileged_state(self) -> dict[str, np.ndarray]:
        """Physical truth by name, each (n, k) in SI units, angles as cosine and sine; never shown to a model."""

    @classmethod
    def pose(cls, observation: np.ndarray) -> np.ndarray | None:
        """(m, nq) float64: the pose that observations (m, D) tell; None where they do not tell it.

        Also for observations that a model imagined: a cosine and a sine need not lie on the unit circle.
        """
        return None


class Task(ABC):
    """What is wished of a body: where a life starts, what is good, when it is over."""

    robot: ClassVar[type[Robot]]
    max_episode_steps: ClassVar[int]

    @abstractmethod
    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """The pose in which one lane begins."""

    @abstractmethod
    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """(n,) in [0, 1] for being where the body is now, having done action (n, A)."""

    @abstractmethod
    def success(self, robot: Any) -> np.ndarray | None:
        """(n,) bool: the wish is fulfilled right now; None where there is no wish."""

    def terminated(self, robot: Any) -> np.ndarray:
        """(n,) bool: a true ending, after which nothing follows; none unless a task says so."""
        return np.zeros(len(robot.qpos), bool)


def to_column_major(goal: np.ndarray) -> np.ndarray:
    """Goals (..., G) as float64, each column in one piece of memory: arithmetic goes through it in a line."""
    return np.asarray(goal).astype(np.float64, "F")


class GoalTask(Task):
    """A wish that can be pointed at: a goal vector of G numbers, drawn anew for every life."""

    goal_limit: ClassVar[np.ndarray]  # (G,) goals lie in [-bound, bound]
    achieved_slice: ClassVar[slice | None] = None  # columns of the observation that are the achieved goal, if any

    @abstractmethod
    def sample_goal(self, random: np.random.Generator) -> np.ndarray:
        """One goal (G,)."""

    def achieved(self, robot: Any) -> np.ndarray:
        """(n, G): the goal that would be fulfilled right now; a task that does not say `sensed` says it here."""
        return robot.observation()[:, self.achieved_slice]

    @abstractmethod
    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """(...,) in [0, 1] for goals (..., G); any number of leading axes."""

    @abstractmethod
    def is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """(...,) bool for goals (..., G)."""

    def reward_and_success(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`goal_reward` and `reached` at once; a task whose two share their work does it here."""
        return self.goal_reward(achieved, desired), self.is_success(achieved, desired)

    @abstractmethod
    def goal_pose(self, goal: np.ndarray) -> np.ndarray:
        """(m, nq): a pose in which goals (m, G) are fulfilled."""

    def markers(self, goal: np.ndarray) -> list[Marker]:
        """How goal (G,) is drawn."""
        return []

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """Not asked of a goal task: its reward is `goal_reward`."""
        raise NotImplementedError("a goal task is rewarded by goal_reward")

    def success(self, robot: Any) -> np.ndarray:
        """Not asked of a goal task: its success is `reached`."""
        raise NotImplementedError("a goal task is fulfilled when it is reached")
