"""Names for the tasks: every body module of this folder puts its TASKS into Gymnasium's registry."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType

import gymnasium

from robossl.core.errors import UsageError, unknown_name_error

from .task import GoalTask, Task

NAMESPACE = "robossl"


def register() -> list[str]:
    """Register `robossl/<Name>-v0` for every task there is; the ids. May be called again.

    Beside them `robossl/Mjcf-v0`, which is none without a file.
    """
    ids = [env_id for module in _bodies() for env_id in register_tasks(module.TASKS)]
    _register_mjcf()
    return sorted(ids)


def register_tasks(tasks: Mapping[str, type[Task]], namespace: str = NAMESPACE) -> list[str]:
    """Register `<namespace>/<Name>-v0` for each of `tasks`, as single and as native vector env; the ids.

    May be called again. Another package does so with its own bodies, under its own name.
    """
    for name, task in tasks.items():
        env_id = f"{namespace}/{name}-v0"
        if env_id not in gymnasium.registry:
            _register_one(env_id, f"{task.__module__}:{task.__qualname__}", task)
    return [f"{namespace}/{name}-v0" for name in tasks]


def is_native(spec: gymnasium.envs.registration.EnvSpec) -> bool:
    """Its lanes are one MuJoCo batch, whoever wrote the body."""
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


def _register_one(env_id: str, where: str, task: type[Task]) -> None:
    single = "MujocoGoalEnv" if issubclass(task, GoalTask) else "MujocoEnv"
    gymnasium.register(
        env_id,
        entry_point=f"{__package__}.single_env:{single}",
        vector_entry_point=f"{__package__}.vector_env:MujocoVectorEnv",
        max_episode_steps=task.max_episode_steps,
        kwargs={"task": where},
    )


def _bodies() -> Iterator[ModuleType]:
    """The modules of this folder that define TASKS; a file is a plug-in."""
    package = str(__package__).rpartition(".")[0]
    folder = importlib.import_module(package).__path__
    for found in sorted(m.name for m in pkgutil.iter_modules(folder)):
        module = importlib.import_module(f"{package}.{found}")
        if hasattr(module, "TASKS"):
            yield module


def resolve(task: Task | type[Task] | str) -> Task:
    """A task from itself, its class, or "module:Name"."""
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
