"""Envs of a recording on any simulation backend, and the recorder of all of them or of the first ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gymnasium.vector import VectorEnv

from robossl import registry
from robossl.core.errors import UsageError
from robossl.core.interfaces import Checkpointable
from robossl.core.simulation_backends import DEFAULT, check_backend_name
from robossl.streams import Recorder
from robossl.streams.partial_recorder import PartialRecorder, StepSink


def backend_arguments(backend: str, device: str) -> dict[str, Any]:
    """Return the arguments with which `registry.make_envs` simulates an env on a backend.

    Args:
        backend: "mujoco" or "warp".
        device: Device of the simulation: "auto", "cpu" or "cuda".
    """
    return {} if check_backend_name(backend) == DEFAULT else {"backend": backend, "device": device}


def make_recorder(
    envs: VectorEnv,
    record_envs: int,
    record: Callable[[VectorEnv], Recorder],
    sink: StepSink | None = None,
) -> Any:
    """Return the recorder of all sub-environments, or of the first `record_envs`; 0 records all.

    Args:
        envs: Vector env.
        record_envs: Sub-environments that are recorded; 0: all.
        record: Makes the recorder of a vector env.
        sink: Receives the steps of all sub-environments; only if not all are recorded.
    """
    if record_envs in (0, envs.num_envs):
        return record(envs)
    if not isinstance(envs.unwrapped, Checkpointable):
        raise UsageError(
            "record_envs: expected an env of robossl, which saves and restores its state, got "
            f"{registry.env_name(envs)}; record all sub-environments"
        )
    return PartialRecorder(envs, record_envs, record, sink)
