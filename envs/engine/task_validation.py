"""A rehearsal: what a body and a task give is held against what was agreed, once, before anybody relies on it."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from robossl.core.errors import UsageError, unknown_name_error

from .task import GoalTask, Robot, Task

_LANES = 3
_DECLARED = {  # what every body says of itself
    "model": 'the MJCF file, model = str(Path(__file__).with_name("my_robot.xml"))',
    "substeps": "the physics steps of a control step, substeps = 4",
    "observation_limit": "how large each observed number may be, observation_limit = np.array([...]) of shape (D,)",
}
_rehearsed: WeakKeyDictionary[type, WeakSet[type]] = WeakKeyDictionary()  # of this process: tasks by body


def check_declared(task: Task) -> None:
    """`RequestError` where the body or the task lacks what it has to say of itself."""
    robot = getattr(task, "robot", None)
    if not (isinstance(robot, type) and issubclass(robot, Robot)):
        raise UsageError(f"{type(task).__name__}.robot is {robot!r}; expected a subclass of Robot")
    for name, what in _DECLARED.items():
        if not hasattr(robot, name):
            raise UsageError(f"{robot.__name__} does not say its {name}: {what}")
    if isinstance(task, GoalTask) and np.ndim(getattr(task, "goal_limit", 0)) != 1:
        raise UsageError(
            f"{type(task).__name__} does not say its goal_limit: how large each number of a goal may be, "
            "goal_limit = np.array([...]) of shape (G,)"
        )


def dry_run(task: Task, model: Any) -> None:
    """Let a task begin and be judged in a few lanes of its own; `RequestError` for a shape that does not fit.

    Each task and body once in a process.
    """
    known = _rehearsed.setdefault(task.robot, WeakSet())
    if type(task) in known:
        return
    from mujoco.batch import Batch

    _links(task.robot, model)
    batch = Batch(model, _LANES, 1)
    robot = task.robot(batch)
    random = np.random.default_rng(0)
    for lane in range(_LANES):
        robot.qpos[lane], robot.qvel[lane] = _start(task, random, model)
    batch.forward()
    _sensed(robot)
    _judged(task, robot, random, model)
    known.add(type(task))


def _links(robot: type[Robot], model: Any) -> None:
    names = [model.body(number).name for number in range(1, model.nbody)]
    for link in (link for links in robot.mass_groups.values() for link in links):
        if link not in names:
            raise unknown_name_error(f"body element (of {robot.__name__}.mass_groups)", link, names)


def _start(task: Task, random: np.random.Generator, model: Any) -> tuple[np.ndarray, np.ndarray]:
    pose = task.sample_initial_state(random)
    name = f"{type(task).__name__}.sample_initial_state(random)"
    if not isinstance(pose, tuple) or len(pose) != 2:
        raise UsageError(f"{name} gave {_told(pose)}; expected a pose and velocities: return qpos, qvel")
    for part, what, size in ((pose[0], "a pose", model.nq), (pose[1], "velocities", model.nv)):
        if np.shape(part) != (size,):
            raise UsageError(f"{name} gave {what}, {_told(part)}; the model has {(size,)}")
    return np.asarray(pose[0]), np.asarray(pose[1])


def _sensed(robot: Robot) -> None:
    bound = np.shape(robot.observation_limit)
    if len(bound) != 1:
        raise UsageError(
            f"{type(robot).__name__}.observation_limit is {_told(robot.observation_limit)}; expected a number for "
            "each that is observed: (D,)"
        )
    _array(f"{type(robot).__name__}.observation()", robot.observation(), (_LANES, *bound), "numbers")
    for name, value in robot.privileged_state().items():
        if np.ndim(value) != 2 or len(value) != _LANES:
            raise UsageError(
                f"{type(robot).__name__}.privileged_state() gave for {name!r} {_told(value)}; expected (n, k), here "
                f"{_LANES} rows"
            )


def _judged(task: Any, robot: Robot, random: np.random.Generator, model: Any) -> None:
    name = type(task).__name__
    if isinstance(task, GoalTask):
        size = np.shape(task.goal_limit)
        goals = [task.sample_goal(random) for _ in range(_LANES)]
        _array(f"{name}.sample_goal(random)", goals[0], size, "numbers", "")
        desired = np.array(goals, np.float32)
        if type(task).achieved is not GoalTask.achieved or task.achieved_slice is not None:
            _array(f"{name}: the achieved goal", task.achieved(robot), (_LANES, *size), "numbers")
        reward, success = task.reward_and_success(desired, desired)
    else:
        reward = task.reward(robot, np.zeros((_LANES, model.nu)))
        success = task.success(robot)
    _array(f"{name}: the reward", reward, (_LANES,), "numbers")
    if success is not None:
        _array(f"{name}: success", success, (_LANES,), "booleans")
    _array(f"{name}.terminated(robot)", task.terminated(robot), (_LANES,), "booleans")


def _array(
    what: str, value: Any, shape: tuple[int, ...], kind: str, of: str = f", for {_LANES} lanes"
) -> None:
    """An array of that shape, of numbers or of booleans."""
    kinds = {"numbers": "fiu", "booleans": "b"}[kind]
    if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype.kind not in kinds:
        raise UsageError(f"{what} gave {_told(value)}; expected an array {shape} of {kind}{of}")


def _told(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{value!r} ({type(value).__name__})"
