"""Validation of a robot and a task: attributes, and the shapes of their results in a dry run, when an env is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from robossl.core.errors import UsageError, unknown_name_error

from .mujoco_setup import load_batch
from .task import GoalTask, Robot, Task

if TYPE_CHECKING:
    from mujoco import MjModel

_NUM_ENVS = 3
_REQUIRED = {  # attributes of every robot class
    "model": 'the MJCF file, such as model = str(Path(__file__).with_name("my_robot.xml"))',
    "substeps": "the physics steps per control step, such as substeps = 4",
    "observation_limit": "the limit of each observed number, an array (D,), such as observation_limit = np.ones(4)",
}
_validated: WeakKeyDictionary[type, WeakSet[type]] = WeakKeyDictionary()  # tasks by robot, in this process


def check_declared(task: Task) -> None:
    """Raise UsageError if the robot or the task lacks a required attribute."""
    name, robot = type(task).__name__, getattr(task, "robot", None)
    if not (isinstance(robot, type) and issubclass(robot, Robot)):
        raise UsageError(f"expected {name}.robot as a subclass of Robot, got {robot!r}")
    for attribute, description in _REQUIRED.items():
        if not hasattr(robot, attribute):
            raise UsageError(f"expected {robot.__name__}.{attribute}, got none; define {description}")
    if isinstance(task, GoalTask) and np.ndim(getattr(task, "goal_limit", 0)) != 1:
        raise UsageError(
            f"expected {name}.goal_limit as an array (G,), got none; define the limit of each goal number, such as "
            "goal_limit = np.ones(2)"
        )


def dry_run(task: Task, model: MjModel) -> None:
    """Run a task in a separate small batch, once per task and robot in a process.

    Raises:
        UsageError: A method returned an array of another shape or type than the interface defines.
    """
    validated = _validated.setdefault(task.robot, WeakSet())
    if type(task) in validated:
        return
    _check_mass_groups(task.robot, model)
    batch = load_batch().Batch(model, _NUM_ENVS, 1)
    batch.reset(keyframe=task.keyframe, stage=0)
    robot = task.robot(batch)
    random = np.random.default_rng(0)
    for env_index in range(_NUM_ENVS):
        robot.qpos[env_index], robot.qvel[env_index] = _initial_state(task, random, model)
    batch.forward()
    _check_observation(robot)
    _check_task(task, robot, random, model)
    validated.add(type(task))


def _check_mass_groups(robot: type[Robot], model: MjModel) -> None:
    names = [model.body(number).name for number in range(1, model.nbody)]
    for body in (body for bodies in robot.mass_groups.values() for body in bodies):
        if body not in names:
            raise unknown_name_error(f"MuJoCo body (of {robot.__name__}.mass_groups)", body, names)


def _initial_state(task: Task, random: np.random.Generator, model: MjModel) -> tuple[np.ndarray, np.ndarray]:
    state = task.sample_initial_state(random)
    name = f"{type(task).__name__}.sample_initial_state(random)"
    if not isinstance(state, tuple) or len(state) != 2:
        raise UsageError(f"expected a pair (qpos, qvel) from {name}, got {_describe(state)}")
    for part, array, size in (("qpos", state[0], model.nq), ("qvel", state[1], model.nv)):
        if np.shape(array) != (size,):
            raise UsageError(f"expected {part} of shape {(size,)} from {name}, got {_describe(array)}")
    return np.asarray(state[0]), np.asarray(state[1])


def _check_observation(robot: Robot) -> None:
    name, limit = type(robot).__name__, np.shape(robot.observation_limit)
    if len(limit) != 1:
        raise UsageError(
            f"expected {name}.observation_limit of shape (D,), got {_describe(robot.observation_limit)}"
        )
    _check_array(f"{name}.observation()", robot.observation(), (_NUM_ENVS, *limit), "numbers")
    for quantity, value in robot.privileged_state().items():
        if np.ndim(value) != 2 or len(value) != _NUM_ENVS:
            raise UsageError(
                f"expected an array (n, k), here n = {_NUM_ENVS}, for {quantity!r} from {name}.privileged_state(), got "
                f"{_describe(value)}"
            )


def _check_task(task: Task, robot: Robot, random: np.random.Generator, model: MjModel) -> None:
    name = type(task).__name__
    success: np.ndarray | None
    if isinstance(task, GoalTask):
        size = np.shape(task.goal_limit)
        goals = [task.sample_goal(random) for _ in range(_NUM_ENVS)]
        _check_array(f"{name}.sample_goal(random)", goals[0], size, "numbers")
        desired = np.array(goals, np.float32)
        if type(task).achieved is not GoalTask.achieved or task.achieved_slice is not None:
            _check_array(f"{name}.achieved(robot)", task.achieved(robot), (_NUM_ENVS, *size), "numbers")
        reward, success = task.reward_and_success(desired, desired)
        reward_method, success_method = "goal_reward(achieved, desired)", "is_success(achieved, desired)"
    else:
        reward = task.reward(robot, np.zeros((_NUM_ENVS, model.nu)))
        success = task.success(robot)
        reward_method, success_method = "reward(robot, action)", "success(robot)"
    _check_array(f"{name}.{reward_method}", reward, (_NUM_ENVS,), "numbers")
    if success is not None:
        _check_array(f"{name}.{success_method}", success, (_NUM_ENVS,), "booleans")
    _check_array(f"{name}.terminated(robot)", task.terminated(robot), (_NUM_ENVS,), "booleans")


def _check_array(method: str, value: Any, shape: tuple[int, ...], content: str) -> None:
    """Raise UsageError unless `value` is an array of that shape; `content` is "numbers" or "booleans"."""
    dtype_kinds = {"numbers": "fiu", "booleans": "b"}[content]
    if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype.kind not in dtype_kinds:
        raise UsageError(f"expected an array {shape} of {content} from {method}, got {_describe(value)}")


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{value!r} ({type(value).__name__})"
