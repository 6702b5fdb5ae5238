"""Simulation backends of a batch: MuJoCo on the CPU, and MuJoCo Warp on a GPU."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.simulation_backends import DEFAULT, check_backend_name

from .registration import resolve_task
from .single_env import MujocoEnv, MujocoGoalEnv
from .task import GoalTask
from .vector_env import MujocoVectorEnv

_WARP = f"{str(__package__).rpartition('.')[0]}.warp"  # imported when it is used


def make_vector(
    task: Any, num_envs: int = 1, backend: str = DEFAULT, arrays: str = "torch", **settings: Any
) -> VectorEnv:
    """Make a batch of a task.

    Args:
        task: A Task, a subclass of it, or "module:Name".
        num_envs: Number of sub-environments.
        backend: "mujoco" simulates on the CPU (`MujocoVectorEnv`), "warp" on a GPU (`WarpVectorEnv`).
        arrays: What an env with backend="warp" takes and returns: "torch" or "numpy".
        settings: Further arguments of the env.
    """
    if check_backend_name(backend) == DEFAULT:
        _check_device(settings.pop("device", None))
        return MujocoVectorEnv(task, num_envs, **settings)
    settings.pop("nthread", None)  # of the CPU
    module, name = {
        "torch": ("warp_vector_env", "WarpVectorEnv"),
        "numpy": ("host_env", "HostWarpEnv"),
    }.get(arrays, ("", ""))
    if not name:
        raise UsageError(f"expected arrays='torch' or 'numpy', got {arrays!r}")
    _check_settings(settings)
    return getattr(importlib.import_module(f"{_WARP}.{module}"), name)(task, num_envs, **settings)


def make_single(task: Any, backend: str = DEFAULT, device: Any = None, **settings: Any) -> gymnasium.Env:
    """Make a single env of a task.

    Args:
        task: A Task, a subclass of it, or "module:Name".
        backend: "mujoco" or "warp".
        device: Device of the simulation with backend="warp".
        settings: Further arguments of `MujocoEnv`, or of `WarpVectorEnv`.
    """
    task = resolve_task(task)
    if check_backend_name(backend) == DEFAULT:
        _check_device(device)
        return (MujocoGoalEnv if isinstance(task, GoalTask) else MujocoEnv)(task, **settings)
    settings = {name: value for name, value in settings.items() if name != "arrays"}
    _check_settings(settings)
    return importlib.import_module(f"{_WARP}.single_warp_env").make_single(task, device=device, **settings)


def _check_device(device: Any) -> None:
    """Raise UsageError if a device is given without a backend that has one."""
    if device is not None and str(device) not in ("cpu", "auto"):
        raise UsageError(f"expected backend='warp' with device={str(device)!r}, got backend='mujoco'")


def _check_settings(settings: dict[str, Any]) -> None:
    """Raise UsageError for settings that an env with backend="warp" does not have."""
    creator = importlib.import_module(f"{_WARP}.warp_vector_env").WarpVectorEnv
    known = set(inspect.signature(creator).parameters) - {"task", "num_envs"}
    if unknown := sorted(set(settings) - known):
        raise UsageError(
            f"backend='warp' does not take {', '.join(unknown)}; available: {', '.join(sorted(known))}"
        )


def _signature() -> inspect.Signature:
    """Return the signature of `make_vector` with the settings of MujocoVectorEnv, for messages about them."""
    own = list(inspect.signature(make_vector).parameters.values())[:-1]
    names = {parameter.name for parameter in own}
    rest = [p for p in inspect.signature(MujocoVectorEnv).parameters.values() if p.name not in names]
    device = inspect.Parameter("device", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
    return inspect.Signature([*own, *rest, device])


make_vector.__signature__ = _signature()  # type: ignore[attr-defined]
