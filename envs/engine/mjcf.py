"""Env of any robot from its MJCF, URDF or MJB file: observes the joints and drives the actuators.

Ranges of controls, keyframes, sensors and mocap bodies are read from the file. There is no success, and no reward but
that of a line of named terms.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.limits import check_count

from .backends import make_single
from .backends import make_vector as make_batch
from .camera_choice import default_camera
from .control_ranges import control_ranges
from .joint_layout import JointLayout, chosen_sensors
from .mocap_action import mocap_home, mocap_mode
from .mujoco_setup import load_batch
from .robot_files import load_model, scene_file
from .robot_reward import RobotReward
from .start_states import StartStates, find_keyframe
from .task import Pose, Robot, Task

if TYPE_CHECKING:
    from mujoco import MjModel
    from mujoco.batch import Batch

MAX_EPISODE_STEPS = 500
_CONTROL_STEP = 0.02  # [s] unless the physics step is longer
_STAGES = ("none", "position", "velocity", "acceleration")


class MjcfRobot(Robot):
    """The joints of any model.

    Observation: limited joints in units of half their range from its center, cosines and sines of unlimited hinges,
    other positions [m] and quaternions, all joint velocities [rad/s, m/s], activations of actuators; if they are
    chosen, mocap bodies and sensors.
    """

    layout: JointLayout
    reward_line: RobotReward | None

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self._state = batch.state  # (n, P) view of the batch
        repeats = len(self.qpos), 1
        self._offset, self._scale = np.tile(self.layout.offset, repeats), np.tile(self.layout.scale, repeats)
        self._sensors = batch.bind("sensordata") if self.layout.sensors.names else None  # (n, nsensordata)
        self.reward = None if self.reward_line is None else self.reward_line.bind(batch)

    def observation(self) -> np.ndarray:
        """Return the observation (n, D)."""
        _, cosine, sine, *_ = self.layout.parts
        numbers = self._state.take(self.layout.columns, axis=1)
        numbers -= self._offset
        numbers /= self._scale
        if cosine.stop > cosine.start:
            np.cos(numbers[:, cosine], out=numbers[:, cosine])
            np.sin(numbers[:, sine], out=numbers[:, sine])
        if self._sensors is None:
            return numbers
        sensors = self._sensors.take(self.layout.sensors.columns, axis=1) / self.layout.sensors.scale
        return np.concatenate([numbers, sensors], axis=1)

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
        """Return joint positions [rad or m] and velocities, unlimited hinges as cosine and sine; and activations."""
        layout = self.layout
        angles = self.qpos[:, layout.hinges]
        first = 1 + self.qpos.shape[1] + layout.nv
        quantities = {
            "joint_position": self.qpos[:, layout.limited].copy(),
            "joint_angle_cos": np.cos(angles),
            "joint_angle_sin": np.sin(angles),
            "body_pose": self.qpos[:, layout.others].copy(),
            "joint_velocity": self.qvel.copy(),
            "activation": self._state[:, first : first + layout.na].copy(),
        }
        return {name: value for name, value in quantities.items() if value.shape[1]}


class MjcfTask(Task[MjcfRobot]):
    """A robot from its file, without success.

    Args:
        model: Path of the MJCF, URDF or MJB file.
        substeps: Physics steps per control step; None gives control steps of about 0.02 s.
        keyframe: Name or number of the keyframe at which episodes start; "none" for the pose of the file. By default
            "home", else the first.
        sensors: Observed sensors: "all", or names in a list or separated by commas.
        mocap: True or "position" moves the mocap bodies by actions, "pose" also turns them.
        reward: Line of named terms, such as "forward=1 + 0.2*upright"; see `robot_reward`.
    """

    max_episode_steps = MAX_EPISODE_STEPS

    def __init__(
        self,
        model: str | os.PathLike[str],
        substeps: int | None = None,
        keyframe: str | int | None = None,
        sensors: Any = None,
        mocap: str | bool | None = None,
        reward: str | None = None,
    ) -> None:
        load_batch()  # raises for an old MuJoCo
        path = os.path.abspath(model)
        compiled = load_model(path)
        if substeps is not None:
            check_count("substeps", substeps)
        mode = mocap_mode(compiled, mocap)
        _check_robot(compiled, path, mode)
        self.mocap = mode
        self.keyframe = find_keyframe(compiled, keyframe)
        self.start = StartStates(compiled, self.keyframe)
        layout = JointLayout(
            compiled,
            control_ranges(compiled, self.start.qpos),
            chosen_sensors(compiled, sensors),
            self.mocap,
            mocap_home(compiled, self.keyframe),
        )
        line = None if reward is None else RobotReward(reward, compiled, self.start.data())
        stages = ("none" if line is None else line.stage, layout.sensors.stage)
        attributes = {
            "model": path,
            "substeps": substeps or max(1, round(_CONTROL_STEP / compiled.opt.timestep)),
            "observation_limit": layout.limit,
            "forward_stage": max(stages, key=_STAGES.index),
            "layout": layout,
            "reward_line": line,
            "__doc__": MjcfRobot.__doc__,
        }
        self.robot = type("MjcfRobot", (MjcfRobot,), attributes)
        self._arguments = (path, substeps, keyframe, sensors, mocap, reward)

    def __reduce__(self) -> tuple[type[MjcfTask], tuple[Any, ...]]:
        return MjcfTask, self._arguments

    @property
    def lift(self) -> float:
        """Height [m] by which the robot is raised at the start, because its file puts it inside the floor."""
        return self.start.lift

    def default_camera(self) -> str:
        """Return the name of the first camera that sees the robot, else that of a view of the whole scene."""
        return default_camera(load_model(self.robot.model), self.start.qpos)

    def sample_initial_state(self, random: np.random.Generator) -> Pose:
        """Return a pose near that of the keyframe, with its velocities."""
        return self.start.sample(random)

    def reward(self, robot: MjcfRobot, action: np.ndarray) -> np.ndarray:
        """Return the rewards (n,) of the terms; zeros without."""
        return np.zeros(len(robot.qpos)) if robot.reward is None else robot.reward(action)

    def success(self, robot: MjcfRobot) -> None:
        """Return None: there is no success."""


def _check_robot(model: MjModel, path: str, mocap: str | None) -> None:
    """Raise UsageError for a model without joints, or without anything that an action drives."""
    scene = scene_file(path)
    hint = f"; {scene} includes this file" if scene else ""
    for count, what in ((model.njnt, "joint"), (model.nu or (mocap is not None), "actuator")):
        if count:
            continue
        other = ""
        if what == "actuator" and model.nmocap:
            other = ", or move its mocap bodies: mocap=True"
        raise UsageError(
            f"expected a robot with {what}s, got {path}, which has no {what}s; add one <{what}>{other}{hint}"
        )


_OPTIONS = ("substeps", "keyframe", "sensors", "mocap", "reward")


def make(model: str | None = None, **settings: Any) -> gymnasium.Env:
    """Make a single env of a robot file; `settings` are those of MjcfTask and `backends.make_single`."""
    task, rest = _task(model, settings)
    return make_single(task, **rest)


def make_vector(model: str | None = None, **settings: Any) -> VectorEnv:
    """Make a vector env of a robot file; `settings` are those of MjcfTask and `backends.make_vector`."""
    task, rest = _task(model, settings)
    return make_batch(task, **rest)


def _task(model: str | None, settings: dict[str, Any]) -> tuple[MjcfTask, dict[str, Any]]:
    """Return the task, and the settings of the env with a camera that sees the robot."""
    if model is None:
        raise UsageError("expected the path of an MJCF file, got none; give model='my_robot.xml'")
    options = {name: settings[name] for name in _OPTIONS if name in settings}
    rest = {name: value for name, value in settings.items() if name not in _OPTIONS}
    task = MjcfTask(model, **options)
    if rest.get("camera") is None and (rest.get("render_mode") or rest.get("pixels")):
        rest["camera"] = task.default_camera()
    return task, rest
