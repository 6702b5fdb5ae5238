"""Simulation backends of a batch: MuJoCo on the CPU, and MuJoCo Warp on a GPU."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from gymnasium.vector import VectorEnv

from robossl.core.errors import UsageError
from robossl.core.simulation_backends import DEFAULT, check_backend

from .vector_env import MujocoVectorEnv

_WARP = f"{str(__package__).rpartition('.')[0]}.warp"  # imported when it is used


def make_vector(
    task: Any, num_envs: int = 1, backend: str = "mujoco", arrays: str = "torch", **settings: Any
) -> VectorEnv:
    """Make a batch of a task.

    Args:
        task: A Task, a subclass of it, or "module:Name".
        num_envs: Number of sub-environments.
        backend: "mujoco" simulates on the CPU (`MujocoVectorEnv`), "warp" on a GPU (`WarpVectorEnv`).
        arrays: What an env with backend="warp" takes and returns: "torch" or "numpy".
        settings: Further arguments of the env.
    """
    if check_backend(backend) == DEFAULT:
        if settings.get("device") not in (None, "cpu", "auto"):
            raise UsageError(
                f"expected backend='warp' with device={str(settings['device'])!r}, got backend='mujoco'"
            )
        settings.pop("device", None)
        return MujocoVectorEnv(task, num_envs, **settings)
    settings.pop("nthread", None)  # of the CPU
    module, name = {
        "torch": ("warp_vector_env", "WarpVectorEnv"),
        "numpy": ("host_env", "HostWarpEnv"),
    }.get(arrays, ("", ""))
    if not name:
        raise UsageError(f"expected arrays='torch' or 'numpy', got {arrays!r}")
    creator = getattr(importlib.import_module(f"{_WARP}.{module}"), name)
    plain = importlib.import_module(f"{_WARP}.warp_vector_env").WarpVectorEnv
    known = set(inspect.signature(plain).parameters) - {"task", "num_envs"}
    if unknown := sorted(set(settings) - known):
        raise UsageError(
            f"backend='warp' does not take {', '.join(unknown)}; available: {', '.join(sorted(known))}"
        )
    return creator(task, num_envs, **settings)


def _signature() -> inspect.Signature:
    """Return the signature of `make_vector` with the settings of MujocoVectorEnv, for messages about them."""
    own = list(inspect.signature(make_vector).parameters.values())[:-1]
    names = {parameter.name for parameter in own}
    rest = [p for p in inspect.signature(MujocoVectorEnv).parameters.values() if p.name not in names]
    device = inspect.Parameter("device", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
    return inspect.Signature([*own, *rest, device])


make_vector.__signature__ = _signature()  # type: ignore[attr-defined]
