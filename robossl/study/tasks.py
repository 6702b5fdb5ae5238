"""The tasks of a study: those of a robot, or third-party envs with the same observations and actions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from robossl import registry
from robossl.core.agent_observation import images_only
from robossl.core.env_ids import canonical_id, is_robot_file
from robossl.core.errors import UsageError, unknown_name_error
from robossl.core.interfaces import PhysicsStateEnv, StateOutcomeEnv
from robossl.core.spaces import format_space, is_image, model_inputs
from robossl.evaluation.report.study_tables import task_name
from robossl.evaluation.reward_free import missing_goals_reason
from robossl.study.protocol import Protocol


@dataclass(frozen=True)
class TaskSet:
    """The tasks of a study.

    Attributes:
        robot: Name of the study in the report: the robot, or the names of the tasks.
        stream_task: Env id of the task whose envs record the reward-free stream.
        tasks: Env ids of the tasks, in the order of the tables.
    """

    robot: str
    stream_task: str
    tasks: tuple[str, ...]


def resolve_tasks(
    protocol: Protocol, robot: str | None, tasks: Sequence[str] | None, count: int, pixels: int
) -> TaskSet:
    """Return the tasks that a command names.

    Args:
        protocol: Has the tasks of each built-in robot.
        robot: A robot, one of its tasks, or None if the tasks are env ids.
        tasks: Env ids, or for a robot names of its tasks; None: the first `count` of the robot.
        count: Number of tasks without `tasks`; 0: all.
        pixels: Edge of image observations; 0: the observations of the envs.

    Raises:
        UsageError: A name is unknown, there is only one task, or the tasks have different spaces.
    """
    if robot is None:
        if not tasks:
            raise UsageError(
                f"expected a robot or --tasks, got neither; available: {', '.join(known_robots(protocol))}"
            )
        ids = tuple(dict.fromkeys(canonical_id(registry.trust_env(task)) for task in tasks))
        if len(ids) < 2:
            raise UsageError(
                f"expected 2 or more tasks without a robot, got {', '.join(ids)}; transfer needs several"
            )
        _check_same_spaces(ids, pixels)
        return TaskSet(" and ".join(task_name(task) for task in ids), ids[0], ids)
    name, available = _tasks_of(protocol, robot)
    if len(available) < 2:
        others = ", ".join(name for name, known in protocol.robots.items() if len(known) > 1)
        raise UsageError(
            f"expected a robot with 2 or more tasks, got {name} with {', '.join(map(task_name, available))} alone; "
            f"available: {others}"
        )
    chosen = available[: count or None] if tasks is None else [_find_task(task, available) for task in tasks]
    chosen = list(dict.fromkeys(chosen))
    if not chosen:
        raise UsageError(f"tasks: expected one or more of {', '.join(map(task_name, available))}, got none")
    _check_same_spaces((available[0], *chosen), pixels)
    return TaskSet(name, available[0], tuple(chosen))


def known_robots(protocol: Protocol) -> list[str]:
    """Return the robots of the protocol with several tasks, and those of other packages."""
    own = [name for name, tasks in protocol.robots.items() if len(tasks) > 1]
    return sorted({*own, *_other_robots(protocol)})


def _tasks_of(protocol: Protocol, robot: str) -> tuple[str, list[str]]:
    """Return the name of a robot and its tasks; `robot` is its name, or the name or id of one of its tasks."""
    if is_robot_file(robot):
        raise UsageError(
            f"expected a robot with tasks, got {robot}, which has no reward; write a task for it first"
        )
    robots = {name: list(tasks) for name, tasks in protocol.robots.items()}
    for attempt in range(2):
        if robot.lower() in robots:
            return robot.lower(), robots[robot.lower()]
        for name, tasks in robots.items():
            if any(robot in (task, task_name(task)) for task in tasks):
                return name, tasks
        if attempt == 0:  # slow: makes the envs of other packages
            robots |= _other_robots(protocol)
    if ":" in robot or robot in gym.registry:
        raise UsageError(f"expected a robot, got the env {robot}; give its tasks: --tasks ID,ID")
    raise unknown_name_error("robot", robot, [name for name, tasks in robots.items() if len(tasks) > 1])


def _other_robots(protocol: Protocol) -> dict[str, list[str]]:
    """Return the tasks of robots that other packages added, by robot."""
    listed = {task for tasks in protocol.robots.values() for task in tasks}
    robots: dict[str, list[str]] = {}
    for task in registry.env_ids():
        if task in listed or task.startswith("robossl/"):
            continue
        with closing(registry.make_envs(task, 1)) as envs:
            if model := envs.metadata.get("robot"):
                robots.setdefault(Path(str(model)).stem, []).append(task)
    return robots


def _find_task(task: str, available: Sequence[str]) -> str:
    """Return the id of a task of a robot; `task` is its id or its name."""
    for known in available:
        if task in (known, task_name(known)) or task.lower() == task_name(known).lower():
            return known
    raise unknown_name_error("task", task, map(task_name, available))


def _check_same_spaces(tasks: Sequence[str], pixels: int) -> None:
    """Raise UsageError unless all tasks have the robot, observations (without goals) and actions of the first one."""
    expected: tuple[Any, Any, Any] | None = None
    for task in tasks:
        with closing(registry.make_envs(task, 1, pixels=pixels)) as envs:
            inputs = model_inputs(envs.single_observation_space)
            got = inputs, envs.single_action_space, envs.metadata.get("robot")
        if expected is None:
            expected = got
        elif expected != got:
            kind = next(kind for kind, old, new in zip(_KINDS, expected, got) if old != new)
            texts = [_text(spaces, kind) for spaces in (expected, got)]
            raise UsageError(
                f"expected tasks of one robot with the same spaces, got {kind} {texts[0]} of {task_name(tasks[0])} and "
                f"{texts[1]} of {task_name(task)}"
            )


_KINDS = ("observations", "actions", "robot")


def _text(spaces: tuple[Any, Any, Any], kind: str) -> str:
    if kind == "robot":
        return str(spaces[2])
    if kind == "actions":
        return format_space(spaces[1])
    return " and ".join(f"{path} {format_space(leaf)}".strip() for path, leaf in spaces[0].items())


@dataclass(frozen=True)
class TaskTraits:
    """What decides which rows a task has."""

    goals: bool  # its observation has goals
    images: bool  # all that a model reads are images
    labels_states: bool  # it computes rewards of recorded states
    sets_states: bool  # it can be set to recorded states
    values: int  # numbers that a model reads


def task_traits(task: str, pixels: int) -> TaskTraits:
    """Return the traits of a task."""
    with closing(registry.make_envs(task, 1, pixels=pixels)) as envs:
        space = envs.single_observation_space
        vectors = [leaf for leaf in model_inputs(space).values() if not is_image(leaf)]
        return TaskTraits(
            goals=missing_goals_reason(space) is None,
            images=images_only(space),
            labels_states=isinstance(envs.unwrapped, StateOutcomeEnv),
            sets_states=isinstance(envs.unwrapped, PhysicsStateEnv),
            values=sum(math.prod(leaf.shape or (1,)) for leaf in vectors),
        )
