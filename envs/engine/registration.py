"""Registration of tasks with Gymnasium: every robot file of this package puts its TASKS into the registry."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType

import gymnasium

from robossl.core.errors import UsageError, unknown_name_error

from .task import Task

NAMESPACE = "robossl"


def register() -> list[str]:
    """Register `robossl/<Name>-v0` for every task of this package, and `robossl/Mjcf-v0`, which needs an MJCF file.

    Example:
        robossl.envs.register()[0]  # 'robossl/ArmLift-v0'

    Returns:
        The sorted ids of the tasks. A second call changes nothing.
    """
    ids = [env_id for module in _robot_modules() for env_id in register_tasks(module.TASKS)]
    _register_mjcf()
    return sorted(ids)


def register_tasks(tasks: Mapping[str, type[Task]], namespace: str = NAMESPACE) -> list[str]:
    """Register `<namespace>/<Name>-v0` for each task, as single env and as native vector env.

    Example:
        robossl.envs.register_tasks({"Balance": Balance}, namespace="mine")  # ['mine/Balance-v0']

    Args:
        tasks: Task classes by name; each must be importable from its module.
        namespace: First part of the ids. Other packages use their own name.

    Returns:
        The ids. A second call changes nothing.
    """
    for name, task in tasks.items():
        env_id = f"{namespace}/{name}-v0"
        if env_id not in gymnasium.registry:
            _register_task(env_id, f"{task.__module__}:{task.__qualname__}", task)
    return [f"{namespace}/{name}-v0" for name in tasks]


def is_native(spec: gymnasium.envs.registration.EnvSpec) -> bool:
    """Return whether an id is simulated as one MuJoCo batch, by this or another package.

    Example:
        robossl.envs.is_native(gymnasium.spec("robossl/Reacher-v0"))  # True

    Args:
        spec: The entry of the id in Gymnasium's registry.
    """
    return str(spec.vector_entry_point).startswith(f"{__package__}.")


def _register_mjcf() -> None:
    env_id = f"{NAMESPACE}/Mjcf-v0"
    if env_id not in gymnasium.registry:
        gymnasium.register(
            env_id,
            entry_point=f"{__package__}.mjcf:make",
            vector_entry_point=f"{__package__}.mjcf:make_vector",
            max_episode_steps=500,
        )


def _register_task(env_id: str, path: str, task: type[Task]) -> None:
    gymnasium.register(
        env_id,
        entry_point=f"{__package__}.backends:make_single",
        vector_entry_point=f"{__package__}.backends:make_vector",
        max_episode_steps=task.max_episode_steps,
        kwargs={"task": path},
    )


def _robot_modules() -> Iterator[ModuleType]:
    """Import the modules of this package and yield those that define TASKS."""
    package = str(__package__).rpartition(".")[0]
    folder = importlib.import_module(package).__path__
    for name in sorted(module.name for module in pkgutil.iter_modules(folder)):
        module = importlib.import_module(f"{package}.{name}")
        if hasattr(module, "TASKS"):
            yield module


def resolve_task(task: Task | type[Task] | str) -> Task:
    """Return a task from a task, its class, or "module:Name"."""
    if isinstance(task, str):
        module_name, _, name = task.partition(":")
        module = importlib.import_module(module_name)
        if not hasattr(module, name):
            raise unknown_name_error(
                "task", name, (n for n, v in vars(module).items() if isinstance(v, type))
            )
        task = getattr(module, name)
    if isinstance(task, type) and issubclass(task, Task):
        task = task()
    if not isinstance(task, Task):
        raise UsageError(f"expected a Task, a subclass of it or 'module:Name', got {task!r}")
    return task
