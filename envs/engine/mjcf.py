"""Env of any robot from its MJCF file: observes the joints, drives the actuators, has no reward and no success."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from robossl.core.errors import UsageError

from .mujoco_setup import load_model, load_mujoco
from .single_env import MujocoEnv
from .task import Pose, Robot, Task
from .vector_env import MujocoVectorEnv

if TYPE_CHECKING:
    from mujoco import MjModel
    from mujoco.batch import Batch

MAX_EPISODE_STEPS = 500
_CONTROL_STEP = 0.02  # [s] unless the physics step is longer
_UNLIMITED = 1000.0  # [m, m/s or rad/s] observation limit of quantities that the model does not limit
_JITTER = 0.05  # [rad or m] of hinges and slides around the initial pose
_QPOS_WIDTH = {"free": 7, "ball": 4, "slide": 1, "hinge": 1}  # columns of qpos


class JointLayout:
    """Columns of qpos by kind (limited joints, unlimited hinges, others) and the observation computed from them.

    Args:
        model: The compiled model.
    """

    def __init__(self, model: MjModel) -> None:
        mujoco = load_mujoco()
        kinds = {int(getattr(mujoco.mjtJoint, f"mjJNT_{name.upper()}")): name for name in _QPOS_WIDTH}
        limited: list[int] = []
        ranges: list[np.ndarray] = []
        hinges: list[int] = []
        others: list[int] = []
        quaternions: list[int] = []
        for joint in range(model.njnt):
            kind, first = kinds[int(model.jnt_type[joint])], int(model.jnt_qposadr[joint])
            if kind in ("hinge", "slide") and model.jnt_limited[joint]:
                limited.append(first)
                ranges.append(model.jnt_range[joint])
            elif kind == "hinge":
                hinges.append(first)
            else:
                others += range(first, first + _QPOS_WIDTH[kind])
                quaternions += {"ball": [first], "free": [first + 3]}.get(kind, [])
        self.limited, self.hinges, self.others = (_as_index(c) for c in (limited, hinges, others))
        self.quaternions = np.array(quaternions, np.int64)  # first column of each
        low, high = np.array(ranges).reshape(-1, 2).T
        self.center, self.half_range = (low + high) / 2, np.maximum((high - low) / 2, 1e-6)
        self.neutral = np.array(model.qpos0)  # (nq,)
        self.nv = int(model.nv)
        sizes = [len(limited), len(hinges), len(hinges), len(others), self.nv]
        ends = np.cumsum(sizes).tolist()
        self.parts = [slice(end - size, end) for size, end in zip(sizes, ends)]  # of the observation
        order = [*limited, *hinges, *hinges, *others, *range(model.nq, model.nq + self.nv)]
        # (D,) columns of the physics state, whose first column is the time
        self.columns = 1 + np.array(order, np.int64)
        unscaled = np.zeros(len(order) - len(limited))
        self.offset = np.append(self.center, unscaled)  # (D,) subtracted from the columns
        self.scale = np.append(self.half_range, unscaled + 1.0)  # (D,) divides the difference
        self.limit = np.repeat([2.0, 1.0, 1.0, _UNLIMITED, _UNLIMITED], sizes)  # (D,)


def _as_index(columns: list[int]) -> Any:
    """Return an index of array columns: a slice where they are contiguous, which copies nothing."""
    first = columns[0] if columns else 0
    contiguous = range(first, first + len(columns))
    return (
        slice(contiguous.start, contiguous.stop)
        if columns == list(contiguous)
        else np.array(columns, np.int64)
    )


class MjcfRobot(Robot):
    """The joints of any model.

    Observation: limited joints in units of half their range from its center, cosines and sines of unlimited hinges,
    other positions [m] and quaternions, then all joint velocities [rad/s, m/s].
    """

    layout: JointLayout

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self._state = batch.state  # (n, P) view of the batch
        repeats = len(self.qpos), 1
        self._offset, self._scale = np.tile(self.layout.offset, repeats), np.tile(self.layout.scale, repeats)

    def observation(self) -> np.ndarray:
        """Return the observation (n, D)."""
        _, cosine, sine, *_ = self.layout.parts
        numbers = self._state.take(self.layout.columns, axis=1)
        numbers -= self._offset
        numbers /= self._scale
        if cosine.stop > cosine.start:
            np.cos(numbers[:, cosine], out=numbers[:, cosine])
            np.sin(numbers[:, sine], out=numbers[:, sine])
        return numbers

    @classmethod
    def pose_from_observation(cls, observation: np.ndarray) -> np.ndarray:
        """Return the observed joint positions qpos (m, nq)."""
        layout = cls.layout
        limited, cosine, sine, others = (observation[:, part] for part in layout.parts[:4])
        pose = np.tile(layout.neutral, (len(observation), 1))
        pose[:, layout.limited] = limited * layout.half_range + layout.center
        pose[:, layout.hinges] = np.arctan2(sine, cosine)
        pose[:, layout.others] = others
        for first in layout.quaternions:
            quaternion = pose[:, first : first + 4]
            length = np.sqrt((quaternion**2).sum(axis=1, keepdims=True))
            unit = quaternion / np.maximum(length, 1e-6)
            pose[:, first : first + 4] = np.where(length > 1e-6, unit, [1, 0, 0, 0])
        return pose

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Return joint positions [rad or m] and velocities; unlimited hinges as cosine and sine."""
        layout = self.layout
        angles = self.qpos[:, layout.hinges]
        quantities = {
            "joint_position": self.qpos[:, layout.limited].copy(),
            "joint_angle_cos": np.cos(angles),
            "joint_angle_sin": np.sin(angles),
            "body_pose": self.qpos[:, layout.others].copy(),
            "joint_velocity": self.qvel.copy(),
        }
        return {name: value for name, value in quantities.items() if value.shape[1]}


class MjcfTask(Task[MjcfRobot]):
    """A robot from its MJCF file, without reward and success.

    Args:
        model: Path of the MJCF file.
        substeps: Physics steps per control step; None gives control steps of about 0.02 s.
    """

    max_episode_steps = MAX_EPISODE_STEPS

    def __init__(self, model: str | os.PathLike[str], substeps: int | None = None) -> None:
        path = os.path.abspath(model)
        compiled = load_model(path)
        for count, what in ((compiled.nu, "actuator"), (compiled.njnt, "joint")):
            if not count:
                raise UsageError(
                    f"expected a robot with {what}s, got {model}, which has no {what}s; add one <{what}>"
                )
        if substeps is not None and substeps < 1:
            raise UsageError(f"expected substeps >= 1 (physics steps per control step), got {substeps}")
        layout = JointLayout(compiled)
        attributes = {
            "model": path,
            "substeps": substeps or max(1, round(_CONTROL_STEP / compiled.opt.timestep)),
            "observation_limit": layout.limit,
            "layout": layout,
            "__doc__": MjcfRobot.__doc__,
        }
        self.robot = type("MjcfRobot", (MjcfRobot,), attributes)
        self._initial_pose = np.array(compiled.key_qpos[0] if compiled.nkey else compiled.qpos0)
        self._arguments = (path, substeps)

    def __reduce__(self) -> tuple[type[MjcfTask], tuple[str, int | None]]:
        return MjcfTask, self._arguments

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return a pose near the first keyframe, or near the pose of the file; at rest."""
        layout = self.robot.layout
        pose = self._initial_pose.copy()
        jitter = random.uniform(-_JITTER, _JITTER, len(pose))
        low, high = layout.center - layout.half_range, layout.center + layout.half_range
        pose[layout.hinges] += jitter[layout.hinges]
        pose[layout.limited] = np.clip(pose[layout.limited] + jitter[layout.limited], low, high)
        return pose, np.zeros(layout.nv)

    def reward(self, robot: MjcfRobot, action: np.ndarray) -> np.ndarray:
        """Return zeros (n,)."""
        return np.zeros(len(robot.qpos))

    def success(self, robot: MjcfRobot) -> None:
        """Return None: there is no success."""


def make(model: str | None = None, substeps: int | None = None, **settings: Any) -> MujocoEnv:
    """Make a single env of an MJCF file; `settings` are those of MujocoEnv."""
    return MujocoEnv(MjcfTask(_require_model(model), substeps), **settings)


def make_vector(model: str | None = None, substeps: int | None = None, **settings: Any) -> MujocoVectorEnv:
    """Make a vector env of an MJCF file; `settings` are those of MujocoVectorEnv."""
    return MujocoVectorEnv(MjcfTask(_require_model(model), substeps), **settings)


def _require_model(model: str | None) -> str:
    if model is None:
        raise UsageError("expected the path of an MJCF file, got none; give model='my_robot.xml'")
    return model
