"""Any robot from its MJCF file alone: joints are observed, actuators act, nothing is wished."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from robossl.core.errors import UsageError

from .mujoco_setup import load_model, load_mujoco
from .single_env import MujocoEnv
from .task import Pose, Robot, Task
from .vector_env import MujocoVectorEnv

MAX_EPISODE_STEPS = 500
_CONTROL_STEP = 0.02  # [s] unless the physics' own step is longer
_FAR = 1000.0  # [m, m/s or rad/s] beyond which nothing is observed
_JITTER = 0.05  # [rad or m] by which hinges and slides differ from the model's own pose at the start


class Layout:
    """Which columns of qpos are what: limited joints, free turns, and the rest; units of the observation."""

    def __init__(self, model: Any) -> None:
        mujoco = load_mujoco()
        kinds = {int(getattr(mujoco.mjtJoint, f"mjJNT_{name.upper()}")): name for name in _WIDTH}
        limited: list[int] = []
        spans: list[np.ndarray] = []
        turns: list[int] = []
        rest: list[int] = []
        quaternions: list[int] = []
        for joint in range(model.njnt):
            kind, first = kinds[int(model.jnt_type[joint])], int(model.jnt_qposadr[joint])
            if kind in ("hinge", "slide") and model.jnt_limited[joint]:
                limited.append(first)
                spans.append(model.jnt_range[joint])
            elif kind == "hinge":
                turns.append(first)
            else:
                rest += range(first, first + _WIDTH[kind])
                quaternions += {"ball": [first], "free": [first + 3]}.get(kind, [])
        self.limited, self.turns, self.rest = (_columns(c) for c in (limited, turns, rest))
        self.quaternions = np.array(quaternions, np.int64)  # where each begins in qpos
        low, high = np.array(spans).reshape(-1, 2).T
        self.middle, self.half = (low + high) / 2, np.maximum((high - low) / 2, 1e-6)
        self.neutral = np.array(model.qpos0)  # (nq,)
        self.speeds = int(model.nv)
        sizes = [len(limited), len(turns), len(turns), len(rest), self.speeds]
        ends = np.cumsum(sizes).tolist()
        self.parts = [slice(end - size, end) for size, end in zip(sizes, ends)]  # of the observation
        order = [*limited, *turns, *turns, *rest, *range(model.nq, model.nq + self.speeds)]
        self.columns = 1 + np.array(order, np.int64)  # (D,) of the state, whose rows begin with the time
        others = np.zeros(len(order) - len(limited))
        self.shift = np.append(self.middle, others)  # (D,) and
        self.scale = np.append(self.half, others + 1.0)  # (D,): what they are taken from and divided by
        self.bound = np.repeat([2.0, 1.0, 1.0, _FAR, _FAR], sizes)  # (D,)


def _columns(numbers: list[int]) -> Any:
    """Which columns of an array to take: a slice where they stand side by side, which copies nothing."""
    first = numbers[0] if numbers else 0
    together = range(first, first + len(numbers))
    return slice(together.start, together.stop) if numbers == list(together) else np.array(numbers, np.int64)


_WIDTH = {"free": 7, "ball": 4, "slide": 1, "hinge": 1}  # columns of qpos


class Joints(Robot):
    """The joints of any model.

    Observation: limited joints in units of half their range from its middle, cosines and sines of hinges
    without limits, other positions [m] and quaternions, then all joint velocities [rad/s, m/s].
    """

    layout: Layout

    def __init__(self, batch: Any) -> None:
        super().__init__(batch)
        self._rows = batch.state  # (n, P) live
        lanes = len(self.qpos), 1
        self._shift, self._scale = np.tile(self.layout.shift, lanes), np.tile(self.layout.scale, lanes)

    def observation(self) -> np.ndarray:
        """(n, D)."""
        _, cosine, sine, *_ = self.layout.parts
        seen = self._rows.take(self.layout.columns, axis=1)
        seen -= self._shift
        seen /= self._scale
        if cosine.stop > cosine.start:
            np.cos(seen[:, cosine], out=seen[:, cosine])
            np.sin(seen[:, sine], out=seen[:, sine])
        return seen

    @classmethod
    def pose(cls, observation: np.ndarray) -> np.ndarray:
        """(m, nq): the joint positions that are observed."""
        layout = cls.layout
        limited, cosine, sine, rest = (observation[:, part] for part in layout.parts[:4])
        pose = np.tile(layout.neutral, (len(observation), 1))
        pose[:, layout.limited] = limited * layout.half + layout.middle
        pose[:, layout.turns] = np.arctan2(sine, cosine)
        pose[:, layout.rest] = rest
        for first in layout.quaternions:
            turn = pose[:, first : first + 4]
            length = np.sqrt((turn**2).sum(axis=1, keepdims=True))
            pose[:, first : first + 4] = np.where(
                length > 1e-6, turn / np.maximum(length, 1e-6), [1, 0, 0, 0]
            )
        return pose

    def privileged_state(self) -> dict[str, np.ndarray]:
        """Limited joints [rad or m], other hinges as cosine and sine, the rest, velocities; what there is."""
        layout = self.layout
        turns = self.qpos[:, layout.turns]
        found = {
            "joint_position": self.qpos[:, layout.limited].copy(),
            "joint_angle_cos": np.cos(turns),
            "joint_angle_sin": np.sin(turns),
            "body_pose": self.qpos[:, layout.rest].copy(),
            "joint_velocity": self.qvel.copy(),
        }
        return {name: value for name, value in found.items() if value.shape[1]}


class Mjcf(Task):
    """A robot from its MJCF file: live and learn; there is no reward and nothing to succeed in."""

    max_episode_steps = MAX_EPISODE_STEPS

    def __init__(self, model: str | os.PathLike[str], substeps: int | None = None) -> None:
        path = os.path.abspath(model)
        compiled = load_model(path)
        for count, what in ((compiled.nu, "actuator"), (compiled.njnt, "joint")):
            if not count:
                raise UsageError(f"{model} has no {what}s: a robot that learns needs one <{what}> or more")
        if substeps is not None and substeps < 1:
            raise UsageError(f"substeps is {substeps}; expected 1 or more physics steps a control step")
        layout = Layout(compiled)
        members = {
            "model": path,
            "substeps": substeps or max(1, round(_CONTROL_STEP / compiled.opt.timestep)),
            "observation_limit": layout.bound,
            "layout": layout,
            "__doc__": Joints.__doc__,
        }
        self.robot = type("Joints", (Joints,), members)  # type: ignore[misc]
        self._start = np.array(compiled.key_qpos[0] if compiled.nkey else compiled.qpos0)
        self._arguments = (path, substeps)

    def __reduce__(self) -> tuple[type[Mjcf], tuple[str, int | None]]:
        return Mjcf, self._arguments

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Near the first keyframe, or the pose the file is written in; at rest."""
        layout = self.robot.layout  # type: ignore[attr-defined]
        pose = self._start.copy()
        jitter = random.uniform(-_JITTER, _JITTER, len(pose))
        low, high = layout.middle - layout.half, layout.middle + layout.half
        pose[layout.turns] += jitter[layout.turns]
        pose[layout.limited] = np.clip(pose[layout.limited] + jitter[layout.limited], low, high)
        return pose, np.zeros(layout.speeds)

    def reward(self, robot: Any, action: np.ndarray) -> np.ndarray:
        """(n,) nothing."""
        return np.zeros(len(robot.qpos))

    def success(self, robot: Any) -> None:
        """There is none."""


def make(model: str | None = None, substeps: int | None = None, **settings: Any) -> MujocoEnv:
    """The robot of an MJCF file as a single env; `settings` are MujocoEnv's."""
    return MujocoEnv(Mjcf(_given(model), substeps), **settings)


def make_vector(model: str | None = None, substeps: int | None = None, **settings: Any) -> MujocoVectorEnv:
    """The robot of an MJCF file as a vector env; `settings` are MujocoVectorEnv's."""
    return MujocoVectorEnv(Mjcf(_given(model), substeps), **settings)


def _given(model: str | None) -> str:
    if model is None:
        raise UsageError("any robot from its MJCF file: give model='my_robot.xml'")
    return model
